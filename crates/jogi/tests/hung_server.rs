//! "PostgreSQL hangs, though its processes are there": alive means that a query completes. A hung primary is replaced, and when it
//! thaws it must not serve. (Elsewhere a stopped postmaster stayed the primary, and destroyed data on its return.)

mod common;

use std::time::{Duration, Instant};

use jogi_testkit::herd::CHANGE_WITHIN;
use jogi_testkit::{process, wait};

#[test]
fn a_primary_that_hangs_is_replaced_and_dies_before_it_serves_again() {
    let Some(spec) = common::spec() else { return };
    if !spec.promises("a hung server is found out") {
        return;
    }
    let herd = spec.start();
    let writers = herd.start_writers();
    let (old, since) = (herd.wait_leader(), Instant::now());
    let hung = old.freeze_server();
    let new = writers.wait_ack_by_other(&old.name, since, CHANGE_WITHIN);
    // Whatever is left of the old server thaws now, beside the new primary.
    for pid in hung.iter().filter(|p| process::alive(**p)) {
        process::send(*pid, process::Signal::CONT);
    }
    writers.wait_rows(200, CHANGE_WITHIN);
    herd.wait_healthy();
    assert_eq!(herd.lock_holder(), Some(new));
    herd.assert_never_two(writers.journal(), &old.name, since);
    let lost = herd.lost_rows(&writers.finish());
    eprintln!("{lost} acknowledged rows were not sent before the server hung");
}

/// The postmaster alone stands still: open sessions go on, and new ones do not come in. Whether it is replaced or not,
/// there is one primary at a time, and after the thaw all is well.
#[test]
fn a_frozen_postmaster_does_no_harm_when_it_thaws() {
    let Some(spec) = common::spec() else { return };
    let herd = spec.start();
    let writers = herd.start_writers();
    let (old, since) = (herd.wait_leader(), Instant::now());
    let postmaster = old.freeze_postmaster();
    let longer_than_a_lease = herd.ttl() + Duration::from_secs(2);
    wait::poll(longer_than_a_lease, || herd.lock_holder().filter(|h| *h != old.name));
    if process::alive(postmaster) {
        process::thaw(postmaster);
    }
    herd.wait_healthy();
    writers.wait_rows(100, CHANGE_WITHIN);
    herd.assert_never_two(writers.journal(), &old.name, since);
    herd.assert_nothing_lost(&writers.finish());
}

/// A query that takes long is no hang.
#[test]
fn a_slow_primary_is_left_alone() {
    let Some(spec) = common::spec() else { return };
    let herd = spec.members(2).start();
    let (leader, revision) = (herd.wait_leader(), herd.store().revision());
    let postmaster = leader.postmaster_pid();
    let slow = leader.client_session("jogi slow").expect("a session");
    slow.run("SELECT pg_sleep(12)", CHANGE_WITHIN).expect("a slow query completes");
    assert_eq!(leader.postmaster(), Some(postmaster));
    let holders = herd.values_after(revision, "leader");
    assert!(holders.iter().all(|h| h.as_ref() == Some(&leader.name)), "the lock went {holders:?}");
}

#[test]
#[ignore = "shows the harm when nobody looks for a hang"]
fn red_a_hung_primary_stays_the_leader_when_nobody_looks() {
    let Some(spec) = common::spec().and_then(|s| s.weakened("ignore-hung")) else { return };
    let herd = spec.start();
    let old = herd.wait_leader();
    let hung = old.freeze_server();
    let much_longer = Duration::from_secs(40);
    wait::stays("the hung primary keeps the lock", much_longer, || herd.lock_holder().as_ref() == Some(&old.name));
    for pid in hung {
        process::send(pid, process::Signal::CONT);
    }
}
