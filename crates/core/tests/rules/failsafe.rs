//! Failsafe mode as a specification: what the leader counts on, and what a promise binds to.

use std::collections::BTreeMap;
use std::time::Duration;

use super::bench::{self, Bench, primary, standby, view};
use jogi_core::ha::{Act, Event, Failure, Found, Generation, Request, RequestId, Yield};
use jogi_core::view::Cluster;
use jogi_core::{Tick, Weaken, Weakness};
use serde_json::{Value, json};

const CONFIG: &str = r#"{"ttl":5,"loop_wait":1,"failsafe_mode":true}"#;
const A: &str = "http://10.0.0.1:8008/patroni";
const B: &str = "http://10.0.0.2:8008/patroni";
const C: &str = "http://10.0.0.3:8008/patroni";

/// The herd of the bench with failsafe mode and this topology.
fn herd(leader: Option<&'static str>, topology: &Value) -> Cluster {
    let text = topology.to_string();
    let mut keys: Vec<(&str, &str)> = bench::herd(leader);
    keys.retain(|(path, _)| *path != "config");
    keys.extend([("config", CONFIG), ("failsafe", text.as_str())]);
    view(&keys)
}

/// A leader whose topology names b and c, at rest.
fn leading() -> Bench {
    leading_weakened(Weaken::default())
}

fn leading_weakened(weaken: Weaken) -> Bench {
    let mut b = Bench::weakened(Found::default(), weaken);
    b.looked(primary(1, 2000));
    b.see(herd(None, &json!({})));
    b.expect("acquire");
    b.acquired();
    b.see(herd(Some("a"), &json!({"a": A, "b": B, "c": C})));
    b.settle();
    b.see(herd(Some("a"), &json!({"a": A, "b": B, "c": C})));
    b
}

fn answer(accepted: bool, status: u16) -> Yield {
    Yield::Answered(json!({"accepted": accepted, "status": status, "lsn": 7}))
}

fn asked(b: &Bench) -> Vec<String> {
    b.open_acts()
        .filter_map(|act| if let Act::AskFailsafe { member, .. } = act { Some(member.to_string()) } else { None })
        .collect()
}

fn ping(b: &mut Bench, id: u64, ttl: Option<Duration>) -> (u16, String) {
    let request = Request::Failsafe {
        name: "b".into(),
        conn_url: "postgres://10.0.0.2:5432/postgres".into(),
        api_url: B.into(),
        slots: BTreeMap::new(),
        ttl,
    };
    b.tell(Event::Request(RequestId(id), request));
    let Act::Reply { reply, .. } = b.expect("reply") else { panic!("no reply") };
    b.done(Yield::Done);
    (reply.status, reply.text)
}

#[test]
fn the_leader_asks_everybody_when_two_renewals_are_missing_and_counts_the_oldest_answer() {
    let mut b = leading();
    b.pass(2_000);
    assert_eq!((asked(&b), b.ha.promises()), (vec![], None), "one try may be late");
    b.pass(700);
    assert_eq!(asked(&b), ["b", "c"]);
    let body =
        b.open_acts().find_map(|a| if let Act::AskFailsafe { body, .. } = a { Some(body.clone()) } else { None });
    let body = body.expect("a question");
    assert_eq!((&body["name"], &body["api_url"], &body["jogi"]), (&json!("a"), &json!(A), &json!({"ttl_ms": 5000})));
    let first = b.now();
    b.expect_of("b");
    b.done(answer(true, 200));
    assert_eq!(b.ha.promises(), None, "c has not answered");
    b.expect_of("c");
    b.failed(Failure::Unreachable("no route".into()));
    b.pass(300);
    assert_eq!(asked(&b), ["c"], "b has promised, c is asked again");
    b.expect_of("c");
    b.done(answer(true, 200));
    let promises = b.ha.promises().expect("both have promised");
    assert_eq!((promises.generation, promises.ttl), (Generation(3), Duration::from_secs(5)));
    assert!(promises.sent <= first && first.since(promises.sent) < Duration::from_millis(300), "the oldest counts");
    assert!(b.ha.last_decision().state.starts_with("continue to run as a leader because failsafe mode"));
    assert!(b.ha.snapshot(b.both()).failsafe_active);
    // The store answers again: nothing is counted on any more.
    b.renew();
    assert_eq!(b.ha.promises(), None);
}

