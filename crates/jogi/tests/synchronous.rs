//! "No acknowledged row may ever be lost": the synchronous modes on real servers.

mod common;

use std::time::{Duration, Instant};

use jogi_testkit::herd::{CHANGE_WITHIN, Herd, Member};
use jogi_testkit::{process, wait};
use serde_json::{Value, json};

/// Until names and key have followed a change.
const SETTLES: Duration = Duration::from_secs(20);
/// A commit that waits for nobody takes less.
const SOON: Duration = Duration::from_secs(2);

fn sync_key(herd: &Herd) -> Option<(String, u64, String)> {
    let key: Value = serde_json::from_str(&herd.key("sync")?).expect("JSON");
    let standbys = key["sync_standby"].as_str().unwrap_or("").to_owned();
    Some((key["leader"].as_str().unwrap_or("").to_owned(), key["quorum"].as_u64().expect("a number"), standbys))
}

fn wait_key(herd: &Herd, leader: &str, quorum: u64, standbys: &str) {
    let wanted = (leader.to_owned(), quorum, standbys.to_owned());
    let mut last = None;
    let there = wait::poll(SETTLES, || {
        last = sync_key(herd);
        (last.as_ref() == Some(&wanted)).then_some(())
    });
    assert!(there.is_some(), "the sync key is {last:?} and should be {wanted:?}");
}

fn names(member: &Member) -> String {
    member.sql_text("SHOW synchronous_standby_names")
}

fn wait_names(member: &Member, wanted: &str) {
    wait::until(&format!("names '{wanted}' on {}", member.name), SETTLES, || names(member) == wanted);
}

fn patch(herd: &Herd, settings: Value) {
    let reply = herd.wait_leader().patch("/config", &settings);
    assert_eq!(reply.status, 200, "{reply:?}");
}

/// Whether a commit is acknowledged soon.
fn commits(member: &Member, what: &str) -> bool {
    let session = member.try_session();
    session.is_ok_and(|session| session.run(&format!("CREATE TABLE IF NOT EXISTS {what} ()"), SOON).is_ok())
}

fn power_on(member: &Member) {
    member.power_on();
    member.start_agent();
}

#[test]
fn the_primarys_host_dies_and_the_synchronous_standby_has_every_row() {
    let Some(spec) = common::spec() else { return };
    let herd =
        spec.dcs(json!({"synchronous_mode": true})).member_config("n2", json!({"tags": {"sync_priority": 2}})).start();
    wait_key(&herd, "n1", 0, "n2");
    wait_names(herd.member("n1"), "n2");
    for (path, n1, n2, n3) in [
        ("/sync", 503, 200, 503),
        ("/synchronous", 503, 200, 503),
        ("/async", 503, 503, 200),
        ("/read-only-sync", 200, 200, 503),
        ("/replica", 503, 200, 200),
        ("/quorum", 503, 503, 503),
    ] {
        let status = |name: &str| herd.member(name).get(path).status;
        assert_eq!((status("n1"), status("n2"), status("n3")), (n1, n2, n3), "{path}");
    }
    assert_eq!(herd.member("n2").status()["sync_standby"], true);
    assert!(herd.member("n3").status().get("sync_standby").is_none());
    let list = herd.ctl_ok(&["list", "herd"]).stdout;
    assert!(list.contains("Sync Standby"), "{list}");

    let writers = herd.start_writers();
    writers.wait_rows(200, CHANGE_WITHIN);
    let since = Instant::now();
    herd.member("n1").crash();
    writers.wait_ack_by("n2", since, CHANGE_WITHIN);
    wait_key(&herd, "n2", 0, "n3");
    power_on(herd.member("n1"));
    let journal = writers.finish();
    herd.wait_healthy();
    herd.assert_nothing_lost(&journal);

    // Primary and synchronous standby die together: the third one has not what they have, and does not lead.
    let writers = herd.start_writers();
    wait_key(&herd, "n2", 0, "n3");
    herd.member("n2").crash();
    herd.member("n3").crash();
    wait::stays("nobody leads", herd.ttl() * 2, || !herd.member("n1").is_writable());
    power_on(herd.member("n3"));
    writers.wait_ack_by("n3", since, CHANGE_WITHIN * 2);
    power_on(herd.member("n2"));
    let journal = writers.finish();
    herd.wait_healthy();
    herd.assert_nothing_lost(&journal);
}

