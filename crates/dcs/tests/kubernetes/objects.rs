//! The objects as others find them: labels, endpoints, what is not ours, and the watch.

use std::sync::Arc;
use std::time::Duration;

use jogi_core::view::{Key, Session, Write};
use jogi_dcs::suite::{SOON, TTL, done, leader, take, view_where, write};
use jogi_dcs::{Beat, Dcs, Freshness};
use jogi_testkit::kube::Kube;
use jogi_testkit::wait;
use serde_json::{Value, json};

use crate::fixture::Place;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_are_as_others_expect_them() {
    let Some(kube) = Kube::start() else { return };
    let kube = Arc::new(kube);
    labels_and_endpoints_follow_the_lock(&Place::new(&kube, "follow", true)).await;
    what_is_not_ours_survives(&Place::new(&kube, "foreign", false)).await;
    a_lock_of_patroni_stands_until_it_is_silent(&Place::new(&kube, "patroni", false)).await;
    a_member_at_rest_asks_nothing(&Place::new(&kube, "rest", false)).await;
    a_bypass_that_is_not_permitted_is_given_up(&Place::new(&kube, "bypass", false)).await;
}

fn member(role: &str, state: &str) -> String {
    let (url, api) = ("postgres://10.1.1.1:5432/postgres", "http://10.1.1.1:8008/patroni");
    json!({"conn_url": url, "api_url": api, "state": state, "role": role, "version": "4.1.5"}).to_string()
}

async fn publish(dcs: &Arc<dyn Dcs>, name: &str, session: &Session, role: &str, state: &str) {
    done(write(dcs, Write::put(Key::Member(name.into()), member(role, state)).on_session(session)).await);
}

fn label(place: &Place, pod: &str, name: &str) -> Option<String> {
    place.pod(pod)["metadata"]["labels"][name].as_str().map(str::to_owned)
}

async fn labels_and_endpoints_follow_the_lock(place: &Place) {
    let (a, b) = (place.connect("demo", "a"), place.connect("demo", "b"));
    let on_a = a.open_session(TTL, SOON).await.expect("a session");
    let on_b = b.open_session(TTL, SOON).await.expect("a session");
    let (mut watch_a, mut watch_b) = (a.clone().watch(), b.clone().watch());
    view_where(&mut watch_a, "a first view", SOON, |_| true).await;
    view_where(&mut watch_b, "a first view", SOON, |_| true).await;
    publish(&a, "a", &on_a, "replica", "creating replica").await;
    assert_eq!(label(place, "a", "spilo-role"), None);
    assert_eq!(label(place, "a", "critical-operation").as_deref(), Some("true"));
    publish(&a, "a", &on_a, "replica", "running").await;
    assert_eq!(label(place, "a", "spilo-role").as_deref(), Some("replica"));
    assert_eq!(label(place, "a", "critical-operation"), None);
    done(write(&a, Write::put(Key::Config, "{}")).await);
    assert!(place.kube.get(&place.namespace, "services", "demo-config").is_some(), "a service keeps the endpoints");
    let created = take(&a, &on_a).await;
    let address = |place: &Place| place.object("demo")["subsets"][0].clone();
    assert_eq!(address(place)["addresses"][0]["ip"], "10.1.1.1");
    assert_eq!(address(place)["addresses"][0]["targetRef"]["name"], "a");
    assert_eq!(address(place)["ports"], json!([{"name": "postgresql", "port": 5432, "protocol": "TCP"}]));
    publish(&a, "a", &on_a, "primary", "running").await;
    assert_eq!(label(place, "a", "spilo-role").as_deref(), Some("master"));
    // The lock goes, and the member says nothing new: its label may not stay.
    assert!(a.release(&created, None, SOON).await.expect("an answer"));
    assert_eq!(address(place), Value::Null, "nobody is primary");
    wait::until("the label follows", SOON, || label(place, "a", "spilo-role").is_none());
    take(&b, &on_b).await;
    assert_eq!(address(place)["addresses"][0]["ip"], "10.1.1.2");
}

