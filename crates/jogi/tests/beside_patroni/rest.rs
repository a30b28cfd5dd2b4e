//! The same requests to a real Patroni and to ours, in every role and state that a cluster of two can be in: compared
//! status by status, header by header, field by field.

use jogi_testkit::herd::{Herd, Member};
use serde_json::{Value, json};

use crate::compare::{Differences, Wanted, check};
use crate::pair::Pair;

/// Asked in every state.
const LOOKS: [(&str, &str); 57] = [
    ("GET", "/"),
    ("GET", "/primary"),
    ("GET", "/master"),
    ("GET", "/read-write"),
    ("GET", "/leader"),
    ("GET", "/standby-leader"),
    ("GET", "/standby_leader"),
    ("GET", "/replica"),
    ("GET", "/replica?lag=0"),
    ("GET", "/replica?lag=10MB"),
    ("GET", "/replica?lag=nonsense"),
    ("GET", "/replica?tag_rack=r2"),
    ("GET", "/replica?tag_rack=r9"),
    ("GET", "/replica?tag_fast=true"),
    ("GET", "/replica?tag_fast=True"),
    ("GET", "/replica?tag_none=x"),
    ("GET", "/replica/whatever"),
    ("GET", "/xreplicax"),
    ("GET", "/read-only"),
    ("GET", "/read-only-sync"),
    ("GET", "/read-only-synchronous"),
    ("GET", "/read-only-quorum"),
    ("GET", "/health"),
    ("GET", "/health?tag_fast=true"),
    ("GET", "/sync"),
    ("GET", "/synchronous"),
    ("GET", "/quorum"),
    ("GET", "/async"),
    ("GET", "/asynchronous"),
    ("GET", "/asynchronous/"),
    ("GET", "/liveness"),
    ("GET", "/readiness"),
    ("GET", "/readiness?lag=0"),
    ("GET", "/readiness?mode=write&lag=100MB"),
    ("GET", "/patroni"),
    ("GET", "/patroni/more?x=y"),
    ("GET", "/cluster"),
    ("GET", "/config"),
    ("GET", "/history"),
    ("GET", "/failsafe"),
    ("GET", "/metrics"),
    ("GET", "/nonsense"),
    ("GET", "/restart"),
    ("HEAD", "/"),
    ("HEAD", "/replica"),
    ("HEAD", "/health"),
    ("HEAD", "/liveness"),
    ("HEAD", "/patroni"),
    ("HEAD", "/config"),
    ("OPTIONS", "/"),
    ("OPTIONS", "/replica"),
    ("OPTIONS", "/leader"),
    ("OPTIONS", "/metrics"),
    ("POST", "/nonsense"),
    ("PUT", "/patroni"),
    ("PATCH", "/"),
    ("DELETE", "/config"),
];

