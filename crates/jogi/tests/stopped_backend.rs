//! "One server process cannot be stopped": a fence is complete only when no process is left that could commit. (Elsewhere the
//! watchdog was disarmed while a backend in uninterruptible sleep could still write.)

mod common;

use std::time::{Duration, Instant};

use jogi_testkit::herd::{CHANGE_WITHIN, Herd, HerdSpec, KEPT};
use jogi_testkit::{process, wait};
use serde_json::json;

/// The agent dies while one backend, in the middle of its work, does not react to anything. Returns whether that backend
/// was alive when another member took writes.
fn fence_with_a_stopped_backend(herd: &Herd) -> bool {
    let old = herd.wait_leader();
    let kept = herd.keep_session(old);
    let writers = herd.start_writers();
    let backend = old.backend_of(KEPT);
    process::freeze(backend);
    let since = Instant::now();
    old.kill_agent();
    writers.wait_ack_by_other(&old.name, since, CHANGE_WITHIN);
    let survived = process::alive(backend);
    process::send(backend, process::Signal::CONT);
    writers.wait_rows(100, CHANGE_WITHIN);
    let late = kept.journal().since(since).len();
    eprintln!("the stopped backend {}, {late} rows came through it", if survived { "lived" } else { "was dead" });
    survived
}

#[test]
fn a_backend_that_does_not_stop_is_killed_before_another_member_leads() {
    let Some(spec) = common::spec() else { return };
    if !spec.promises("a fence is complete when no process is left") {
        return;
    }
    let herd = spec.start();
    let old = herd.wait_leader();
    assert!(!fence_with_a_stopped_backend(&herd), "a backend outlived the lock");
    let new = herd.lock_holder();
    old.start_agent();
    herd.wait_healthy();
    assert_eq!(herd.lock_holder(), new);
}

/// The postmaster dies, and one backend neither notices nor ends by itself. With `primary_start_timeout: 0` the lock is
/// released as soon as the server is fenced. Returns whether the backend was alive when another member took writes.
fn postmaster_killed_beside_a_stopped_backend(herd: &Herd) -> bool {
    let old = herd.wait_leader();
    let _kept = herd.keep_session(old);
    let writers = herd.start_writers();
    let backend = old.backend_of(KEPT);
    process::freeze(backend);
    let since = Instant::now();
    old.kill_postmaster();
    writers.wait_ack_by_other(&old.name, since, CHANGE_WITHIN);
    let survived = process::alive(backend);
    process::send(backend, process::Signal::CONT);
    survived
}

fn at_once(spec: HerdSpec) -> HerdSpec {
    spec.dcs(json!({"primary_start_timeout": 0}))
}

#[test]
fn the_lock_is_not_released_while_a_backend_outlives_its_postmaster() {
    let Some(spec) = common::spec() else { return };
    if !spec.promises("a fence is complete when no process is left") {
        return;
    }
    let herd = at_once(spec).start();
    assert!(!postmaster_killed_beside_a_stopped_backend(&herd), "a backend outlived the lock");
    herd.wait_healthy();
}

#[test]
#[ignore = "shows the harm when a dead postmaster is taken for a fence: scripts/proof.sh red"]
fn red_it_is_when_a_dead_postmaster_counts_as_a_fence() {
    let Some(spec) = common::spec().and_then(|s| s.weakened("fence-by-postmaster")) else { return };
    let herd = at_once(spec).start();
    assert!(postmaster_killed_beside_a_stopped_backend(&herd), "no harm was done without the protection");
}

/// The same in a planned change: the lead is handed over only when the backend is gone, or not at all.
#[test]
fn a_switchover_never_leaves_a_backend_behind() {
    let Some(spec) = common::spec() else { return };
    if !spec.promises("a fence is complete when no process is left") {
        return;
    }
    let herd = spec.start();
    let old = herd.wait_leader();
    let kept = herd.keep_session(old);
    let backend = old.backend_of(KEPT);
    process::freeze(backend);
    let asked = json!({"leader": old.name});
    let reply = old.post("/switchover", &asked);
    let handed_over = herd.lock_holder().is_some_and(|h| h != old.name);
    assert!(!handed_over || !process::alive(backend), "another leads while a backend lives: {reply:?}");
    process::send(backend, process::Signal::CONT);
    drop(kept);
    wait::until("one leader again", CHANGE_WITHIN + Duration::from_secs(20), || herd.leader().is_some());
    herd.wait_healthy();
}