/// Patroni 4.1 sets `*` then, and the member that is not to be waited for confirms.
#[test]
fn strict_mode_without_a_standby_to_name_lets_nobody_else_confirm() {
    let Some(spec) = common::spec_on_loopback() else { return };
    let tags = |nosync: bool| json!({"tags": {"nosync": nosync}});
    let spec = spec.members(2).dcs(json!({"synchronous_mode": true, "synchronous_mode_strict": true}));
    let herd = spec.member_config("n2", tags(true)).start();
    let leader = herd.wait_leader();
    let placeholder = "__patroni_strict_sync_replica_placeholder__";
    wait_names(leader, placeholder);
    wait_key(&herd, "n1", 0, "");
    assert!(!commits(leader, "priority"), "the nosync member confirmed");
    patch(&herd, json!({"synchronous_mode": "quorum"}));
    wait_names(leader, &format!("ANY 1 ({placeholder})"));
    assert!(!commits(leader, "quorum"), "the nosync member confirmed");

    herd.member("n2").change_config(tags(false));
    herd.member("n2").signal_agent(process::Signal::HUP);
    wait_names(leader, "ANY 1 (n2)");
    wait::until("commits go on", SETTLES, || commits(leader, "with_a_standby"));
    wait_key(&herd, "n1", 0, "n2");
}

#[test]
fn strict_mode_holds_commits_and_modes_are_switched_while_it_runs() {
    let Some(spec) = common::spec_on_loopback() else { return };
    let herd = spec.start();
    let leader = herd.wait_leader();
    assert_eq!((names(leader), sync_key(&herd)), (String::new(), None));

    patch(&herd, json!({"synchronous_mode": true, "synchronous_node_count": 2}));
    wait_key(&herd, "n1", 0, "n2,n3");
    wait_names(leader, "2 (n2,n3)");

    patch(&herd, json!({"synchronous_mode": "quorum", "synchronous_node_count": 1}));
    wait_key(&herd, "n1", 1, "n2,n3");
    wait_names(leader, "ANY 1 (n2,n3)");
    for (path, n1, n2) in
        [("/quorum", 503, 200), ("/read-only-quorum", 200, 200), ("/sync", 503, 503), ("/async", 503, 503)]
    {
        let status = |name: &str| herd.member(name).get(path).status;
        assert_eq!((status("n1"), status("n2")), (n1, n2), "{path}");
    }
    assert_eq!(herd.member("n3").status()["quorum_standby"], true);
    let list = herd.ctl_ok(&["list", "herd"]).stdout;
    assert!(list.contains("Quorum Standby"), "{list}");

    // One standby restarts, and no commit waits for it; then the lead goes on, by votes.
    assert!(herd.member("n2").post("/restart", &json!({})).status == 200);
    assert!(commits(leader, "beside_a_restart"));
    wait_key(&herd, "n1", 1, "n2,n3");
    let reply = leader.post("/switchover", &json!({"leader": "n1", "candidate": "n3"}));
    assert_eq!(reply.status, 200, "{reply:?}");
    wait_key(&herd, "n3", 1, "n1,n2");
    herd.wait_healthy();

    patch(&herd, json!({"synchronous_mode": true, "synchronous_mode_strict": true}));
    let leader = herd.wait_leader();
    wait::until("one synchronous standby", SETTLES, || sync_key(&herd).is_some_and(|k| k.1 == 0 && !k.2.is_empty()));
    wait::until("commits go on", SETTLES, || commits(leader, "strict_with_standbys"));
    let (standbys, since) = (herd.others(&leader.name), Instant::now());
    for standby in &standbys {
        standby.kill_agent_tree();
        standby.kill_postmaster();
    }
    wait::until("nobody streams", SETTLES, || leader.sql_text("SELECT count(*) FROM pg_stat_replication") == "0");
    assert!(!commits(leader, "strict_alone"), "a commit was acknowledged with nobody to confirm it");
    assert!(leader.is_primary(), "{:?}", since.elapsed());
    standbys.iter().for_each(|m| m.start_agent());
    herd.wait_healthy();
    wait::until("commits go on", SETTLES, || commits(leader, "strict_again"));

    patch(&herd, json!({"synchronous_mode": null, "synchronous_mode_strict": null}));
    wait::until("no sync key", SETTLES, || sync_key(&herd).is_none());
    wait_names(leader, "");
}

#[test]
fn names_that_the_checkpointer_has_not_taken_make_no_successor() {
    let Some(spec) = common::spec_on_loopback() else { return };
    let herd = spec.members(2).start();
    let leader = herd.wait_leader();
    let pid = leader.sql_text("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'");
    let checkpointer = pid.parse().expect("a pid");
    process::freeze(checkpointer);
    patch(&herd, json!({"synchronous_mode": true}));
    wait_names(leader, "n2");
    // The session shows the names, and commits wait for nobody: the flag that makes them wait is the checkpointer's.
    wait::stays("nobody may succeed yet", Duration::from_secs(3), || sync_key(&herd).is_none_or(|k| k.2.is_empty()));
    process::thaw(checkpointer);
    wait_key(&herd, "n1", 0, "n2");
}
