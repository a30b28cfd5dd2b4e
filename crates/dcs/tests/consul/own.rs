//! What is Consul's own: the shortest session, ACL tokens, the registered service.

use std::sync::Arc;
use std::time::Duration;

use jogi_config::{HostPort, Secret, local};
use jogi_core::view::{Condition, Expect, Key, Write, Written};
use jogi_dcs::suite::{self, SOON};
use jogi_dcs::{Acquired, Beat, Consul, Dcs, DcsError, Freshness};
use jogi_testkit::consul;
use jogi_testkit::proxy::{Harm, Proxy};

use crate::contract::{place, section};

fn client(section: local::Consul) -> Arc<dyn Dcs> {
    Arc::new(Consul::new(section, &place("demo", "a")).expect("valid options"))
}

#[tokio::test]
async fn a_ttl_below_the_shortest_session_is_raised() {
    if consul::find().is_none() {
        return;
    }
    let server = consul::Consul::with("");
    let dcs = client(section(&server));
    let session = dcs.open_session(Duration::from_secs(10), SOON).await.expect("a session");
    let (_, info) = server.request("GET", &format!("/v1/session/info/{}", session.0), None);
    assert!(info.contains(r#""TTL":"10000ms""#) || info.contains(r#""TTL":"10s""#), "{info}");
    assert_eq!(dcs.smallest_ttl(), Duration::from_secs(20), "Consul ends a session after twice its time");
    assert_eq!(dcs.beat(&session, true, SOON).await.expect("an answer"), Beat::Extended { leader: None });
}

#[tokio::test]
async fn acl_tokens() {
    if consul::find().is_none() {
        return;
    }
    let server = consul::Consul::with(
        r#"acl { enabled = true default_policy = "deny" tokens { master = "6a1253d2-1785-24fd-91c2-f8e78c745511" } }"#,
    );
    let with = |token: Option<&str>| client(local::Consul { token: token.map(Secret::new), ..section(&server) });
    let right = with(Some("6a1253d2-1785-24fd-91c2-f8e78c745511"));
    suite::eventually("the token counts", SOON * 3, || async {
        let session = right.open_session(suite::TTL, SOON).await.ok()?;
        matches!(right.beat(&session, true, SOON).await, Ok(Beat::Extended { .. })).then_some(())
    })
    .await;
    for wrong in [with(None), with(Some("00000000-1785-24fd-91c2-f8e78c745511"))] {
        for error in [
            wrong.open_session(suite::TTL, SOON).await.err(),
            wrong.write(&Write::put(Key::Status, "{}"), SOON).await.err(),
        ] {
            assert!(matches!(error, Some(DcsError::Denied { .. })), "{error:?}");
            assert!(error.is_some_and(|e| !e.to_string().contains("00000000-1785")), "no token in a message");
        }
    }
    assert!(right.load(Freshness::Linearizable, SOON).await.is_ok());
}

#[tokio::test]
async fn a_member_is_registered_as_a_service() {
    if consul::find().is_none() {
        return;
    }
    let server = consul::Consul::start();
    let dcs = client(local::Consul { register_service: true, ..section(&server) });
    let session = dcs.open_session(suite::TTL, SOON).await.expect("a session");
    let publish = |role: &str, state: &str| {
        let text = format!(
            r#"{{"conn_url":"postgres://127.0.0.1:5433/postgres","api_url":"http://127.0.0.1:8008/patroni","role":"{role}","state":"{state}"}}"#
        );
        Write::put(Key::Member("a".into()), text).on_session(&session)
    };
    let asked = |path: &str| server.request("GET", path, None).1.split_whitespace().collect::<String>();
    for (role, state, wanted) in [
        ("replica", "running", Some(r#""replica"]"#)),
        ("primary", "running", Some(r#""primary","master"]"#)),
        ("primary", "stopping", Some(r#""primary","master"]"#)),
        ("replica", "stopped", None),
    ] {
        let written = dcs.write(&publish(role, state), SOON).await.expect("an answer");
        assert!(matches!(written, Written::Done { .. }), "{written:?}");
        // The agent gives a service whose tags others may change the catalog's tags back when it compares the two, as it
        // does at its start: what it was told counts from when the catalog has it.
        let is_there = |found: &str| match wanted {
            Some(tags) => found.contains(tags) && found.contains("5433"),
            None => !found.contains("5433"),
        };
        let seen = || is_there(&asked("/v1/agent/services")) && is_there(&asked("/v1/catalog/service/demo"));
        let mut tries = 0;
        while !seen() {
            tries += 1;
            assert!(tries < 100, "{role} {state}: {}", asked("/v1/agent/services"));
            tokio::time::sleep(Duration::from_millis(100)).await;
            if tries % 20 == 0 {
                let again = client(local::Consul { register_service: true, ..section(&server) });
                again.write(&publish(role, state), SOON).await.expect("an answer");
            }
        }
    }
}

/// The answers of the first tries are lost after they were applied: the second must not take its own work for another's.
#[tokio::test]
async fn answers_lost_after_the_change_was_made() {
    if consul::find().is_none() {
        return;
    }
    let server = consul::Consul::start();
    let proxy = Proxy::to(server.address());
    let dcs = client(local::Consul { address: HostPort::new("127.0.0.1", proxy.address().port()), ..section(&server) });
    let session = dcs.open_session(suite::TTL, SOON).await.expect("a session");
    let free = Expect::free();
    let (taken, ()) = tokio::join!(dcs.acquire(&session, &free, SOON), lose_answers(&proxy));
    let Ok(Acquired::Yes { created, .. }) = taken else { panic!("{taken:?}") };
    let status = Write::put(Key::Status, r#"{"optime":7}"#).when(Condition::Absent).while_leader(&created);
    let (written, ()) = tokio::join!(dcs.write(&status, SOON), lose_answers(&proxy));
    assert!(!matches!(written, Ok(Written::Conflict)), "ours was not another's: {written:?}");
    let view = dcs.load(Freshness::Linearizable, SOON).await.expect("a reading");
    assert_eq!(view.cluster.status.optime.0, 7);
    let (released, ()) = tokio::join!(dcs.release(&created, Some(r#"{"optime":9}"#), SOON), lose_answers(&proxy));
    assert!(matches!(released, Ok(true)), "{released:?}");
    let view = dcs.load(Freshness::Linearizable, SOON).await.expect("a reading");
    assert_eq!((view.cluster.leader.is_none(), view.cluster.status.optime.0), (true, 9));
}

async fn lose_answers(proxy: &Proxy) {
    proxy.harm(Harm::SwallowAnswers);
    tokio::time::sleep(Duration::from_millis(400)).await;
    proxy.harm(Harm::None);
    proxy.cut();
}
