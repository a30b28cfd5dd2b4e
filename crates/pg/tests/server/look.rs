//! What a look sees, and how soon.

use std::time::{Duration, Instant};

use jogi_core::SlotName;
use jogi_core::ha::server::{Accepting, ControlState, DataDir, Process};
use jogi_core::ha::{Mode, Server, SlotPlan};
use jogi_pg::look::Known;
use jogi_pg::postmaster::Signal;
use jogi_pg::slots;
use serde_json::json;

use crate::common::{LONG, Member, Place, can};

fn slot(name: &str) -> SlotName {
    SlotName(name.into())
}

#[tokio::test]
async fn a_primary_and_its_replica_are_seen() {
    if !can() {
        return;
    }
    let place = Place::new();
    let (mut a, mut b) = (place.member("a"), place.member("b"));
    let nothing = a.look().await;
    assert_eq!((nothing.data, nothing.process), (DataDir::Empty, Process::Stopped));
    a.bootstrap().await;
    let plan = SlotPlan { create: vec![slot("b"), slot("gone")], ..SlotPlan::default() };
    slots::change(&a.instance, &plan, LONG).await.expect("made");
    slots::change(&a.instance, &plan, LONG).await.expect("made again without complaint");
    b.replicate(&a, Some("b")).await;
    let seen =
        b.wait_for("streaming", |s| s.row.as_ref().is_some_and(|r| r.replication_state() == Some("streaming"))).await;
    let row = seen.row.expect("a row");
    assert!(row.in_recovery && !row.replay_paused);
    let receiver = row.receiver.clone().expect("a receiver");
    assert_eq!((receiver.host.as_str(), receiver.port, receiver.slot), ("127.0.0.1", Some(a.port()), Some(slot("b"))));
    assert_eq!(row.timeline, Some(jogi_core::Timeline(1)));

    a.sql("CREATE TABLE t (n int); INSERT INTO t SELECT generate_series(1, 10000)").await;
    let primary = a.look().await;
    assert!(matches!(primary.process, Process::Running { adopted: true, accepting: Accepting::Yes, .. }));
    let primary = primary.row.expect("a row");
    assert_eq!(primary.timeline, row.timeline);
    assert_eq!(primary.replication.len(), 1);
    let walsender = &primary.replication[0];
    assert_eq!((walsender.application_name.as_str(), walsender.state.as_str()), ("b", "streaming"));
    assert_eq!(walsender.user, "replicator");
    assert!(primary.slots[&slot("b")].active && !primary.slots[&slot("gone")].active);
    assert!(primary.slots[&slot("gone")].restart.is_some());
    b.wait_for("what the primary has", |s| s.row.as_ref().is_some_and(|r| r.position() >= primary.flushed)).await;

    let plan = SlotPlan {
        drop: vec![slot("never"), slot("b")],
        advance: vec![(slot("gone"), primary.flushed)],
        ..SlotPlan::default()
    };
    let error = slots::change(&a.instance, &plan, LONG).await.expect_err("one is active");
    assert!(error.to_string().contains("is active"), "{error}");
    let after = a.look().await.row.expect("a row");
    assert!(after.slots[&slot("gone")].restart >= Some(primary.flushed), "the others were tried all the same");

    // Without its upstream a standby stays on the timeline that it was on.
    a.stop();
    let alone = b.wait_for("no receiver", |s| s.row.as_ref().is_some_and(|r| r.receiver.is_none())).await;
    assert_eq!(alone.row.expect("a row").timeline, Some(jogi_core::Timeline(1)));
    b.looker = jogi_pg::look::Looker::new(jogi_pg::connect::Purpose::Heartbeat);
    assert_eq!(b.look().await.row.expect("a row").timeline, Some(jogi_core::Timeline(1)), "also when just met");
    let stopped = a.look().await;
    let DataDir::Present(control) = stopped.data else { panic!("it is there") };
    assert_eq!((stopped.process, control.state), (Process::Stopped, ControlState::ShutDown));

    // But not on one that more WAL has left since: a whole timeline came and went between two looks.
    a.start(&a.setup(Mode::Standby { upstream: None })).await;
    a.sql("SELECT pg_promote()").await;
    a.sql("CREATE TABLE later (n int)").await;
    until(&b, "SELECT to_regclass('later') IS NOT NULL").await;
    a.stop();
    until(&b, "SELECT count(*) = 0 FROM pg_stat_wal_receiver").await;
    let alone = b.look().await.row.expect("a row");
    assert_eq!((alone.timeline, alone.receiver), (Some(jogi_core::Timeline(2)), None));
}

