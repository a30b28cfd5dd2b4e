//! What goes wrong in the middle of things, one hazard each.

use jogi_core::ha::server::{Accepting, ControlState, DataDir, Process};
use jogi_core::ha::{Act, Event, Failure, Found, GuardNews, Intent, Mode, Request, RequestId, Stop, Yield};
use jogi_core::view::Written;
use jogi_core::{Lsn, Timeline};
use serde_json::json;

use crate::bench::{self, Bench, control, primary, view};

#[test]
fn no_age_of_the_view_extends_the_patience_with_an_unleased_server() {
    for (what, sees) in [("a store that never answered", false), ("a view with no leader that is read again", true)] {
        let mut b = Bench::begin(Found::default());
        b.looked(primary(1, 900));
        for _ in 0..21 {
            if sees {
                b.see_watched(view(&bench::herd(None)));
            }
            b.pass(100);
            b.look_again();
        }
        let signal = b.expect("signal");
        assert!(matches!(signal, Act::Signal { stop: Stop::Fast }), "{what}");
    }
}

#[test]
fn an_interrupted_rewind_is_done_again_and_never_started() {
    let mut b = Bench::begin(Found { intent: Some(Intent::Rewind), ..Found::default() });
    b.looked(bench::stopped(control(1, ControlState::InProduction, 100)));
    b.see(view(&bench::herd_on(Some("b"), 2)));
    b.never(&["launch"], "half a rewind");
    b.expect("fence");
    b.done(Yield::Done);
    b.looked(bench::stopped(control(1, ControlState::InProduction, 100)));
    b.never(&["launch", "single-user"], "half a rewind");
    let notes = b.notes();
    assert!(notes.iter().any(|note| note.contains("all of ours may be given up")), "{notes:?}");
}

#[test]
fn a_hand_over_whose_end_is_unknown_gives_nothing_away() {
    let mut b = bench::handing_over_to_b();
    b.expect("signal");
    b.done(Yield::Done);
    b.exited();
    b.expect("fence");
    b.done(Yield::Done);
    b.looked(bench::stopped(control(1, ControlState::InProduction, 2100)));
    b.never(&["release"], "where the WAL ends is not known");
    b.expect("write failover");
    b.expect("fence");
    b.done(Yield::Done);
    b.expect("configure");
}

