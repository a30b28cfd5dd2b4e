//! One request to etcd's gateway, on whichever server answers: logins, the gateway's path, what is believed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jogi_net::boot_now;
use serde_json::{Value, json};

use super::Etcd3;
use super::failure::{Failure, quote};
use super::knowledge::Standing;
use super::login::Token;
use super::wire::{Answered, VersionAnswer};
use crate::DcsError;
use crate::hosts::Host;
use crate::tries::{Answer, Failing, race};

/// An answer larger than this is not read to its end: a cluster's keys are some kilobytes.
pub(super) const MAX_ANSWER: usize = 64 * 1024 * 1024;
/// The gateway's path since etcd 3.4.
const USUAL_PREFIX: &str = "/v3";

/// A request to the gateway.
pub(super) struct Request {
    pub operation: &'static str,
    /// Below the version prefix: `/kv/range`.
    pub path: &'static str,
    pub body: Value,
    pub standing: Standing,
    /// The answer is the first message of a stream, wrapped in `result`.
    pub stream: bool,
}

/// No answer.
pub(super) struct Failed {
    failure: Failure,
    endpoint: String,
    waited: Duration,
    /// A try of this call may have been applied.
    pub doubtful: bool,
    operation: &'static str,
}

impl Failed {
    pub(super) fn failure(&self) -> &Failure {
        &self.failure
    }
}

impl From<Failed> for DcsError {
    fn from(failed: Failed) -> DcsError {
        failed.failure.into_error(failed.operation, failed.endpoint, failed.waited)
    }
}

impl Etcd3 {
    /// Asks until one server answers, a server refuses, or the deadline has passed.
    pub(super) async fn call<T: Answered>(&self, request: &Request, deadline: Duration) -> Result<Answer<T>, Failed> {
        let body = Bytes::from(request.body.to_string());
        let ring = || self.shared.ring();
        let attempt = |host: Arc<Host>| {
            let body = body.clone();
            async move { self.attempt::<T>(&host, request, body).await }
        };
        race(&self.shared.hosts, &ring, deadline, attempt).await.map_err(|lost| Failed {
            failure: lost.failure.unwrap_or(Failure::Silent),
            endpoint: lost.endpoint,
            waited: lost.waited,
            doubtful: lost.doubtful,
            operation: request.operation,
        })
    }

    /// One try on one server, with a login where one is needed.
    pub(super) async fn attempt<T: Answered>(
        &self,
        host: &Arc<Host>,
        request: &Request,
        body: Bytes,
    ) -> Result<T, Failure> {
        let known = self.shared.knowledge.newest();
        let answer = self.authorized(host, request.path, &body, request.standing != Standing::Local).await?;
        let value: T = parse(&answer, request.stream)?;
        self.shared.knowledge.judge(known, value.header(), request.standing, boot_now()).map_err(Failure::Stale)?;
        Ok(value)
    }

    /// Sends with a token; when it is refused, logs in once and sends again.
    async fn authorized(
        &self,
        host: &Arc<Host>,
        path: &str,
        body: &Bytes,
        needs_leader: bool,
    ) -> Result<Bytes, Failure> {
        let token = self.token(host).await?;
        match self.post(host, path, body, &token, needs_leader).await {
            Err(failure) if failure.needs_login() && self.shared.login.user().is_some() => {
                self.shared.login.refused(&token);
                let token = self.token(host).await?;
                match self.post(host, path, body, &token, needs_leader).await {
                    Err(Failure::Server { message, .. }) if message.contains("permission denied") => {
                        Err(Failure::Denied(message))
                    }
                    other => other,
                }
            }
            Err(failure) if failure.needs_login() => Err(Failure::Denied(denied_text(failure))),
            other => other,
        }
    }

