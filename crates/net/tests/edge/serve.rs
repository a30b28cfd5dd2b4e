//! The accept loop under clients that behave badly.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Extension;
use axum::routing::get;
use jogi_net::http::{HttpOptions, client};
use jogi_net::serve::{Peer, ServeOptions, serve};
use jogi_net::tls::{ClientTls, ServerTls, SwappableServerTls, VerifyClient};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::certificates::Authority;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

async fn start(options: ServeOptions, tls: Option<Arc<SwappableServerTls>>) -> Server {
    let router = Router::new()
        .route("/", get(|| async { "hello" }))
        .route(
            "/slow",
            get(|| async {
                tokio::time::sleep(ms(300)).await;
                "slow"
            }),
        )
        .route("/never", get(std::future::pending::<&'static str>))
        .route("/peer", get(|Extension(peer): Extension<Peer>| async move { format!("{peer:?}") }));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(serve(listener, tls, router, options, async { drop(stopped.await) }));
    Server { address, stop, task }
}

async fn ask(stream: &mut TcpStream, path: &str) -> String {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.expect("sent");
    let mut answer = vec![0; 4096];
    let n = tokio::time::timeout(ms(5000), stream.read(&mut answer)).await.expect("an answer").expect("open");
    String::from_utf8_lossy(&answer[..n]).into_owned()
}

/// Waits until the server has closed the connection.
async fn closed(stream: &mut TcpStream, within: Duration) -> bool {
    let mut rest = Vec::new();
    tokio::time::timeout(within, stream.read_to_end(&mut rest)).await.is_ok()
}

#[tokio::test]
async fn requests_are_answered_on_one_connection() {
    let server = start(ServeOptions::default(), None).await;
    let mut stream = TcpStream::connect(server.address).await.expect("open");
    let answer = ask(&mut stream, "/").await;
    assert!(answer.contains("content-length: 5\r\n") && answer.ends_with("hello"), "{answer}");
    let peer = ask(&mut stream, "/peer").await;
    let own = stream.local_addr().expect("open");
    assert!(peer.contains(&format!("address: {own}, certified: false, encrypted: false")), "{peer}");
}

#[tokio::test]
async fn silent_and_slow_clients_are_closed() {
    let authority = Authority::new();
    let pair = authority.self_signed("own", "localhost", 2100);
    let options = ServerTls {
        cert: pair.cert,
        key: Some(pair.key),
        key_password: None,
        ca: None,
        verify_client: VerifyClient::None,
        ciphers: None,
    };
    let tls = Arc::new(SwappableServerTls::new(options).expect("valid"));
    let limits = ServeOptions { handshake_timeout: ms(200), header_timeout: ms(200), ..ServeOptions::default() };
    for tls in [None, Some(tls)] {
        let encrypted = tls.is_some();
        let server = start(limits.clone(), tls).await;
        let mut silent = TcpStream::connect(server.address).await.expect("open");
        assert!(closed(&mut silent, ms(3000)).await, "a silent client, encrypted: {encrypted}");
        let mut half = TcpStream::connect(server.address).await.expect("open");
        half.write_all(if encrypted { b"\x16\x03\x01" } else { b"GET / HT" }).await.expect("sent");
        assert!(closed(&mut half, ms(3000)).await, "half a beginning, encrypted: {encrypted}");
    }
    let server = start(limits, None).await;
    let mut kept = TcpStream::connect(server.address).await.expect("open");
    ask(&mut kept, "/").await;
    assert!(closed(&mut kept, ms(3000)).await, "idle after a request");
}

#[tokio::test]
async fn a_request_that_never_ends_is_ended_with_an_answer() {
    let server = start(ServeOptions { request_timeout: ms(200), ..ServeOptions::default() }, None).await;
    let mut stream = TcpStream::connect(server.address).await.expect("open");
    let answer = ask(&mut stream, "/never").await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("took too long"), "{answer}");
    assert!(closed(&mut stream, ms(3000)).await);
}

#[tokio::test]
async fn idle_clients_make_room_for_new_ones() {
    let server = start(ServeOptions { max_connections: 3, ..ServeOptions::default() }, None).await;
    let mut idle = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(server.address).await.expect("open");
        ask(&mut stream, "/").await;
        idle.push(stream);
    }
    for _ in 0..3 {
        let mut check = TcpStream::connect(server.address).await.expect("open");
        assert!(ask(&mut check, "/").await.ends_with("hello"), "a health check gets in");
        idle.push(check);
    }
    assert!(closed(&mut idle[0], ms(3000)).await, "the one that idled longest had to go");
}

