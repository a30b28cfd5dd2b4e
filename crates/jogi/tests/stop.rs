//! "I stop the agent of the primary": SIGTERM hands the lead over, loses nothing and ends with code 0.

mod common;

use std::time::Instant;

use jogi_testkit::herd::{CHANGE_WITHIN, Change, START_WITHIN};
use jogi_testkit::process::Signal;
use jogi_testkit::wait;
use serde_json::Value;

#[test]
fn stopping_the_primarys_agent_hands_the_lead_over() {
    let Some(spec) = common::spec() else { return };
    let herd = spec.start();
    let writers = herd.start_writers();
    let (old, revision, since) = (herd.wait_leader(), herd.store().revision(), Instant::now());
    old.signal_agent(Signal::TERM);
    let new = writers.wait_ack_by_other(&old.name, since, CHANGE_WITHIN);
    let exit = old.agent_exit(CHANGE_WITHIN);
    assert_eq!(exit.code(), Some(0), "a clean end");
    assert!(old.server_processes().is_empty(), "PostgreSQL stops with it");
    assert_eq!(old.control("Database cluster state"), "shut down");

    let changes = herd.changes_after(revision);
    let release = |c: &&Change| c.key == "leader" && c.value.is_none();
    let released = changes.iter().find(release).expect("the lock was released").revision;
    // With the release or before it: a store that can does both at once.
    let status = changes.iter().rfind(|c| c.key == "status" && c.revision <= released).and_then(|c| c.value.clone());
    let status: Value =
        serde_json::from_str(&status.expect("the final position, not after the release")).expect("JSON");
    assert!(status["optime"].as_u64().is_some_and(|lsn| lsn > 0), "{status}");
    let taken = changes.iter().find(|c| c.key == "leader" && c.value.as_ref() == Some(&new));
    assert!(taken.is_some_and(|t| t.revision > released), "released, not run out: {changes:#?}");
    let last_word = changes.iter().rev().find(|c| c.key == format!("members/{}", old.name)).expect("a last word");
    let last_word: Value = serde_json::from_str(last_word.value.as_deref().unwrap_or("{}")).expect("JSON");
    assert_eq!(last_word["state"], "stopped", "{last_word}");

    old.start_agent();
    herd.wait_healthy();
    assert_eq!(herd.lock_holder(), Some(new));
    herd.assert_never_two(writers.journal(), &old.name, since);
    herd.assert_nothing_lost(&writers.finish());

    let replica = herd.others(&herd.wait_leader().name)[0];
    let revision = herd.store().revision();
    replica.signal_agent(Signal::TERM);
    assert_eq!(replica.agent_exit(CHANGE_WITHIN).code(), Some(0));
    assert!(replica.server_processes().is_empty());
    assert!(herd.values_after(revision, "leader").is_empty(), "a replica's end concerns nobody");
    replica.start_agent();
    herd.wait_healthy();
}

#[test]
fn a_log_that_nobody_reads_stops_nothing_and_shows_in_the_exit_code() {
    let Some(spec) = common::spec_on_loopback() else { return };
    if !spec.promises("work goes on while the log cannot be written") {
        return;
    }
    let herd = spec.members(1).build();
    let member = herd.member("n1");
    let dir = member.dir().join("log");
    std::fs::create_dir(&dir).expect("made");
    let fifo = dir.join("patroni.log");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo runs");
    assert!(made.success());
    for path in [&dir, &fifo] {
        member.give_to_postgres(path);
    }
    member.change_config(serde_json::json!({"log": {"dir": dir}}));
    member.start_agent();
    wait::until("it leads", START_WITHIN, || member.is_primary());
    member.signal_agent(Signal::TERM);
    assert_eq!(member.agent_exit(CHANGE_WITHIN).code(), Some(5));
    assert_eq!(member.control("Database cluster state"), "shut down", "but for the log all was in order");
}
