//! "I upgrade or restart the agent, and my clients notice nothing"; and an agent that is put on a PostgreSQL that runs.

mod common;

use std::time::Duration;

use jogi_testkit::herd::{CHANGE_WITHIN, Herd, PASSWORD, START_WITHIN};
use jogi_testkit::{process, wait};
use serde_json::json;

#[test]
fn restarting_an_agent_leaves_postgresql_and_its_clients_alone() {
    let Some(spec) = common::spec() else { return };
    let herd = spec.start();
    let (leader, revision) = (herd.wait_leader(), herd.store().revision());
    let kept = herd.keep_session(leader);
    for member in herd.members() {
        let postmaster = member.postmaster_pid();
        let started = process::start_time(postmaster);
        let guard = process::parent(postmaster);
        member.kill_agent();
        member.start_agent();
        herd.wait_healthy();
        assert_eq!(member.postmaster(), Some(postmaster), "PostgreSQL of {}", member.name);
        assert_eq!(process::start_time(postmaster), started);
        assert_eq!(process::parent(postmaster), guard, "the guard of {} goes on too", member.name);
    }
    kept.wait_rows(100, CHANGE_WITHIN);
    assert_eq!(kept.ended(), None, "a client's session goes on");
    let holders = herd.values_after(revision, "leader");
    assert!(holders.iter().all(|h| h.as_ref() == Some(&leader.name)), "the lock went {holders:?}");
    assert_eq!(leader.status()["timeline"], 1);
}

/// The new agent finds the guard holding the server to a lease that stands, and the store silent for a moment.
#[test]
fn an_agent_that_restarts_while_the_store_is_silent_touches_nothing() {
    let Some(spec) = common::spec() else { return };
    let herd = spec.dcs(json!({"ttl": 10})).start();
    let (leader, revision) = (herd.wait_leader(), herd.store().revision());
    let (kept, postmaster) = (herd.keep_session(leader), leader.postmaster_pid());
    leader.kill_agent();
    herd.store().freeze();
    let mark = leader.log_mark();
    leader.start_agent();
    leader.wait_log(mark, "does not answer", CHANGE_WITHIN);
    wait::stays("the server goes on", Duration::from_millis(2500), || leader.is_writable());
    herd.store().thaw();
    herd.wait_healthy();
    wait::stays("it keeps the lock", Duration::from_secs(10), || leader.is_writable());
    assert_eq!((leader.postmaster(), kept.ended()), (Some(postmaster), None));
    let holders = herd.values_after(revision, "leader");
    assert!(holders.iter().all(|h| h.as_ref() == Some(&leader.name)), "the lock went {holders:?}");
}

#[test]
fn an_agent_takes_over_a_postgresql_that_already_runs() {
    let Some(spec) = common::spec() else { return };
    let foreign = spec.is_foreign();
    let herd = spec.members(2).build();
    let old = herd.member("n1");
    start_a_server_of_its_own(&herd);
    let (postmaster, identity) = (old.postmaster_pid(), old.system_identifier());
    old.sql("CREATE TABLE before AS SELECT 7 AS x");

    herd.start();
    assert_eq!(old.postmaster(), Some(postmaster), "taken over as it runs");
    assert_eq!(herd.key("initialize"), Some(identity), "its identity becomes the cluster's");
    wait::until("its rows are on the replica", CHANGE_WITHIN, || {
        herd.member("n2").try_sql("SELECT x FROM before").is_ok_and(|rows| rows == [[Some("7".to_owned())]])
    });
    if foreign {
        return;
    }
    assert_eq!(old.status()["jogi"]["guard"]["state"], "adopted", "what is not covered is said: {}", old.status());
    let out = herd.ctl_ok(&["restart", "herd", "n1", "--force"]);
    assert!(out.stdout.contains("Success: restart on member n1"), "{out:?}");
    herd.wait_healthy();
    let guard = process::parent(old.postmaster_pid()).map(process::command_line).unwrap_or_default();
    assert!(guard.contains("guard"), "after a restart it has a guard: {guard}");
    assert_eq!(old.status()["jogi"]["guard"]["state"], "guarded");
}

/// A server as somebody ran it before, with the users that the agents expect.
fn start_a_server_of_its_own(herd: &Herd) {
    let member = herd.member("n1");
    let data = member.data_dir().display().to_string();
    member.server_program("initdb", &["-D", &data, "-U", "postgres", "-A", "trust", "-k", "-E", "UTF8"]);
    let socket_dir = member.dir().display();
    let options = format!("-c unix_socket_directories={socket_dir} -c listen_addresses='*' -c fsync=off");
    let log = member.dir().join("before.log").display().to_string();
    member.server_program("pg_ctl", &["start", "-w", "-D", &data, "-l", &log, "-o", &options]);
    wait::until("the server runs", START_WITHIN, || member.is_writable());
    for (user, power) in [("replicator", "REPLICATION"), ("rewinder", ""), ("postgres", "")] {
        let verb = if user == "postgres" { "ALTER" } else { "CREATE" };
        member.sql(&format!("{verb} ROLE {user} LOGIN {power} PASSWORD '{PASSWORD}'"));
    }
}

/// A replica that runs, started by whomever, goes on as it is.
#[test]
fn an_agent_on_a_running_replica_follows_without_a_restart() {
    let Some(spec) = common::spec() else { return };
    let herd = spec.members(2).config(json!({"tags": {"zone": "b"}})).start();
    let replica = herd.others(&herd.wait_leader().name)[0];
    let postmaster = replica.postmaster_pid();
    replica.kill_agent_tree();
    // With its guard the server ends (an agent without one leaves it running): start it as an init script would.
    let gone = wait::poll(Duration::from_secs(3), || replica.postmaster().is_none().then_some(())).is_some();
    if gone {
        replica.start_server_by_hand();
    }
    let running = replica.postmaster_pid();
    replica.start_agent();
    herd.wait_healthy();
    assert_eq!(replica.postmaster(), Some(running), "was {postmaster} before the agent was killed");
}
