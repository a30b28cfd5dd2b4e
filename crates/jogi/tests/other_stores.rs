//! "My herd keeps its state elsewhere than in etcd v3": the same life on each store, among ourselves and with a Patroni.
//!
//! The herd's own etcd runs along, and nobody asks it.

mod common;

use std::time::Duration;

use jogi_testkit::consul::{self, Consul};
use jogi_testkit::etcd::{Etcd, EtcdOptions};
use jogi_testkit::herd::{CHANGE_WITHIN, Herd, HerdSpec};
use jogi_testkit::patroni::Patroni;
use jogi_testkit::{http, wait};
use serde_json::{Map, Value, json};

/// A session of Consul's ends at the latest after twice its time, and only then another may lead.
const LOST_LOCK_WITHIN: Duration = Duration::from_secs(90);

/// The store of a herd, beside it.
trait Elsewhere {
    /// The section of the configuration.
    fn section(&self) -> Value;
    /// The cluster's keys and values as they stand, relative.
    fn keys(&self) -> Vec<(String, String)>;
    fn lose(&self);
    fn give_back(&self);
}

impl Elsewhere for Consul {
    fn section(&self) -> Value {
        json!({"consul": {"host": self.address().to_string()}})
    }

    fn keys(&self) -> Vec<(String, String)> {
        let (_, body) = self.request("GET", "/v1/kv/?keys", None);
        let names: Vec<String> = serde_json::from_str(&body).unwrap_or_default();
        let value = |name: &str| self.request("GET", &format!("/v1/kv/{name}?raw"), None).1;
        names.iter().map(|name| (name.clone(), value(name))).collect()
    }

    fn lose(&self) {
        self.kill();
    }

    fn give_back(&self) {
        self.restart();
    }
}

/// etcd with its v2 API.
struct Etcd2(Etcd);

impl Elsewhere for Etcd2 {
    fn section(&self) -> Value {
        json!({"etcd": {"host": self.0.address(0).to_string()}})
    }

    fn keys(&self) -> Vec<(String, String)> {
        let path = "/v2/keys/service?recursive=true";
        let reply = http::request(self.0.address(0), "GET", path, None, CHANGE_WITHIN);
        let mut found = Vec::new();
        let mut nodes = vec![serde_json::from_str::<Value>(&reply.body).unwrap_or_default()["node"].take()];
        while let Some(node) = nodes.pop() {
            nodes.extend(node["nodes"].as_array().cloned().unwrap_or_default());
            if let (Some(key), Some(value)) = (node["key"].as_str(), node["value"].as_str()) {
                found.push((key.to_owned(), value.to_owned()));
            }
        }
        found
    }

    fn lose(&self) {
        self.0.freeze(0);
    }

    fn give_back(&self) {
        self.0.thaw(0);
    }
}

fn spec(store: &impl Elsewhere) -> Option<HerdSpec> {
    let settings = json!({"ttl": 20, "loop_wait": 1, "retry_timeout": 3});
    let elsewhere = common::spec_on_loopback()?.own_programs().config(json!({"etcd3": null})).config(store.section());
    Some(elsewhere.dcs(settings))
}

#[test]
fn a_herd_of_ours_lives_on_consul() {
    if consul::find().is_none() {
        return;
    }
    let store = Consul::start();
    let Some(spec) = spec(&store) else { return };
    let herd = spec.start();
    herd.member("n1").sql("CREATE TABLE t AS SELECT 1 AS n");
    switch_over(&herd, "n1", "n2");
    fail_over(&herd, "n2");
}

#[test]
fn patroni_and_ours_are_one_herd_on_consul() {
    if consul::find().is_some() {
        beside_patroni(&Consul::start());
    }
}

#[test]
#[ignore = "more than a minute, and Consul's shows most of it: scripts/proof.sh stores"]
fn patroni_and_ours_are_one_herd_on_etcd_v2() {
    let extra = vec!["--enable-v2".to_owned()];
    beside_patroni(&Etcd2(Etcd::with(EtcdOptions { extra, ..EtcdOptions::default() })));
}

/// One of Patroni's and two of ours: it leads, follows and leads again, and the keys are those that it writes.
fn beside_patroni(store: &impl Elsewhere) {
    let (Some(spec), Some(patroni)) = (spec(store), Patroni::find()) else { return };
    let herd = spec.member_agent("n1", patroni.agent()).start();
    herd.member("n1").sql("CREATE TABLE t AS SELECT 1 AS n");
    wait::until("Patroni has written all of the status", CHANGE_WITHIN, || {
        store.keys().iter().any(|(key, value)| key.ends_with("/status") && value.contains("retain_slots"))
    });
    let by_patroni = shapes(store);
    switch_over(&herd, "n1", "n2");
    let alike = wait::poll(CHANGE_WITHIN, || (shapes(store) == by_patroni).then_some(()));
    assert!(alike.is_some(), "Patroni wrote {by_patroni:#?}, ours {:#?}", shapes(store));
    switch_over(&herd, "n2", "n1");
    fail_over(&herd, "n1");
    lose_the_store(&herd, store);
}

/// Each key with what its value says for longer than a moment, in its order.
fn shapes(store: &impl Elsewhere) -> Vec<String> {
    let shape = |(key, value): (String, String)| {
        let fields = match serde_json::from_str::<Value>(&value) {
            Ok(Value::Object(fields)) => fields,
            Ok(_) | Err(_) => Map::new(),
        };
        let last = key.rsplit('/').next().unwrap_or_default();
        match last {
            "config" | "initialize" => format!("{key}: {value}"),
            // Fields that are ours alone are below `jogi`.
            "status" => format!("{key}: {:?}", fields.keys().filter(|field| *field != "jogi").collect::<Vec<_>>()),
            // A name in the one; in the others what comes and goes with the roles.
            _ => key,
        }
    };
    let mut shapes: Vec<String> = store.keys().into_iter().map(shape).collect();
    // What a first switchover leaves behind.
    shapes.retain(|shape| !shape.ends_with("/history") && !shape.ends_with("/failover"));
    shapes.sort();
    shapes
}

fn switch_over(herd: &Herd, from: &str, to: &str) {
    herd.ctl_ok(&["switchover", "--leader", from, "--candidate", to, "--force"]);
    herd.wait_healthy();
    assert_eq!(herd.leader().map(|m| m.name.as_str()), Some(to), "from {from}");
    let listed = herd.ctl_ok(&["list", "-f", "json"]).json();
    let leader = listed.as_array().and_then(|all| all.iter().find(|m| m["Role"] == "Leader"));
    assert_eq!(leader.map(|m| m["Member"].clone()), Some(json!(to)), "{listed}");
}

/// The leader's agent and server die at once, without a word to the store.
fn fail_over(herd: &Herd, old: &str) {
    herd.member(old).kill_agent_tree();
    wait::until("another leads", LOST_LOCK_WITHIN, || {
        herd.others(old).into_iter().any(|m| m.is_primary() && m.is_writable())
    });
    herd.member(old).start_agent();
    herd.wait_healthy();
    let leader = herd.wait_leader();
    assert_eq!(leader.sql_text("SELECT n FROM t"), "1", "on {}", leader.name);
}

fn lose_the_store(herd: &Herd, store: &impl Elsewhere) {
    let leader = herd.wait_leader();
    store.lose();
    wait::until("no primary without a store", LOST_LOCK_WITHIN, || !leader.is_writable());
    store.give_back();
    herd.wait_healthy();
    assert_eq!(herd.wait_leader().sql_text("SELECT n FROM t"), "1");
}