#[test]
fn one_member_that_falls_silent_stops_the_count_and_one_that_leads_ends_it() {
    for (leads, closes) in [(false, false), (true, true)] {
        let mut b = leading();
        b.pass(2_700);
        for member in ["b", "c"] {
            b.expect_of(member);
            b.done(answer(true, 200));
        }
        let counted = b.ha.promises().expect("both have promised").sent;
        b.pass(1_300);
        b.expect_of("b");
        b.done(answer(true, 200));
        b.expect_of("c");
        match leads {
            true => b.done(answer(false, 500)),
            false => b.done(answer(false, 503)),
        }
        assert_eq!(b.ha.promises().map(|p| p.sent), Some(counted));
        let signalled = b.open_acts().any(|act| matches!(act, Act::Signal { .. }));
        assert_eq!(signalled, closes, "{}", b.ha.last_decision());
    }
}

#[test]
fn most_members_are_not_all() {
    for (weaken, counts) in [(Weaken::default(), false), (Weaken::only(Weakness::FailsafeMajority), true)] {
        let mut b = leading_weakened(weaken);
        b.pass(2_700);
        b.expect_of("b");
        b.done(answer(true, 200));
        b.expect_of("c");
        b.failed(Failure::Unreachable("no route".into()));
        assert_eq!(b.ha.promises().is_some(), counts && cfg!(debug_assertions));
    }
}

#[test]
fn a_leader_that_is_not_named_or_does_not_know_the_topology_asks_nobody() {
    for topology in [json!({"b": B, "c": C}), json!({})] {
        let mut b = Bench::begin(Found::default());
        b.looked(primary(1, 2000));
        b.see(herd(None, &json!({})));
        b.expect("acquire");
        b.acquired();
        b.see(herd(Some("a"), &topology));
        b.pass(3_500);
        assert_eq!((asked(&b), b.ha.promises()), (vec![], None), "{topology}");
    }
}

