//! "A standby's host is gone without a word": the lead goes to another one as fast as ever, and nothing is lost. Nobody
//! waits for the walsender of the dead standby, which itself waits for `wal_sender_timeout`.

mod common;

use std::time::{Duration, Instant};

use jogi_testkit::herd::{CHANGE_WITHIN, Herd, Member, Writers};
use jogi_testkit::process::Signal;
use serde_json::json;

/// Far below `wal_sender_timeout` (60 s), far above what a loaded machine needs.
const GAP_MAX: Duration = Duration::from_secs(20);

#[test]
fn the_lead_is_handed_over_without_waiting_for_a_standby_that_is_gone() {
    let Some(spec) = common::spec() else { return };
    let herd = spec.start();
    let writers = herd.start_writers();
    by_a_switchover(&herd, &writers);
    by_stopping_the_agent(&herd, &writers);
    herd.assert_nothing_lost(&writers.finish());
}

fn by_a_switchover(herd: &Herd, writers: &Writers) {
    let old = herd.wait_leader();
    assert_eq!(old.sql_text("SHOW wal_sender_timeout"), "1min");
    let [new, lost] = herd.others(&old.name)[..] else { panic!("three members") };
    lost.crash();
    let since = Instant::now();
    let reply = old.post("/switchover", &json!({"leader": old.name, "candidate": new.name}));
    assert_eq!(reply.status, 200, "{reply:?}");
    takes_over(herd, writers, old, since);
    back(herd, lost);
}

fn by_stopping_the_agent(herd: &Herd, writers: &Writers) {
    let old = herd.wait_leader();
    let lost = herd.others(&old.name)[0];
    lost.crash();
    let since = Instant::now();
    old.signal_agent(Signal::TERM);
    takes_over(herd, writers, old, since);
    assert_eq!(old.agent_exit(CHANGE_WITHIN).code(), Some(0), "a clean end");
    assert_eq!(old.control("Database cluster state"), "shut down");
    old.start_agent();
    back(herd, lost);
}

fn takes_over(herd: &Herd, writers: &Writers, old: &Member, since: Instant) {
    writers.wait_ack_by_other(&old.name, since, CHANGE_WITHIN);
    let gap = since.elapsed();
    eprintln!("written to the new leader {gap:?} after it was asked for");
    assert!(gap < GAP_MAX, "{gap:?}: the dead standby was waited for");
    herd.assert_never_two(writers.journal(), &old.name, since);
}

fn back(herd: &Herd, lost: &Member) {
    lost.power_on();
    lost.start_agent();
    herd.wait_healthy();
}
