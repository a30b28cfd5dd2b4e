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

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_http_1_0_and_close_the_connection() {
    let restapi = "  http_extra_headers: {X-Site: one}\n  https_extra_headers: {X-Not: here}\n  server_tokens: minimal";
    let member = Member::with(State::primary(), restapi, Reply::new(200, "")).await;
    for request in [
        "GET /primary HTTP/1.0\r\n\r\n",
        "GET /primary HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /primary HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n",
    ] {
        let answer = raw(member.address, request).await;
        assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
        assert_eq!(names(&answer), ["server", "date", "content-type", "x-site"], "{request:?}: {answer}");
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
        ("OPTIONS /replica HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.0 503 Service Unavailable"),
        ("HEAD /primary HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK"),
        ("HEAD /liveness HTTP/1.0\r\n\r\n", "HTTP/1.0 503 Service Unavailable"),
        ("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.0 503 Service Unavailable"),
        ("GET /liveness HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK"),
    ] {
        let answer = raw(member.address, request).await;
        assert!(answer.starts_with(status), "{request:?}: {answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{request:?} has no body: {answer}");
        assert!(names(&answer).iter().all(|name| name == "date"), "{request:?}: {answer}");
    }
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

    let other = SocketAddr::from(([127, 0, 0, 1], free_port()));
    change(other.port(), "");
    eventually("it has moved", || async { ask(other, "GET", "/health", None).await.status == 200 }).await;
    eventually("the old place is left", || async { ask(member.address, "GET", "/health", None).await.status == 0 })
        .await;

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
