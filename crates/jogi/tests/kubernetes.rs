//! Herds on a real Kubernetes API server, with the rights that the postgres-operator gives its pods and no more. There is
//! no kubelet: the test makes the pods, and agents and servers run beside them.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use jogi_testkit::herd::{CHANGE_WITHIN, Herd, HerdSpec, SCOPE};
use jogi_testkit::kube::{Kube, operator_rules};
use jogi_testkit::patroni::Patroni;
use jogi_testkit::wait;
use serde_json::{Value, json};

const NAMESPACE: &str = "herds";

/// A herd in one namespace of its API server.
struct OnKubernetes {
    herd: Herd,
    kube: Kube,
    endpoints: bool,
}

impl OnKubernetes {
    fn start(spec: HerdSpec, kube: Kube, endpoints: bool) -> OnKubernetes {
        let kind = if endpoints { "endpoints" } else { "configmaps" };
        kube.namespace(NAMESPACE);
        kube.permit(NAMESPACE, &operator_rules(kind));
        let section = json!({
            "namespace": NAMESPACE,
            "labels": {"application": "spilo"},
            "role_label": "spilo-role",
            "leader_label_value": "master",
            "standby_leader_label_value": "master",
            "bootstrap_labels": {"critical-operation": "true"},
            "use_endpoints": endpoints,
            "bypass_api_service": true,
            "ports": [{"port": 5432, "name": "postgresql"}],
            "context": "test",
        });
        let mut spec = spec.on_loopback().config(json!({"kubernetes": section}));
        for n in 1..=3 {
            spec = spec.member_config(&format!("n{n}"), json!({"kubernetes": {"pod_ip": ip(n)}}));
        }
        let herd = spec.build();
        for (n, member) in (1..).zip(herd.members()) {
            member.change_config(json!({"etcd3": null}));
            kube.pod(NAMESPACE, &member.name, &json!({"application": "spilo", "cluster-name": SCOPE}), &ip(n));
            let dir = member.dir().join(".kube");
            fs::create_dir(&dir).expect("a directory");
            let file = dir.join("config");
            fs::write(&file, kube.portable_kubeconfig(&kube.pod_token)).expect("a kubeconfig");
            member.give_to_postgres(&dir);
            member.give_to_postgres(&file);
        }
        let on = OnKubernetes { herd, kube, endpoints };
        on.herd.start();
        on
    }

    fn object(&self, part: &str) -> Value {
        let (kind, name) = match (self.endpoints, part) {
            (true, "leader") => ("endpoints", SCOPE.to_owned()),
            (true, part) => ("endpoints", format!("{SCOPE}-{part}")),
            (false, part) => ("configmaps", format!("{SCOPE}-{part}")),
        };
        self.kube.get(NAMESPACE, kind, &name).unwrap_or_else(|| panic!("no {kind} {name}"))
    }

    fn annotations(&self, part: &str) -> Value {
        self.object(part)["metadata"]["annotations"].clone()
    }

    fn role(&self, member: &str) -> Option<String> {
        let pod = self.kube.get(NAMESPACE, "pods", member).expect("the pod");
        pod["metadata"]["labels"]["spilo-role"].as_str().map(str::to_owned)
    }

    /// One pod is labelled as master, the others as replicas, and the endpoints say the same.
    #[track_caller]
    fn wait_led_by(&self, leader: &str) {
        self.herd.wait_healthy();
        wait::until("labels and endpoints follow the leader", CHANGE_WITHIN, || {
            let labelled = self.herd.members().iter().all(|member| {
                let expected = if member.name == leader { "master" } else { "replica" };
                self.role(&member.name).as_deref() == Some(expected)
            });
            labelled && self.annotations("leader")["leader"] == leader && self.address_is_of(leader)
        });
    }

    fn address_is_of(&self, leader: &str) -> bool {
        let number = leader.trim_start_matches('n').parse().expect("a number");
        !self.endpoints || self.object("leader")["subsets"][0]["addresses"][0]["ip"] == ip(number)
    }