async fn what_is_not_ours_survives(place: &Place) {
    let a = place.connect("demo", "a");
    let session = a.open_session(TTL, SOON).await.expect("a session");
    done(write(&a, Write::put(Key::Config, "{}")).await);
    let created = take(&a, &session).await;
    let owner = json!([{"apiVersion": "acid.zalan.do/v1", "kind": "postgresql", "name": "demo", "uid": "u-1"}]);
    let foreign = json!({"metadata": {"annotations": {"foreign": "kept"}, "ownerReferences": owner}});
    for name in ["demo-config", "demo-leader"] {
        place.kube.patch(&place.namespace, "configmaps", name, &foreign);
    }
    place.kube.patch(&place.namespace, "pods", "a", &foreign);
    done(write(&a, Write::put(Key::Config, r#"{"ttl":20}"#)).await);
    done(write(&a, Write::put(Key::Status, r#"{"optime":5}"#).while_leader(&created)).await);
    let beat = a.beat(&session, true, SOON).await.expect("an answer");
    assert!(matches!(beat, Beat::Extended { leader: Some(_) }), "a foreign change costs no lock: {beat:?}");
    publish(&a, "a", &session, "primary", "running").await;
    let objects = [place.object("demo-config"), place.object("demo-leader"), place.pod("a")];
    for object in &objects {
        assert_eq!(object["metadata"]["annotations"]["foreign"], "kept", "{object}");
        assert_eq!(object["metadata"]["ownerReferences"][0]["uid"], "u-1");
    }
    assert_eq!(place.annotation("demo-leader", "optime").as_deref(), Some("5"));
    assert_eq!(place.annotation("demo-leader", "leader").as_deref(), Some("a"));
    assert_eq!(objects[1]["metadata"]["labels"], json!({"application": "spilo", "cluster-name": "demo"}));
    assert_eq!(objects[1].get("data"), None);
}

/// Its clock is years behind, which must not matter.
async fn a_lock_of_patroni_stands_until_it_is_silent(place: &Place) {
    let b = place.connect("demo", "b");
    let renewal = |second: u32| {
        json!({"metadata": {"name": "demo-leader", "labels": {"application": "spilo", "cluster-name": "demo"}, "annotations": {
            "leader": "a", "ttl": "6", "acquireTime": "2001-01-01T00:00:00+00:00", "transitions": "7",
            "renewTime": format!("2001-01-01T00:00:{second:02}+00:00"),
        }}})
    };
    let path = format!("/api/v1/namespaces/{}/configmaps", place.namespace);
    place.kube.admin("POST", &path, Some(&renewal(0)));
    let mut watch = b.clone().watch();
    view_where(&mut watch, "the lock", SOON, |c| leader(c) == Some("a")).await;
    for second in 1..=4 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        place.kube.patch(&place.namespace, "configmaps", "demo-leader", &renewal(second));
    }
    let renewed = std::time::Instant::now();
    while let Ok(event) = watch.try_recv() {
        let jogi_dcs::WatchEvent::View(view) = event else { panic!("{event:?}") };
        assert_eq!(leader(&view.cluster), Some("a"), "it was renewed all the time");
    }
    view_where(&mut watch, "its end", SOON, |c| leader(c).is_none()).await;
    assert!(renewed.elapsed() > Duration::from_millis(4000), "{:?}", renewed.elapsed());
    let session = b.open_session(TTL, SOON).await.expect("a session");
    take(&b, &session).await;
    assert_eq!(place.annotation("demo-leader", "transitions").as_deref(), Some("8"));
    assert_eq!(place.annotation("demo-leader", "ttl").as_deref(), Some("30"));
}

/// A replica's heartbeats cost the API server nothing.
async fn a_member_at_rest_asks_nothing(place: &Place) {
    let a = place.connect("demo", "a");
    let session = a.open_session(TTL, SOON).await.expect("a session");
    a.load(Freshness::Linearizable, SOON).await.expect("a reading");
    place.kube.freeze();
    let beat = a.beat(&session, false, Duration::from_secs(1)).await;
    place.kube.thaw();
    assert_eq!(beat.expect("nobody was asked"), Beat::Extended { leader: None });
}

async fn a_bypass_that_is_not_permitted_is_given_up(place: &Place) {
    let mut section = place.section();
    section.insert("bypass_api_service".into(), true.into());
    let options = place.options("demo", "a", &section);
    let a: Arc<dyn Dcs> = Arc::new(jogi_dcs::kubernetes::Kubernetes::new(options).expect("valid options"));
    let mut watch = a.clone().watch();
    view_where(&mut watch, "a first view", SOON, |_| true).await;
    done(write(&a, Write::put(Key::Config, r#"{"ttl":20}"#)).await);
    view_where(&mut watch, "the configuration", SOON, |c| c.config.is_some()).await;
}
