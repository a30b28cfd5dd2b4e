//! The bytes on the wire, and a server whose configuration changes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use jogi_core::ha::Reply;

use super::fixture::{Member, State, ask, configuration, free_port};

/// Sends bytes and reads until the server closes.
async fn raw(address: SocketAddr, request: &'static str) -> String {
    let exchange = move || {
        let mut stream = TcpStream::connect(address).expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time limit");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the server closes after its answer");
        answer
    };
    tokio::task::spawn_blocking(exchange).await.expect("an answer")
}

/// Names of the headers, in order, in lower case.
fn names(answer: &str) -> Vec<String> {
    let head = answer.split("\r\n\r\n").next().unwrap_or("");
    head.lines().skip(1).filter_map(|line| line.split_once(':')).map(|(name, _)| name.to_lowercase()).collect()
}

const HEADERS: &str =
    "  http_extra_headers: {X-Site: one}\n  https_extra_headers: {X-Not: here}\n  server_tokens: minimal";

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_keep_connections_gets_http_1_0_and_the_end() {
    let member = Member::with(State::primary(), HEADERS, Reply::new(200, "")).await;
    for request in [
        "GET /primary HTTP/1.0\r\n\r\n",
        "GET /primary HTTP/1.0\r\nConnection: close\r\n\r\n",
        "GET /primary HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET /primary HTTP/1.1\r\nHost: x\r\nConnection: TE, Close\r\n\r\n",
        // What elections read, and what acts, is not asked on an old connection.
        "GET /patroni HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /patroni HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "POST /reload HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        let answer = raw(member.address, request).await;
        assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
        let mut headers = names(&answer);
        // Said back to those who said it.
        headers.retain(|name| name != "connection");
        assert_eq!(headers, ["server", "date", "content-type", "x-site"], "{request:?}: {answer}");
        assert!(answer.to_lowercase().contains("server: patroni/4.1.5\r\n"), "{answer}");
    }
    let answer = raw(member.address, "POST /nothing HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 501 Not Implemented\r\n"), "{answer}");
    assert_eq!(names(&answer), ["server", "date", "connection", "content-type", "content-length"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn head_and_options_are_a_status_line() {
    let member = Member::serve(State::primary()).await;
    for (request, status) in [
        ("OPTIONS / HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK"),
        ("OPTIONS /replica HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.0 503 Service Unavailable"),
        ("HEAD /primary HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK"),
        ("HEAD /liveness HTTP/1.0\r\n\r\n", "HTTP/1.0 503 Service Unavailable"),
        ("OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.0 503 Service Unavailable"),
        ("GET /liveness HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK"),
    ] {
        let answer = raw(member.address, request).await;
        assert!(answer.starts_with(status), "{request:?}: {answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{request:?} has no body: {answer}");
        assert!(names(&answer).iter().all(|name| name == "connection"), "{request:?}: {answer}");
    }
}

/// One answer on a connection that stays open: its head, and as many bytes as the head says.
fn kept(stream: &mut TcpStream, request: &str) -> (String, String) {
    stream.write_all(request.as_bytes()).expect("sent");
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("a whole head");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("text");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).expect("a whole body");
    (head, String::from_utf8(body).expect("text"))
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_keeps_connections_gets_http_1_1_and_asks_again() {
    let member = Member::with(State::primary(), HEADERS, Reply::new(200, "")).await;
    let address = member.address;
    let exchange = move || {
        let mut stream = TcpStream::connect(address).expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time limit");
        let document = ["server", "date", "content-type", "x-site", "content-length"].as_slice();
        for (request, status, headers) in [
            ("GET /primary HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK", document),
            ("GET /replica?lag=1MB HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 503 Service Unavailable", document),
            // Patroni's HEAD is an answer of its own, without a body, not the head of what GET answers.
            ("HEAD /primary HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK", &["content-length"]),
            ("HEAD /replica HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 503 Service Unavailable", &["content-length"]),
            ("OPTIONS / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK", &["content-length"]),
            ("GET /liveness HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK", &["content-length"]),
            ("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK", document),
            (
                "GET /primary HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
                "HTTP/1.0 200 OK",
                &["server", "date", "content-type", "x-site", "content-length", "connection"],
            ),
            ("GET /read-only HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK", document),
        ] {
            let (head, body) = kept(&mut stream, request);
            assert!(head.starts_with(&format!("{status}\r\n")), "{request:?}: {head}");
            assert_eq!(names(&head), headers, "{request:?}: {head}");
            let whole = !headers.contains(&"content-type") || body.ends_with(['}', '\n']);
            assert!(whole, "{request:?}: {body:?}");
        }
        // One that says that it is its last request gets the last answer.
        let last = "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(last.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the server closes");
        assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    };
    tokio::task::spawn_blocking(exchange).await.expect("all answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_configuration_counts_at_once() {
    let member = Member::serve(State::primary()).await;
    let port = member.address.port();
    let reload = || ask(member.address, "POST", "/reload", None);
    assert_eq!(reload().await.status, 200);
    let change = |port, restapi: &str| member.configuration.send_replace(configuration(port, restapi));

    change(port, "  authentication: {username: u, password: p}");
    eventually("the password counts", || async { reload().await.status == 401 }).await;
    change(port, "  allowlist: [10.0.0.0/8]");
    eventually("the allowlist counts", || async { reload().await.body == "Access is denied" }).await;

    let mut stays = TcpStream::connect(member.address).expect("connected");
    stays.set_read_timeout(Some(Duration::from_secs(20))).expect("a time limit");
    let look = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    let (head, mut stays) = tokio::task::spawn_blocking(move || (kept(&mut stays, look).0, stays)).await.expect("kept");
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");

    let other = SocketAddr::from(([127, 0, 0, 1], free_port()));
    change(other.port(), "");
    eventually("it has moved", || async { ask(other, "GET", "/health", None).await.status == 200 }).await;
    eventually("the old place is left", || async { ask(member.address, "GET", "/health", None).await.status == 0 })
        .await;
    let mut rest = Vec::new();
    let ended = tokio::task::spawn_blocking(move || stays.read_to_end(&mut rest)).await.expect("no panic");
    assert_eq!(ended.expect("an orderly end"), 0, "a connection that was kept ends with the old place");

    // TLS that cannot be set up: everything stays as it was.
    change(other.port(), "  certfile: /nonexistent.pem");
    change(other.port(), "  server_tokens: productonly");
    eventually("it still answers", || async {
        ask(other, "GET", "/health", None).await.header("server") == Some("Patroni")
    })
    .await;
}

async fn eventually<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let begun = std::time::Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