    fn switch(&self, from: &str, to: &str) {
        let out = self.herd.ctl_ok(&["switchover", SCOPE, "--leader", from, "--candidate", to, "--force"]);
        assert!(out.stdout.contains(&format!("Successfully switched over to \"{to}\"")), "{out:?}");
        self.wait_led_by(to);
    }
}

fn ip(n: usize) -> String {
    format!("10.1.1.{n}")
}

/// Switchover, failover, and the API server away: in ConfigMaps.
#[test]
fn a_herd_on_configmaps_fails_over_and_outlives_its_api_server() {
    let Some(spec) = common::spec() else { return };
    let Some(kube) = Kube::start() else { return };
    let on = OnKubernetes::start(spec.own_programs(), kube, false);
    on.wait_led_by("n1");
    let critical = |name: &str| on.kube.get(NAMESPACE, "pods", name).expect("the pod")["metadata"]["labels"].clone();
    assert_eq!(critical("n2").get("critical-operation"), None, "nobody is being made any more");
    let listed = on.herd.ctl_ok(&["list", "-f", "json"]).json();
    assert_eq!(listed.as_array().map(Vec::len), Some(3), "{listed}");

    let writers = on.herd.start_writers();
    on.switch("n1", "n2");
    synchronous(&on);
    let old = on.herd.member("n2");
    old.kill_agent_tree();
    let new = on.herd.wait_new_leader("n2").name.clone();
    old.start_agent();
    on.wait_led_by(&new);

    // Nobody may write while nobody can know who leads; afterwards the same herd goes on.
    on.kube.down();
    wait::until("no primary without the API server", CHANGE_WITHIN, || {
        on.herd.members().iter().all(|member| !member.is_writable())
    });
    on.kube.up();
    let journal = writers.finish();
    let leader = on.herd.wait_leader().name.clone();
    on.wait_led_by(&leader);
    on.herd.assert_nothing_lost(&journal);
    let history = on.annotations("config")["history"].as_str().map(str::to_owned).expect("a history");
    assert!(history.starts_with("[[1,"), "{history}");
}

/// The synchronous state is there while the mode is on, follows the lead, and goes without a trace.
fn synchronous(on: &OnKubernetes) {
    let sync = || on.kube.get(NAMESPACE, "configmaps", &format!("{SCOPE}-sync")).unwrap_or_default();
    let text = |name: &str| sync()["metadata"]["annotations"][name].as_str().map(str::to_owned);
    assert_eq!(on.herd.member("n2").patch("/config", &json!({"synchronous_mode": true})).status, 200);
    let standby = wait::value("a synchronous standby of n2", CHANGE_WITHIN, || {
        text("sync_standby").filter(|_| text("leader").as_deref() == Some("n2"))
    });
    wait::until("it says so", CHANGE_WITHIN, || on.herd.member(&standby).get("/sync").status == 200);
    on.switch("n2", &standby);
    wait::until("the key names the new leader", CHANGE_WITHIN, || text("leader").as_deref() == Some(&standby));
    wait::until("a standby of its own", CHANGE_WITHIN, || text("sync_standby").is_some());
    assert_eq!(on.herd.member("n2").patch("/config", &json!({"synchronous_mode": null})).status, 200);
    wait::until("no synchronous state", CHANGE_WITHIN, || text("leader").is_none() && text("sync_standby").is_none());
    let version = sync()["metadata"]["resourceVersion"].clone();
    wait::stays("nobody writes it again", Duration::from_secs(3), || sync()["metadata"]["resourceVersion"] == version);
    on.switch(&standby, "n2");
}

/// In Endpoints, which the primary's service is made of; one of Patroni's leads and follows.
#[test]
fn one_of_patronis_leads_and_follows_on_endpoints() {
    let Some(spec) = common::spec() else { return };
    let Some(patroni) = Patroni::find() else { return };
    let Some(kube) = Kube::start() else { return };
    let spec = spec.own_programs().dcs(json!({"ttl": 20, "loop_wait": 1, "retry_timeout": 3}));
    let on = OnKubernetes::start(spec.member_agent("n2", patroni.agent()), kube, true);
    on.wait_led_by("n1");
    assert_eq!(on.herd.member("n2").status().get("jogi"), None);
    let ours = forms(&on);
    on.switch("n1", "n2");
    let theirs = forms(&on);
    assert_eq!(ours, theirs, "the same annotations, labels and forms, whoever has written them");
    patronis_tool_sees_the_same(&on, &patroni);
    on.herd.member("n2").kill_agent_tree();
    on.herd.member("n2").kill_postmaster();
    let new = on.herd.wait_new_leader("n2").name.clone();
    on.herd.member("n2").start_agent();
    on.wait_led_by(&new);
}

