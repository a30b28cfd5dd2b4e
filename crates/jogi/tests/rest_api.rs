//! "My load balancer and my monitoring ask the members": codes, documents and texts of the REST API.

mod common;

use std::time::Duration;

use jogi_testkit::herd::{CHANGE_WITHIN, Herd, Member};
use jogi_testkit::wait;
use serde_json::{Value, json};

/// Fields of the status document that always stand, for a primary and a replica of an ordinary cluster, in order.
const PRIMARY_FIELDS: [&str; 10] = [
    "state",
    "postmaster_start_time",
    "role",
    "server_version",
    "xlog",
    "timeline",
    "replication",
    "dcs_last_seen",
    "database_system_identifier",
    "patroni",
];
const REPLICA_FIELDS: [&str; 10] = [
    "state",
    "postmaster_start_time",
    "role",
    "server_version",
    "xlog",
    "timeline",
    "replication_state",
    "dcs_last_seen",
    "database_system_identifier",
    "patroni",
];

#[test]
fn members_answer_as_load_balancers_and_monitors_expect() {
    let Some(spec) = common::spec() else { return };
    let spec = spec.member_config("n2", json!({"tags": {"rack": "r2", "fast": true}}));
    let herd = spec.members(2).start();
    let (leader, replica) = (herd.member("n1"), herd.member("n2"));
    health_codes(leader, replica);
    methods_and_unknown_paths(leader);
    status_documents(&herd, leader, replica);
    cluster_document(&herd, leader);
    metrics(leader, replica);
    configuration(&herd, leader);
}

fn health_codes(leader: &Member, replica: &Member) {
    for (path, on_leader, on_replica) in [
        ("/", 200, 503),
        ("/primary", 200, 503),
        ("/master", 200, 503),
        ("/read-write", 200, 503),
        ("/leader", 200, 503),
        ("/standby-leader", 503, 503),
        ("/standby_leader", 503, 503),
        ("/replica", 503, 200),
        ("/replica?lag=1MB", 503, 200),
        ("/replica?lag=100000000", 503, 200),
        ("/replica?tag_rack=r2", 503, 200),
        ("/replica?tag_rack=r9", 503, 503),
        ("/replica?tag_fast=true", 503, 200),
        ("/replica?tag_none=x", 503, 503),
        ("/read-only", 200, 200),
        ("/health", 200, 200),
        ("/sync", 503, 503),
        ("/synchronous", 503, 503),
        ("/async", 503, 200),
        ("/asynchronous", 503, 200),
        ("/quorum", 503, 503),
        ("/read-only-sync", 200, 503),
        ("/read-only-quorum", 200, 503),
        ("/liveness", 200, 200),
        ("/readiness", 200, 200),
        ("/patroni", 200, 200),
        ("/cluster", 200, 200),
        ("/config", 200, 200),
        ("/history", 200, 200),
        ("/metrics", 200, 200),
        ("/failsafe", 502, 502),
        ("/no-such-path", 503, 503),
    ] {
        let found = (leader.get(path).status, replica.get(path).status);
        assert_eq!(found, (on_leader, on_replica), "GET {path} on leader and replica");
    }
}

fn methods_and_unknown_paths(leader: &Member) {
    let ask =
        |method: &str, path: &str, body: Option<&Value>| leader.request(method, path, body, Duration::from_secs(8));
    for method in ["HEAD", "OPTIONS"] {
        for (path, status) in [("/", 200), ("/primary", 200), ("/replica", 503), ("/liveness", 503), ("/patroni", 503)]
        {
            let reply = ask(method, path, None);
            assert_eq!((reply.status, reply.body.as_str()), (status, ""), "{method} {path}");
        }
    }
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        assert_eq!(ask(method, "/no-such-path", Some(&json!({"a": 1}))).status, 501, "{method}");
    }
    assert_eq!(ask("POST", "/switchover", None).status, 411, "a body is demanded");
    assert_eq!(ask("POST", "/switchover", Some(&json!({}))).status, 400, "and something in it");
    assert_eq!(ask("POST", "/switchover", Some(&json!([1]))).status, 400, "and it is an object");
    assert_eq!(ask("DELETE", "/restart", None).body, "no restarts are scheduled");
}

