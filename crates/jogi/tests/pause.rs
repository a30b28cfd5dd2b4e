//! "I pause the cluster and work on PostgreSQL myself": the agents look on, whatever happens, until it is resumed.

mod common;

use std::time::Duration;

use jogi_testkit::herd::{CHANGE_WITHIN, Herd};
use jogi_testkit::process::Signal;
use jogi_testkit::wait;
use serde_json::json;

#[test]
fn in_pause_nobody_touches_postgresql() {
    let Some(spec) = common::spec() else { return };
    let herd = spec.start();
    let leader = herd.wait_leader().name.clone();
    pausing_is_seen_by_all(&herd);
    the_primary_outlives_its_agent(&herd, &leader);
    a_replica_outlives_its_stopped_agent(&herd, &leader);
    a_stopped_primary_stays_stopped(&herd, &leader);
    resuming_changes_nothing(&herd, &leader);
}

fn pausing_is_seen_by_all(herd: &Herd) {
    let out = herd.ctl_ok(&["pause", "herd", "--wait"]);
    assert!(out.stdout.contains("Success: cluster management is paused"), "{out:?}");
    let list = herd.ctl_ok(&["list", "herd"]);
    assert!(list.stdout.contains(" Maintenance mode: on"), "{list:?}");
    let out = herd.ctl(&["pause", "herd"]);
    assert_eq!((out.code, out.stderr.trim()), (Some(1), "Error: Cluster is already paused"));
    for member in herd.members() {
        let key = herd.key(&format!("members/{}", member.name)).expect("a member");
        assert!(key.contains(r#""pause":true"#), "{key}");
        assert_eq!(member.get("/cluster").json()["pause"], true);
    }
    let leader = herd.wait_leader();
    let reply = leader.post("/switchover", &json!({"leader": leader.name}));
    let reason = "Switchover is possible only to a specific candidate in a paused state";
    assert_eq!((reply.status, reply.body.as_str()), (400, reason));
}

fn nobody_else_leads(herd: &Herd, leader: &str) -> bool {
    herd.others(leader).iter().all(|m| !m.is_writable() && !m.is_primary())
}

fn the_primary_outlives_its_agent(herd: &Herd, name: &str) {
    let leader = herd.member(name);
    let (postmaster, kept) = (leader.postmaster_pid(), herd.keep_session(leader));
    leader.kill_agent();
    let longer_than_the_lease = herd.ttl() + Duration::from_secs(3);
    wait::stays("PostgreSQL serves and nobody else leads", longer_than_the_lease, || {
        leader.postmaster() == Some(postmaster) && kept.ended().is_none() && nobody_else_leads(herd, name)
    });
    assert_eq!(herd.lock_holder(), None, "the lock ran out");
    leader.start_agent();
    wait::until("the primary has the lock again", CHANGE_WITHIN, || herd.lock_holder().as_deref() == Some(name));
    wait::until("and says so", CHANGE_WITHIN, || leader.is_primary());
    assert_eq!(leader.postmaster(), Some(postmaster));
    assert_eq!(kept.ended(), None);
}

fn a_replica_outlives_its_stopped_agent(herd: &Herd, leader: &str) {
    let replica = herd.others(leader)[0];
    let postmaster = replica.postmaster_pid();
    replica.signal_agent(Signal::TERM);
    replica.agent_exit(CHANGE_WITHIN);
    assert_eq!(replica.postmaster(), Some(postmaster), "in pause the agent leaves without PostgreSQL");
    replica.start_agent();
    wait::until("the agent is back", CHANGE_WITHIN, || replica.is_replica());
    assert_eq!(replica.postmaster(), Some(postmaster));
}

fn a_stopped_primary_stays_stopped(herd: &Herd, name: &str) {
    let leader = herd.member(name);
    let data = leader.data_dir().display().to_string();
    leader.server_program("pg_ctl", &["stop", "-w", "-m", "fast", "-D", &data]);
    wait::stays("nothing runs and nobody else leads", Duration::from_secs(5), || {
        leader.postmaster().is_none() && nobody_else_leads(herd, name)
    });
    leader.start_server_by_hand();
    wait::until("the primary is known as such again", CHANGE_WITHIN, || leader.is_primary());
}

fn resuming_changes_nothing(herd: &Herd, name: &str) {
    let postmaster = herd.member(name).postmaster_pid();
    let out = herd.ctl_ok(&["resume", "herd", "--wait"]);
    assert!(out.stdout.contains("Success: cluster management is resumed"), "{out:?}");
    herd.wait_healthy();
    assert_eq!(herd.wait_leader().name, name);
    assert_eq!(herd.member(name).postmaster(), Some(postmaster));
    assert_eq!(herd.member(name).status()["timeline"], 1);
    let out = herd.ctl(&["resume", "herd"]);
    assert_eq!((out.code, out.stderr.trim()), (Some(1), "Error: Cluster is not paused"));
}