/// A proof for `scripts/proof.sh kubernetes`: minutes, and a machine at rest.
#[test]
#[ignore = "it measures, for some minutes: scripts/proof.sh kubernetes"]
fn requests_at_rest_beside_patronis() {
    let Some(spec) = common::spec() else { return };
    let Some(patroni) = Patroni::find() else { return };
    for (name, programs) in [("jogi", None), ("Patroni", Some((patroni.agent(), patroni.ctl())))] {
        let Some(kube) = Kube::start() else { return };
        let spec = spec.clone().own_programs().dcs(json!({"ttl": 30, "loop_wait": 10, "retry_timeout": 10}));
        let spec = programs.into_iter().fold(spec, |spec, (agent, ctl)| spec.programs(agent, ctl));
        let on = OnKubernetes::start(spec, kube, false);
        on.herd.wait_healthy();
        std::thread::sleep(Duration::from_secs(40));
        let before = on.kube.requests();
        std::thread::sleep(Duration::from_secs(120));
        let after = on.kube.requests();
        let made = |(verb, count): (&String, &u64)| (verb.clone(), count - before.get(verb).unwrap_or(&0));
        let made: BTreeMap<String, u64> = after.iter().map(made).filter(|(_, count)| *count > 0).collect();
        println!("{name}: in 120 s, of three members: {made:?}");
    }
}

/// Names and forms of all that is written, with what differs by its nature taken out.
fn forms(on: &OnKubernetes) -> Value {
    let mut forms = json!({});
    for part in ["leader", "config"] {
        let object = on.object(part);
        let annotations = object["metadata"]["annotations"].as_object().expect("annotations").clone();
        let ours = |name: &str| name.starts_with("jogi");
        // Who is the only one on its first timeline has no history yet.
        let form = annotations.iter().filter(|(name, _)| !ours(name) && *name != "history");
        let form: Value = form.map(|(name, value)| (name.clone(), form_of(value))).collect();
        let kinds = object["metadata"]["labels"].clone();
        let ports = object["subsets"][0]["ports"].clone();
        let address = object["subsets"][0]["addresses"][0].as_object().map(|a| a.keys().cloned().collect::<Vec<_>>());
        let target = object["subsets"][0]["addresses"][0]["targetRef"]
            .as_object()
            .map(|a| a.keys().cloned().collect::<Vec<_>>());
        forms[part] =
            json!({"annotations": form, "labels": kinds, "ports": ports, "address": address, "target": target});
    }
    forms
}

/// Digits become one digit and members one member, so that texts can be compared to the byte otherwise.
fn form_of(value: &Value) -> Value {
    let mut form = String::new();
    for c in value.as_str().unwrap_or("(no text)").replace("n2", "n1").replace("n3", "n1").chars() {
        match c.is_ascii_digit() {
            true if form.ends_with('0') => {}
            true => form.push('0'),
            false => form.push(c),
        }
    }
    form.into()
}

fn patronis_tool_sees_the_same(on: &OnKubernetes, patroni: &Patroni) {
    let theirs = on.herd.ctl_by(&patroni.ctl(), &["list", "-f", "json"], "", &[]);
    assert_eq!(theirs.code, Some(0), "{theirs:?}");
    let ours = on.herd.ctl_ok(&["list", "-f", "json"]);
    let names = |list: &Value, field: &str| -> Vec<String> {
        list.as_array().into_iter().flatten().map(|row| row[field].to_string()).collect()
    };
    for field in ["Member", "Role", "State", "TL"] {
        assert_eq!(names(&ours.json(), field), names(&theirs.json(), field), "{field}");
    }
}
