//! A small HTTP client for tests: one request, one whole answer, one deadline.
//!
//! It speaks HTTP/1.0 without keeping the connection, and shows what was answered as it came: no redirects, no decoding,
//! headers in order. It runs on the calling thread, so that it can be used inside a network namespace.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

/// What was answered.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// 0 when there was no answer: refused, cut off, or too late. Then `body` says what happened.
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Reply {
    /// The body as JSON; `null` when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
}

/// Sends a request and reads until the server closes. Never an error: see [`Reply::status`].
pub fn request(to: SocketAddr, method: &str, path: &str, body: Option<&str>, within: Duration) -> Reply {
    match try_request(to, method, path, body, within) {
        Ok(reply) => reply,
        Err(error) => Reply { body: format!("no answer from {to} to {method} {path}: {error}"), ..Reply::default() },
    }
}

fn try_request(to: SocketAddr, method: &str, path: &str, body: Option<&str>, within: Duration) -> io::Result<Reply> {
    let deadline = Instant::now() + within;
    let mut stream = open(to, method, path, body, deadline)?;
    let mut raw = Vec::new();
    let mut part = [0; 16 * 1024];
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(n) => raw.extend_from_slice(&part[..n]),
            // A server that closes before it has read all of a request resets; what it said still counts.
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset && !raw.is_empty() => break,
            Err(e) => return Err(e),
        }
    }
    parse(&raw)
}

/// Sends a request and returns the stream, for answers that never end.
pub fn open(to: SocketAddr, method: &str, path: &str, body: Option<&str>, deadline: Instant) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&to, left(deadline)?)?;
    stream.set_write_timeout(Some(left(deadline)?))?;
    let length =
        body.map_or(String::new(), |b| format!("Content-Type: application/json\r\nContent-Length: {}\r\n", b.len()));
    let head = format!("{method} {path} HTTP/1.0\r\nHost: {to}\r\n{length}Connection: close\r\n\r\n");
    stream.write_all(format!("{head}{}", body.unwrap_or("")).as_bytes())?;
    Ok(stream)
}

pub(crate) fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

fn parse(raw: &[u8]) -> io::Result<Reply> {
    let text = String::from_utf8_lossy(raw);
    let broken = |what: &str| io::Error::other(format!("{what} in {text:?}"));
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let mut lines = head.lines();
    let status = lines.next().and_then(|l| l.split(' ').nth(1)).and_then(|s| s.parse().ok());
    let headers = lines.filter_map(|l| l.split_once(':')).map(|(n, v)| (n.trim().to_owned(), v.trim().to_owned()));
    Ok(Reply {
        status: status.ok_or_else(|| broken("no status line"))?,
        headers: headers.collect(),
        body: body.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_apart() {
        let reply = parse(b"HTTP/1.0 503 Service Unavailable\r\nServer: x\r\n\r\n{\"a\": 1}").expect("parsed");
        assert_eq!((reply.status, reply.header("server")), (503, Some("x")));
        assert_eq!(reply.json()["a"], 1);
        let bare = parse(b"HTTP/1.0 200 OK\r\n\r\n").expect("parsed");
        assert_eq!((bare.status, bare.headers.len(), bare.body.as_str()), (200, 0, ""));
    }

    #[test]
    fn nobody_there_is_status_zero() {
        let reply = request(SocketAddr::from(([127, 0, 0, 1], 1)), "GET", "/", None, Duration::from_secs(1));
        assert_eq!(reply.status, 0);
        assert!(reply.body.contains("GET /"), "{}", reply.body);
    }
}
