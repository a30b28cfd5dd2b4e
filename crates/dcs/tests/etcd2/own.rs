//! Several hosts, and what a server without the v2 API says.

use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jogi_core::view::{Condition, Expect, Key, Write, Written};
use jogi_dcs::suite::{self, SOON};
use jogi_dcs::{Acquired, Beat, Dcs, DcsError, Etcd2, Etcd3Options, Freshness};
use jogi_testkit::etcd::Etcd;
use jogi_testkit::proxy::{Harm, Proxy};
use jogi_testkit::require::{Need, can};

use crate::contract::OneEtcd;

fn client(urls: Vec<String>) -> Arc<dyn Dcs> {
    Arc::new(Etcd2::new(Etcd3Options::plain(urls, "/service/demo", "a")).expect("valid options"))
}

#[tokio::test]
async fn dead_and_hanging_hosts_cost_one_try() {
    if !can(&[Need::Program("etcd")]) {
        return;
    }
    let server = OneEtcd::start();
    let hanging = Proxy::to(server.0.address(0));
    hanging.harm(Harm::Stall);
    let dcs = client(vec!["http://127.0.0.1:1".into(), hanging.url(), server.0.url(0)]);
    dcs.load(Freshness::Linearizable, SOON).await.expect("the third answers");
    let began = Instant::now();
    for _ in 0..20 {
        dcs.load(Freshness::Linearizable, SOON).await.expect("it is asked first now");
    }
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    let described = dcs.describe();
    assert!(described.contains("http://127.0.0.1:1") && described.starts_with("etcd (v2) at "), "{described}");
}

#[tokio::test]
async fn a_server_without_the_v2_api_is_said() {
    if !can(&[Need::Program("etcd")]) {
        return;
    }
    let server = Etcd::start();
    let error = client(server.urls()).load(Freshness::Linearizable, Duration::from_secs(2)).await;
    let error = error.expect_err("etcd 3.4 has it switched off");
    assert!(matches!(error, DcsError::Server { .. } | DcsError::Garbled { .. }), "{error}");
    assert!(error.to_string().contains("--enable-v2"), "{error}");
}

/// The answers of the first tries are lost after they were applied: the second must not take its own work for another's.
#[tokio::test]
async fn answers_lost_after_the_change_was_made() {
    if !can(&[Need::Program("etcd")]) {
        return;
    }
    let server = OneEtcd::start();
    let proxy = Proxy::to(server.0.address(0));
    let dcs = client(vec![proxy.url()]);
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

/// etcd counts a renewal's time from when the request came to it: one that is applied after a newer one would take time back.
#[tokio::test]
async fn a_renewal_that_comes_late_is_refused() {
    if !can(&[Need::Program("etcd")]) {
        return;
    }
    let server = OneEtcd::start();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let between = listen_between(server.0.address(0), heard.clone());
    let dcs = client(vec![format!("http://{between}")]);
    let session = dcs.open_session(suite::TTL, SOON).await.expect("a session");
    let taken = dcs.acquire(&session, &Expect::free(), SOON).await;
    let Ok(Acquired::Yes { created, .. }) = taken else { panic!("{taken:?}") };
    let beat = async || match dcs.beat(&session, true, SOON).await {
        Ok(Beat::Extended { leader }) => leader.map(|leader| leader.created),
        other => panic!("{other:?}"),
    };
    assert_eq!(beat().await.as_ref(), Some(&created));
    let late = renewal(&heard.lock().expect("not poisoned"));
    assert_eq!(beat().await.as_ref(), Some(&created));

    let mut again = TcpStream::connect(server.0.address(0)).expect("connected");
    again.write_all(&late).expect("sent");
    let mut answer = String::new();
    BufReader::new(again).read_line(&mut answer).expect("answered");
    assert!(answer.contains(" 412 "), "{answer}: {}", String::from_utf8_lossy(&late));
    assert_eq!(beat().await.as_ref(), Some(&created), "and the holding goes on");
}

/// Passes connections on and keeps what the client says.
fn listen_between(target: SocketAddr, heard: Arc<Mutex<Vec<u8>>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = TcpStream::connect(target).expect("etcd is there");
            let (mut from_server, mut to_client) =
                (server.try_clone().expect("a handle"), client.try_clone().expect("a handle"));
            std::thread::spawn(move || std::io::copy(&mut from_server, &mut to_client));
            let (mut client, mut server, heard) = (client, server, heard.clone());
            std::thread::spawn(move || {
                let mut piece = [0; 4096];
                while let Ok(read @ 1..) = client.read(&mut piece) {
                    heard.lock().expect("not poisoned").extend_from_slice(&piece[..read]);
                    if server.write_all(&piece[..read]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// The last renewal of the leader key among the requests.
fn renewal(heard: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(heard);
    let begin = text.rfind("PUT /v2/keys/service/demo/leader").expect("a renewal");
    let request = &text[begin..];
    assert!(request.contains("refresh=true"), "{request}");
    let body = request.find("\r\n\r\n").expect("a head") + 4;
    let length = request.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let length: usize = length.expect("a length");
    request.as_bytes()[..body + length].to_vec()
}
