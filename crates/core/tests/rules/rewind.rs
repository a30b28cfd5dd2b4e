//! An old primary comes back to a leader whose WAL is not its own.

use jogi_core::ha::server::ControlState;
use jogi_core::ha::{Failure, Found, Yield};
use jogi_core::{Lsn, Timeline};

use crate::bench::{self, Bench, control, view};

/// A stopped primary whose WAL ends at 3000 finds b on timeline 2, which left ours at this point.
fn returned(left_at: u64) -> Bench {
    let mut b = Bench::begin(Found::default());
    b.looked(bench::stopped(control(1, ControlState::ShutDown, 3000)));
    b.see(view(&bench::herd_on(Some("b"), 2)));
    b.expect("compare");
    b.done(Yield::Lineage(bench::lineage(2, &[(1, left_at)])));
    b
}

/// Up to pg_rewind itself.
fn until_rewind(b: &mut Bench) {
    b.expect("fence");
    b.done(Yield::Done);
    b.looked(bench::stopped(control(1, ControlState::ShutDown, 3000)));
    b.expect("archive-pending");
    b.done(Yield::Archived { segments: 0 });
    b.expect("intend");
    b.done(Yield::Done);
    b.expect("rewind");
}

fn rewound(b: &mut Bench, changed: bool) {
    b.done(Yield::Rewound { changed });
    b.expect("settle");
    b.done(Yield::Done);
    b.looked(bench::stopped(control(1, ControlState::ShutDown, 3000)));
    b.look_again();
}

#[test]
fn an_old_primary_whose_wal_went_on_alone_is_rewound_and_follows() {
    let mut b = returned(2500);
    until_rewind(&mut b);
    rewound(&mut b, true);
    b.settle_until("launch");
    b.expect("launch");
}

#[test]
fn a_rewind_that_left_wal_of_ours_in_place_has_failed_and_is_tried_again() {
    let mut b = returned(2500);
    until_rewind(&mut b);
    rewound(&mut b, false);
    assert!(b.notes().iter().any(|n| n.contains("no rewind is required")), "said");
    b.never(&["launch", "put-aside"], "500 bytes of ours are not the leader's");
    b.pass(600);
    until_rewind(&mut b);
    rewound(&mut b, true);
    b.settle_until("launch");
    b.expect("launch");
}

#[test]
fn a_log_that_only_ended_early_needs_no_rewind_and_the_start_shows_it() {
    let mut b = returned(3500);
    until_rewind(&mut b);
    rewound(&mut b, false);
    b.settle_until("launch");
    b.expect("launch");
}

#[test]
fn a_directory_that_an_earlier_rewind_had_finished_needs_no_other() {
    let mut b = returned(2500);
    until_rewind(&mut b);
    b.failed(Failure::Failed("the connection was lost while it synchronised the files".into()));
    b.look_again();
    b.pass(600);
    until_rewind(&mut b);
    rewound(&mut b, false);
    b.settle_until("launch");
    b.expect("launch");
}

/// A running standby can tell of a timeline that its WAL has left since. pg_rewind, which goes by the directory, finds
/// nothing to do, and the directory shows that all is well.
#[test]
fn a_standby_that_told_of_a_timeline_it_had_left_is_compared_again_by_its_directory() {
    let mut b = Bench::begin(Found::default());
    b.looked(bench::standby(1, 3000));
    b.see(view(&bench::herd_on(Some("b"), 2)));
    b.settle_until("compare");
    b.expect("compare");
    b.done(Yield::Lineage(bench::lineage(2, &[(1, 2500)])));
    assert!(b.notes().iter().any(|n| n.contains("is not part of b's")), "as it told");
    let left = || bench::stopped(control(2, ControlState::ShutDownInRecovery, 3000));
    b.expect("signal");
    b.done(Yield::Done);
    b.exited();
    b.looked(left());
    b.settle_until("rewind");
    b.expect("rewind");
    b.done(Yield::Rewound { changed: false });
    b.expect("settle");
    b.done(Yield::Done);
    b.looked(left());
    b.look_again();
    b.settle_until("find-end-of-wal");
    b.expect("find-end-of-wal");
    b.done(Yield::EndOfWal { timeline: Timeline(2), end: Lsn(3000), complete: true });
    b.expect("compare");
    b.done(Yield::Lineage(bench::lineage(2, &[(1, 2500)])));
    b.settle_until("launch");
    b.expect("launch");
}

/// The leader's history file may come to a standby after the comparison, or while it is being started: PostgreSQL then
/// refuses every start ("requested timeline is not a child of this server's history").
#[test]
fn a_standby_whose_start_fails_compares_its_wal_with_the_leaders_again() {
    let mut b = returned(3500);
    b.settle_until("launch");
    b.expect("launch");
    b.failed(Failure::Failed("the postmaster exited with code 1".into()));
    b.looked(bench::stopped(control(1, ControlState::ShutDown, 3000)));
    b.pass(600);
    b.expect("compare");
    b.done(Yield::Lineage(bench::lineage(2, &[(1, 2500)])));
    until_rewind(&mut b);
}
