//! Requests to stores whose protocol is plain HTTP (Consul, etcd v2): several servers, one deadline.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jogi_net::http::{HttpError, HttpOptions, client};
use jogi_net::tls::ClientTls;
use reqwest::Method;

use crate::DcsError;
use crate::hosts::{Host, Hosts};
use crate::tries::{Answer, Failing, race};

/// An answer larger than this is not read to its end: a cluster's keys are some kilobytes.
const MAX_ANSWER: usize = 64 * 1024 * 1024;
/// How much of an unknown answer an error quotes.
const QUOTED: usize = 200;

/// One client; clones share what is known of the servers.
pub(crate) struct Rest {
    pub hosts: Arc<Hosts>,
    http: reqwest::Client,
}

/// A request.
pub(crate) struct Ask {
    pub operation: &'static str,
    pub method: Method,
    /// Path and query.
    pub path: String,
    pub content_type: &'static str,
    pub body: Bytes,
    /// Headers that carry credentials.
    pub header: Option<(&'static str, String)>,
    /// Statuses that are answers; every other is a failure.
    pub answers: &'static [u16],
}

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub status: u16,
    headers: reqwest::header::HeaderMap,
    pub body: Bytes,
}

/// One request to one server that brought no usable answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// No connection: nothing was sent.
    #[error("{0}")]
    Connect(String),
    /// The connection broke before the answer was complete.
    #[error("{0}")]
    Broken(String),
    /// The server answered with an error.
    #[error("{message} (HTTP status {http})")]
    Status { http: u16, message: String },
    #[error("{0}")]
    Garbled(String),
}

impl Failing for Failure {
    fn worth_another_try(&self) -> bool {
        match self {
            Failure::Connect(_) | Failure::Broken(_) | Failure::Garbled(_) => true,
            // The server understood, and refused (Consul says so of a ttl with status 500). 408 and 429 ask for patience.
            Failure::Status { http, message } => {
                let refused = (400..500).contains(http) || message.starts_with("Invalid Session TTL");
                !refused || [408, 429].contains(http)
            }
        }
    }

    fn perhaps_applied(&self) -> bool {
        match self {
            Failure::Connect(_) => false,
            Failure::Broken(_) | Failure::Garbled(_) => true,
            Failure::Status { .. } => self.worth_another_try(),
        }
    }
}

/// No answer to a call.
#[derive(Debug)]
pub(crate) struct Failed {
    operation: &'static str,
    /// `None`: silence.
    pub failure: Option<Failure>,
    endpoint: String,
    waited: Duration,
}

impl From<Failed> for DcsError {
    fn from(failed: Failed) -> DcsError {
        let Failed { operation, failure, endpoint, waited } = failed;
        match failure {
            None => DcsError::Timeout { operation, endpoint, waited },
            Some(Failure::Connect(cause) | Failure::Broken(cause)) => {
                DcsError::Unreachable { operation, endpoint, cause }
            }
            Some(Failure::Status { http: http @ (401 | 403), message }) => {
                let cause = format!("{message} (HTTP status {http})");
                DcsError::Denied { operation, endpoint, cause }
            }
            Some(Failure::Status { http, message }) => {
                let cause = format!("{message} (HTTP status {http})");
                DcsError::Server { operation, endpoint, cause }
            }
            Some(Failure::Garbled(cause)) => DcsError::Garbled { operation, endpoint, cause },
        }
    }
}

impl Rest {
    pub(crate) fn new(hosts: Arc<Hosts>, tls: Option<&ClientTls>) -> Result<Rest, HttpError> {
        let tls = tls.map(ClientTls::build).transpose()?;
        let http = client(&HttpOptions { tls, ..HttpOptions::default() })?;
        Ok(Rest { hosts, http })
    }

    /// Asks until one server answers, a server refuses, or the deadline has passed; `read` makes sense of the answer.
    pub(crate) async fn call<T>(
        &self,
        ask: &Ask,
        ring: &(dyn Fn() + Sync),
        deadline: Duration,
        read: impl Fn(Reply) -> Result<T, String> + Sync,
    ) -> Result<Answer<T>, Failed> {
        let read = &read;
        let attempt = |host: Arc<Host>| async move {
            let reply = self.attempt(&host, ask).await?;
            read(reply).map_err(Failure::Garbled)
        };
        race(&self.hosts, ring, deadline, attempt).await.map_err(|lost| Failed {
            operation: ask.operation,
            failure: lost.failure,
            endpoint: lost.endpoint,
            waited: lost.waited,
        })
    }

    /// One try on one server.
    pub(crate) async fn attempt(&self, host: &Host, ask: &Ask) -> Result<Reply, Failure> {
        let mut request = self.http.request(ask.method.clone(), format!("{}{}", host.url, ask.path));
        if !ask.body.is_empty() {
            request = request.header("Content-Type", ask.content_type).body(ask.body.clone());
        }
        if let Some((name, value)) = &ask.header {
            request = request.header(*name, value);
        }
        let mut response = request.send().await.map_err(|e| from_http(&e))?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| from_http(&e))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(Failure::Garbled(format!("an answer of more than {MAX_ANSWER} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        if ask.answers.contains(&status) {
            return Ok(Reply { status, headers, body: body.into() });
        }
        Err(Failure::Status { http: status, message: quote(&body) })
    }
}

impl Reply {
    /// A header that holds a number.
    pub(crate) fn number(&self, header: &str) -> Option<u64> {
        self.headers.get(header)?.to_str().ok()?.parse().ok()
    }

    pub(crate) fn json<'a, T: serde::Deserialize<'a>>(&'a self) -> Result<T, String> {
        serde_json::from_slice(&self.body).map_err(|e| format!("{e}, in {}", quote(&self.body)))
    }
}

fn from_http(error: &reqwest::Error) -> Failure {
    let cause = jogi_net::http::describe(error);
    if error.is_connect() || error.is_builder() { Failure::Connect(cause) } else { Failure::Broken(cause) }
}

/// The beginning of a text that somebody else wrote, on one line.
pub(crate) fn quote(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let line: String = text.trim().chars().take(QUOTED).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.is_empty() { "an empty answer".to_owned() } else { line }
}

/// A path with everything escaped that has a meaning in an address.
pub(crate) fn escape(path: &str) -> String {
    let mut escaped = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                escaped.push(char::from(byte))
            }
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_status_is_an_error_with_a_text(http in 0u16..1000, body in prop::collection::vec(any::<u8>(), 0..400)) {
            let failure = Failure::Status { http, message: quote(&body) };
            let refused = (400..500).contains(&http) && http != 408 && http != 429;
            prop_assert_eq!(failure.worth_another_try(), !refused);
            prop_assert_eq!(failure.perhaps_applied(), !refused);
            let endpoint = "http://e:1".to_owned();
            let failed = Failed { operation: "read", failure: Some(failure), endpoint, waited: Duration::ZERO };
            let error = DcsError::from(failed);
            prop_assert_eq!(matches!(error, DcsError::Denied { .. }), http == 401 || http == 403);
            let text = error.to_string();
            prop_assert!(text.starts_with("read: http://e:1 ") && text.contains(&http.to_string()), "{}", text);
            prop_assert!(text.chars().count() < 450 && !text.chars().any(char::is_control));
        }
    }

    #[test]
    fn a_path_keeps_its_meaning() {
        assert_eq!(escape("a/b-c_d.e"), "a/b-c_d.e");
        assert_eq!(escape("ä b?c#d%e"), "%C3%A4%20b%3Fc%23d%25e");
    }
}
