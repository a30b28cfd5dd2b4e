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

/// The postmaster alone stands still: open sessions go on, and nobody new gets in. That is a hung server too: another member
/// leads, the kept session that still committed is cut off before, and on the thaw the old one serves no more.
#[test]
fn a_primary_that_lets_nobody_new_in_is_replaced_although_old_sessions_go_on() {
    let Some(spec) = common::spec() else { return };
    if !spec.promises("a server that answers old sessions only is found out") {
        return;
    }
    let herd = spec.start();
    let old = herd.wait_leader();
    let kept = herd.keep_session(old);
    let writers = herd.start_writers();
    let processes = old.server_processes();
    let since = Instant::now();
    let postmaster = old.freeze_postmaster();
    kept.wait_rows(100, CHANGE_WITHIN);
    assert_eq!(herd.lock_holder().as_ref(), Some(&old.name), "old sessions go on and the lock is not yet given up");

    let new = writers.wait_ack_by_other(&old.name, since, CHANGE_WITHIN);
    let survivors: Vec<i32> = processes.into_iter().filter(|p| process::alive(*p)).collect();
    assert!(survivors.is_empty(), "processes of the old primary outlived its lock: {survivors:?}");
    process::send(postmaster, process::Signal::CONT);
    kept.wait_end(CHANGE_WITHIN);
    writers.wait_rows(200, CHANGE_WITHIN);
    herd.wait_healthy();
    assert_eq!(herd.lock_holder(), Some(new));
    let journal = writers.finish().and(kept.journal());
    herd.assert_never_two(&journal, &old.name, since);
    eprintln!("{} acknowledged rows were not sent before the fence", herd.lost_rows(&journal));
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
#[ignore = "shows the harm when nobody looks for a hang: scripts/proof.sh red"]
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

/// The session that was open before goes on for as long as one likes, and nobody else can write.
#[test]
#[ignore = "shows the harm when nobody looks for a hang: scripts/proof.sh red"]
fn red_a_primary_that_lets_nobody_in_stays_the_leader_when_nobody_looks() {
    let Some(spec) = common::spec().and_then(|s| s.weakened("ignore-hung")) else { return };
    let herd = spec.start();
    let old = herd.wait_leader();
    let kept = herd.keep_session(old);
    let postmaster = old.freeze_postmaster();
    let much_longer = Duration::from_secs(40);
    wait::stays("nobody takes over", much_longer, || herd.lock_holder().as_ref() == Some(&old.name));
    kept.wait_rows(10, CHANGE_WITHIN);
    assert!(old.client_session("jogi newcomer").is_err(), "a fresh connection is answered by a stopped postmaster");
    process::thaw(postmaster);
}
