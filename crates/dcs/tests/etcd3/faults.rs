//! etcd that hangs, dies, loses answers, forgets history, refuses credentials or talks nonsense.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::suite::{SOON, TTL, done, eventually, leader, lost, take, view_where, write};
use jogi_core::view::{Condition, Expect, Key, Session, Write};
use jogi_dcs::{Acquired, Beat, Dcs, DcsError, Etcd3, Etcd3Options, Freshness};
use jogi_net::tls::ClientTls;
use jogi_testkit::etcd::{Etcd, EtcdOptions, EtcdTls};
use jogi_testkit::proxy::{Harm, Proxy};
use jogi_testkit::require::{Need, can};

const BASE: &str = "/service/demo";

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn client(urls: &[String], name: &str) -> Arc<dyn Dcs> {
    Arc::new(Etcd3::new(Etcd3Options::plain(urls.to_vec(), BASE, name)).expect("valid options"))
}

fn with_user(urls: &[String], password: &str) -> Arc<dyn Dcs> {
    let mut options = Etcd3Options::plain(urls.to_vec(), BASE, "a");
    options.username = Some("root".into());
    options.password = Some(password.into());
    Arc::new(Etcd3::new(options).expect("valid options"))
}

fn three() -> Etcd {
    Etcd::with(EtcdOptions { servers: 3, election_ms: Some(500), ..EtcdOptions::default() })
}

/// Runs only where there is an etcd.
macro_rules! need_etcd {
    () => {
        if !can(&[Need::Program("etcd")]) {
            return;
        }
    };
}

/// An address where connections are accepted by the kernel and nobody ever answers.
fn hanging() -> (std::net::TcpListener, String) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    (listener, url)
}

