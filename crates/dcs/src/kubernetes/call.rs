//! One request to the API server: deadline, several servers, tries, and failures in words.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use jogi_net::{Backoff, random_u64};
use reqwest::Method;
use serde_json::Value;
use tokio::time::Instant;
use tracing::debug;

use super::Kubernetes;
use crate::DcsError;

/// Between tries: the first pause and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// The largest answer that is read: a list of all of a cluster's objects.
const MAX_ANSWER: usize = 32 << 20;
/// How much of an unknown answer an error quotes.
const QUOTED: usize = 300;
/// Part of the deadline that one silent server may take when there are several, at least.
const SHORTEST_TRY: Duration = Duration::from_millis(250);

/// One request.
pub(super) struct Request<'a> {
    pub operation: &'static str,
    pub method: Method,
    /// From `/api` on.
    pub path: &'a str,
    pub body: Option<&'a Value>,
    /// RBAC of a pod can change while it runs, and a leader that renews its lock waits for it (as Patroni does).
    pub retry_forbidden: bool,
}

impl<'a> Request<'a> {
    pub(super) fn get(operation: &'static str, path: &'a str) -> Request<'a> {
        Request { operation, method: Method::GET, path, body: None, retry_forbidden: false }
    }

    pub(super) fn patch(operation: &'static str, path: &'a str, body: &'a Value) -> Request<'a> {
        Request { operation, method: Method::PATCH, path, body: Some(body), retry_forbidden: false }
    }

    pub(super) fn post(operation: &'static str, path: &'a str, body: &'a Value) -> Request<'a> {
        Request { operation, method: Method::POST, path, body: Some(body), retry_forbidden: false }
    }

    pub(super) fn delete(operation: &'static str, path: &'a str) -> Request<'a> {
        Request { operation, method: Method::DELETE, path, body: None, retry_forbidden: false }
    }
}

/// What the server said, beside errors that are nobody's answer.
#[derive(Debug)]
pub(super) enum Answer {
    Ok(Value),
    /// 404.
    Missing(String),
    /// 409: another resourceVersion, or the object exists already.
    Conflict,
    /// 410: the resourceVersion asked for is too old.
    Gone,
}

/// An answer, and whether an earlier try may have been applied.
pub(super) struct Answered {
    pub answer: Answer,
    pub doubtful: bool,
}

/// One try that brought no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing was sent.
    Connect(String),
    Broken(String),
    Silent,
    Server {
        status: u16,
        message: String,
        after: Option<Duration>,
    },
    /// 401.
    Unknown(String),
    /// 403.
    Forbidden(String),
    Garbled(String),
}

/// The API servers; without the bypass there is one.
pub(super) struct Servers {
    configured: String,
    list: Mutex<Vec<String>>,
}

impl Servers {
    pub(super) fn new(configured: String) -> Servers {
        Servers { list: Mutex::new(vec![configured.clone()]), configured }
    }

    pub(super) fn all(&self) -> Vec<String> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn describe(&self) -> String {
        self.all().join(", ")
    }

    /// The servers found behind the service; the service itself stays the last resort.
    pub(super) fn found(&self, servers: Vec<String>) {
        let mut list = servers;
        list.retain(|server| *server != self.configured);
        list.push(self.configured.clone());
        *self.list.lock().unwrap_or_else(PoisonError::into_inner) = list;
    }

    /// A server that failed is asked last from now on.
    fn failed(&self, server: &str) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if list.len() > 1
            && let Some(at) = list.iter().position(|known| known == server)
        {
            let server = list.remove(at);
            list.push(server);
        }
    }
}