/// Requests that change nothing because they are refused, with their body. The last of them are what a client may do
/// wrong.
const REFUSED: [(&str, &str, Option<&str>); 52] = [
    ("POST", "/switchover", None),
    ("POST", "/switchover", Some("")),
    ("POST", "/switchover", Some("{}")),
    ("POST", "/switchover", Some("[1]")),
    ("POST", "/switchover", Some("{")),
    ("POST", "/switchover", Some(r#"{"candidate": "n2"}"#)),
    ("POST", "/switchover", Some(r#"{"leader": "n1", "candidate": "n1"}"#)),
    ("POST", "/switchover", Some(r#"{"leader": "n2", "candidate": "n1"}"#)),
    ("POST", "/switchover", Some(r#"{"leader": "n9"}"#)),
    ("POST", "/switchover", Some(r#"{"leader": "n1", "candidate": "n9"}"#)),
    ("POST", "/switchover", Some(r#"{"leader": "n1", "member": "n9"}"#)),
    ("POST", "/switchover", Some(r#"{"leader": "n1", "scheduled_at": "2030-01-01T10:00"}"#)),
    ("POST", "/switchover", Some(r#"{"leader": "n1", "scheduled_at": "2020-01-01T10:00+00"}"#)),
    ("POST", "/switchover", Some(r#"{"leader": "n1", "scheduled_at": "soon"}"#)),
    ("POST", "/failover", Some(r#"{"leader": ""}"#)),
    ("POST", "/failover", Some(r#"{"candidate": "n9"}"#)),
    ("POST", "/failover", Some(r#"{"candidate": "n1"}"#)),
    ("POST", "/failover", Some(r#"{"candidate": "n2", "scheduled_at": "2030-01-01T10:00+00"}"#)),
    ("POST", "/failover", Some(r#"{"leader": "n2", "candidate": "n1"}"#)),
    ("DELETE", "/switchover", None),
    ("DELETE", "/restart", None),
    ("POST", "/restart", Some(r#"{"role": "king"}"#)),
    ("POST", "/restart", Some(r#"{"postgres_version": "x"}"#)),
    ("POST", "/restart", Some(r#"{"postgres_version": "9.5.1.2"}"#)),
    ("POST", "/restart", Some(r#"{"timeout": "-1"}"#)),
    ("POST", "/restart", Some(r#"{"timeout": "x"}"#)),
    ("POST", "/restart", Some(r#"{"nonsense": 1}"#)),
    ("POST", "/restart", Some(r#"{"schedule": "2030-01-01T10:00"}"#)),
    ("POST", "/restart", Some(r#"{"schedule": "2020-01-01T10:00+00"}"#)),
    ("POST", "/restart", Some(r#"{"schedule": "soon"}"#)),
    ("POST", "/restart", Some(r#"{"restart_pending": true}"#)),
    ("POST", "/restart", Some(r#"{"role": "standby_leader"}"#)),
    ("POST", "/restart", Some(r#"{"postgres_version": "9.5.2"}"#)),
    ("POST", "/restart", Some("{")),
    ("POST", "/restart", Some("[]")),
    ("POST", "/reload", None),
    ("POST", "/sigterm", None),
    ("POST", "/citus", None),
    ("POST", "/citus", Some(r#"{"type": "before_demote", "group": 1, "leader": "x", "timeout": 1, "cooldown": 1}"#)),
    ("POST", "/mpp", Some(r#"{"type": "before_demote", "group": 1, "leader": "x", "timeout": 1, "cooldown": 1}"#)),
    ("POST", "/failsafe", None),
    (
        "POST",
        "/failsafe",
        Some(r#"{"name": "n1", "conn_url": "postgres://10.77.0.11/", "api_url": "http://10.77.0.11/"}"#),
    ),
    ("PATCH", "/config", None),
    ("PATCH", "/config", Some("")),
    ("PATCH", "/config", Some("{}")),
    ("PATCH", "/config", Some("null")),
    ("PATCH", "/config", Some(r#"{"ttl": "20"}"#)),
    ("PATCH", "/config", Some(r#"{"no_such_key": null}"#)),
    ("PUT", "/config", None),
    ("PUT", "/config", Some("{}")),
    ("PUT", "/config", Some("1")),
    ("DELETE", "/nonsense", None),
];

const OURS: Wanted = Wanted { line: "fields of body: Patroni: state,", why: "ours stand below `jogi`, at the end" };

const WANTED: [Wanted; 5] = [
    OURS,
    Wanted {
        line: r#"body.replication[0].sync_state: Patroni: "sync", ours: "quorum""#,
        why: "for a single candidate Patroni sets the bare name, we set ANY 1 (name): the same promise",
    },
    Wanted {
        line: r#"POST /failover {"candidate": "n1"}: status: Patroni: 503"#,
        why: "a failover to the leader itself: Patroni writes the request and says that it failed, we refuse it with 412",
    },
    Wanted {
        line: "stopped n1 GET",
        why: "of a primary that was stopped in pause Patroni says that it is one, with 200; nobody can write there",
    },
    Wanted { line: "stopped n1 GET /metrics -: metrics: Patroni: patroni_primary", why: "likewise" },
];

const WITHOUT_STORE: [Wanted; 5] = [
    OURS,
    Wanted {
        line: "GET /cluster -: status: Patroni: 0 no answer",
        why: "Patroni breaks the connection off without an answer; we say 503 and what the store's client saw",
    },
    Wanted { line: "GET /config -: status: Patroni: 0 no answer", why: "likewise" },
    Wanted { line: "GET /history -: status: Patroni: 0 no answer", why: "likewise" },
    Wanted {
        line: r#"PATCH /config {"ttl": 30}: status: Patroni: 0 no answer"#,
        why: "Patroni lets the requester wait until its own retries end; we say 503 within 5 s",
    },
];

#[test]
fn members_without_a_store_answer_as_patronis_do() {
    let Some(pair) = Pair::start(|spec| spec) else { return };
    let mut found = Vec::new();
    settled(&pair);
    without_a_store(&pair, &mut found);
    found.sort();
    check(&found, &WITHOUT_STORE);
}

#[test]
fn members_answer_as_patronis_do() {
    let tags =
        |spec: jogi_testkit::herd::HerdSpec| spec.member_config("n2", json!({"tags": {"rack": "r2", "fast": true}}));
    let Some(pair) = Pair::start(tags) else { return };
    let mut found = Vec::new();
    settled(&pair);
    looks(&pair, "running", &mut found);
    refused(&pair, "running", &mut found);
    scheduled(&pair, &mut found);
    pending(&pair, &mut found);
    failsafe(&pair, &mut found);
    synchronous(&pair, &mut found);
    paused(&pair, &mut found);
    stopped(&pair, &mut found);
    found.sort();
    found.dedup();
    check(&found, &WANTED);
}

/// Until both clusters say the same of themselves at rest.
fn settled(pair: &Pair) {
    pair.until("positions of the replica, and nothing pending", |herd| {
        let document = herd.members()[0].get("/cluster").json();
        let members = document["members"].as_array().cloned().unwrap_or_default();
        let quiet = |m: &Value| m.get("pending_restart").is_none() && m["timeline"].is_u64();
        let walsenders = herd.members()[0].status()["replication"].as_array().map_or(0, Vec::len);
        let replica = members.get(1).cloned().unwrap_or_default();
        members.iter().all(quiet) && replica["lag"] == 0 && replica["state"] == "streaming" && walsenders == 1
    });
}

/// A restart and a switchover that are to come, made and taken back again.
fn scheduled(pair: &Pair, found: &mut Vec<String>) {
    let at = "2039-01-01T10:00:00+00:00";
    let restart = format!(r#"{{"schedule": "{at}", "postgres_version": "19.1", "restart_pending": true}}"#);
    let switchover = format!(r#"{{"leader": "n1", "candidate": "n2", "scheduled_at": "{at}"}}"#);
    ask(pair, "to be scheduled", &[("POST", "/restart", Some(&restart)), ("POST", "/restart", Some(&restart))], found);
    ask_one(pair, "to be scheduled", "n1", &[("POST", "/switchover", Some(&switchover))], found);
    pair.until("schedules in the store", |herd| {
        let document = herd.members()[1].get("/cluster").json();
        let members = document["members"].as_array().cloned().unwrap_or_default();
        members.iter().all(|m| m.get("scheduled_restart").is_some()) && document.get("scheduled_switchover").is_some()
    });
    looks(pair, "scheduled", found);
    ask(pair, "scheduled", &[("DELETE", "/restart", None), ("DELETE", "/restart", None)], found);
    ask_one(pair, "scheduled", "n2", &[("DELETE", "/switchover", None)], found);
    pair.until("no schedule left", |herd| {
        let document = herd.members()[1].get("/cluster").json();
        !document.to_string().contains("scheduled_")
    });
}

/// A parameter that waits for a restart.
fn pending(pair: &Pair, found: &mut Vec<String>) {
    pair.configure(&json!({"postgresql": {"parameters": {"max_connections": 60, "max_wal_senders": 11}}}));
    pair.until("a restart is pending everywhere", |herd| {
        let document = herd.members()[0].get("/cluster").json();
        let reasons = |m: &Value| m["pending_restart_reason"].as_object().map_or(0, serde_json::Map::len);
        document["members"].as_array().is_some_and(|all| all.len() == 2 && all.iter().all(|m| reasons(m) == 2))
    });
    looks(pair, "pending", found);
    ask_one(
        pair,
        "pending",
        "n1",
        &[("POST", "/restart", Some(r#"{"role": "primary", "restart_pending": 1}"#))],
        found,
    );
    ask_one(pair, "pending", "n2", &[("POST", "/restart", None)], found);
    settled(pair);
}

fn failsafe(pair: &Pair, found: &mut Vec<String>) {
    pair.configure(&json!({"failsafe_mode": true}));
    pair.until("failsafe everywhere", |herd| {
        let whole = |m: &Member| m.get("/failsafe").json().as_object().is_some_and(|f| f.len() == 2);
        herd.members().iter().all(whole)
    });
    looks(pair, "failsafe", found);
    refused(pair, "failsafe", found);
    pair.configure(&json!({"failsafe_mode": null}));
}

fn synchronous(pair: &Pair, found: &mut Vec<String>) {
    let state = |herd: &Herd| herd.members()[0].status()["replication"][0]["sync_state"].clone();
    pair.configure(&json!({"synchronous_mode": true}));
    pair.until("a synchronous standby", |herd| herd.member("n2").get("/sync").status == 200 && state(herd) == "sync");
    looks(pair, "synchronous", found);
    let requests = [
        ("POST", "/switchover", Some(r#"{"leader": "n1", "candidate": "n9"}"#)),
        ("POST", "/failover", Some(r#"{"candidate": "n9"}"#)),
    ];
    ask(pair, "synchronous", &requests, found);
    pair.configure(&json!({"synchronous_mode": "quorum"}));
    pair.until("a quorum standby", |herd| herd.member("n2").get("/quorum").status == 200 && state(herd) != "async");
    looks(pair, "quorum", found);
    ask(pair, "quorum", &requests, found);
    pair.configure(&json!({"synchronous_mode": null}));
    pair.until("asynchronous again", |herd| state(herd) == "async");
    settled(pair);
}

fn paused(pair: &Pair, found: &mut Vec<String>) {
    pair.configure(&json!({"pause": true}));
    pair.until("pause everywhere", |herd| herd.members().iter().all(|m| m.status()["pause"] == true));
    looks(pair, "paused", found);
    refused(pair, "paused", found);
    pair.configure(&json!({"pause": null}));
    pair.until("no pause", |herd| herd.members().iter().all(|m| m.status().get("pause").is_none()));
    settled(pair);
}

/// In pause somebody has stopped the primary: it is not started again, and nobody leads.
fn stopped(pair: &Pair, found: &mut Vec<String>) {
    pair.configure(&json!({"pause": true}));
    pair.until("pause everywhere", |herd| herd.members().iter().all(|m| m.status()["pause"] == true));
    for member in pair.members("n1") {
        member.server_program("pg_ctl", &["stop", "-w", "-m", "fast", "-D", &member.data_dir().to_string_lossy()]);
    }
    pair.until("the end of the server is seen", |herd| is_down(&herd.member("n1").status()));
    pair.until("everybody knows that nobody leads", |herd| {
        let known = |m: &Member| m.status()["cluster_unlocked"] == true;
        let told = is_down(&herd.members()[1].get("/cluster").json()["members"][0]);
        told && herd.members().iter().all(known)
    });
    looks(pair, "stopped", found);
}

/// Demoted, because the store is gone, and up again to be read from.
fn without_a_store(pair: &Pair, found: &mut Vec<String>) {
    for herd in pair.both() {
        herd.store().freeze();
    }
    pair.until("the primary is closed", |herd| {
        herd.members()[0].get("/primary").status == 503 && !herd.members()[0].is_writable()
    });
    pair.until("the view is old", |herd| herd.members().iter().all(|m| m.status()["cluster_unlocked"] == true));
    pair.until("the server is up again and feeds its standby", |herd| {
        let states = ["n1", "n2"].map(|name| herd.member(name).status());
        states[0]["state"] == "running" && states[1]["replication_state"] == "streaming"
    });
    looks(pair, "no store", found);
    ask(pair, "no store", &[("PATCH", "/config", Some(r#"{"ttl": 30}"#))], found);
    for herd in pair.both() {
        herd.store().thaw();
    }
}

fn is_down(document: &Value) -> bool {
    document["state"] == "stopped" || document["state"] == "crashed"
}

fn looks(pair: &Pair, state: &str, found: &mut Vec<String>) {
    let requests: Vec<_> = LOOKS.iter().map(|(method, path)| (*method, *path, None)).collect();
    ask(pair, state, &requests, found);
}

fn refused(pair: &Pair, state: &str, found: &mut Vec<String>) {
    ask(pair, state, &REFUSED, found);
}

fn ask(pair: &Pair, state: &str, requests: &[(&str, &str, Option<&str>)], found: &mut Vec<String>) {
    for member in ["n1", "n2"] {
        ask_one(pair, state, member, requests, found);
    }
}

fn ask_one(pair: &Pair, state: &str, name: &str, requests: &[(&str, &str, Option<&str>)], found: &mut Vec<String>) {
    let [theirs, ours] = pair.members(name);
    for (method, path, body) in requests {
        let place = format!("{state} {name} {method} {path} {}", body.unwrap_or("-"));
        let (theirs, ours) = (theirs.request_text(method, path, *body), ours.request_text(method, path, *body));
        Differences::at(place, found).replies(&theirs, &ours);
    }
}
