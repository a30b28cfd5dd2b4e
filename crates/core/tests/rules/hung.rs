//! Servers that answer nobody, and those that only say that they are not ready.

use jogi_core::ha::server::{Accepting, ControlState, Process};
use jogi_core::ha::{Act, Event, Failure, Request, RequestId, Restart, Server, Stop, Yield};

use crate::bench::{self, Bench, control, primary, view};

/// Old sessions are served, and nobody new.
fn shut() -> Server {
    let mut server = primary(1, 2000);
    server.fresh = Some(false);
    server
}

/// It answers that it is starting, or stopping.
fn not_ready(state: ControlState) -> Server {
    let mut server = bench::stopped(control(1, state, 2000));
    server.process = Process::Running { pid: 100, adopted: false, accepting: Accepting::NotYet };
    server.fresh = Some(true);
    server
}

fn look_for(b: &mut Bench, seconds: u64, server: &Server) {
    for _ in 0..seconds {
        b.pass(1000);
        b.renew();
        if b.is_open("look") {
            b.looked(server.clone());
        }
    }
}

fn restart(b: &mut Bench) {
    b.tell(Event::Request(RequestId(1), Request::Restart(Restart::default())));
}

fn stop(b: &mut Bench) -> Stop {
    let Act::Signal { stop } = b.expect("signal") else { panic!("no signal") };
    stop
}

#[test]
fn a_server_that_hangs_during_a_hand_over_is_not_waited_for() {
    let mut b = Bench::leading();
    let mut keys = bench::herd(Some("a"));
    keys.push(("failover", r#"{"leader":"a","member":"b"}"#));
    b.see(view(&keys));
    b.answered("b", bench::replica_document(1, 2000));
    b.expect("checkpoint");
    for _ in 0..15 {
        b.pass(1000);
        b.renew();
        b.fail_all("look", Failure::Stuck);
    }
    assert_eq!(stop(&mut b), Stop::Immediate, "a hung server ends by no orderly stop");
}

#[test]
fn a_restart_of_a_server_that_lets_nobody_in_waits_for_no_orderly_end() {
    let mut b = Bench::leading();
    look_for(&mut b, 12, &shut());
    restart(&mut b);
    assert_eq!(stop(&mut b), Stop::Immediate);
}

#[test]
fn a_postmaster_that_hangs_after_an_orderly_stop_was_asked_for_is_not_waited_for() {
    let mut b = Bench::leading();
    restart(&mut b);
    b.expect("checkpoint");
    b.done(Yield::Done);
    assert_eq!(stop(&mut b), Stop::Fast);
    b.done(Yield::Done);
    look_for(&mut b, 9, &shut());
    assert!(!b.is_open("signal"), "it has its time");
    look_for(&mut b, 4, &shut());
    assert_eq!(stop(&mut b), Stop::Immediate);
}

#[test]
fn a_server_that_says_that_it_stops_has_its_time() {
    let mut b = Bench::leading();
    restart(&mut b);
    b.expect("checkpoint");
    b.done(Yield::Done);
    assert_eq!(stop(&mut b), Stop::Fast);
    b.done(Yield::Done);
    look_for(&mut b, 120, &not_ready(ControlState::InProduction));
    assert!(!b.is_open("signal") && !b.is_open("fence"), "a long checkpoint is no hang");
}

#[test]
fn a_standby_that_is_not_ready_ends_in_order_and_not_for_ever() {
    let mut b = Bench::following();
    look_for_standby(&mut b, 20);
    restart(&mut b);
    assert_eq!(stop(&mut b), Stop::Fast, "it says why it does not answer");
    b.done(Yield::Done);
    look_for_standby(&mut b, 50);
    assert!(!b.is_open("signal"), "it has its time");
    look_for_standby(&mut b, 12);
    assert_eq!(stop(&mut b), Stop::Immediate);
}

fn look_for_standby(b: &mut Bench, seconds: u64) {
    for _ in 0..seconds {
        b.pass(1000);
        if b.is_open("look") {
            b.looked(not_ready(ControlState::InArchiveRecovery));
        }
    }
}
