//! "The primary lost the network, but my connection to it stayed": a session that was open before the cut must not commit once
//! another member may lead. (Elsewhere it went on committing for three minutes beside the new primary.)

mod common;

use std::time::{Duration, Instant};

use jogi_testkit::herd::{CHANGE_WITHIN, HerdSpec, overlap};

/// For how long the session that was kept took writes beside the new primary's, and whether the open transaction could
/// still commit then.
struct Outcome {
    overlap: Duration,
    late_commit: bool,
}

fn cut_with_an_open_session(spec: HerdSpec) -> Outcome {
    let herd = spec.start();
    let old = herd.wait_leader();
    let kept = herd.keep_session(old);
    let writers = herd.start_writers();
    let open = old.client_session("jogi open transaction").expect("a session");
    let begun = open.run("BEGIN; INSERT INTO acks (writer, seq) VALUES ('open', 1)", CHANGE_WITHIN);
    begun.expect("an open transaction");

    let since = Instant::now();
    old.cut_from_peers();
    let new = writers.wait_ack_by_other(&old.name, since, CHANGE_WITHIN);
    let late_commit = open.run("COMMIT", Duration::from_secs(5)).is_ok();
    // Were the old primary still open, both would go on now.
    writers.wait_rows(200, CHANGE_WITHIN);
    let journal = writers.journal().and(kept.journal());
    let outcome = Outcome { overlap: overlap(&journal.since(since), &old.name), late_commit };
    if kept.ended().is_some() {
        assert!(!old.is_writable(), "{} serves beside {new}", old.name);
    }
    old.rejoin_peers();
    herd.wait_healthy();
    drop(writers);
    let lost = herd.lost_rows(&journal);
    eprintln!("asynchronous replication: {lost} rows were acknowledged in the cut before the old primary closed");
    outcome
}

#[test]
fn a_session_opened_before_the_cut_cannot_commit_beside_the_new_primary() {
    let Some(spec) = common::spec() else { return };
    let outcome = cut_with_an_open_session(spec);
    assert_eq!(outcome.overlap, Duration::ZERO, "the kept session committed beside the new primary");
    assert!(!outcome.late_commit, "a transaction begun before the cut committed after another led");
}

#[test]
#[ignore = "shows the harm without any deadline; minutes long"]
fn red_it_can_when_nobody_minds_the_deadlines() {
    let Some(spec) = common::spec().and_then(|s| s.weakened("no-deadlines")) else { return };
    let outcome = cut_with_an_open_session(spec);
    assert!(
        outcome.overlap > Duration::ZERO,
        "the fault must do harm without its protection, or the test proves nothing"
    );
    assert!(outcome.late_commit);
}
