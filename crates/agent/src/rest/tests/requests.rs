//! What changes something: refused at the edge, or asked of the core.

use jogi_core::ha::{Reply, Request};
use jogi_core::view::{Condition, Key, Revision, Written};
use serde_json::{Value, json};

use super::fixture::{Member, State};

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_demanded_where_patroni_demands_them() {
    let member = Member::serve(State::primary()).await;
    for (method, path, body, status) in [
        ("POST", "/switchover", None, 411),
        ("POST", "/failover", None, 411),
        ("PATCH", "/config", None, 411),
        ("PUT", "/config", None, 411),
        ("POST", "/citus", None, 411),
        ("POST", "/switchover", Some(json!({})), 400),
        ("POST", "/switchover", Some(json!([1])), 400),
        ("PATCH", "/config", Some(json!({})), 400),
        ("POST", "/restart", Some(json!([1])), 400),
        ("POST", "/mpp", Some(json!({"type": "before_demote"})), 200),
        ("POST", "/failsafe", Some(json!({"name": "a"})), 502),
        ("POST", "/patroni", Some(json!({"a": 1})), 501),
        ("POST", "/config", Some(json!({"a": 1})), 501),
        ("PUT", "/nothing", Some(json!({"a": 1})), 501),
        ("PATCH", "/nothing", Some(json!({"a": 1})), 501),
        ("DELETE", "/nothing", None, 501),
        ("TRACE", "/", None, 501),
    ] {
        let reply = member.ask(method, path, body.as_ref()).await;
        assert_eq!(reply.status, status, "{method} {path} {body:?}: {}", reply.body);
        let page = matches!(status, 400 | 411 | 501 | 502);
        assert_eq!(reply.body.starts_with("<!DOCTYPE HTML>"), page, "{method} {path}: {}", reply.body);
    }
    assert_eq!(member.asked(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_citus_are_nobodys_business_but_the_coordinators_leaders() {
    let event = json!({"type": "before_demote", "group": 1, "leader": "x", "timeout": 1, "cooldown": 1});
    for (state, group, status) in [
        (State::primary(), "", 200),
        (State::primary(), "citus: {group: 1, database: c}", 200),
        (State::replica(), "citus: {group: 0, database: c}", 200),
        (State::primary(), "citus: {group: 0, database: c}", 501),
    ] {
        let member = Member::with(state, group, Reply::new(200, "as you say")).await;
        for path in ["/citus", "/mpp"] {
            let reply = member.ask("POST", path, Some(&event)).await;
            assert_eq!(reply.status, status, "{group} {path}: {}", reply.body);
            assert_eq!(reply.body == "OK", status == 200, "{}", reply.body);
            assert_eq!(reply.body.contains("metadata of a Citus coordinator"), status == 501, "{}", reply.body);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn switchover_is_judged_at_the_edge_and_asked_of_the_core() {
    let refusals = [
        ("/failover", json!({"leader": "a"}), 400, "Failover could be performed only to a specific candidate"),
        ("/switchover", json!({"candidate": "b"}), 400, "Switchover could be performed only from a specific leader"),
        (
            "/failover",
            json!({"candidate": "b", "scheduled_at": "2999-01-01T00:00:00Z"}),
            400,
            "Failover can't be scheduled",
        ),
        (
            "/switchover",
            json!({"leader": "a", "scheduled_at": "2999-01-01T00:00:00"}),
            400,
            "Timezone information is mandatory for the scheduled switchover",
        ),
        (
            "/switchover",
            json!({"leader": "a", "scheduled_at": "1999-01-01T00:00:00Z"}),
            422,
            "Cannot schedule switchover in the past",
        ),
        (
            "/switchover",
            json!({"leader": "a", "scheduled_at": "soon"}),
            422,
            "Unable to parse scheduled timestamp. It should be in an unambiguous format, e.g. ISO 8601",
        ),
    ];
    let member = Member::with(State::primary(), "", Reply::new(412, "leader name does not match")).await;
    for (path, body, status, text) in refusals {
        let reply = member.ask("POST", path, Some(&body)).await;
        assert_eq!((reply.status, reply.body.as_str()), (status, text), "{path} {body}");
        assert_eq!(reply.header("content-type"), Some("text/html"));
    }
    assert_eq!(member.asked(), []);

    for (path, body, manual, leader, candidate) in [
        ("/switchover", json!({"leader": "a", "member": "b"}), false, Some("a"), Some("b")),
        ("/failover", json!({"candidate": "b"}), true, None, Some("b")),
        ("/failover/x", json!({"candidate": "b", "leader": "a"}), false, Some("a"), Some("b")),
    ] {
        let reply = member.ask("POST", path, Some(&body)).await;
        assert_eq!((reply.status, reply.body.as_str()), (412, "leader name does not match"));
        let wanted = Request::Switchover {
            manual_failover: manual,
            leader: leader.map(str::to_owned),
            candidate: candidate.map(str::to_owned),
            scheduled_at: None,
        };
        assert_eq!(member.asked().last(), Some(&wanted), "{path} {body}");
    }
    let paused = Member::serve(State::primary().config(r#"{"pause":true}"#)).await;
    let scheduled = json!({"leader": "a", "scheduled_at": "2999-01-01T00:00:00Z"});
    let reply = paused.ask("POST", "/switchover", Some(&scheduled)).await;
    assert_eq!((reply.status, reply.body.as_str()), (400, "Can't schedule switchover in the paused state"));
    let reply = paused.ask("POST", "/restart", Some(&json!({"schedule": "2999-01-01T00:00:00Z"}))).await;
    assert_eq!((reply.status, reply.body.as_str()), (500, "Can't schedule restart in the paused state"));
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_else_is_passed_to_the_core_as_it_is() {
    let member = Member::serve(State::replica().config(r#"{"failsafe_mode":true}"#)).await;
    let leader = json!({"name": "node-0", "conn_url": "postgres://a", "api_url": "http://a", "slots": {"node_1": 7}});
    for (method, path, body, name) in [
        ("POST", "/restart", None, "Restart"),
        ("POST", "/restart", Some(json!({"role": "replica"})), "Restart"),
        ("DELETE", "/restart", None, "CancelRestart"),
        ("DELETE", "/switchover", None, "CancelSwitchover"),
        ("POST", "/reload", None, "Reload"),
        ("POST", "/reinitialize", Some(json!({"force": "on"})), "Reinitialize { force: true, from_leader: false }"),
        ("POST", "/failsafe", Some(leader), "Failsafe"),
    ] {
        let reply = member.ask(method, path, body.as_ref()).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, "as you say"), "{method} {path}");
        let asked = format!("{:?}", member.asked().last().expect("a request"));
        assert!(asked.starts_with(name), "{method} {path}: {asked}");
        assert_eq!(reply.header("lsn"), (path == "/failsafe").then_some("67108992"));
    }
    assert_eq!(member.ask("POST", "/sigterm", None).await.body, "shutdown scheduled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_ping_carries_no_position() {
    let state = State::primary().config(r#"{"failsafe_mode":true}"#);
    let member = Member::with(state, "", Reply::new(500, "Running as a leader")).await;
    let leader = json!({"name": "node-0", "conn_url": "postgres://a", "api_url": "http://a"});
    let reply = member.ask("POST", "/failsafe", Some(&leader)).await;
    assert_eq!((reply.status, reply.body.as_str(), reply.header("lsn")), (500, "Running as a leader", None));
    assert_eq!(member.ask("POST", "/failsafe", Some(&json!({"name": "x"}))).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_while_cancelling_is_an_error_page() {
    let member = Member::with(State::primary(), "", Reply::new(409, "the request has changed meanwhile")).await;
    let reply = member.ask("DELETE", "/switchover", None).await;
    assert_eq!(reply.status, 409);
    assert!(reply.body.starts_with("<!DOCTYPE HTML>") && reply.body.contains("has changed meanwhile"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_merges_and_compares() {
    let member =
        Member::serve(State::primary().config(r#"{"ttl":30,"postgresql":{"parameters":{"a":1,"b":2}}}"#)).await;
    let patch = |body: Value| {
        let member = &member;
        async move { member.ask("PATCH", "/config", Some(&body)).await }
    };
    let reply = patch(json!({"ttl": "30"})).await;
    assert_eq!(
        (reply.status, reply.body.as_str()),
        (200, r#"{"ttl": 30, "postgresql": {"parameters": {"a": 1, "b": 2}}}"#)
    );
    assert!(member.store.written.lock().expect("not poisoned").is_empty(), "the same in other words is no change");
    let reply = patch(json!({"postgresql": {"parameters": {"a": null, "c": "é"}}, "loop_wait": 5})).await;
    assert_eq!(reply.body, r#"{"ttl": 30, "postgresql": {"parameters": {"b": 2, "c": "\u00e9"}}, "loop_wait": 5}"#);
    let written = member.store.written.lock().expect("not poisoned").pop().expect("a write");
    assert_eq!((written.key, written.condition), (Key::Config, Condition::Unchanged(Revision("7".into()))));
    assert_eq!(
        written.value.as_deref(),
        Some(r#"{"ttl":30,"postgresql":{"parameters":{"b":2,"c":"\u00e9"}},"loop_wait":5}"#)
    );
    assert!(member.asked().iter().all(|request| *request == Request::Wake) && !member.asked().is_empty());
    *member.store.answer.lock().expect("not poisoned") = Written::Conflict;
    assert_eq!(patch(json!({"ttl": 20})).await.status, 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_replaces_without_comparing() {
    let member = Member::serve(State::primary().config(r#"{"ttl":30,"loop_wait":10}"#)).await;
    let same = json!({"loop_wait": "10", "ttl": 30});
    let reply = member.ask("PUT", "/config", Some(&same)).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, r#"{"loop_wait": "10", "ttl": 30}"#));
    assert!(member.store.written.lock().expect("not poisoned").is_empty());
    let reply = member.ask("PUT", "/config", Some(&json!({"ttl": 20}))).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, r#"{"ttl": 20}"#));
    let written = member.store.written.lock().expect("not poisoned").pop().expect("a write");
    assert_eq!((written.value.as_deref(), written.condition), (Some(r#"{"ttl":20}"#), Condition::Always));
    let bare = Member::serve(State { keys: Vec::new(), ..State::replica() }).await;
    assert_eq!(bare.ask("PATCH", "/config", Some(&json!({"ttl": 20}))).await.status, 503);
    assert_eq!(bare.ask("PUT", "/config", Some(&json!({"ttl": 20}))).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn unsafe_endpoints_are_protected_and_safe_ones_are_not() {
    let restapi = "  authentication: {username: u, password: p}";
    let member = Member::with(State::primary(), restapi, Reply::new(200, "as you say")).await;
    let some = json!({"a": 1});
    for (method, path) in [
        ("PATCH", "/config"),
        ("PUT", "/config"),
        ("POST", "/reload"),
        ("POST", "/restart"),
        ("DELETE", "/restart"),
        ("POST", "/switchover"),
        ("POST", "/failover"),
        ("DELETE", "/switchover"),
        ("POST", "/reinitialize"),
        ("POST", "/sigterm"),
        ("POST", "/citus"),
        ("POST", "/mpp"),
        ("POST", "/failsafe"),
    ] {
        let reply = member.ask(method, path, Some(&some)).await;
        assert_eq!((reply.status, reply.body.as_str()), (401, "no auth header received"), "{method} {path}");
        assert_eq!(reply.header("www-authenticate"), Some("Basic realm=\"Patroni\""));
    }
    for path in ["/", "/patroni", "/cluster", "/config", "/history", "/metrics", "/liveness", "/readiness"] {
        assert_eq!(member.get(path).await.status, 200, "GET {path}");
    }
    assert_eq!(member.asked(), []);
}
