//! The synchronous modes as a specification, where they meet other rules: who may be made leader by hand, for how long
//! a shutdown waits for standbys, for how long a slot is kept, and who may lead after a failsafe episode.

use jogi_core::ha::server::{Slot, Walsender};
use jogi_core::ha::{Act, Event, Found, Request, RequestId, Restart, Server, Stop, Yield};
use jogi_core::view::{Cluster, Key, Written};
use jogi_core::{Lsn, SlotName};
use serde_json::{Value, json};

use super::bench::{self, Bench, primary, standby, view};

const B: &str = "http://10.0.0.2:8008/patroni";
/// Our own confirmed standby, and one that is not.
const OURS: &str = r#"{"leader":"b","quorum":0,"sync_standby":"a"}"#;
const ANOTHERS: &str = r#"{"leader":"b","quorum":0,"sync_standby":"c"}"#;

/// The herd of the bench with this configuration and these keys beside.
fn herd(leader: Option<&'static str>, config: &Value, more: &[(&str, &str)]) -> Cluster {
    let text = config.to_string();
    let mut keys: Vec<(&str, &str)> = bench::herd(leader);
    keys.retain(|(path, _)| *path != "config");
    keys.push(("config", &text));
    keys.extend(more);
    view(&keys)
}

fn synchronous() -> Value {
    json!({"ttl": 5, "loop_wait": 1, "synchronous_mode": true})
}

/// A standby of b, at rest.
fn following(config: &Value, more: &[(&str, &str)]) -> Bench {
    let mut b = Bench::begin(Found::default());
    b.looked(standby(1, 1000));
    b.see(herd(Some("b"), config, more));
    b.settle();
    b
}

/// The lock is free, whoever is asked is silent or behind, and this much time passes. Whether we took the lock.
fn races(b: &mut Bench, milliseconds: u64) -> bool {
    for _ in 0..milliseconds / 50 {
        b.look_again();
        if b.is_open("ask") {
            b.answered("b", bench::replica_document(1, 900));
        }
        if b.is_open("acquire") {
            return true;
        }
        b.pass(50);
    }
    false
}

