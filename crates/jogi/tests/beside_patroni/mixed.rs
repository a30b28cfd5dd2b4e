//! "I replace one member and keep the others": Patroni and ours in one cluster.

use jogi_testkit::herd::{CHANGE_WITHIN, Herd};
use jogi_testkit::patroni::Patroni;
use jogi_testkit::wait;
use serde_json::json;

use crate::common;

/// One of Patroni's and two of ours.
#[test]
fn the_lead_goes_from_patroni_to_ours_and_back() {
    let Some(herd) = mixed(&["n1"]) else { return };
    assert!(is_patroni(&herd, "n1") && !is_patroni(&herd, "n2"));
    handovers(&herd);
}

/// Two of Patroni's and one of ours.
#[test]
fn one_of_ours_among_patronis_leads_and_follows() {
    let Some(herd) = mixed(&["n1", "n3"]) else { return };
    assert!(is_patroni(&herd, "n3") && !is_patroni(&herd, "n2"));
    handovers(&herd);
}

fn mixed(patronis: &[&str]) -> Option<Herd> {
    let spec = common::spec()?.dcs(json!({"ttl": 20, "loop_wait": 1, "retry_timeout": 3})).own_programs();
    let patroni = Patroni::find()?;
    Some(patronis.iter().fold(spec, |spec, name| spec.member_agent(name, patroni.agent())).start())
}

fn is_patroni(herd: &Herd, name: &str) -> bool {
    herd.member(name).status().get("jogi").is_none()
}

/// In every direction; by request, by the death of the leader's host, in a synchronous mode, and with settings and pause
/// from either side. Every row that was written stays.
fn handovers(herd: &Herd) {
    herd.member("n1").sql("CREATE TABLE t (n int)");
    let mut rows = 0;
    for (from, to) in [("n1", "n2"), ("n2", "n3"), ("n3", "n1"), ("n1", "n2"), ("n2", "n1")] {
        rows += 1;
        herd.member(from).sql(&format!("INSERT INTO t VALUES ({rows})"));
        let reply = herd.member(from).post("/switchover", &json!({"leader": from, "candidate": to}));
        assert_eq!(reply.body, format!("Successfully switched over to \"{to}\""), "{from} to {to}");
        herd.wait_healthy();
        assert_eq!(herd.leader().map(|m| m.name.as_str()), Some(to));
        assert_eq!(herd.member(to).sql_text("SELECT count(*) FROM t"), rows.to_string());
    }
    synchronous(herd);
    settings(herd);
    failovers(herd);
}

/// The host of Patroni's leader dies, then that of ours: the others go on, and the dead come back as replicas.
fn failovers(herd: &Herd) {
    let rows = herd.member("n1").sql_text("SELECT count(*) FROM t");
    for old in ["n1", "n2"] {
        if herd.leader().map(|m| m.name.as_str()) != Some(old) {
            let from = herd.wait_leader().name.clone();
            let reply = herd.member(&from).post("/switchover", &json!({"leader": from, "candidate": old}));
            assert_eq!(reply.status, 200, "{from} to {old}: {}", reply.body);
            herd.wait_healthy();
        }
        herd.member(old).crash();
        let new = herd.wait_new_leader(old);
        assert_eq!(new.sql_text("SELECT count(*) FROM t"), rows, "of {} after {old}", new.name);
        herd.member(old).power_on();
        herd.member(old).start_agent();
        herd.wait_healthy();
    }
}

/// The `sync` key stays one that both kinds understand while the lead changes hands between them.
fn synchronous(herd: &Herd) {
    let both = json!({"synchronous_mode": true, "synchronous_node_count": 2});
    assert_eq!(herd.member("n2").patch("/config", &both).status, 200);
    for (from, to) in [("n1", "n2"), ("n2", "n1")] {
        wait::until("the candidate is a synchronous standby", CHANGE_WITHIN, || {
            herd.member(to).get("/sync").status == 200
        });
        let reply = herd.member(from).post("/switchover", &json!({"leader": from, "candidate": to}));
        assert_eq!(reply.body, format!("Successfully switched over to \"{to}\""), "{from} to {to}, synchronous");
        herd.wait_healthy();
        wait::until("the key names the new leader", CHANGE_WITHIN, || {
            herd.key("sync").is_some_and(|sync| sync.contains(&format!("\"leader\":\"{to}\"")))
        });
    }
    let off = json!({"synchronous_mode": null, "synchronous_node_count": null});
    assert_eq!(herd.member("n1").patch("/config", &off).status, 200);
}

/// Told by one kind, obeyed by the other.
fn settings(herd: &Herd) {
    for (teller, size) in [("n1", "5MB"), ("n2", "6MB")] {
        let change = json!({"pause": true, "postgresql": {"parameters": {"work_mem": size}}});
        assert_eq!(herd.member(teller).patch("/config", &change).status, 200);
        for member in herd.members() {
            wait::until("the parameter", CHANGE_WITHIN, || member.sql_text("SHOW work_mem") == size);
            wait::until("the pause", CHANGE_WITHIN, || member.status()["pause"] == true);
        }
        assert_eq!(herd.member(teller).patch("/config", &json!({"pause": null})).status, 200);
        for member in herd.members() {
            wait::until("the end of the pause", CHANGE_WITHIN, || member.status().get("pause").is_none());
        }
    }
}
