//! Golden documents: byte for byte what Patroni's clients parse, with ours under `jogi`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use serde_json::{Value, json};

use super::super::shown::Shown;
use super::fixture::{Member, State, replica_row};

/// The text without the field `jogi`, and the field.
fn split(body: &str) -> (String, Value) {
    let document: Value = serde_json::from_str(body).expect("JSON");
    let (patroni, _) = body.split_once(", \"jogi\": ").expect("our field is the last");
    (format!("{patroni}}}"), document["jogi"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_a_replica() {
    let member = Member::serve(State { live: Some(replica_row()), ..State::replica() }).await;
    let reply = member.get("/patroni").await;
    let (patroni, own) = split(&reply.body);
    assert_eq!(
        patroni,
        r#"{"state": "running", "postmaster_start_time": "2026-11-22 22:03:10.831115+00:00", "role": "replica", "server_version": 150010, "xlog": {"received_location": 67108992, "replayed_location": 67108992, "replayed_timestamp": null, "paused": false}, "timeline": 2, "replication_state": "streaming", "dcs_last_seen": 1795384990, "database_system_identifier": "7612345678901234567", "patroni": {"version": "4.1.5", "scope": "demo", "name": "node-1"}}"#
    );
    assert_eq!(
        own["decision"],
        json!({"state": "no action", "because": "all is well", "waiting_for": "the next turn"})
    );
    assert_eq!(own["guard"], json!({"state": "guarded", "armed": false, "last": null}));
    assert_eq!(own["lock"], json!({"held": false, "valid_for_ms": null}));
    assert_eq!((own["protocol"].as_u64(), own.get("age_ms")), (Some(1), None), "a live answer has no age");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_a_primary() {
    let state = State::primary().config(r#"{"pause":true}"#).tags(json!({"rack": "é", "clonefrom": false}));
    let member = Member::serve(state).await;
    let reply = member.get("/primary").await;
    let (patroni, own) = split(&reply.body);
    assert_eq!(
        patroni,
        r#"{"state": "running", "postmaster_start_time": "2026-11-22 22:03:10.831115+00:00", "role": "primary", "server_version": 150010, "xlog": {"location": 67108992}, "timeline": 2, "replication": [{"usename": "replicator", "application_name": "node-1", "client_addr": "10.0.0.5", "state": "streaming", "sync_state": "sync", "sync_priority": 1}], "pause": true, "dcs_last_seen": 1795384990, "tags": {"rack": "\u00e9"}, "database_system_identifier": "7612345678901234567", "patroni": {"version": "4.1.5", "scope": "demo", "name": "node-0"}}"#
    );
    assert_eq!(own["lock"]["held"], true);
    assert!(own["lock"]["valid_for_ms"].as_u64().is_some_and(|ms| ms > 1000));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_a_member_whose_server_does_not_answer() {
    let state = State { row: None, seen: false, ..State::replica() };
    let reply = Member::serve(state).await.get("/patroni").await;
    let (patroni, own) = split(&reply.body);
    assert_eq!(reply.status, 200);
    assert_eq!(
        patroni,
        r#"{"state": "unknown", "role": "replica", "cluster_unlocked": true, "dcs_last_seen": 1795384990, "database_system_identifier": "7612345678901234567", "patroni": {"version": "4.1.5", "scope": "demo", "name": "node-1"}}"#
    );
    assert!(own["age_ms"].as_u64().is_some(), "the snapshot says how old it is: {own}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_answer_is_newer_than_the_snapshot() {
    let mut live = replica_row();
    live.replayed.0 += 1;
    let member = Member::serve(State { live: Some(live), ..State::replica() }).await;
    let replayed = |reply: jogi_testkit::http::Reply| reply.json()["xlog"]["replayed_location"].clone();
    assert_eq!(replayed(member.get("/patroni").await), 67_108_993);
    assert_eq!(replayed(member.get("/health").await), 67_108_992, "health checks do not query");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pending_and_scheduled_is_shown() {
    let member = Member::serve(State::replica()).await;
    let mut snapshot = (**member.published.load()).clone();
    let published = json!({
        "pending_restart": true,
        "pending_restart_reason": {"max_connections": {"old_value": "100", "new_value": "120"}},
        "scheduled_restart": {"schedule": "2026-11-22T23:00:00+00:00", "role": "replica",
            "postmaster_start_time": "2026-11-22 22:03:10.831115+00:00"},
    });
    let mut fields = (**snapshot.member.0).clone();
    fields.extend(published.as_object().cloned().expect("an object"));
    snapshot.member = fields.into();
    snapshot.watchdog_failed = true;
    snapshot.failsafe_active = true;
    member.published.store(std::sync::Arc::new(snapshot));
    let document = member.get("/patroni").await.json();
    assert_eq!(document["pending_restart"], true);
    assert_eq!(document["pending_restart_reason"]["max_connections"]["new_value"], "120");
    assert_eq!(document["scheduled_restart"], json!({"schedule": "2026-11-22T23:00:00+00:00", "role": "replica"}));
    assert_eq!((&document["watchdog_failed"], &document["failsafe_mode_is_active"]), (&json!(true), &json!(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn information_comes_from_the_view_or_from_the_store() {
    let history = r#"[[1,67407200,"no recovery target specified","2026-11-22T22:05:26.642398+00:00","node-1"]]"#;
    let state =
        State::replica().key("history", history).key("failsafe", r#"{"node-0":"http://10.0.0.4:8008/patroni"}"#);
    for seen in [true, false] {
        let member = Member::serve(State { seen, ..state.clone() }).await;
        let reply = member.get("/history").await;
        assert_eq!(
            reply.body,
            r#"[[1, 67407200, "no recovery target specified", "2026-11-22T22:05:26.642398+00:00", "node-1"]]"#
        );
        assert_eq!(member.get("/config").await.body, r#"{"ttl": 30}"#);
        assert_eq!(member.get("/failsafe").await.status, if seen { 200 } else { 502 });
    }
    let bare = Member::serve(State { keys: Vec::new(), ..State::replica() }).await;
    assert_eq!(bare.get("/history").await.body, "[]");
    assert_eq!((bare.get("/config").await.status, bare.get("/failsafe").await.status), (502, 502));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_does_not_answer_is_said() {
    let member = Member::serve(State { seen: false, ..State::replica() }).await;
    *member.store.cluster.lock().expect("not poisoned") = None;
    for path in ["/cluster", "/history", "/config"] {
        let reply = member.get(path).await;
        assert_eq!(reply.status, 503, "{path}");
        assert!(reply.body.contains("read the cluster: no answer from memory"), "{path}: {}", reply.body);
    }
    assert_eq!(member.ask("PATCH", "/config", Some(&json!({"ttl": 20}))).await.status, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_have_patronis_names_texts_and_order() {
    let member = Member::serve(State { live: Some(replica_row()), ..State::replica() }).await;
    let reply = member.get("/metrics").await;
    assert_eq!(reply.header("content-type"), Some("text/plain"));
    let l = r#"{scope="demo",name="node-1"}"#;
    let expected = format!(
        "# HELP patroni_version Patroni semver without periods.\n# TYPE patroni_version gauge\npatroni_version{l} 040105\n\
         # HELP patroni_postgres_running Value is 1 if Postgres is running, 0 otherwise.\n# TYPE patroni_postgres_running gauge\npatroni_postgres_running{l} 1\n\
         # HELP patroni_postmaster_start_time Epoch seconds since Postgres started.\n# TYPE patroni_postmaster_start_time gauge\npatroni_postmaster_start_time{l} 1795384990.831115\n\
         # HELP patroni_primary Value is 1 if this node is the leader, 0 otherwise.\n# TYPE patroni_primary gauge\npatroni_primary{l} 0\n\
         # HELP patroni_xlog_location Current location of the Postgres transaction log, 0 if this node is not the leader.\n# TYPE patroni_xlog_location counter\npatroni_xlog_location{l} 0\n\
         # HELP patroni_standby_leader Value is 1 if this node is the standby_leader, 0 otherwise.\n# TYPE patroni_standby_leader gauge\npatroni_standby_leader{l} 0\n\
         # HELP patroni_replica Value is 1 if this node is a replica, 0 otherwise.\n# TYPE patroni_replica gauge\npatroni_replica{l} 1\n\
         # HELP patroni_sync_standby Value is 1 if this node is a sync standby, 0 otherwise.\n# TYPE patroni_sync_standby gauge\npatroni_sync_standby{l} 0\n\
         # HELP patroni_quorum_standby Value is 1 if this node is a quorum standby, 0 otherwise.\n# TYPE patroni_quorum_standby gauge\npatroni_quorum_standby{l} 0\n\
         # HELP patroni_xlog_received_location Current location of the received Postgres transaction log, 0 if this node is not a replica.\n# TYPE patroni_xlog_received_location counter\npatroni_xlog_received_location{l} 67108992\n\
         # HELP patroni_xlog_replayed_location Current location of the replayed Postgres transaction log, 0 if this node is not a replica.\n# TYPE patroni_xlog_replayed_location counter\npatroni_xlog_replayed_location{l} 67108992\n\
         # HELP patroni_xlog_replayed_timestamp Current timestamp of the replayed Postgres transaction log, 0 if null.\n# TYPE patroni_xlog_replayed_timestamp gauge\npatroni_xlog_replayed_timestamp{l} 0\n\
         # HELP patroni_xlog_paused Value is 1 if the Postgres xlog is paused, 0 otherwise.\n# TYPE patroni_xlog_paused gauge\npatroni_xlog_paused{l} 0\n\
         # HELP patroni_postgres_streaming Value is 1 if Postgres is streaming, 0 otherwise.\n# TYPE patroni_postgres_streaming gauge\npatroni_postgres_streaming{l} 1\n\
         # HELP patroni_postgres_in_archive_recovery Value is 1 if Postgres is replicating from archive, 0 otherwise.\n# TYPE patroni_postgres_in_archive_recovery gauge\npatroni_postgres_in_archive_recovery{l} 0\n\
         # HELP patroni_postgres_server_version Version of Postgres (if running), 0 otherwise.\n# TYPE patroni_postgres_server_version gauge\npatroni_postgres_server_version{l} 150010\n\
         # HELP patroni_cluster_unlocked Value is 1 if the cluster is unlocked, 0 if locked.\n# TYPE patroni_cluster_unlocked gauge\npatroni_cluster_unlocked{l} 0\n\
         # HELP patroni_failsafe_mode_is_active Value is 1 if failsafe mode is active, 0 if inactive.\n# TYPE patroni_failsafe_mode_is_active gauge\npatroni_failsafe_mode_is_active{l} 0\n\
         # HELP patroni_postgres_timeline Postgres timeline of this node (if running), 0 otherwise.\n# TYPE patroni_postgres_timeline gauge\npatroni_postgres_timeline{l} 2\n\
         # HELP patroni_dcs_last_seen Epoch timestamp when DCS was last contacted successfully by Patroni.\n# TYPE patroni_dcs_last_seen gauge\npatroni_dcs_last_seen{l} 1795384990\n\
         # HELP patroni_pending_restart Value is 1 if the node needs a restart, 0 otherwise.\n# TYPE patroni_pending_restart gauge\npatroni_pending_restart{l} 0\n\
         # HELP patroni_is_paused Value is 1 if auto failover is disabled, 0 otherwise.\n# TYPE patroni_is_paused gauge\npatroni_is_paused{l} 0\n\
         # HELP patroni_postgres_state Numeric representation of Postgres state.\n# Values: 0=initdb, 1=initdb_failed, 2=custom_bootstrap, 3=custom_bootstrap_failed, 4=creating_replica, 5=running, 6=starting, 7=bootstrap_starting, 8=start_failed, 9=restarting, 10=restart_failed, 11=stopping, 12=stopped, 13=stop_failed, 14=crashed\n# TYPE patroni_postgres_state gauge\npatroni_postgres_state{l} 5\n"
    );
    assert_eq!(reply.body, expected);
    let silent = Member::serve(State { row: None, ..State::replica() }).await.get("/metrics").await;
    assert!(silent.body.contains(&format!("patroni_postgres_state{l} -1\n")));
    assert!(!silent.body.contains("patroni_postgres_streaming"));
}

#[test]
fn a_document_is_written_down_once_for_many_and_is_never_old() {
    let now = jogi_net::now();
    let at = |millis| now.boot + Duration::from_millis(millis);
    let (snapshot, other) = (Arc::new(State::primary().snapshot(now)), Arc::new(State::replica().snapshot(now)));
    let (shown, ends) = (Shown::default(), at(25));
    let first = shown.document(&snapshot, ends, at(0));
    assert_eq!(shown.document(&snapshot, ends, at(9)).as_ptr(), first.as_ptr(), "shown again");
    let valid_for = |bytes: Bytes| {
        let document: Value = serde_json::from_slice(&bytes).expect("JSON");
        document["jogi"]["lock"]["valid_for_ms"].clone()
    };
    assert_eq!(valid_for(first), 25);
    assert_eq!(valid_for(shown.document(&snapshot, ends, at(20))), 5, "time has gone by");
    assert_eq!(valid_for(shown.document(&snapshot, ends, at(25))), Value::Null, "the lock has ended");
    assert_eq!(valid_for(shown.document(&snapshot, at(40), at(26))), 14, "it was renewed");
    let later = shown.document(&other, at(40), at(26));
    let later: Value = serde_json::from_slice(&later).expect("JSON");
    assert_eq!(later["role"], "replica", "another snapshot");
}