fn status_documents(herd: &Herd, leader: &Member, replica: &Member) {
    for (member, wanted) in [(leader, PRIMARY_FIELDS), (replica, REPLICA_FIELDS)] {
        for path in ["/patroni", "/health"] {
            // A look that is a second old is young enough: what has just begun may not be in it yet.
            let reply = wait::value("every field", CHANGE_WITHIN, || {
                let reply = member.get(path);
                let document = reply.json();
                wanted.iter().all(|f| document.get(f).is_some()).then_some(reply)
            });
            assert_eq!(reply.header("content-type").map(|t| t.split(';').next()), Some(Some("application/json")));
            let document = reply.json();
            assert!(reply.body.starts_with("{\"state\": \"running\", "), "spaces after separators: {}", reply.body);
            let fields: Vec<&str> = keys(&document).into_iter().filter(|f| wanted.contains(f)).collect();
            assert_eq!(fields, wanted, "{path} of {}: {}", member.name, reply.body);
            assert_eq!(document["patroni"], json!({"version": "4.1.5", "scope": "herd", "name": member.name}));
            assert_eq!(document["timeline"], 1);
            assert_eq!(document["database_system_identifier"], json!(herd.key("initialize")));
            assert!(document["server_version"].as_u64().is_some_and(|v| v > 100_000));
            let started = document["postmaster_start_time"].as_str().unwrap_or_default();
            assert!(started.len() == 32 && started.ends_with("+00:00") && &started[10..11] == " ", "{started}");
        }
    }
    let document = leader.status();
    assert_eq!(keys(&document["xlog"]), ["location"]);
    let walsender = &document["replication"][0];
    let wanted = ["usename", "application_name", "client_addr", "state", "sync_state", "sync_priority"];
    assert_eq!(keys(walsender), wanted);
    assert_eq!((&walsender["application_name"], &walsender["client_addr"]), (&json!("n2"), &json!("10.77.0.12")));
    let document = replica.status();
    assert_eq!(keys(&document["xlog"]), ["received_location", "replayed_location", "replayed_timestamp", "paused"]);
    assert_eq!((&document["role"], &document["replication_state"]), (&json!("replica"), &json!("streaming")));
    assert_eq!(document["tags"], json!({"rack": "r2", "fast": true}));
}

fn cluster_document(herd: &Herd, leader: &Member) {
    let all_there = || {
        let document = leader.get("/cluster").json();
        (document["members"][1]["lag"] == 0 && document["members"][0]["timeline"] == 1).then_some(document)
    };
    let document = wait::value("the position of the replica", CHANGE_WITHIN, all_there);
    assert_eq!(keys(&document), ["members", "scope"]);
    assert_eq!(
        document["members"][0],
        json!({"name": "n1", "role": "leader", "state": "running", "api_url": "http://10.77.0.11:8008/patroni",
            "host": "10.77.0.11", "port": 5432, "timeline": 1}),
    );
    let replica = &document["members"][1];
    let wanted = [
        "name",
        "role",
        "state",
        "api_url",
        "host",
        "port",
        "timeline",
        "tags",
        "receive_lag",
        "receive_lsn",
        "replay_lag",
        "replay_lsn",
        "lag",
        "lsn",
    ];
    assert_eq!(keys(replica), wanted);
    assert_eq!((&replica["role"], &replica["state"]), (&json!("replica"), &json!("streaming")));
    assert!(replica["lsn"].as_str().is_some_and(|l| l.contains('/')), "{replica}");
    assert_eq!(herd.member("n2").get("/cluster").json()["scope"], "herd", "any member answers for the cluster");
}