    pub(super) async fn token(&self, host: &Arc<Host>) -> Result<Token, Failure> {
        match self.shared.login.token() {
            Token::Wanted => {}
            known @ (Token::NotNeeded | Token::Is(_)) => return Ok(known),
        }
        let Some((name, password)) = self.shared.login.user() else { return Ok(Token::NotNeeded) };
        let body = Bytes::from(json!({"name": name, "password": password}).to_string());
        let token = match self.post(host, "/auth/authenticate", &body, &Token::NotNeeded, false).await {
            Ok(answer) => {
                let answer: Value = serde_json::from_slice(&answer).map_err(|_| Failure::Garbled(quote(&answer)))?;
                let token = answer.get("token").and_then(Value::as_str);
                Token::Is(token.ok_or_else(|| Failure::Garbled("a login without a token".into()))?.to_owned())
            }
            Err(failure) if failure.is_auth_off() => Token::NotNeeded,
            Err(failure @ Failure::Server { .. }) if !failure.worth_another_try() => {
                return Err(Failure::Denied(denied_text(failure)));
            }
            Err(failure) => return Err(failure),
        };
        self.shared.login.learn(token.clone());
        Ok(token)
    }

    /// Sends and reads the whole answer, on the gateway's path of this server.
    async fn post(
        &self,
        host: &Arc<Host>,
        path: &str,
        body: &Bytes,
        token: &Token,
        needs_leader: bool,
    ) -> Result<Bytes, Failure> {
        let result = self.post_at(host, self.prefix(host), path, body, token, needs_leader).await;
        match result {
            Err(failure) if failure.is_unknown_path() && self.shared.options.version_prefix.is_none() => {
                self.find_prefix(host).await?;
                self.post_at(host, self.prefix(host), path, body, token, needs_leader).await
            }
            other => other,
        }
    }

    async fn post_at(
        &self,
        host: &Host,
        prefix: &str,
        path: &str,
        body: &Bytes,
        token: &Token,
        needs_leader: bool,
    ) -> Result<Bytes, Failure> {
        let response = self.send(host, prefix, path, body, token, needs_leader).await?;
        let status = response.status().as_u16();
        let answer = read(response).await?;
        if status == 200 { Ok(answer) } else { Err(Failure::from_answer(status, &answer)) }
    }

    /// Sends and returns as soon as the answer begins.
    pub(super) async fn send(
        &self,
        host: &Host,
        prefix: &str,
        path: &str,
        body: &Bytes,
        token: &Token,
        needs_leader: bool,
    ) -> Result<reqwest::Response, Failure> {
        let mut request = self
            .http
            .post(format!("{}{prefix}{path}", host.url))
            .header("Content-Type", "application/json")
            .body(body.clone());
        if needs_leader {
            // A server without a leader then answers at once with an error (etcd: WithRequireLeader).
            request = request.header("Grpc-Metadata-hasleader", "true");
        }
        if let Token::Is(token) = token {
            request = request.header("Authorization", token);
        }
        request.send().await.map_err(|e| Failure::from_http(&e))
    }

    pub(super) fn prefix<'a>(&'a self, host: &Host) -> &'a str {
        match &self.shared.options.version_prefix {
            Some(prefix) => prefix,
            None => host.prefix().unwrap_or(USUAL_PREFIX),
        }
    }

    /// Asks a server that does not know the usual path for its version.
    async fn find_prefix(&self, host: &Host) -> Result<(), Failure> {
        let response = self.http.get(format!("{}/version", host.url)).send().await;
        let answer = read(response.map_err(|e| Failure::from_http(&e))?).await?;
        let version: VersionAnswer = serde_json::from_slice(&answer).map_err(|_| Failure::Garbled(quote(&answer)))?;
        host.learn_prefix(prefix_of(&version).map_err(Failure::Garbled)?);
        Ok(())
    }
}

async fn read(mut response: reqwest::Response) -> Result<Bytes, Failure> {
    let mut answer = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| Failure::from_http(&e))? {
        if answer.len() + chunk.len() > MAX_ANSWER {
            return Err(Failure::Garbled(format!("an answer of more than {MAX_ANSWER} bytes")));
        }
        answer.extend_from_slice(&chunk);
    }
    Ok(answer.into())
}

