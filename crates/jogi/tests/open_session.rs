//! "The primary lost the network, but my connection to it stayed": a session that was open before the cut must not commit once
//! another member may lead. (Elsewhere it went on committing for three minutes beside the new primary.)

mod common;

use std::time::{Duration, Instant};

use jogi_testkit::herd::{CHANGE_WITHIN, Herd, Journal, Member, overlap};

/// What came through sessions that were open before the cut, once another member led.
struct Outcome<'h> {
    old: &'h Member,
    journal: Journal,
    overlap: Duration,
    /// A transaction that had been begun could still commit.
    late_commit: bool,
}

fn cut_with_an_open_session(herd: &Herd, cut: impl Fn(&Member)) -> Outcome<'_> {
    let old = herd.wait_leader();
    let kept = herd.keep_session(old);
    let writers = herd.start_writers();
    let open = old.client_session("jogi open transaction").expect("a session");
    let begun = open.run("BEGIN; INSERT INTO acks (writer, seq) VALUES ('open', 1)", CHANGE_WITHIN);
    begun.expect("an open transaction");

    let since = Instant::now();
    cut(old);
    let new = writers.wait_ack_by_other(&old.name, since, CHANGE_WITHIN);
    let late_commit = open.run("COMMIT", Duration::from_secs(5)).is_ok();
    // Were the old primary still open, both would go on now.
    writers.wait_rows(200, CHANGE_WITHIN);
    let journal = writers.journal().and(kept.journal());
    let overlap = overlap(&journal.since(since), &old.name);
    eprintln!("beside {new} the old primary took writes for {overlap:?}; late commit: {late_commit}");
    Outcome { old, journal, overlap, late_commit }
}

#[test]
fn a_session_opened_before_the_cut_cannot_commit_beside_the_new_primary() {
    let Some(spec) = common::spec() else { return };
    let herd = spec.start();
    let outcome = cut_with_an_open_session(&herd, Member::cut_from_peers);
    assert_eq!(outcome.overlap, Duration::ZERO, "the kept session committed beside the new primary");
    assert!(!outcome.late_commit, "a transaction begun before the cut committed after another led");
    assert!(!outcome.old.is_writable(), "the old primary is closed");
    outcome.old.rejoin_peers();
    herd.wait_healthy();
    let lost = herd.lost_rows(&outcome.journal);
    eprintln!("asynchronous replication: {lost} rows were acknowledged in the cut before the old primary closed");
}

/// Agent and guard each close the primary in time: only without the one and with the other deaf is harm done.
#[test]
#[ignore = "shows the harm without any deadline: scripts/proof.sh red"]
fn red_it_can_when_nobody_minds_the_deadlines() {
    let Some(spec) = common::spec().and_then(|s| s.weakened("no-deadlines")) else { return };
    let herd = spec.start();
    let outcome = cut_with_an_open_session(&herd, |old| {
        old.freeze_agent();
        old.cut_from_peers();
    });
    assert!(outcome.overlap > Duration::ZERO, "no harm was done without the protection");
    assert!(outcome.late_commit);
}
