//! "I replace one member and keep the others": Patroni and ours in one cluster.

use std::time::Duration;

use jogi_testkit::herd::{BASE, CHANGE_WITHIN, Herd, Member, Writers};
use jogi_testkit::patroni::Patroni;
use jogi_testkit::process::Signal;
use jogi_testkit::wait;
use serde_json::{Value, json};

use crate::common;

/// Long enough for a Patroni without a store to give its lock up.
const RETRIED: Duration = Duration::from_secs(10);

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

/// Three of Patroni's become three of ours and Patroni's again, one at a time, in the order that Patroni's manual gives for
/// updates: replicas first, then the leader, which is stopped without a word. Clients write all the time, in quorum mode;
/// the store is lost once under a leader of either kind with two replicas of the other.
#[test]
fn members_are_replaced_one_by_one_and_back_and_no_row_is_lost() {
    let Some(spec) = common::spec() else { return };
    let Some(patroni) = Patroni::find() else { return };
    let dcs =
        json!({"ttl": 20, "loop_wait": 1, "retry_timeout": 3, "synchronous_mode": "quorum", "failsafe_mode": true});
    let names = ["n1", "n2", "n3"];
    let spec = spec.dcs(dcs).own_programs();
    let herd = names.iter().fold(spec, |spec, name| spec.member_agent(name, patroni.agent())).start();
    let ours = format!("{} agent {{config}}", herd.jogi().display());
    let writers = herd.start_writers();
    let identity = herd.key("initialize");
    // Without promises Patroni closes its primary after `retry_timeout`, ours when its lease ends.
    for (agent, is_ours, silence) in [(&ours, true, RETRIED), (&patroni.agent(), false, herd.ttl() + RETRIED)] {
        let leader = herd.wait_leader().name.clone();
        for member in herd.others(&leader) {
            replace(&herd, member, agent, is_ours);
            writers.wait_rows(20, CHANGE_WITHIN);
        }
        quorum_key(&herd, &leader);
        store_is_lost(&herd, &writers, silence);
        replace(&herd, herd.member(&leader), agent, is_ours);
        let new = herd.wait_leader().name.clone();
        assert_ne!(new, leader, "the lead was handed over");
        quorum_key(&herd, &new);
        writers.wait_rows(20, CHANGE_WITHIN);
    }
    assert_eq!(herd.key("initialize"), identity);
    herd.assert_nothing_lost(&writers.finish());
}

/// The leader writes on by the word of the other kind's members, and nobody takes over when the store is back.
fn store_is_lost(herd: &Herd, writers: &Writers, silence: Duration) {
    wait::until("every member has a say", CHANGE_WITHIN, || {
        let named: Value = herd.key("failsafe").and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        herd.members().iter().all(|m| named.get(&m.name).is_some())
    });
    let leader = herd.wait_leader();
    let postmaster = leader.postmaster_pid();
    herd.store().kill();
    wait::stays("the leader writes", silence, || leader.is_writable());
    writers.wait_rows(20, CHANGE_WITHIN);
    herd.store().start();
    herd.wait_healthy();
    assert_eq!(herd.lock_holder().as_deref(), Some(leader.name.as_str()));
    assert_eq!(leader.postmaster_pid(), postmaster, "its server was not touched");
    // A Patroni that has just given its promise takes no lock.
    wait::until("failsafe mode is over everywhere", CHANGE_WITHIN, || {
        herd.members().iter().all(|m| m.status()["failsafe_mode_is_active"].is_null())
    });
}

/// The agent ends with its server, as by `systemctl stop`; the other kind starts on the same directory and file.
fn replace(herd: &Herd, member: &Member, agent: &str, is_ours: bool) {
    let directory = member.data_directory_identity();
    member.signal_agent(Signal::TERM);
    let code = member.agent_exit(CHANGE_WITHIN).code();
    assert_eq!(code, Some(0), "the end of {}'s agent", member.name);
    member.change_agent(agent);
    member.start_agent();
    herd.wait_healthy();
    assert_eq!(is_patroni(herd, &member.name), !is_ours, "{}: {}", member.name, member.status());
    assert_eq!(member.data_directory_identity(), directory, "{} was not copied anew", member.name);
}

/// The key names the leader and both others, any of which may succeed.
fn quorum_key(herd: &Herd, leader: &str) {
    let others: Vec<&str> = herd.others(leader).iter().map(|m| m.name.as_str()).collect();
    let mut last = None;
    let there = wait::poll(CHANGE_WITHIN, || {
        last = herd.key("sync");
        let key: Value = serde_json::from_str(last.as_deref()?).ok()?;
        let wanted = json!({"leader": leader, "quorum": 1, "sync_standby": others.join(",")});
        (key["leader"] == wanted["leader"]
            && key["quorum"] == wanted["quorum"]
            && key["sync_standby"] == wanted["sync_standby"])
            .then_some(())
    });
    assert!(there.is_some(), "the sync key under {leader} is {last:?}");
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

/// The host of Patroni's leader dies, then that of ours: the others go on, and the dead come back as replicas. `ttl` is
/// one that ours takes as it is and Patroni raises to 20: each holder's lease is its own, and the other kind respects it.
fn failovers(herd: &Herd) {
    assert_eq!(herd.member("n2").patch("/config", &json!({"ttl": 5})).status, 200);
    let rows = herd.member("n1").sql_text("SELECT count(*) FROM t");
    for old in ["n1", "n2"] {
        if herd.leader().map(|m| m.name.as_str()) != Some(old) {
            let from = herd.wait_leader().name.clone();
            let reply = herd.member(&from).post("/switchover", &json!({"leader": from, "candidate": old}));
            assert_eq!(reply.status, 200, "{from} to {old}: {}", reply.body);
            herd.wait_healthy();
        }
        let ttl = if is_patroni(herd, old) { 20 } else { 5 };
        let lease = || herd.store().entry(&format!("{BASE}leader")).and_then(|key| herd.store().lease_ttl(key.lease));
        wait::until(&format!("a lease of {ttl} s on {old}"), CHANGE_WITHIN, || lease() == Some(ttl));
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