impl Kubernetes {
    /// Tries until there is an answer or the deadline has passed.
    pub(super) async fn call(&self, request: &Request<'_>, deadline: Duration) -> Result<Answered, DcsError> {
        let started = Instant::now();
        let end = started + deadline;
        let mut pauses = Backoff::new(PAUSES.0, PAUSES.1);
        let mut doubtful = false;
        let mut token_read_again = false;
        let mut last: Option<(Failure, String)> = None;
        loop {
            let servers = self.shared.servers.all();
            // Several servers share what is left, so that a hanging one costs at most one try.
            let left = end.saturating_duration_since(Instant::now());
            let share = if servers.len() > 1 { (left / 2).max(SHORTEST_TRY).min(left) } else { left };
            let server = servers.first().cloned().unwrap_or_default();
            if left.is_zero() {
                let (failure, server) = last.unwrap_or((Failure::Silent, server));
                return Err(failure.into_error(request.operation, server, started.elapsed()));
            }
            let attempt = tokio::time::timeout(share, self.attempt(&server, request)).await;
            let failure = match attempt.unwrap_or(Err(Failure::Silent)) {
                Ok(answer) => return Ok(Answered { answer, doubtful }),
                Err(failure) => failure,
            };
            debug!(operation = request.operation, %server, ?failure, "a try failed");
            doubtful |= failure.perhaps_applied();
            if failure.blames_server() {
                self.shared.servers.failed(&server);
            }
            let again = match &failure {
                Failure::Unknown(_) if !token_read_again => {
                    token_read_again = true;
                    self.shared.options.access.credentials.refused()
                }
                Failure::Forbidden(_) => request.retry_forbidden,
                other => other.worth_another_try(&self.shared.options.retriable),
            };
            let pause = failure.after().unwrap_or_else(|| pauses.next(random_u64()));
            if !again || Instant::now() + pause >= end {
                return Err(failure.into_error(request.operation, server, started.elapsed()));
            }
            last = Some((failure, server));
            tokio::time::sleep(pause).await;
        }
    }

    async fn attempt(&self, server: &str, request: &Request<'_>) -> Result<Answer, Failure> {
        let response = self.send(server, request).await?;
        let status = response.status().as_u16();
        let after = retry_after(&response);
        let body = read(response).await?;
        match status {
            200..=299 => serde_json::from_slice(&body).map(Answer::Ok).map_err(|_| Failure::Garbled(quote(&body))),
            404 if is_status(&body) => Ok(Answer::Missing(message(&body))),
            409 => Ok(Answer::Conflict),
            410 => Ok(Answer::Gone),
            401 => Err(Failure::Unknown(message(&body))),
            403 => Err(Failure::Forbidden(message(&body))),
            status => Err(Failure::Server { status, message: message(&body), after }),
        }
    }

    /// Sends and returns as soon as the answer begins.
    pub(super) async fn send(&self, server: &str, request: &Request<'_>) -> Result<reqwest::Response, Failure> {
        let url = format!("{server}{}", request.path);
        let mut sent = self.http.request(request.method.clone(), url).header("Accept", "application/json");
        if let Some(body) = request.body {
            let kind = match request.method {
                Method::PATCH => "application/strategic-merge-patch+json",
                _ => "application/json",
            };
            sent = sent.header("Content-Type", kind).body(body.to_string());
        }
        if let Some(header) = self.shared.options.access.credentials.header() {
            sent = sent.header("Authorization", header);
        }
        sent.send().await.map_err(|e| Failure::from_http(&e))
    }
}

async fn read(mut response: reqwest::Response) -> Result<Bytes, Failure> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| Failure::from_http(&e))? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER {
            return Err(Failure::Garbled(format!("an answer of more than {MAX_ANSWER} bytes")));
        }
    }
    Ok(body.freeze())
}

/// An error of a stream that has just been opened.
pub(super) async fn refused(response: reqwest::Response) -> Failure {
    let (status, after) = (response.status().as_u16(), retry_after(&response));
    match read(response).await {
        Ok(body) => match status {
            401 => Failure::Unknown(message(&body)),
            403 => Failure::Forbidden(message(&body)),
            status => Failure::Server { status, message: message(&body), after },
        },
        Err(failure) => failure,
    }
}

/// What a server may ask for with Retry-After: longer than any deadline of ours.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

fn retry_after(response: &reqwest::Response) -> Option<Duration> {
    let header = response.headers().get("Retry-After")?.to_str().ok()?;
    header.trim().parse().ok().map(|seconds| Duration::from_secs(seconds).min(LONGEST_PAUSE))
}

fn is_status(body: &[u8]) -> bool {
    serde_json::from_slice::<Value>(body).is_ok_and(|v| v.get("kind").and_then(Value::as_str) == Some("Status"))
}

/// What the API server says, or the beginning of what somebody in between says.
fn message(body: &[u8]) -> String {
    let status: Option<Value> = serde_json::from_slice(body).ok();
    let message = status.as_ref().and_then(|s| s.get("message")).and_then(Value::as_str).filter(|m| !m.is_empty());
    message.map_or_else(|| quote(body), tidy)
}

