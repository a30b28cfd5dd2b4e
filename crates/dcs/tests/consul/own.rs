//! What is Consul's own: the shortest session, ACL tokens, the registered service.

use std::sync::Arc;
use std::time::Duration;

use jogi_config::{Secret, local};
use jogi_core::view::{Key, Write, Written};
use jogi_dcs::suite::{self, SOON};
use jogi_dcs::{Beat, Consul, Dcs, DcsError, Freshness};
use jogi_testkit::consul;

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
    let services = || server.request("GET", "/v1/agent/services", None).1;
    for (role, state, wanted) in [
        ("replica", "running", Some(r#""Tags":["replica"]"#)),
        ("primary", "running", Some(r#""Tags":["primary","master"]"#)),
        ("primary", "stopping", Some(r#""Tags":["primary","master"]"#)),
        ("replica", "stopped", None),
    ] {
        let written = dcs.write(&publish(role, state), SOON).await.expect("an answer");
        assert!(matches!(written, Written::Done { .. }), "{written:?}");
        let found: String = services().split_whitespace().collect();
        match wanted {
            Some(tags) => assert!(found.contains(tags) && found.contains(r#""Port":5433"#), "{role} {state}: {found}"),
            None => assert!(!found.contains("demo"), "{found}"),
        }
    }
}