#[tokio::test]
async fn a_busy_client_is_not_pushed_out() {
    let server = start(ServeOptions { max_connections: 1, ..ServeOptions::default() }, None).await;
    let mut busy = TcpStream::connect(server.address).await.expect("open");
    let (slow, _) = tokio::join!(ask(&mut busy, "/slow"), async {
        for _ in 0..3 {
            let mut other = TcpStream::connect(server.address).await.expect("open");
            let _ = tokio::time::timeout(ms(1000), ask(&mut other, "/")).await;
        }
    });
    assert!(slow.ends_with("slow"), "{slow}");
}

#[tokio::test]
async fn a_stop_lets_requests_end_and_closes_the_idle() {
    let server = start(ServeOptions { grace: ms(2000), ..ServeOptions::default() }, None).await;
    let mut idle = TcpStream::connect(server.address).await.expect("open");
    ask(&mut idle, "/").await;
    let mut never = TcpStream::connect(server.address).await.expect("open");
    let mut slow = TcpStream::connect(server.address).await.expect("open");
    never.write_all(b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
    let asking = tokio::spawn(async move { ask(&mut slow, "/slow").await });
    tokio::time::sleep(ms(100)).await;
    let began = Instant::now();
    server.stop.send(()).expect("running");
    assert!(closed(&mut idle, ms(1000)).await, "the idle one is closed at once");
    assert!(asking.await.expect("no panic").ends_with("slow"), "the one under way is answered");
    assert!(closed(&mut never, ms(5000)).await, "the endless one is cut after the grace");
    server.task.await.expect("no panic");
    assert!((ms(1500)..ms(5000)).contains(&began.elapsed()), "{:?}", began.elapsed());
    assert!(TcpStream::connect(server.address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_client_with_a_certificate_is_known_as_such() {
    let authority = Authority::new();
    let serving = authority.sign("serving", "127.0.0.1", 2100);
    let showing = authority.sign("showing", "client", 2100);
    let options = ServerTls {
        cert: serving.cert,
        key: Some(serving.key),
        key_password: None,
        ca: Some(authority.ca.clone()),
        verify_client: VerifyClient::Optional,
        ciphers: None,
    };
    let tls = Arc::new(SwappableServerTls::new(options).expect("valid"));
    let server = start(ServeOptions::default(), Some(tls)).await;
    for (cert, certified) in [(None, false), (Some(showing), true)] {
        let (cert, key) = cert.map_or((None, None), |pair| (Some(pair.cert), Some(pair.key)));
        let tls = ClientTls { ca: Some(authority.ca.clone()), cert, key, ..ClientTls::default() };
        let http = client(&HttpOptions { tls: Some(tls.build().expect("valid")), ..HttpOptions::default() });
        let url = format!("https://{}/peer", server.address);
        let answer = http.expect("a client").get(url).send().await.expect("answered").text().await.expect("text");
        assert!(answer.contains(&format!("certified: {certified}, encrypted: true")), "{answer}");
    }
    let plain = client(&HttpOptions::default()).expect("a client");
    let refused = plain.get(format!("https://{}/", server.address)).send().await.expect_err("it trusts nobody");
    assert!(jogi_net::http::describe(&refused).contains("certificate"), "{}", jogi_net::http::describe(&refused));
}
