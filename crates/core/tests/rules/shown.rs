//! What a member shows of itself, in Patroni's words.

use jogi_core::Wall;
use jogi_core::ha::server::{ControlState, Row};
use jogi_core::ha::{Act, Event, LaunchAs, Mode, MomentKind, Request, RequestId, Restart, When};
use serde_json::json;

use crate::bench::{self, Bench, control, standby, view};

#[test]
fn a_standby_recovers_from_an_archive_only_where_there_is_one() {
    let receiver = |status: &str| Some(jogi_core::ha::server::Receiver { status: status.into(), ..Default::default() });
    let row = |in_recovery, receiver, restores| Row { in_recovery, receiver, restores, ..Row::default() };
    for (row, shown) in [
        (row(false, None, true), None),
        (row(true, None, false), None),
        (row(true, None, true), Some("in archive recovery")),
        (row(true, receiver("waiting"), true), Some("in archive recovery")),
        (row(true, receiver("streaming"), true), Some("streaming")),
    ] {
        assert_eq!(row.replication_state(), shown, "{row:?}");
    }
}

#[test]
fn a_primary_that_somebody_stops_in_pause_is_stopped_and_not_crashed() {
    for (paused, shown) in [(true, "stopped"), (false, "crashed")] {
        let mut b = Bench::leading();
        b.settings(json!({"ttl": 5, "loop_wait": 1, "pause": paused}));
        b.exited();
        assert_eq!(b.ha.snapshot(b.both()).state, shown, "pause: {paused}");
    }
}

/// A restart that is planned for a server is not carried out on its successor.
#[test]
fn a_scheduled_restart_is_for_the_server_that_runs_when_it_is_asked_for() {
    let started = Wall(1_795_384_990_831_115);
    let at = Wall(1_900_000_000_000_000);
    let server = |started| {
        let mut server = standby(1, 1000);
        server.row.as_mut().expect("it runs").postmaster_start = started;
        server
    };
    let mut b = Bench::following();
    b.pass(2000);
    b.looked(server(started));
    b.settle();
    let when = When { text: "2030-03-17T17:46:40+00:00".into(), at };
    b.tell(Event::Request(RequestId(1), Request::Restart(Restart { schedule: Some(when), ..Restart::default() })));
    let planned = |b: &Bench| b.ha.snapshot(b.both()).member.0.get("scheduled_restart").cloned();
    let shown =
        json!({"schedule": "2030-03-17T17:46:40+00:00", "postmaster_start_time": "2026-11-22 22:03:10.831115+00:00"});
    assert_eq!(planned(&b), Some(shown));
    b.settle();
    b.pass(2000);
    b.looked(server(Wall(started.0 + 1)));
    assert_eq!(planned(&b), None);
    assert!(b.notes().iter().any(|note| note.contains("restarted meanwhile")));
}

/// Nobody can be asked who leads; what this member has can be read.
#[test]
fn without_a_store_a_primary_that_was_closed_comes_up_to_be_read_from() {
    let mut b = Bench::leading();
    b.pass_until_soft();
    b.lease_lost("no answer of the store");
    b.exited();
    b.settle_until("look");
    b.looked(bench::stopped(control(1, ControlState::ShutDown, 2000)));
    b.settle_until("load");
    b.never(&["launch"], "the view is not old yet");
    b.tell(Event::StoreLost("no answer within 1 s".into()));
    b.pass(6000);
    b.settle_until("launch");
    let launch = b.expect("launch");
    assert!(
        matches!(&launch, Act::Launch { as_: LaunchAs::Standby, setup } if setup.mode == Mode::Standby { upstream: None }),
        "nobody is followed: {launch:?}"
    );
    b.never(&["promote"], "there is no lock");
    assert_eq!(b.ha.snapshot(b.both()).role, "demoted");
}

#[test]
fn with_a_store_a_primary_that_was_closed_waits_for_its_word() {
    let mut b = Bench::leading();
    b.lease_lost("the lease is gone");
    b.exited();
    b.settle_until("look");
    b.looked(bench::stopped(control(1, ControlState::ShutDown, 2000)));
    b.never(&["launch"], "the store says who leads");
}

/// What an incident is told by when it is over.
#[test]
fn who_leads_and_who_can_be_written_to_is_put_down_when_it_changes() {
    let told = |b: &mut Bench| -> Vec<(MomentKind, String)> {
        std::iter::from_fn(|| b.ha.poll_moment()).map(|moment| (moment.kind, moment.text)).collect()
    };
    let mut b = Bench::leading();
    let began = told(&mut b);
    assert!(
        began.contains(&(MomentKind::WritesBegan, "the server can be written to on timeline 1, from 0/7D0".into()))
    );
    assert!(began.contains(&(MomentKind::LeaderSeen, "a".into())), "{began:?}");
    b.pass(300);
    assert_eq!(told(&mut b), [], "nothing changes");
    b.exited();
    let kinds: Vec<MomentKind> = told(&mut b).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [MomentKind::Noted, MomentKind::WritesEnded, MomentKind::Decided]);

    let mut b = Bench::following();
    assert!(told(&mut b).contains(&(MomentKind::LeaderSeen, "b".into())));
    b.see(view(&bench::herd(None)));
    assert_eq!(told(&mut b)[0], (MomentKind::LeaderGone, "b".into()));
}

/// In the synchronous modes the leader looks once a second and oftener. What that says of positions alone is no reason
/// to write keys for everybody to read; another state is.
#[test]
fn positions_are_published_by_routine_looks_alone() {
    let written = |b: &Bench| -> Vec<String> {
        let ours = |act: &Act| match act {
            Act::Write(write) if matches!(write.key.path().as_str(), "members/a" | "status") => write.value.clone(),
            _ => None,
        };
        b.open_acts().filter_map(ours).collect()
    };
    let mut b = Bench::leading();
    b.settings(json!({"ttl": 30, "loop_wait": 10, "synchronous_mode": true}));
    let mut published = Vec::new();
    let mut looks = 0;
    for second in 1..=39 {
        b.pass(1000);
        b.renew();
        if b.is_open("look") {
            looks += 1;
            b.looked(bench::primary(1, 3000 + second));
        }
        published.extend(written(&b));
        b.settle();
    }
    assert!(looks >= 35, "it looks once a second: {looks}");
    assert_eq!(published.len(), 8, "two keys, each once in ten seconds: {published:#?}");
    b.pass(1000);
    let mut server = bench::primary(1, 3040);
    let row = server.row.as_mut().expect("it runs");
    row.pending_restart.insert("max_connections".into(), ("100".into(), "50".into()));
    b.looked(server);
    let published = written(&b);
    assert!(published.len() == 1 && published[0].contains("pending_restart"), "{published:#?}");
}