/// An address that refuses.
fn dead() -> String {
    let (listener, url) = hanging();
    drop(listener);
    url
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_first_server_costs_nothing() {
    need_etcd!();
    let etcd = Etcd::start();
    let dcs = client(&[dead(), etcd.url(0)], "a");
    let session = dcs.open_session(TTL, ms(400)).await.expect("the second server answers");
    for _ in 0..10 {
        let began = Instant::now();
        dcs.beat(&session, true, ms(400)).await.expect("an answer");
        assert!(began.elapsed() < ms(300), "{:?}", began.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_first_server_costs_its_share_once() {
    need_etcd!();
    let etcd = Etcd::start();
    let (_listener, url) = hanging();
    let dcs = client(&[url, etcd.url(0)], "a");
    let session = dcs.open_session(TTL, ms(1000)).await.expect("the second server answers");
    let mut slow = 0;
    for _ in 0..10 {
        let began = Instant::now();
        dcs.beat(&session, true, ms(1000)).await.expect("an answer");
        slow += u32::from(began.elapsed() > ms(250));
    }
    assert!(slow <= 1, "{slow} of 10 beats waited for the hanging server");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_server_at_all_is_an_error_within_the_deadline() {
    let (_listener, hanging) = hanging();
    for (urls, expected) in
        [(vec![dead()], "cannot reach"), (vec![hanging.clone()], "no answer"), (vec![dead(), hanging], "no answer")]
    {
        let dcs = client(&urls, "a");
        let began = Instant::now();
        let error = dcs.load(Freshness::Linearizable, ms(500)).await.expect_err("nobody is there").to_string();
        assert!(error.starts_with("read the cluster: ") && error.contains(expected), "{error}");
        assert!((ms(450)..ms(900)).contains(&began.elapsed()), "{:?} for {error}", began.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_store_has_the_whole_deadline() {
    need_etcd!();
    let etcd = Etcd::start();
    let proxy = Proxy::to(etcd.address(0));
    let dcs = client(&[proxy.url()], "a");
    let session = dcs.open_session(TTL, SOON).await.expect("a session");
    proxy.harm(Harm::Delay(ms(700)));
    let answer = dcs.acquire(&session, &Expect::free(), ms(1500)).await.expect("slow is not lost");
    assert!(matches!(answer, Acquired::Yes { .. }), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_is_left_by_calls_and_watch() {
    need_etcd!();
    let etcd = three();
    let dcs = client(&etcd.urls(), "a");
    let keeper = dcs.sibling().expect("a sibling");
    let session = keeper.open_session(TTL, SOON).await.expect("a session");
    let mut watch = dcs.clone().watch();
    view_where(&mut watch, "the empty cluster", SOON, |_| true).await;

    etcd.freeze(0);
    // It may have been etcd's leader: then the others have to elect one first.
    eventually("a beat", SOON, || async { keeper.beat(&session, true, ms(400)).await.ok() }).await;
    let began = Instant::now();
    keeper.beat(&session, true, ms(400)).await.expect("the frozen server is not asked first again");
    assert!(began.elapsed() < ms(250), "{:?}", began.elapsed());

    let other = client(&[etcd.url(1)], "b");
    done(write(&other, Write::put(Key::Status, r#"{"optime":7}"#)).await);
    view_where(&mut watch, "a change after the freeze", SOON, |c| c.status.optime.0 == 7).await;
    etcd.thaw(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_a_quorum_is_an_error_and_loses_the_watch() {
    need_etcd!();
    let etcd = three();
    let dcs = client(&etcd.urls(), "a");
    done(write(&dcs, Write::put(Key::Initialize, "7612345678901234567")).await);
    let mut watch = dcs.clone().watch();
    view_where(&mut watch, "the cluster", SOON, |c| c.system_identifier().is_some()).await;
    let reader = client(&[etcd.url(0)], "");
    eventually("the first server has it", SOON, || async {
        reader.load(Freshness::Any, SOON).await.ok().filter(|v| v.cluster.system_identifier().is_some())
    })
    .await;
    etcd.kill(1);
    etcd.kill(2);
    lost(&mut watch, SOON).await;
    dcs.load(Freshness::Linearizable, ms(1000)).await.expect_err("one of three is no quorum");
    let view = reader.load(Freshness::Any, SOON).await.expect("one server's own state");
    assert_eq!(view.cluster.system_identifier(), Some("7612345678901234567"));
    etcd.restart(1);
    view_where(&mut watch, "the cluster again", SOON * 2, |c| c.system_identifier().is_some()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_server_is_watched_again() {
    need_etcd!();
    let etcd = Etcd::start();
    let dcs = client(&etcd.urls(), "a");
    let session = dcs.open_session(TTL, SOON).await.expect("a session");
    take(&dcs, &session).await;
    let mut watch = dcs.clone().watch();
    view_where(&mut watch, "the leader", SOON, |c| leader(c) == Some("a")).await;
    etcd.kill(0);
    let why = lost(&mut watch, SOON).await;
    assert!(why.contains("http://127.0.0.1:"), "{why}");
    etcd.restart(0);
    view_where(&mut watch, "the leader again", SOON, |c| leader(c) == Some("a")).await;
    done(write(&dcs, Write::put(Key::Status, r#"{"optime":9}"#)).await);
    view_where(&mut watch, "a change", SOON, |c| c.status.optime.0 == 9).await;
    assert!(matches!(dcs.beat(&session, true, SOON).await, Ok(Beat::Extended { leader: Some(_) })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_that_compaction_tore_is_bridged() {
    need_etcd!();
    let etcd = Etcd::start();
    let proxy = Proxy::to(etcd.address(0));
    let watcher = client(&[proxy.url()], "b");
    let dcs = client(&etcd.urls(), "a");
    done(write(&dcs, Write::put(Key::Sync, "{}")).await);
    let mut watch = watcher.clone().watch();
    view_where(&mut watch, "the first state", SOON, |c| c.sync.revision.is_some()).await;
    proxy.harm(Harm::Refuse);
    lost(&mut watch, SOON).await;
    for n in 1..=5 {
        done(write(&dcs, Write::put(Key::Status, format!("{{\"optime\":{n}}}"))).await);
    }
    done(write(&dcs, Write::delete(Key::Sync)).await);
    etcd.compact(0);
    proxy.harm(Harm::None);
    view_where(&mut watch, "all of the gap", SOON, |c| c.status.optime.0 == 5 && c.sync.revision.is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_stalls_is_found_out_by_a_change_seen_elsewhere() {
    need_etcd!();
    let etcd = Etcd::start();
    let proxy = Proxy::to(etcd.address(0));
    let dcs = client(&[proxy.url(), etcd.url(0)], "a");
    let mut watch = dcs.clone().watch();
    view_where(&mut watch, "the empty cluster", SOON, |_| true).await;
    proxy.harm(Harm::Stall);
    done(write(&dcs, Write::put(Key::Status, r#"{"optime":3}"#)).await);
    view_where(&mut watch, "the change", SOON, |c| c.status.optime.0 == 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_lost_after_the_write_was_applied() {
    need_etcd!();
    let etcd = Etcd::start();
    let proxy = Proxy::to(etcd.address(0));
    let dcs = client(&[proxy.url(), etcd.url(0)], "a");
    let session = dcs.open_session(TTL, SOON).await.expect("a session");
    // After each call the proxy is the last in the order; a new client asks it first again.
    let fresh = || {
        proxy.harm(Harm::SwallowAnswers);
        client(&[proxy.url(), etcd.url(0)], "a")
    };

    let answer = fresh().acquire(&session, &Expect::free(), SOON).await.expect("the second try is answered");
    let Acquired::Yes { created, .. } = answer else { panic!("{answer:?}") };

    let put = Write::put(Key::Sync, "{}").when(Condition::Absent).while_leader(&created);
    fresh().write(&put, SOON).await.expect_err("whose creation that was cannot be known");
    let read = crate::suite::cluster(&dcs).await.sync.revision.clone().expect("it was created");

    let text = r#"{"leader":"a","quorum":0,"sync_standby":null}"#;
    let put = Write::put(Key::Sync, text).when(Condition::Unchanged(read)).while_leader(&created);
    let revision = done(fresh().write(&put, SOON).await.expect("our own value is there"));
    assert_eq!(crate::suite::cluster(&dcs).await.sync.revision, Some(revision.clone()));

    let member = Write::put(Key::Member("a".into()), "{}").when(Condition::Absent).on_session(&session);
    done(fresh().write(&member, SOON).await.expect("our own lease is on it"));

    let delete = Write::delete(Key::Sync).when(Condition::Unchanged(revision));
    done(fresh().write(&delete, SOON).await.expect("it is gone"));

    let status = r#"{"optime":67406904}"#;
    assert!(fresh().release(&created, Some(status), SOON).await.expect("released, and the status is there"));
    assert!(!fresh().release(&created, Some("{}"), SOON).await.expect("an answer"), "released by then");
    assert_eq!(crate::suite::cluster(&dcs).await.status.optime.0, 67406904);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_cut_at_the_answer_is_tried_again() {
    need_etcd!();
    let etcd = Etcd::start();
    let proxy = Arc::new(Proxy::to(etcd.address(0)));
    let dcs = client(&[proxy.url()], "a");
    let session = dcs.open_session(TTL, SOON).await.expect("a session");
    let before = etcd.revision(0);
    proxy.harm(Harm::CutAtAnswer);
    let (expect, acquire) = (Expect::free(), dcs.clone());
    let taking = tokio::spawn(async move { acquire.acquire(&session, &expect, SOON).await });
    eventually("the first try was applied", SOON, || async { (etcd.revision(0) > before).then_some(()) }).await;
    proxy.harm(Harm::None);
    let answer = taking.await.expect("no panic").expect("a later try is answered");
    assert!(matches!(answer, Acquired::Yes { .. }), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_at_rest_asks_nothing() {
    need_etcd!();
    let etcd = Etcd::start();
    let dcs = client(&etcd.urls(), "a");
    let keeper = dcs.sibling().expect("a sibling");
    let session = keeper.open_session(TTL, SOON).await.expect("a session");
    take(&keeper, &session).await;
    let mut watch = dcs.clone().watch();
    view_where(&mut watch, "the leader", SOON, |c| leader(c) == Some("a")).await;
    // A view may be that of the reading that begins the watch; a change comes when it stands.
    for optime in [11, 12] {
        done(write(&keeper, Write::put(Key::Status, format!(r#"{{"optime":{optime}}}"#))).await);
        view_where(&mut watch, "the change", SOON, |c| c.status.optime.0 == optime).await;
    }
    for _ in 0..10 {
        if let Some(asked) = requests_of_four_beats(&etcd, &keeper, &session).await {
            assert_eq!(asked, 8, "four beats of two requests each, and nothing else");
            return;
        }
    }
    panic!("in none of ten rounds was every beat answered so soon that no second try of it began");
}

/// How many requests etcd has seen while four beats were made. `None` when one of them may have been tried twice: then the
/// count says nothing about the watch.
async fn requests_of_four_beats(etcd: &Etcd, keeper: &Arc<dyn Dcs>, session: &Session) -> Option<u64> {
    // A try has its share of the deadline before it is overtaken by another, at most a second.
    let (deadline, surely_one_try) = (ms(60_000), ms(800));
    let before = etcd.requests(0);
    let mut undisturbed = true;
    for _ in 0..4 {
        let began = Instant::now();
        keeper.beat(session, true, deadline).await.expect("an answer");
        undisturbed &= began.elapsed() < surely_one_try;
        tokio::time::sleep(ms(500)).await;
    }
    undisturbed.then(|| etcd.requests(0) - before)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_with_authentication() {
    need_etcd!();
    let etcd = Etcd::start();
    let password = "kartli-kakheti-77";
    with_user(&etcd.urls(), password).load(Freshness::Any, SOON).await.expect("a user is no error without auth");
    etcd.enable_auth(password);

    let dcs = with_user(&etcd.urls(), password);
    let session = dcs.open_session(TTL, SOON).await.expect("a session");
    take(&dcs, &session).await;
    let mut watch = dcs.clone().watch();
    view_where(&mut watch, "the leader", SOON, |c| leader(c) == Some("a")).await;

    for (name, dcs) in [("no user", client(&etcd.urls(), "a")), ("wrong password", with_user(&etcd.urls(), "wrong-99"))]
    {
        let error = dcs.load(Freshness::Any, ms(2000)).await.expect_err(name);
        assert!(matches!(error, DcsError::Denied { .. }), "{name}: {error}");
        assert!(!error.to_string().contains("wrong-99"));
    }

    // A restarted server has forgotten its tokens.
    etcd.restart(0);
    eventually("a beat with a new login", SOON, || async { dcs.beat(&session, true, ms(2000)).await.ok() }).await;
    done(write(&dcs, Write::put(Key::Status, r#"{"optime":4}"#)).await);
    view_where(&mut watch, "a change after the new login", SOON, |c| c.status.optime.0 == 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_etcd_names_are_used() {
    need_etcd!();
    let etcd = three();
    let mut options = Etcd3Options::plain(vec![etcd.url(0)], BASE, "a");
    options.discover = true;
    let dcs: Arc<dyn Dcs> = Arc::new(Etcd3::new(options).expect("valid options"));
    let mut watch = dcs.clone().watch();
    view_where(&mut watch, "the empty cluster", SOON, |_| true).await;
    eventually("the member list was read", SOON, || async {
        etcd.urls().iter().all(|url| dcs.describe().contains(url)).then_some(())
    })
    .await;
    etcd.kill(0);
    done(write(&dcs, Write::put(Key::Status, r#"{"optime":6}"#)).await);
    view_where(&mut watch, "the change", SOON, |c| c.status.optime.0 == 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_another_cluster_is_not_believed() {
    need_etcd!();
    let (ours, other) = (Etcd::start(), Etcd::start());
    let proxy = Proxy::to(ours.address(0));
    let dcs = client(&[proxy.url(), other.url(0)], "a");
    let session = dcs.open_session(TTL, SOON).await.expect("a session");
    take(&dcs, &session).await;
    proxy.harm(Harm::Refuse);
    proxy.cut();
    let error = dcs.beat(&session, true, ms(1000)).await.expect_err("the other one knows nothing of our lease");
    assert!(
        error.to_string().contains("another etcd cluster") || matches!(error, DcsError::Unreachable { .. }),
        "{error}"
    );
    proxy.harm(Harm::None);
    assert!(matches!(dcs.beat(&session, true, SOON).await, Ok(Beat::Extended { leader: Some(_) })));
}

/// One certificate that is CA, server and client at once, as small set-ups have it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_over_tls_with_one_self_signed_certificate() {
    need_etcd!();
    let dir = tempfile::tempdir().expect("a directory");
    let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".into(), "localhost".into()]).expect("names");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let signer = rcgen::KeyPair::generate().expect("a key");
    let (cert, key) = (dir.path().join("own.crt"), dir.path().join("own.key"));
    std::fs::write(&cert, params.self_signed(&signer).expect("signed").pem()).expect("written");
    std::fs::write(&key, signer.serialize_pem()).expect("written");
    let tls = EtcdTls { cert: cert.clone(), key: key.clone(), ca: cert.clone(), client_certificates: true };
    let etcd = Etcd::with(EtcdOptions { tls: Some(tls), ..EtcdOptions::default() });

    let with = |tls: ClientTls| -> Arc<dyn Dcs> {
        let mut options = Etcd3Options::plain(etcd.urls(), BASE, "a");
        options.tls = Some(tls);
        Arc::new(Etcd3::new(options).expect("valid options"))
    };
    let ours = ClientTls { ca: Some(cert.clone()), cert: Some(cert.clone()), key: Some(key), ..ClientTls::default() };
    let dcs = with(ours);
    let session = dcs.open_session(TTL, SOON).await.expect("a session");
    let mut watch = dcs.clone().watch();
    take(&dcs, &session).await;
    view_where(&mut watch, "the leader", SOON, |c| leader(c) == Some("a")).await;

    let bare = with(ClientTls { ca: Some(cert), ..ClientTls::default() });
    bare.load(Freshness::Any, ms(1000)).await.expect_err("no certificate shown");
    let suspicious = with(ClientTls::default());
    let error = suspicious.load(Freshness::Any, ms(1000)).await.expect_err("nobody vouches for it").to_string();
    assert!(error.contains("certificate"), "{error}");
}