#[test]
fn the_topology_is_written_under_the_lock_with_everybody_who_has_an_api() {
    let mut b = Bench::begin(Found::default());
    b.looked(primary(1, 2000));
    b.see(herd(None, &json!({})));
    b.expect("acquire");
    b.acquired();
    b.see(herd(Some("a"), &json!({})));
    b.settle_until("write failsafe");
    let Act::Write(write) = b.expect("write failsafe") else { panic!("no write") };
    assert_eq!(write.value, Some(format!(r#"{{"a":"{A}","b":"{B}"}}"#)));
    assert!(write.only_while_leader.is_some());
    // Without an answer it may be there or not: whoever it names is asked, and whoever was named before.
    b.failed(Failure::Unreachable("no answer".into()));
    b.see_watched(herd(Some("a"), &json!({"a": A, "c": C})));
    b.pass(2_700);
    assert_eq!(asked(&b), ["b", "c"]);
}

#[test]
fn a_promise_keeps_a_member_from_a_free_lock_until_it_ends_or_is_given_back() {
    // For how long the leader counts on it; what it says when asked; how long the member waits at least.
    let held = json!({"patroni": {"name": "b"}, "role": "primary", "failsafe_mode_is_active": true});
    let free = json!({"patroni": {"name": "b"}, "role": "replica", "state": "stopped"});
    let stranger = json!({"patroni": {"name": "x"}, "role": "replica"});
    for (what, ttl, says, waits) in [
        ("silent", None, None, 5_000),
        ("silent with a longer ttl", Some(9), None, 9_000),
        ("silent with a shorter ttl", Some(1), None, 5_000),
        ("still without the store", None, Some(&held), 5_000),
        ("somebody else at its address", None, Some(&stranger), 5_000),
        ("not in failsafe mode", None, Some(&free), 0),
    ] {
        let mut b = following();
        assert_eq!(ping(&mut b, 1, ttl.map(Duration::from_secs)), (200, "Accepted".into()));
        assert!(b.ha.snapshot(b.both()).failsafe_active);
        let promised = b.now();
        b.see(herd(None, &json!({"a": A, "b": B})));
        let mut asked = 0;
        while !b.open_acts().any(|act| matches!(act, Act::Acquire { .. })) {
            if b.open_acts().any(|act| matches!(act, Act::Ask { .. })) {
                asked += 1;
                match says {
                    Some(document) if b.now().since(promised) < Duration::from_millis(waits) || waits == 0 => {
                        b.answered("b", document.clone());
                    }
                    Some(_) | None => b.unreachable("b"),
                }
            }
            b.look_again();
            b.pass(50);
            assert!(b.now().since(promised) < Duration::from_secs(20), "{what}: {}", b.ha.last_decision());
        }
        let waited = b.now().since(promised).as_millis() as u64;
        assert!(waited >= waits && waited < waits + 1_500, "{what}: {waited} ms");
        assert!(asked > 0, "{what}");
    }
}

/// A standby of b that has been up for long.
fn following() -> Bench {
    let mut b = Bench::begin(Found::default());
    b.looked(standby(1, 1000));
    b.see(herd(Some("b"), &json!({"a": A, "b": B})));
    b.settle();
    b.live(6_000);
    b
}

#[test]
fn whoever_leads_or_is_about_to_promises_nothing() {
    let mut b = leading();
    assert_eq!(ping(&mut b, 1, None), (500, "Running as a leader".into()));

    let mut b = following();
    b.see(herd(None, &json!({"a": A, "b": B})));
    b.look_again();
    b.answered("b", bench::replica_document(1, 900));
    b.expect("acquire");
    assert_eq!(ping(&mut b, 1, None).0, 503, "the attempt may succeed yet");
    b.expect("acquire");
    b.acquired();
    assert_eq!(ping(&mut b, 2, None).0, 500);

    let mut b = Bench::begin(Found::default());
    b.see(herd(Some("b"), &json!({"a": A, "b": B})));
    assert_eq!(ping(&mut b, 1, None).0, 503, "its own server may be writable");

    let mut b = Bench::following();
    assert_eq!(ping(&mut b, 1, None), (502, "failsafe mode is off".into()));
}

#[test]
fn a_promise_binds_when_the_mode_is_switched_off_and_a_lock_that_comes_late_is_given_back() {
    let mut b = following();
    ping(&mut b, 1, None);
    b.renew();
    b.expect("release");
    b.never(&["promote"], "a promise stands");

    let mut b = following();
    ping(&mut b, 1, None);
    b.see(view(&bench::herd(None)));
    b.look_again();
    b.unreachable("b");
    b.pass(3_000);
    b.never(&["acquire"], "a promise stands");
}

#[test]
fn a_member_that_has_just_begun_may_have_promised() {
    for (what, topology, waits) in [
        ("named with another", json!({"a": A, "b": B}), true),
        ("nobody else is named", json!({"a": A}), false),
        ("nobody was ever named", json!({}), false),
    ] {
        let mut b = Bench::begin(Found::default());
        b.looked(standby(1, 1000));
        b.see(herd(None, &topology));
        b.pass(10);
        b.look_again();
        b.unreachable("b");
        b.pass(100);
        b.look_again();
        let acquires = |b: &Bench| b.open_acts().any(|act| matches!(act, Act::Acquire { .. }));
        assert_eq!(acquires(&b), !waits, "{what}: {}", b.ha.last_decision());
        let begun = b.now();
        while !acquires(&b) {
            if b.open_acts().any(|act| matches!(act, Act::Ask { .. })) {
                b.unreachable("b");
            }
            b.look_again();
            b.pass(50);
            assert!(b.now().since(begun) < Duration::from_secs(10), "{what}: {}", b.ha.last_decision());
        }
        assert_eq!(b.now().since(Tick(1_000_000_000)) >= Duration::from_secs(5), waits, "{what}");
    }
}

#[test]
fn who_is_not_in_the_topology_does_not_lead() {
    let mut b = following();
    b.see(herd(None, &json!({"b": B, "c": C})));
    b.look_again();
    b.live(20_000);
    b.never(&["acquire"], "the topology does not name it");
    assert!(b.ha.last_decision().because.contains("topology"), "{}", b.ha.last_decision());

    // What the view does not show before the lock is taken, the reading after it does.
    let mut b = following();
    b.see(herd(None, &json!({"a": A, "b": B})));
    b.look_again();
    b.answered("b", bench::replica_document(1, 900));
    b.expect("acquire");
    b.acquired();
    b.see(herd(Some("a"), &json!({"b": B, "c": C})));
    b.expect("release");
    b.never(&["promote"], "the topology does not name it");
}