/// An answer as `T`. A stream's message is wrapped in `result`, or is an `error`.
fn parse<T: Answered>(answer: &[u8], stream: bool) -> Result<T, Failure> {
    if !stream {
        return serde_json::from_slice(answer).map_err(|e| garbled(answer, &e));
    }
    let line = answer.split(|b| *b == b'\n').find(|line| !line.trim_ascii().is_empty()).unwrap_or_default();
    let mut message: Value = serde_json::from_slice(line).map_err(|e| garbled(answer, &e))?;
    if let Some(error) = message.get("error") {
        return Err(Failure::from_stream(error));
    }
    let result = message.get_mut("result").map(Value::take).ok_or_else(|| Failure::Garbled(quote(answer)))?;
    serde_json::from_value(result).map_err(|e| garbled(answer, &e))
}

fn garbled(answer: &[u8], error: &serde_json::Error) -> Failure {
    Failure::Garbled(format!("{error}, in {}", quote(answer)))
}

fn denied_text(failure: Failure) -> String {
    match failure {
        Failure::Server { message, .. } => message,
        other => other.to_string(),
    }
}

/// The gateway's path by version: `/v3alpha` before 3.3, `/v3beta` in 3.3, `/v3` since.
fn prefix_of(version: &VersionAnswer) -> Result<&'static str, String> {
    let text = if version.etcdcluster.starts_with(|c: char| c.is_ascii_digit()) {
        &version.etcdcluster
    } else {
        &version.etcdserver
    };
    let mut parts = text.split('.').map(|part| part.parse::<u32>().ok());
    let (Some(Some(major)), Some(Some(minor))) = (parts.next(), parts.next()) else {
        return Err(format!("'{text}' is no version of etcd"));
    };
    match (major, minor) {
        (0..3, _) | (3, 0) => Err(format!("etcd {text} is too old: watches need etcd 3.1 or newer")),
        (3, 1 | 2) => Ok("/v3alpha"),
        (3, 3) => Ok("/v3beta"),
        (_, _) => Ok(USUAL_PREFIX),
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::{KeepAliveAnswer, RangeAnswer};
    use super::*;

    #[test]
    fn the_path_follows_the_version() {
        for (server, cluster, prefix) in [
            ("3.4.23", "3.4.0", Some("/v3")),
            ("3.5.1", "not_decided", Some("/v3")),
            ("3.4.0", "3.3.0", Some("/v3beta")),
            ("3.2.9", "3.2.0", Some("/v3alpha")),
            ("4.0.0", "4.0.0", Some("/v3")),
            ("3.0.2", "3.0.0", None),
            ("2.3.8", "2.3.0", None),
            ("", "", None),
            ("x", "y", None),
        ] {
            let version = VersionAnswer { etcdserver: server.into(), etcdcluster: cluster.into() };
            assert_eq!(prefix_of(&version).ok(), prefix, "{server} {cluster}");
        }
    }

    #[test]
    fn messages_of_a_stream_are_unwrapped() {
        let alive: KeepAliveAnswer = parse(b"{\"result\":{\"ID\":\"7\",\"TTL\":\"30\"}}\n", true).expect("alive");
        assert_eq!(alive.ttl, 30);
        let gone: KeepAliveAnswer = parse(b"{\"result\":{\"ID\":\"7\"}}", true).expect("gone");
        assert_eq!(gone.ttl, 0);
        for (body, stream) in [
            (&b"{\"error\":{\"grpc_code\":14,\"message\":\"etcdserver: no leader\"}}"[..], true),
            (b"{}", true),
            (b"", true),
            (b"<html>", true),
            (b"<html>", false),
            (b"{\"kvs\":7}", false),
            (b"{\"kvs\":[{\"key\":\"%%\"}]}", false),
        ] {
            assert!(parse::<RangeAnswer>(body, stream).is_err(), "{}", String::from_utf8_lossy(body));
        }
    }
}
