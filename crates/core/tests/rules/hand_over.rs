//! How a server ends whose lock is given away: what is waited for, and what is not.

use jogi_core::Tick;
use jogi_core::ha::server::ControlState;
use jogi_core::ha::{Act, Event, Request, RequestId, Server, Stop, Yield};

use crate::bench::{self, Bench, control};

/// The leader has begun the fast stop of a switchover to b.
fn stopping_for_b() -> Bench {
    let mut b = bench::handing_over_to_b();
    b.expect("signal");
    b.done(Yield::Done);
    b
}

#[test]
fn walsenders_of_silent_standbys_are_not_waited_for_once_the_heir_has_everything() {
    let mut b = stopping_for_b();
    b.pass(250);
    b.looked(bench::lingering(control(1, ControlState::ShuttingDown, 2100)));
    assert!(!b.is_open("ask"), "the shutdown checkpoint is not written yet");
    b.pass(250);
    let archiving = bench::lingering(control(1, ControlState::ShutDown, 2100));
    b.looked(Server { archiving: true, ..archiving.clone() });
    assert!(!b.is_open("ask"), "the archiver is waited for");
    b.pass(250);
    b.looked(archiving);
    b.answered("b", bench::replica_document(1, 2099));
    assert!(!b.is_open("signal"), "b lacks the last record");
    b.pass(250);
    b.answered("b", bench::replica_document(1, 2100));
    let signal = b.expect("signal");
    assert!(matches!(signal, Act::Signal { stop: Stop::Immediate }));
    b.done(Yield::Done);
    b.exited();
    b.expect("fence");
}

#[test]
fn a_look_from_before_the_stop_says_nothing_of_its_end() {
    let mut b = stopping_for_b();
    b.pass(250);
    let before = bench::lingering(control(1, ControlState::ShutDown, 2100));
    b.saw(Server { looked_at: Tick(1), ..before });
    assert!(!b.is_open("ask"), "that shutdown checkpoint is not of this stop");
}

/// Seed 10480: a standby that was gone without a word kept its primary from coming up again for a minute.
#[test]
fn a_restart_gives_walsenders_a_second_after_the_shutdown_checkpoint() {
    let mut b = Bench::leading();
    b.tell(Event::Request(RequestId(1), Request::Restart(Default::default())));
    b.settle_until("signal");
    b.expect("signal");
    b.done(Yield::Done);
    for state in [ControlState::ShuttingDown, ControlState::ShutDown] {
        b.pass(1200);
        b.looked(bench::lingering(control(1, state, 2100)));
        assert!(!b.is_open("ask") && !b.is_open("signal"), "those that live are receiving the last of the WAL");
    }
    b.pass(500);
    b.looked(bench::lingering(control(1, ControlState::ShutDown, 2100)));
    assert!(!b.is_open("signal"));
    b.pass(500);
    b.looked(bench::lingering(control(1, ControlState::ShutDown, 2100)));
    let signal = b.expect("signal");
    assert!(matches!(signal, Act::Signal { stop: Stop::Immediate }));
    b.done(Yield::Done);
    b.exited();
    b.expect("fence");
}
