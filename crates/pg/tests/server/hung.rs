//! A server that hangs (fault-scenarios F9), and one that is starting.

use std::time::Duration;

use jogi_core::ha::server::{Accepting, Process};
use jogi_pg::look::Known;
use jogi_pg::postmaster::Signal;

use crate::common::{Place, can};

#[tokio::test]
async fn a_stopped_postmaster_is_seen_by_a_fresh_connection_only() {
    if !can() {
        return;
    }
    let place = Place::new();
    let mut member = place.member("a");
    member.bootstrap().await;
    member.look().await;
    member.signal(Signal::STOP);
    assert!(member.look().await.row.is_some(), "a session that stands works on");
    member.looker.reset();
    let server = member.looker.look(&member.instance, &Known::default(), Duration::from_millis(500)).await;
    assert!(server.row.is_none());
    assert!(server.silent.expect("a reason").contains("did not answer within"));
    assert!(matches!(server.process, Process::Running { accepting: Accepting::NoAnswer, .. }));
    member.signal(Signal::CONT);
    member.wait_for("an answer", |s| s.row.is_some()).await;
}

#[tokio::test]
async fn a_hung_session_is_made_up_for_by_a_fresh_one() {
    if !can() {
        return;
    }
    let place = Place::new();
    let mut member = place.member("a");
    member.bootstrap().await;
    member.look().await;
    let backend = member
        .value("SELECT pid FROM pg_stat_activity WHERE application_name = 'Patroni heartbeat'")
        .await
        .parse::<i32>()
        .expect("our session");
    jogi_testkit::process::freeze(backend);
    let server = member.looker.look(&member.instance, &Known::default(), Duration::from_secs(4)).await;
    assert!(server.row.is_some());
    jogi_testkit::process::thaw(backend);
}

#[tokio::test]
async fn a_killed_postmasters_backends_are_leftovers() {
    if !can() {
        return;
    }
    let place = Place::new();
    let mut member = place.member("a");
    member.bootstrap().await;
    let backend = member.value("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'").await;
    let backend: i32 = backend.parse().expect("a number");
    jogi_testkit::process::freeze(backend);
    member.end_postmaster();
    member.wait_for("leftovers", |s| s.process == Process::Leftovers).await;
    jogi_testkit::process::kill_all(&[backend]);
    member.wait_for("an end", |s| s.process == Process::Stopped).await;
}
