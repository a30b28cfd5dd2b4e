//! Which path answers which code in which state.

use serde_json::json;

use super::fixture::{Member, State, replica_row};

async fn codes(state: State, table: &[(&str, u16)]) {
    let name = format!("{} {} locked={} seen={}", state.state, state.role, state.locked, state.seen);
    let member = Member::serve(state).await;
    for (path, code) in table {
        let reply = member.get(path).await;
        assert_eq!(reply.status, *code, "GET {path}, {name}: {}", reply.body);
        let is_bare = path.starts_with("/liveness") || path.starts_with("/readiness");
        assert_eq!(reply.body.starts_with("{\"state\": "), !is_bare, "GET {path}: {}", reply.body);
    }
}

/// The matrix of rest-api 4: leader, synchronous replica, asynchronous replica.
#[tokio::test(flavor = "multi_thread")]
async fn in_priority_synchronous_mode() {
    const SYNC: &str = r#"{"leader":"node-0","quorum":0,"sync_standby":"node-1"}"#;
    const NOBODY: &str = r#"{"leader":"node-0","quorum":0,"sync_standby":"node-2"}"#;
    let paths = [
        ("/primary", 200, 503, 503),
        ("/master", 200, 503, 503),
        ("/read-write", 200, 503, 503),
        ("/", 200, 503, 503),
        ("/replica", 503, 200, 200),
        ("/leader", 200, 503, 503),
        ("/standby-leader", 503, 503, 503),
        ("/read-only", 200, 200, 200),
        ("/sync", 503, 200, 503),
        ("/synchronous", 503, 200, 503),
        ("/async", 503, 503, 200),
        ("/asynchronous", 503, 503, 200),
        ("/quorum", 503, 503, 503),
        ("/read-only-sync", 200, 200, 503),
        ("/read-only-quorum", 200, 503, 503),
        ("/health", 200, 200, 200),
        ("/readiness", 200, 200, 200),
        ("/liveness", 200, 200, 200),
        ("/anything", 503, 503, 503),
        ("/replication-of-something", 503, 200, 200),
    ];
    let mode = r#"{"synchronous_mode":true}"#;
    let states = [
        State::primary().config(mode).key("sync", SYNC),
        State::replica().config(mode).key("sync", SYNC),
        State::replica().config(mode).key("sync", NOBODY),
    ];
    for (i, state) in states.into_iter().enumerate() {
        let column = |(path, a, b, c): &(&'static str, u16, u16, u16)| (*path, [*a, *b, *c][i]);
        codes(state, &paths.iter().map(column).collect::<Vec<_>>()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_quorum_mode() {
    let quorum = r#"{"leader":"node-0","quorum":1,"sync_standby":"node-1,node-2"}"#;
    let state = State::replica().config(r#"{"synchronous_mode":"quorum"}"#).key("sync", quorum);
    codes(state, &[("/quorum", 200), ("/read-only-quorum", 200), ("/sync", 503), ("/async", 503)]).await;
}

/// The server may say primary for as long as it likes: without a valid lock nobody is sent here.
#[tokio::test(flavor = "multi_thread")]
async fn a_primary_whose_lock_has_run_out() {
    let state = State { locked: false, ..State::primary() };
    codes(state, &[("/primary", 503), ("/leader", 503), ("/read-only", 503), ("/replica", 503), ("/health", 200)])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_member() {
    codes(State::stopped(), &[("/health", 503), ("/replica", 503), ("/read-only", 503), ("/readiness", 503)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_leader() {
    let state = State { name: "node-0", role: "standby_leader", locked: true, ..State::replica() };
    let state = state.config(r#"{"standby_cluster":{"host":"10.0.0.9"}}"#);
    let table = [
        ("/standby-leader", 200),
        ("/standby_leader", 200),
        ("/leader", 200),
        ("/primary", 503),
        ("/replica", 503),
        ("/read-only", 200),
    ];
    codes(state, &table).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_pause_without_a_store_the_role_counts() {
    let paused = |state: State| State { seen: false, locked: false, ..state }.config(r#"{"pause":true}"#);
    codes(paused(State::primary()), &[("/primary", 200), ("/leader", 200), ("/sync", 503), ("/liveness", 200)]).await;
    codes(paused(State::replica()), &[("/primary", 503), ("/leader", 503), ("/replica", 200)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lag_and_tags_narrow_replicas_down() {
    let mut row = replica_row();
    row.replayed.0 -= 10_000;
    let state = State { row: Some(row), ..State::replica() };
    let state = state.tags(json!({"rack": "r2", "fast": true, "weight": 3, "clonefrom": false}));
    let table = [
        ("/replica", 200),
        ("/replica?lag=5000", 503),
        ("/replica?lag=10000", 200),
        ("/replica?lag=10kB", 200),
        ("/replica?lag=9kB", 503),
        ("/replica?lag=nonsense", 200),
        ("/read-only?lag=1", 503),
        ("/health?lag=1", 200),
        ("/replica?replication_state=streaming", 200),
        ("/replica?replication_state=in+archive+recovery", 503),
        ("/health?replication_state=nonsense", 200),
        ("/replica?tag_rack=r2", 200),
        ("/replica?tag_rack=r3", 503),
        ("/replica?tag_fast=true", 200),
        ("/replica?tag_fast=True", 503),
        ("/replica?tag_weight=3", 200),
        ("/replica?tag_clonefrom=false", 503),
        ("/replica?tag_rack=r2&tag_fast=false", 503),
        ("/readiness?lag=1MB", 200),
        ("/readiness?lag=1", 503),
        ("/readiness?lag=1&mode=write", 200),
    ];
    codes(state, &table).await;
    codes(State::replica().tags(json!({"noloadbalance": true})), &[("/replica", 503), ("/health", 200)]).await;
    let leader = State::primary().tags(json!({"rack": "r2"}));
    codes(leader, &[("/primary?tag_rack=r9", 200), ("/read-only?tag_rack=r9", 503)]).await;
}

/// What the leader has published may be younger than the last look at our own server.
/// A balancer asks every member so, the leader too, whose server may hang.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_is_not_asked_how_far_it_lags() {
    let mut live = State::primary().row.expect("it runs");
    let shown = live.flushed.0;
    live.flushed.0 += 1;
    let member = Member::serve(State { live: Some(live), ..State::primary() }).await;
    let reply = member.get("/replica?lag=1MB").await;
    assert_eq!((reply.status, reply.json()["xlog"]["location"].as_u64()), (503, Some(shown)), "by the snapshot alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_asked_itself_before_it_is_refused_for_its_lag() {
    let mut old = replica_row();
    old.replayed.0 -= 10_000;
    let lagging = State { row: Some(old.clone()), ..State::replica() };
    codes(State { live: Some(replica_row()), ..lagging.clone() }, &[("/replica?lag=0", 200)]).await;
    codes(State { live: Some(old), ..lagging }, &[("/replica?lag=9kB", 503), ("/replica?lag=10kB", 200)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_needs_streaming_and_a_known_leader_position() {
    let mut archive = replica_row();
    archive.receiver = None;
    codes(State { row: Some(archive), ..State::replica() }, &[("/readiness", 503)]).await;
    let mut blind = replica_row();
    if let Some(receiver) = &mut blind.receiver {
        receiver.latest_end.0 = 0;
    }
    codes(State { row: Some(blind), seen: false, ..State::replica() }, &[("/readiness", 503)]).await;
    codes(State { seen: false, ..State::replica() }, &[("/readiness", 200)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn liveness_ends_with_the_decision_loop() {
    let member = Member::serve(State::replica()).await;
    let mut snapshot = (**member.published.load()).clone();
    let ttl = snapshot.settings.ttl;
    for (overdue, role, code) in
        [(ttl + ttl / 2, "replica", 200), (ttl * 2, "replica", 503), (ttl + ttl / 2, "primary", 503)]
    {
        snapshot.next_turn = Some(jogi_net::boot_now() - overdue);
        snapshot.role = role;
        member.published.store(std::sync::Arc::new(snapshot.clone()));
        assert_eq!(member.get("/liveness").await.status, code, "{role} overdue by {overdue:?}");
    }
}