#[test]
fn a_request_that_could_not_be_cleared_is_cleared_again() {
    let mut b = Bench::leading();
    let mut keys = bench::herd(Some("a"));
    keys.push(("failover", r#"{"leader":"a","member":"nobody"}"#));
    b.see(view(&keys));
    b.expect("write failover");
    b.failed(Failure::Unreachable("no answer".into()));
    b.pass(100);
    b.expect("write failover");
    b.done(Yield::Wrote(Written::Done { revision: bench::rev("7") }));
    b.settle();
    b.see(view(&keys));
    b.never(&["write failover"], "it was cleared, and the view is older");
}

#[test]
fn a_dead_primary_that_does_not_start_again_is_given_up() {
    let mut b = Bench::leading();
    b.exited();
    b.expect("fence");
    b.done(Yield::Done);
    b.expect("configure");
    b.done(Yield::Configured { restart: true, unchanged: false });
    b.expect("launch");
    b.failed(Failure::Failed("the postmaster ended".into()));
    b.looked(bench::stopped(control(1, ControlState::InProduction, 2100)));
    for _ in 0..10 {
        b.pass(100);
        b.renew();
        b.look_again();
    }
    b.answered("b", bench::replica_document(1, 2000));
    b.expect("fence");
    b.done(Yield::Done);
    b.expect("find-end-of-wal");
    b.failed(Failure::Failed("no checkpoint record".into()));
    b.expect("release");
}

#[test]
fn a_directory_that_cannot_be_read_is_no_reason_to_end_a_server_that_answers() {
    let mut b = Bench::leading();
    let mut server = primary(1, 2000);
    server.data = DataDir::Broken("pg_control: an input/output error".into());
    for _ in 0..10 {
        b.pass(1000);
        b.renew();
        if b.is_open("look") {
            b.looked(server.clone());
        }
    }
    b.never(&["signal", "fence", "release", "put-aside"], "it serves");
}

#[test]
fn the_claim_of_a_new_cluster_goes_with_its_claimant() {
    let mut b = Bench::begin(Found::default());
    b.looked(bench::empty());
    b.see(view(&[]));
    let Act::Write(write) = b.expect("write initialize") else { panic!("no write") };
    assert!(write.session.is_some(), "a claim of a member that dies must not stay: {write:?}");
    b.done(Yield::Wrote(Written::Conflict));
    b.never(&["initdb", "intend"], "another one was first");
}

#[test]
fn whoever_does_not_answer_is_asked_ever_less_often() {
    let mut b = Bench::begin(Found::default());
    b.looked(bench::stopped(control(1, ControlState::ShutDown, 100)));
    let mut asked = 0;
    for _ in 0..1000 {
        asked += b.fail_all("load", Failure::Unreachable("no answer".into()));
        b.pass(10);
        b.look_again();
    }
    assert!((8..=20).contains(&asked), "{asked} readings in ten seconds");
}

#[test]
fn a_standby_may_not_take_a_lock_for_which_its_settings_let_nobody_lag() {
    let mut b = Bench::following();
    b.settings(json!({"ttl": 5, "loop_wait": 1, "maximum_lag_on_failover": 0}));
    let mut keys = bench::herd(None);
    keys.push(("status", r#"{"optime":1001}"#));
    b.see(view(&keys));
    b.looked(bench::standby(1, 1000));
    b.unreachable("b");
    b.never(&["acquire"], "one byte is missing");
}

#[test]
fn who_asks_for_a_switchover_has_not_chosen_to_lose_anything() {
    for (request, takes) in
        [(r#"{"leader":"b"}"#, false), (r#"{"leader":"b","member":"a"}"#, false), (r#"{"member":"a"}"#, true)]
    {
        let mut b = Bench::following();
        b.settings(json!({"ttl": 5, "loop_wait": 1, "maximum_lag_on_failover": 0}));
        let mut keys = bench::herd(None);
        keys.extend([("status", r#"{"optime":1001}"#), ("failover", request)]);
        b.see(view(&keys));
        b.look_again();
        if takes {
            b.expect("acquire");
            continue;
        }
        if b.is_open("ask") {
            b.unreachable("b");
        }
        b.never(&["acquire"], request);
    }
}

#[test]
fn a_candidate_with_an_old_look_looks_again_before_it_refuses() {
    let mut b = Bench::following();
    b.settings(json!({"ttl": 5, "loop_wait": 1, "maximum_lag_on_failover": 0}));
    let mut keys = bench::herd(None);
    keys.extend([("status", r#"{"optime":1100}"#), ("failover", r#"{"leader":"b","member":"a"}"#)]);
    b.see(view(&keys));
    b.looked(bench::standby(1, 1100));
    b.expect("acquire");
}

/// What a server follows is what its files say. Elsewhere a member that had got the lock between the writing of the
/// files and the start was taken for followed, and the standby waited for ever for WAL from nobody.
#[test]
fn a_standby_whose_leader_came_after_its_files_were_written_is_told_whom_to_follow() {
    let mut b = Bench::begin(Found::default());
    b.see(view(&bench::herd(None)));
    b.looked(bench::stopped(control(1, ControlState::ShutDownInRecovery, 1000)));
    b.settle_until("configure");
    let Act::Configure { setup } = b.expect("configure") else { panic!("no configuration") };
    assert_eq!(setup.mode, Mode::Standby { upstream: None });
    b.see(view(&bench::herd(Some("b"))));
    b.done(Yield::Configured { restart: false, unchanged: false });
    let Act::Launch { setup, .. } = b.expect("launch") else { panic!("no launch") };
    assert_eq!(setup.mode, Mode::Standby { upstream: None });
    b.done(Yield::Launched { pid: 100 });
    b.pass(60);
    b.looked(bench::standby(1, 1000));
    b.settle_until("configure");
    let Act::Configure { setup } = b.expect("configure") else { panic!("no configuration") };
    assert!(matches!(setup.mode, Mode::Standby { upstream: Some(_) }), "{:?}", setup.mode);
}

#[test]
fn a_standby_that_waits_for_wal_that_nobody_has_is_stopped() {
    for (left_at, stops) in [(500, true), (2000, false)] {
        let mut b = Bench::begin(Found::default());
        let mut server = bench::standby(2, 1000);
        server.row = None;
        server.process = Process::Running { pid: 100, adopted: true, accepting: Accepting::NotYet };
        let DataDir::Present(control) = &mut server.data else { panic!("no data") };
        control.recovery_files = true;
        b.see(view(&bench::herd_on(Some("b"), 3)));
        b.looked(server);
        for _ in 0..120 {
            b.pass(100);
            if b.is_open("look") {
                b.look_again();
            }
            if b.is_open("compare") {
                b.expect("compare");
                b.done(Yield::Lineage(bench::lineage(3, &[(1, 100), (2, left_at)])));
            }
            if b.is_open("signal") {
                break;
            }
        }
        assert_eq!(b.is_open("signal"), stops, "the leader's history left timeline 2 at {left_at}");
    }
}

#[test]
fn a_standby_that_was_told_of_nobody_and_is_not_ready_is_told_of_the_leader_by_a_new_start() {
    let mut b = Bench::begin(Found::default());
    b.see(view(&bench::herd(None)));
    let down = bench::stopped(control(1, ControlState::InArchiveRecovery, 1000));
    b.looked(down.clone());
    b.settle_until("launch");
    let Act::Launch { setup, .. } = b.expect("launch") else { panic!("no launch") };
    assert_eq!(setup.mode, Mode::Standby { upstream: None });
    b.done(Yield::Launched { pid: 100 });
    let mut unready = bench::standby(1, 1000);
    unready.row = None;
    unready.process = Process::Running { pid: 100, adopted: false, accepting: Accepting::NotYet };
    let DataDir::Present(control) = &mut unready.data else { panic!("no data") };
    control.recovery_files = true;
    b.pass(60);
    b.looked(unready.clone());
    let waits = |b: &mut Bench, milliseconds: u64| {
        for _ in 0..milliseconds / 100 {
            b.pass(100);
            b.look_again();
            b.settle_until("signal");
            if b.is_open("signal") {
                break;
            }
        }
    };
    waits(&mut b, 15_000);
    assert!(!b.is_open("signal"), "there is nobody to be told of");
    b.see(view(&bench::herd(Some("b"))));
    waits(&mut b, 40_000);
    assert!(!b.is_open("signal"), "it may have a lot to replay");
    waits(&mut b, 20_000);
    b.expect("signal");
    b.never(&["put-aside", "rewind", "clone"], "nothing says that its WAL is not the leader's");
    b.done(Yield::Done);
    b.exited();
    b.settle_until("fence");
    b.expect("fence");
    b.done(Yield::Done);
    b.looked(down);
    b.pass(1_000);
    b.settle_until("find-end-of-wal");
    b.expect("find-end-of-wal");
    b.done(Yield::EndOfWal { timeline: Timeline(1), end: Lsn(1000), complete: true });
    b.settle_until("launch");
    let Act::Launch { setup, .. } = b.expect("launch") else { panic!("no launch") };
    assert!(matches!(setup.mode, Mode::Standby { upstream: Some(_) }), "{:?}", setup.mode);
    // Once told, it is left alone.
    b.done(Yield::Launched { pid: 100 });
    b.pass(60);
    b.looked(unready);
    waits(&mut b, 15_000);
    assert!(!b.is_open("signal"), "it has been told");
}

#[test]
fn a_primary_that_died_is_compared_before_it_follows() {
    let mut b = Bench::leading();
    b.tell(Event::Guard(GuardNews::KilledAtHard));
    b.exited();
    b.lease_lost("it ran out");
    b.see(view(&bench::herd(Some("b"))));
    for _ in 0..20 {
        if b.is_open("look") {
            b.looked(bench::stopped(control(1, ControlState::InProduction, 2100)));
        }
        if b.is_open("fence") {
            b.expect("fence");
            b.done(Yield::Done);
        }
        b.pass(100);
    }
    b.expect("find-end-of-wal");
    b.never(&["configure", "launch"], "its last records may be nobody else's");
}

#[test]
fn a_promotion_that_is_given_up_takes_its_notes_of_timelines_back() {
    let status = r#"{"optime":1000,"jogi":{"timeline":4}}"#;
    let mut b = crate::promotion::taken(status, status);
    b.expect("reserve-timelines");
    b.lease_lost("another member deleted it");
    b.done(Yield::Done);
    b.see(view(&bench::herd(Some("b"))));
    let Act::Configure { setup } = b.expect("configure") else { panic!("no configuration") };
    assert!(matches!(setup.mode, Mode::Standby { .. }), "{:?}", setup.mode);
}

#[test]
fn a_history_that_cannot_be_written_is_not_read_again_and_again() {
    let mut b = Bench::leading();
    b.pass(1000);
    b.renew();
    b.looked(bench::primary(2, 2000));
    let mut read = 0;
    for _ in 0..200 {
        b.fail_all("write", Failure::Unreachable("no answer".into()));
        if b.is_open("read-history") {
            b.expect("read-history");
            b.done(Yield::Lineage(bench::lineage(2, &[(1, 1900)])));
            read += 1;
        }
        b.pass(10);
        b.renew();
        b.look_again();
    }
    assert!((2..20).contains(&read), "read {read} times in two seconds");
}

#[test]
fn a_returning_primary_does_not_lead_past_a_timeline_that_was_announced() {
    for (status, takes) in [(r#"{"optime":500,"jogi":{"timeline":2}}"#, false), (r#"{"optime":500}"#, true)] {
        let mut b = Bench::begin(Found::default());
        b.looked(primary(1, 900));
        let mut keys = bench::herd(None);
        keys.push(("status", status));
        b.see(view(&keys));
        match takes {
            true => drop(b.expect("acquire")),
            false => b.never(&["acquire"], "another leader has opened timeline 2 and may have acknowledged rows on it"),
        }
    }
}

#[test]
fn a_reinitialization_in_the_middle_of_a_start_waits_for_the_start_and_fences_what_it_brought() {
    let mut b = Bench::begin(Found::default());
    b.looked(bench::stopped(control(1, ControlState::ShutDownInRecovery, 1000)));
    b.see(view(&bench::herd(None)));
    b.settle_until("launch");
    b.see_watched(view(&bench::herd(Some("b"))));
    b.tell(Event::Request(RequestId(1), Request::Reinitialize { force: true, from_leader: false }));
    b.never(&["put-aside"], "a server is coming up");
    assert!(!b.is_open("fence"), "what comes up after it would not be fenced");
    b.expect("launch");
    b.done(Yield::Launched { pid: 100 });
    b.expect("fence");
    b.done(Yield::Done);
    b.settle_until("put-aside");
    b.expect("put-aside");
}

/// After an outage of the store a leader has its lock again before its member key.
#[test]
fn a_standby_goes_on_streaming_from_a_leader_without_a_member_key() {
    let mut b = Bench::following();
    let mut keys = bench::herd(Some("b"));
    keys.retain(|(path, _)| *path != "members/b");
    b.see(view(&keys));
    b.live(5_000);
    b.never(&["configure"], "b leads, and is where it was");
}

/// Seed 40871: agent, guard and postmaster were killed while a backend was stopped, and the store was down. The next agent
/// waited for the store, and left the backend to go on beside the next leader.
#[test]
fn what_is_left_of_a_server_ends_while_the_store_is_silent() {
    let mut b = Bench::begin(Found::default());
    let mut left = bench::stopped(control(1, ControlState::InProduction, 100));
    left.process = Process::Leftovers;
    b.looked(left);
    b.expect("fence");
    b.done(Yield::Done);
    b.looked(bench::stopped(control(1, ControlState::InProduction, 100)));
    b.never(&["launch"], "the store has not been read");
}
