//! The rules of one member as a specification: what happened on the left, what it does on the right.

mod bench;
mod failsafe;
mod hand_over;
mod hazards;
mod hung;
mod promotion;
mod rewind;
mod shown;
mod synchronous;

use bench::{Bench, control, primary, standby, view};
use jogi_core::ha::server::ControlState;
use jogi_core::ha::{Act, Event, Failure, Found, Intent, LaunchAs, Reply, Request, RequestId, Stop, Yield};
use jogi_core::view::Written;
use serde_json::json;

#[test]
fn a_new_cluster_is_made_step_by_step_and_published_before_the_lock_is_taken() {
    let mut b = Bench::begin(Found::default());
    b.looked(bench::empty());
    b.see(view(&[]));
    b.expect("write initialize");
    b.done(Yield::Wrote(Written::Done { revision: bench::rev("2") }));
    b.expect("intend");
    b.done(Yield::Done);
    b.expect("initdb");
    b.done(Yield::Done);
    b.expect("configure");
    b.done(Yield::Configured { restart: false, unchanged: false });
    let launch = b.expect("launch");
    assert!(matches!(launch, Act::Launch { as_: LaunchAs::Bootstrap, .. }));
    b.done(Yield::Launched { pid: 100 });
    b.pass(60);
    b.looked(primary(1, 500));
    b.expect("post-bootstrap");
    b.done(Yield::Done);
    b.expect("checkpoint");
    b.done(Yield::Done);
    b.expect("write config");
    b.done(Yield::Wrote(Written::Done { revision: bench::rev("3") }));
    b.expect("write initialize");
    b.done(Yield::Wrote(Written::Done { revision: bench::rev("4") }));
    b.expect("settle");
    b.done(Yield::Done);
    b.see(view(&[("initialize", bench::SYSTEM), ("config", r#"{"ttl":5}"#)]));
    b.looked(primary(1, 500));
    b.expect("acquire");
    b.acquired();
    b.expect("arm");
}

#[test]
fn a_member_that_finds_traces_of_a_cluster_makes_no_new_one() {
    for (what, keys) in [
        ("initialize", vec![("initialize", "")]),
        ("history", vec![("history", "[]")]),
        ("status", vec![("status", r#"{"optime":7}"#)]),
        ("a member with data", vec![("members/b", r#"{"state":"stopped","role":"replica","timeline":3}"#)]),
    ] {
        let mut b = Bench::begin(Found::default());
        b.looked(bench::empty());
        b.see(view(&keys));
        b.never(&["write initialize", "initdb"], what);
    }
}

#[test]
fn the_lock_gone_a_standby_looks_asks_takes_and_promotes() {
    let mut b = Bench::following();
    b.see(view(&bench::herd(None)));
    b.expect("look");
    b.expect("ask");
    b.looked(standby(1, 1000));
    b.answered(
        "b",
        json!({"role": "replica", "state": "running", "timeline": 1,
        "xlog": {"received_location": 900, "replayed_location": 900}}),
    );
    b.expect("acquire");
    b.acquired();
    b.never(&["promote", "write status"], "the view is from before the taking");
    b.see(view(&bench::herd(Some("a"))));
    // The number of the timeline is in the store before the timeline exists.
    b.expect("write status");
    b.done(Yield::Wrote(Written::Done { revision: bench::rev("9") }));
    b.expect("promote");
}

#[test]
fn a_standby_that_is_behind_lets_the_other_one_lead() {
    let mut b = Bench::following();
    b.see(view(&bench::herd(None)));
    b.looked(standby(1, 1000));
    b.answered(
        "b",
        json!({"role": "replica", "state": "running", "timeline": 1,
        "xlog": {"received_location": 1001, "replayed_location": 1001}}),
    );
    b.never(&["acquire", "promote"], "b has more");
    assert!(b.ha.last_decision().because.contains("b is ahead"), "{}", b.ha.last_decision());
}

#[test]
fn a_silent_member_does_not_stop_the_race() {
    let mut b = Bench::following();
    b.see(view(&bench::herd(None)));
    b.looked(standby(1, 1000));
    b.unreachable("b");
    b.expect("acquire");
}

#[test]
fn a_switchover_stops_first_and_chooses_its_winner_after() {
    let mut b = bench::handing_over_to_b();
    let signal = b.expect("signal");
    assert!(matches!(signal, Act::Signal { stop: Stop::Fast }));
    b.done(Yield::Done);
    b.exited();
    b.expect("fence");
    b.done(Yield::Done);
    b.looked(bench::stopped(control(1, ControlState::ShutDown, 2100)));
    // The candidate has not the last record yet: it is asked again, and the lock is not given away.
    b.answered("b", bench::replica_document(1, 2099));
    b.never(&["release"], "the candidate lacks the last record");
    b.pass(30);
    b.answered("b", bench::replica_document(1, 2200));
    b.expect("release");
}

#[test]
fn a_dead_primary_is_fenced_before_the_lock_is_given_away() {
    let mut b = Bench::leading();
    b.settings(json!({"ttl": 5, "loop_wait": 1, "primary_start_timeout": 0}));
    b.exited();
    b.answered("b", bench::replica_document(1, 2000));
    b.expect("fence");
    b.done(Yield::Done);
    b.expect("find-end-of-wal");
    let end = jogi_core::Lsn(2150);
    b.done(Yield::EndOfWal { timeline: jogi_core::Timeline(1), end, complete: true });
    b.expect("release");
    assert!(b.notes().iter().any(|n| n.contains("150 bytes")), "what was not sent is named");
}

#[test]
fn a_dead_primary_starts_again_when_it_is_given_time_to() {
    let mut b = Bench::leading();
    b.exited();
    b.expect("fence");
    b.done(Yield::Done);
    b.expect("configure");
    b.done(Yield::Configured { restart: true, unchanged: false });
    let launch = b.expect("launch");
    assert!(matches!(launch, Act::Launch { as_: LaunchAs::Primary { .. }, .. }));
}

#[test]
fn a_writable_server_without_a_lease_is_closed_at_once() {
    let mut b = Bench::begin(Found::default());
    b.looked(primary(1, 900));
    b.see(view(&bench::herd(Some("b"))));
    let signal = b.expect("signal");
    assert!(matches!(signal, Act::Signal { stop: Stop::Immediate }));
}

#[test]
fn a_lost_lock_closes_the_primary() {
    let mut b = Bench::leading();
    b.lease_lost("the key is another's");
    b.see(view(&bench::herd(Some("b"))));
    b.expect("signal");
}

#[test]
fn a_lease_that_runs_out_closes_the_primary_orderly() {
    let mut b = Bench::leading();
    b.pass_until_soft();
    let signal = b.expect("signal");
    assert!(matches!(signal, Act::Signal { stop: Stop::Fast }));
}

#[test]
fn after_a_stall_nothing_is_done_before_a_new_reading() {
    let mut b = Bench::following();
    b.stall(6000);
    b.see_watched(view(&bench::herd(None)));
    b.never(&["acquire", "promote"], "the view may be old");
    b.expect("load");
}

#[test]
fn an_interrupted_copy_is_never_started() {
    let mut b = Bench::begin(Found { intent: Some(Intent::Clone), ..Found::default() });
    b.looked(bench::stopped(control(1, ControlState::InProduction, 100)));
    b.see(view(&bench::herd(Some("b"))));
    b.never(&["launch"], "half a copy");
    b.expect("fence");
    b.done(Yield::Done);
    b.looked(bench::stopped(control(1, ControlState::InProduction, 100)));
    b.expect("put-aside");
}

#[test]
fn a_refused_promotion_gives_the_lock_back() {
    let mut b = Bench::following();
    b.see(view(&bench::herd(None)));
    b.looked(standby(1, 1000));
    b.unreachable("b");
    b.expect("acquire");
    b.acquired();
    b.never(&["promote", "write status"], "the view is from before the taking");
    b.see(view(&bench::herd(Some("a"))));
    // The number of the timeline is in the store before the timeline exists.
    b.expect("write status");
    b.done(Yield::Wrote(Written::Done { revision: bench::rev("9") }));
    b.expect("promote");
    b.failed(Failure::Refused("the lease is over".into()));
    b.expect("release");
    b.never(&["signal"], "nothing was promoted");
}

#[test]
fn what_the_store_shows_after_the_taking_decides_whether_to_lead() {
    for (what, status, wanted) in [
        ("another timeline was opened meanwhile", r#"{"optime":1000,"jogi":{"timeline":4}}"#, "release"),
        ("nothing happened", r#"{"optime":1000,"jogi":{"timeline":1}}"#, "write status"),
        ("the last leader had more than may be lost", r#"{"optime":3000000}"#, "release"),
    ] {
        let mut b = Bench::following();
        b.see(view(&bench::herd(None)));
        b.looked(standby(1, 1000));
        b.unreachable("b");
        b.expect("acquire");
        b.acquired();
        let mut keys = bench::herd(Some("a"));
        keys.push(("status", status));
        b.see(view(&keys));
        // What is missing may have come since the last look.
        b.look_again();
        b.expect(wanted);
        b.never(&["promote"], what);
    }
}

#[test]
fn refused_requests_say_why() {
    let ask = |leader: Option<&str>, candidate: Option<&str>| Request::Switchover {
        manual_failover: false,
        leader: leader.map(str::to_owned),
        candidate: candidate.map(str::to_owned),
        scheduled_at: None,
    };
    for (request, reply) in [
        (ask(None, Some("b")), Reply::new(400, "Switchover could be performed only from a specific leader")),
        (ask(Some("a"), Some("a")), Reply::new(400, "Switchover target and source are the same")),
        (ask(Some("b"), None), Reply::new(412, "leader name does not match")),
        (ask(Some("a"), Some("x")), Reply::new(412, "candidate does not exists")),
    ] {
        let mut b = Bench::leading();
        b.tell(Event::Request(RequestId(7), request));
        assert_eq!(b.expect("reply"), Act::Reply { request: RequestId(7), reply });
    }
}

#[test]
fn at_rest_nothing_is_written() {
    let mut b = Bench::leading();
    b.settle();
    for _ in 0..20 {
        b.pass(1000);
        b.renew();
        b.look_again();
    }
    b.never(&["write", "load", "acquire", "configure", "arm"], "nothing has changed");
}