fn metrics(leader: &Member, replica: &Member) {
    let (on_leader, on_replica) = (leader.get("/metrics"), replica.get("/metrics"));
    assert!(on_leader.header("content-type").is_some_and(|t| t.starts_with("text/plain")));
    for (metric, leads, follows) in [
        ("patroni_version", "040105", "040105"),
        ("patroni_postgres_running", "1", "1"),
        ("patroni_primary", "1", "0"),
        ("patroni_replica", "0", "1"),
        ("patroni_standby_leader", "0", "0"),
        ("patroni_sync_standby", "0", "0"),
        ("patroni_quorum_standby", "0", "0"),
        ("patroni_xlog_paused", "0", "0"),
        ("patroni_postgres_streaming", "0", "1"),
        ("patroni_postgres_in_archive_recovery", "0", "0"),
        ("patroni_cluster_unlocked", "0", "0"),
        ("patroni_failsafe_mode_is_active", "0", "0"),
        ("patroni_postgres_timeline", "1", "1"),
        ("patroni_pending_restart", "0", "0"),
        ("patroni_is_paused", "0", "0"),
        ("patroni_postgres_state", "5", "5"),
    ] {
        let value = |text: &str, name: &str| {
            let prefix = format!("{metric}{{scope=\"herd\",name=\"{name}\"}} ");
            text.lines().find_map(|l| l.strip_prefix(&prefix)).map(str::to_owned)
        };
        let same = |found: Option<String>, wanted: &str| {
            let number = |s: &str| s.parse::<f64>().ok();
            found.as_deref() == Some(wanted) || found.as_deref().and_then(number) == number(wanted)
        };
        assert!(same(value(&on_leader.body, "n1"), leads), "{metric} of the leader in {}", on_leader.body);
        assert!(same(value(&on_replica.body, "n2"), follows), "{metric} of the replica in {}", on_replica.body);
        for comment in ["HELP", "TYPE"] {
            assert!(on_leader.body.contains(&format!("# {comment} {metric} ")), "{comment} of {metric}");
        }
    }
    for counter in [
        "patroni_xlog_location",
        "patroni_xlog_received_location",
        "patroni_xlog_replayed_location",
        "patroni_xlog_replayed_timestamp",
        "patroni_postmaster_start_time",
        "patroni_postgres_server_version",
        "patroni_dcs_last_seen",
    ] {
        assert!(on_leader.body.contains(&format!("\n{counter}{{")), "{counter} in {}", on_leader.body);
    }
}

fn configuration(herd: &Herd, leader: &Member) {
    let before = leader.get("/config").json();
    let stored = || serde_json::from_str::<Value>(&herd.key("config").unwrap_or_default()).unwrap_or(Value::Null);
    assert_eq!(before, stored());
    let revision = herd.store().revision();
    let reply = leader.patch("/config", &json!({"maximum_lag_on_failover": "1048576"}));
    assert_eq!((reply.status, reply.json()), (200, before.clone()), "the same number as text is no change");
    assert!(herd.values_after(revision, "config").is_empty());

    let patch = json!({"postgresql": {"parameters": {"work_mem": "7MB"}}, "maximum_lag_on_failover": null});
    let reply = leader.patch("/config", &patch);
    assert_eq!(reply.status, 200);
    assert_eq!((reply.json(), keys(&reply.json()).contains(&"maximum_lag_on_failover")), (stored(), false));
    for member in herd.members() {
        wait::until("the parameter everywhere", CHANGE_WITHIN, || member.sql_text("SHOW work_mem") == "7MB");
    }
    let reply = leader.request("PUT", "/config", Some(&before), Duration::from_secs(8));
    assert_eq!((reply.status, reply.json(), stored()), (200, before.clone(), before));
    wait::until("as it was", CHANGE_WITHIN, || leader.sql_text("SHOW work_mem") == "4MB");
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().map(|o| o.keys().map(String::as_str).collect()).unwrap_or_default()
}