#[test]
fn only_a_failover_by_hand_makes_an_asynchronous_member_the_leader() {
    for (what, sync, failover, leads) in [
        ("nobody asks", ANOTHERS, "{}", false),
        ("it is a legal successor", OURS, "{}", true),
        ("a switchover names it", ANOTHERS, r#"{"leader":"b","member":"a"}"#, false),
        ("a failover names it", ANOTHERS, r#"{"member":"a"}"#, true),
        ("a failover names another", ANOTHERS, r#"{"member":"c"}"#, false),
    ] {
        let config = synchronous();
        let mut b = following(&config, &[("sync", sync)]);
        b.see(herd(None, &config, &[("sync", sync), ("failover", failover)]));
        assert_eq!(races(&mut b, 12_000), leads, "{what}: {}", b.ha.last_decision());
    }
}

#[test]
fn a_shutdown_waits_for_standbys_for_primary_stop_timeout_in_the_synchronous_modes_alone() {
    for (what, config, ends) in [
        ("asynchronous", json!({"ttl": 5, "loop_wait": 1, "primary_stop_timeout": 3}), false),
        ("no limit", synchronous(), false),
        ("limited", json!({"ttl": 5, "loop_wait": 1, "synchronous_mode": true, "primary_stop_timeout": 3}), true),
    ] {
        let mut b = Bench::leading();
        b.settings(config);
        b.tell(Event::Request(RequestId(1), Request::Restart(Restart::default())));
        b.settle_until("signal");
        let fast = |b: &mut Bench| matches!(b.expect("signal"), Act::Signal { stop: Stop::Fast });
        assert!(fast(&mut b), "{what}");
        b.done(Yield::Done);
        for _ in 0..29 {
            b.pass(100);
            b.renew();
            b.look_again();
        }
        assert!(!b.is_open("signal"), "{what}: it is given its time");
        for _ in 0..5 {
            b.pass(100);
            b.renew();
            b.look_again();
        }
        assert_eq!(b.is_open("signal"), ends, "{what}: {}", b.ha.last_decision());
        if ends {
            assert!(matches!(b.expect("signal"), Act::Signal { stop: Stop::Immediate }), "{what}");
        }
    }
}

/// A primary of a version that can advance slots, with c's slot, and b streaming as its synchronous standby.
fn with_slots(slots: &[&str]) -> Server {
    let mut server = primary(1, 2000);
    let row = server.row.as_mut().expect("it answers");
    row.server_version = 150_000;
    let kept = |name: &&str| (SlotName((*name).into()), Slot { restart: Some(Lsn(1500)), ..Slot::default() });
    row.slots = slots.iter().map(kept).collect();
    let sender = |name: &str| Walsender {
        application_name: name.into(),
        state: "streaming".into(),
        sync_state: "async".into(),
        flush: Lsn(2000),
        write: Lsn(2000),
        replay: Lsn(2000),
        ..Walsender::default()
    };
    row.replication = vec![sender("b")];
    server
}

#[test]
fn the_slot_of_a_standby_that_is_away_is_kept_for_member_slots_ttl() {
    let c = r#"{"conn_url":"postgres://10.0.0.3:5432/postgres","api_url":"http://10.0.0.3:8008/patroni","state":"running","role":"replica","version":"4.1.5","timeline":1}"#;
    let config = json!({"ttl": 5, "loop_wait": 1, "synchronous_mode": true, "member_slots_ttl": "60s"});
    let mut b = Bench::begin(Found::default());
    b.looked(with_slots(&["b", "c"]));
    b.see(herd(None, &config, &[("members/c", c)]));
    b.expect("acquire");
    b.acquired();
    let mut status = "{}".to_owned();
    let mut here = |b: &mut Bench, members: &[(&str, &str)]| {
        let mut keys = vec![("status", status.as_str())];
        keys.extend(members);
        b.renew();
        b.see(herd(Some("a"), &config, &keys));
        b.pass(1_000);
        b.settle_until("write status");
        let written = b.open_acts().find_map(|act| match act {
            Act::Write(write) if write.key == Key::Status => write.value.clone(),
            _ => None,
        });
        if let Some(text) = written {
            b.expect("write status");
            b.done(Yield::Wrote(Written::Done { revision: bench::rev("9") }));
            status = text;
        }
        b.settle_until("nothing");
        status.clone()
    };
    here(&mut b, &[("members/c", c)]);
    let (away, mut said) = (b.now(), Vec::new());
    // c's key is gone, with its session.
    while !said.iter().any(|note: &String| note.contains("member_slots_ttl")) {
        let kept = here(&mut b, &[]);
        said = b.notes();
        let seconds = b.now().since(away).as_secs();
        assert!(seconds < 90, "the slot is never given up: {kept}");
        assert!(seconds > 58 || kept.contains("\"c\""), "after {seconds} s: {kept}");
    }
    assert!((59..=64).contains(&b.now().since(away).as_secs()), "{:?}", b.now().since(away));
    let kept = here(&mut b, &[]);
    assert!(!kept.contains("\"c\""), "{kept}");
}

#[test]
fn after_a_failsafe_episode_a_legal_successor_leads_and_nobody_else() {
    let config = json!({"ttl": 5, "loop_wait": 1, "synchronous_mode": true, "failsafe_mode": true});
    for (what, sync, leads) in [("a legal successor", OURS, true), ("an asynchronous standby", ANOTHERS, false)] {
        let topology = json!({"a": "http://10.0.0.1:8008/patroni", "b": B}).to_string();
        let mut b = following(&config, &[("sync", sync), ("failsafe", &topology)]);
        b.live(6_000);
        let request = Request::Failsafe {
            name: "b".into(),
            conn_url: "postgres://10.0.0.2:5432/postgres".into(),
            api_url: B.into(),
            slots: Default::default(),
            ttl: None,
        };
        b.tell(Event::Request(RequestId(1), request));
        let Act::Reply { reply, .. } = b.expect("reply") else { panic!("no reply") };
        assert_eq!((reply.status, reply.text.as_str()), (200, "Accepted"), "{what}");
        b.done(Yield::Done);
        let promised = b.now();
        b.see(herd(None, &config, &[("sync", sync), ("failsafe", &topology)]));
        while b.now().since(promised).as_millis() < 4_900 {
            if b.is_open("ask") {
                b.unreachable("b");
            }
            b.look_again();
            b.pass(50);
        }
        b.never(&["acquire"], "a promise stands, whoever may succeed");
        assert_eq!(races(&mut b, 12_000), leads, "{what}: {}", b.ha.last_decision());
    }
}

/// The one who has the lock may die before it opens anything: what was acknowledged is then where the key says.
#[test]
fn who_may_succeed_is_not_reinitialized_before_the_new_leader_has_taken_the_synchronous_state_over() {
    for (what, sync, refused) in [
        ("it led last", r#"{"leader":"a","quorum":0,"sync_standby":null}"#, true),
        ("it is a standby of who led last", r#"{"leader":"c","quorum":0,"sync_standby":"a"}"#, true),
        ("others may succeed", r#"{"leader":"c","quorum":0,"sync_standby":"d"}"#, false),
        ("the leader leads", OURS, false),
    ] {
        let mut b = following(&synchronous(), &[("sync", sync)]);
        b.tell(Event::Request(RequestId(1), Request::Reinitialize { force: true, from_leader: false }));
        let Act::Reply { reply, .. } = b.expect("reply") else { panic!("no reply") };
        assert_eq!(reply.status == 503, refused, "{what}: {}", reply.text);
    }
}