/// Asks without a look.
async fn until(member: &Member, condition: &str) {
    for _ in 0..600 {
        if member.value(condition).await == "t" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never true: {condition}");
}

#[tokio::test]
async fn a_look_takes_a_moment() {
    if !can() {
        return;
    }
    let place = Place::new();
    let mut member = place.member("a");
    member.bootstrap().await;
    let mut times: Vec<Duration> = Vec::new();
    for _ in 0..200 {
        let begun = Instant::now();
        assert!(member.look().await.row.is_some());
        times.push(begun.elapsed());
    }
    times.sort();
    eprintln!("a look: median {:?}, nine in ten below {:?}", times[100], times[180]);
    // The machine is shared and the test is built without optimisation; at rest it is far below.
    assert!(times[100] < Duration::from_millis(15), "{times:?}");
}

#[tokio::test]
async fn parameters_that_wait_for_a_restart_are_named() {
    if !can() {
        return;
    }
    let place = Place::new();
    let mut member = place.member("a");
    member.bootstrap().await;
    assert!(member.look().await.row.expect("a row").pending_restart.is_empty());
    member.set_dynamic(json!({"postgresql": {"parameters": {"max_connections": 150}}}));
    let row = member.look().await.row.expect("a row");
    let expected = [("max_connections".to_owned(), ("100".to_owned(), "150".to_owned()))];
    assert_eq!(row.pending_restart.into_iter().collect::<Vec<_>>(), expected);
    member.stop();
    let setup = member.setup(Mode::Primary);
    member.start(&setup).await;
    assert!(member.look().await.row.expect("a row").pending_restart.is_empty());
}

#[tokio::test]
async fn what_must_not_be_used_is_said() {
    if !can() {
        return;
    }
    let place = Place::new();
    let mut member = place.member("a");
    member.bootstrap().await;
    let known = Known { intent: Some("a copy was begun".into()), ..Known::default() };
    let server = member.looker.look(&member.instance, &known, LONG).await;
    assert_eq!(server.data, DataDir::Broken("a copy was begun".into()));
    member.sql("ALTER ROLE postgres PASSWORD 'changed'").await;
    member.looker.reset();
    let server = member.look().await;
    assert!(matches!(server.process, Process::Running { accepting: Accepting::Yes, .. }), "it answers, though not us");
    assert!(server.silent.expect("a reason").contains("password authentication failed"));
    member.stop();
    std::fs::write(member.data_dir().join("PG_VERSION"), "11\n").expect("ours");
    let server = member.look().await;
    assert!(matches!(server.data, DataDir::Unusable(why) if why.contains("PostgreSQL 11")));
}

/// The shutdown checkpoint is written and PostgreSQL waits for what is archived last, and later for a walsender alone.
#[tokio::test]
async fn what_a_server_that_shuts_down_waits_for_is_seen() {
    if !can() {
        return;
    }
    let place = Place::new();
    let go = place.path().join("go");
    let command = format!("while ! test -e {}; do sleep 0.05; done", go.display());
    let parameters = json!({"postgresql": {"parameters": {"archive_mode": "on", "archive_command": command}}});
    let (mut a, mut b) = (place.member_with("a", json!({}), parameters), place.member("b"));
    a.bootstrap().await;
    b.replicate(&a, None).await;
    b.wait_for("streaming", |s| s.row.as_ref().is_some_and(|r| r.replication_state() == Some("streaming"))).await;
    let receivers = jogi_testkit::process::children(b.postmaster_pid());
    let receiver = receivers.into_iter().find(|pid| jogi_testkit::process::command_line(*pid).contains("walreceiver"));
    let receiver = receiver.expect("b receives");
    assert!(!a.look().await.archiving, "an archiver at rest holds up nobody");

    jogi_testkit::process::freeze(receiver);
    a.signal(Signal::INT);
    let has_shut_down = |s: &Server| matches!(&s.data, DataDir::Present(c) if c.state == ControlState::ShutDown);
    let seen = a.wait_for("the shutdown checkpoint", has_shut_down).await;
    assert!(seen.process.is_running() && seen.archiving, "{seen:?}");
    let DataDir::Present(control) = seen.data else { panic!("it is there") };
    assert!(control.shutdown_end > Some(control.checkpoint), "where its WAL ends is known while it runs");
    std::fs::write(go, "").expect("ours");
    let seen = a.wait_for("the archiver's end", |s| !s.archiving).await;
    assert!(seen.process.is_running(), "a standby that does not answer is waited for: {seen:?}");
    jogi_testkit::process::thaw(receiver);
    a.wait_for("the end", |s| s.process == Process::Stopped).await;
}
