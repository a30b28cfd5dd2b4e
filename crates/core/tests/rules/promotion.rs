//! What a promotion goes by, and what is left of one that was forgotten.

use jogi_core::ha::server::{Accepting, ControlState, DataDir, Process};
use jogi_core::ha::{Act, Event, Found, LaunchAs, Mode, Request, RequestId, Restart, Server, Stop, Yield};
use jogi_core::view::Key;

use crate::bench::{self, Bench, control, standby, view};

fn left_in_recovery(mut server: Server) -> Server {
    let DataDir::Present(control) = &mut server.data else { panic!("no data") };
    control.recovery_files = true;
    server
}

fn ended() -> Server {
    left_in_recovery(bench::stopped(control(1, ControlState::ShutDownInRecovery, 1000)))
}

/// The guard has said that recovery has ended; nobody has looked since. A process of the server crashed meanwhile, PostgreSQL
/// began recovery anew, and its signal file is what keeps it from writing on its old timeline.
fn promoted_unseen() -> Bench {
    promoted(racing(&left_in_recovery(standby(1, 1000))))
}

/// The last leader is gone, and the leader lock is asked for.
fn racing(server: &Server) -> Bench {
    let mut b = Bench::begin(Found::default());
    b.looked(server.clone());
    b.see(view(&bench::herd(Some("b"))));
    b.settle();
    b.see_watched(view(&bench::herd(None)));
    b.looked(server.clone());
    b.answered("b", bench::replica_document(1, 1000));
    b.expect("acquire");
    b
}

/// It is taken, and the promotion has ended.
fn promoted(mut b: Bench) -> Bench {
    b.acquired();
    b.see(view(&bench::herd(Some("a"))));
    b.settle_until("promote");
    b.expect("promote");
    b.done(Yield::Done);
    b
}

fn comes_up_as_a_standby(b: &mut Bench) {
    for _ in 0..10 {
        b.pass(100);
        b.look_again();
        b.settle_until("configure");
        if b.is_open("configure") {
            break;
        }
    }
    let Act::Configure { setup } = b.expect("configure") else { panic!("no configuration") };
    assert!(matches!(setup.mode, Mode::Standby { .. }), "{:?}", setup.mode);
    b.done(Yield::Configured { restart: false, unchanged: false });
    let Act::Launch { as_, .. } = b.expect("launch") else { panic!("no launch") };
    assert_eq!(as_, LaunchAs::Standby);
}

#[test]
fn a_restart_asked_for_before_it_is_seen_does_not_make_it_a_primary() {
    let mut b = promoted_unseen();
    b.tell(Event::Request(RequestId(1), Request::Restart(Restart::default())));
    b.settle_until("signal");
    b.expect("signal");
    b.done(Yield::Done);
    b.exited();
    b.expect("fence");
    b.done(Yield::Done);
    b.looked(ended());
    b.renew();
    comes_up_as_a_standby(&mut b);
}

#[test]
fn a_death_before_it_is_seen_does_not_make_it_a_primary() {
    let mut b = promoted_unseen();
    b.exited();
    b.looked(ended());
    comes_up_as_a_standby(&mut b);
}

/// A standby that has taken the lock. `status` is what the store shows of the last leader, to the race and to the reading
/// after it.
pub fn taken(race: &'static str, reading: &'static str) -> Bench {
    let herd = |leader, status| {
        let mut keys = bench::herd(leader);
        keys.push(("status", status));
        view(&keys)
    };
    let mut b = Bench::following();
    b.see(herd(None, race));
    for _ in 0..70 {
        b.look_again();
        if b.is_open("ask") {
            b.unreachable("b");
        }
        if b.is_open("acquire") {
            break;
        }
        b.pass(100);
    }
    b.expect("acquire");
    b.acquired();
    b.see(herd(Some("a"), reading));
    b
}

#[test]
fn a_watch_that_shows_the_past_does_not_undo_what_was_read_about_the_last_leader() {
    let status = r#"{"optime":3000000}"#;
    let mut b = taken(r#"{"optime":900}"#, status);
    b.see_watched(view(&bench::herd(Some("a"))));
    b.look_again();
    b.never(&["write status", "promote"], "3 MB are missing");
    let mut keys = bench::herd(Some("a"));
    keys.push(("status", status));
    b.expect("load");
    b.see(view(&keys));
    b.expect("release");
}

/// Nobody of timeline 4 has come back for `ttl`.
#[test]
fn the_announcement_is_of_what_was_read() {
    let status = r#"{"optime":1000,"jogi":{"timeline":4}}"#;
    let mut b = taken(status, status);
    b.expect("reserve-timelines");
    b.see_watched(view(&bench::herd(Some("a"))));
    b.done(Yield::Done);
    let Act::Write(write) = b.expect("write status") else { panic!("no write") };
    assert_eq!(write.value.as_deref(), Some(r#"{"optime":1000,"jogi":{"timeline":5}}"#));
}

#[test]
fn a_timeline_that_was_opened_since_the_race_is_not_left_behind_before_its_members_had_their_time() {
    let race = r#"{"optime":1000,"jogi":{"timeline":4}}"#;
    let mut b = taken(race, r#"{"optime":1100,"jogi":{"timeline":5}}"#);
    b.never(&["reserve-timelines", "promote"], "the race had left timeline 4 behind, not 5");
    b.expect("release");
}

/// Seed 12028: the answer to the taking of the lock was late, and the keeper had told of the lock and of its loss before. A
/// member that believed the answer waited for ever for the end of a lease that nobody kept.
#[test]
fn an_answer_that_comes_after_the_loss_of_the_lock_brings_it_not_back() {
    let mut b = racing(&standby(1, 1000));
    b.renew();
    b.lease_lost("the store could not be reached in time");
    b.acquired();
    assert_eq!(b.lock(), None);
}

/// Seed 16705: the status was written from a look before the promotion, while the watch did not show the announcement yet.
/// Whoever led next opened a timeline of the same number.
#[test]
fn what_was_announced_is_not_taken_back_by_a_status_of_before() {
    let b = promoted(racing(&standby(1, 1000)));
    let status = b.open_acts().find_map(|act| match act {
        Act::Write(write) if write.key == Key::Status => write.value.clone(),
        _ => None,
    });
    let status = status.expect("a new leader publishes its status");
    assert!(status.contains(r#""timeline":2"#), "{status}");
}

/// Seed 122560: a process crashed during the promotion, the postmaster lived and began recovery anew, and could not recover by
/// the notes of timelines that the promotion had left. Nobody could write for as long as primary_start_timeout.
#[test]
fn a_server_that_begins_recovery_anew_during_its_promotion_is_started_anew() {
    let mut b = promoted_unseen();
    let mut unready = left_in_recovery(standby(1, 1000));
    unready.process = Process::Running { pid: 100, adopted: false, accepting: Accepting::NotYet };
    unready.row = None;
    for _ in 0..11 {
        b.renew();
        b.pass(1000);
        if b.is_open("look") {
            b.looked(unready.clone());
        }
    }
    let signal = b.expect("signal");
    assert!(matches!(signal, Act::Signal { stop: Stop::Fast }));
    b.done(Yield::Done);
    b.renew();
    b.exited();
    b.expect("fence");
    b.done(Yield::Done);
    b.looked(ended());
    comes_up_as_a_standby(&mut b);
}