fn quote(body: &[u8]) -> String {
    let text = tidy(String::from_utf8_lossy(body).trim());
    if text.is_empty() { "an empty answer".into() } else { text }
}

fn tidy(text: &str) -> String {
    text.chars().take(QUOTED).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl Failure {
    pub(super) fn from_http(error: &reqwest::Error) -> Failure {
        let text = jogi_net::http::describe(error);
        if error.is_connect() { Failure::Connect(text) } else { Failure::Broken(text) }
    }

    fn perhaps_applied(&self) -> bool {
        match self {
            Failure::Connect(_) | Failure::Unknown(_) | Failure::Forbidden(_) => false,
            Failure::Broken(_) | Failure::Silent | Failure::Garbled(_) => true,
            Failure::Server { status, .. } => *status >= 500,
        }
    }

    fn blames_server(&self) -> bool {
        match self {
            Failure::Connect(_) | Failure::Broken(_) | Failure::Silent | Failure::Garbled(_) => true,
            Failure::Server { status, .. } => *status >= 500,
            Failure::Unknown(_) | Failure::Forbidden(_) => false,
        }
    }

    fn worth_another_try(&self, retriable: &[u16]) -> bool {
        match self {
            Failure::Connect(_) | Failure::Broken(_) | Failure::Silent | Failure::Garbled(_) => true,
            Failure::Server { status, after, .. } => {
                *status >= 500 || *status == 429 || after.is_some() || retriable.contains(status)
            }
            Failure::Unknown(_) | Failure::Forbidden(_) => false,
        }
    }

    fn after(&self) -> Option<Duration> {
        match self {
            Failure::Server { after, .. } => *after,
            Failure::Connect(_)
            | Failure::Broken(_)
            | Failure::Silent
            | Failure::Unknown(_)
            | Failure::Forbidden(_)
            | Failure::Garbled(_) => None,
        }
    }

    pub(super) fn into_error(self, operation: &'static str, endpoint: String, waited: Duration) -> DcsError {
        match self {
            Failure::Connect(cause) | Failure::Broken(cause) => DcsError::Unreachable { operation, endpoint, cause },
            Failure::Silent => DcsError::Timeout { operation, endpoint, waited },
            Failure::Garbled(cause) => DcsError::Garbled { operation, endpoint, cause },
            Failure::Server { status, message, .. } => {
                DcsError::Server { operation, endpoint, cause: format!("{message} (HTTP status {status})") }
            }
            Failure::Unknown(message) => DcsError::Denied {
                operation,
                endpoint,
                cause: format!(
                    "the API server does not know us ({message}): the token or certificate is wrong or has expired"
                ),
            },
            Failure::Forbidden(message) => DcsError::Forbidden { operation, endpoint, cause: message },
        }
    }
}

/// A request that the API server refuses as it is.
pub(super) fn unexpected(operation: &'static str, servers: &Arc<super::Shared>, what: &str) -> DcsError {
    DcsError::Server { operation, endpoint: servers.servers.describe(), cause: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_failed_server_is_asked_last_and_the_service_is_the_last_resort() {
        let servers = Servers::new("https://svc".into());
        servers.failed("https://svc");
        assert_eq!(servers.all(), ["https://svc"]);
        servers.found(vec!["https://a".into(), "https://b".into()]);
        assert_eq!(servers.all(), ["https://a", "https://b", "https://svc"]);
        servers.failed("https://a");
        assert_eq!(servers.all(), ["https://b", "https://svc", "https://a"]);
    }

    proptest! {
        #[test]
        fn any_answer_of_an_error_is_an_error_with_a_text(
            status in 400u16..1000,
            body in prop::collection::vec(any::<u8>(), 0..400),
            retriable in prop::collection::vec(400u16..600, 0..3),
        ) {
            let failure = Failure::Server { status, message: message(&body), after: None };
            let again = failure.worth_another_try(&retriable);
            prop_assert_eq!(again, status >= 500 || status == 429 || retriable.contains(&status));
            let text = failure.into_error("read", "https://k".into(), Duration::from_millis(5)).to_string();
            prop_assert!(text.starts_with("read: https://k answered with an error: ") && !text.chars().any(char::is_control));
        }
    }
}
