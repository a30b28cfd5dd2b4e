//! The REST API of members, as the control tool asks it.
//!
//! Trust and credentials are the configuration's `ctl` section, or `restapi` where that is silent. Every request has
//! a deadline; what a server says beyond [`ANSWER_MAX`] is not kept.

use std::sync::OnceLock;
use std::time::Duration;

use jogi_config::local::{BasicAuth, Ctl};
use jogi_core::view::Member;
use jogi_net::http::{self, HttpError, HttpOptions};
use jogi_net::tls::{ClientTls, Verify};
use reqwest::{Client, Method};
use serde_json::Value;

/// For questions, and for requests that are only noted down.
pub const SHORT: Duration = Duration::from_secs(15);
/// A restart answers when it is done; what it waits for (a checkpoint, a recovery) can take long. A host that is gone
/// is noticed much earlier by its silence.
pub const RESTART: Duration = Duration::from_secs(3600);

const ANSWER_MAX: usize = 4 << 20;

/// What a member answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub body: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }
}

/// A member that did not answer.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    #[error("member {member} publishes no address of its REST API")]
    NoUrl { member: String },
    #[error("member {member} does not answer at {url}: {cause}")]
    Unanswered { member: String, url: String, cause: String },
    #[error(
        "member {member} did not answer at {url} within {} s; what was asked for may still happen: look at the cluster before you ask again",
        within.as_secs()
    )]
    Late { member: String, url: String, within: Duration },
    #[error(transparent)]
    Setup(#[from] HttpError),
}

/// A client for all members.
pub struct Rest {
    tls: ClientTls,
    authentication: Option<BasicAuth>,
    plain: OnceLock<Client>,
    encrypted: OnceLock<Client>,
}

impl Rest {
    pub fn new(ctl: &Ctl) -> Rest {
        let verify = match (ctl.insecure, &ctl.certfile) {
            (false, _) => Verify::Full,
            // As patronictl: with a certificate of our own only the name goes unchecked.
            (true, Some(_)) => Verify::ChainOnly,
            (true, None) => Verify::Nothing,
        };
        let tls = ClientTls {
            ca: ctl.cacert.clone(),
            cert: ctl.certfile.clone(),
            key: ctl.certfile.as_ref().and(ctl.keyfile.clone()),
            key_password: ctl.keyfile_password.as_ref().map(|secret| secret.expose().to_owned()),
            verify,
        };
        let authentication = ctl.authentication.clone();
        Rest { tls, authentication, plain: OnceLock::new(), encrypted: OnceLock::new() }
    }

    /// The member's own document, at the address that it publishes.
    pub async fn status(&self, member: &Member) -> Result<Reply, RestError> {
        let url = url_of(member)?.to_owned();
        self.send(member, Method::GET, &url, None, SHORT).await
    }

    pub async fn get(&self, member: &Member, endpoint: &str) -> Result<Reply, RestError> {
        self.request(member, Method::GET, endpoint, None, SHORT).await
    }

    pub async fn delete(&self, member: &Member, endpoint: &str) -> Result<Reply, RestError> {
        self.request(member, Method::DELETE, endpoint, None, SHORT).await
    }

    pub async fn patch(&self, member: &Member, endpoint: &str, body: &Value) -> Result<Reply, RestError> {
        self.request(member, Method::PATCH, endpoint, Some(body), SHORT).await
    }

    pub async fn post(
        &self,
        member: &Member,
        endpoint: &str,
        body: Option<&Value>,
        within: Duration,
    ) -> Result<Reply, RestError> {
        self.request(member, Method::POST, endpoint, body, within).await
    }

    async fn request(
        &self,
        member: &Member,
        method: Method,
        endpoint: &str,
        body: Option<&Value>,
        within: Duration,
    ) -> Result<Reply, RestError> {
        let url = format!("{}/{endpoint}", server_of(url_of(member)?));
        self.send(member, method, &url, body, within).await
    }

    async fn send(
        &self,
        member: &Member,
        method: Method,
        url: &str,
        body: Option<&Value>,
        within: Duration,
    ) -> Result<Reply, RestError> {
        let mut request = self.client(url)?.request(method, url).timeout(within);
        if let Some(BasicAuth { username, password }) = &self.authentication {
            request = request.basic_auth(username, Some(password.expose()));
        }
        request = match body {
            Some(body) => request.header("content-type", "application/json").body(body.to_string()),
            // A length of zero is told: Python's server wants one.
            None => request.body(""),
        };
        read(request).await.map_err(|error| {
            let (member, url) = (member.name.to_string(), url.to_owned());
            match error.is_timeout() && !error.is_connect() {
                true => RestError::Late { member, url, within },
                false => RestError::Unanswered { member, url, cause: http::describe(&error) },
            }
        })
    }

    fn client(&self, url: &str) -> Result<&Client, HttpError> {
        let encrypted = url.starts_with("https:");
        let slot = if encrypted { &self.encrypted } else { &self.plain };
        if let Some(client) = slot.get() {
            return Ok(client);
        }
        let tls = encrypted.then(|| self.tls.build()).transpose()?;
        let client = http::client(&HttpOptions { tls, ..HttpOptions::default() })?;
        Ok(slot.get_or_init(|| client))
    }
}

async fn read(request: reqwest::RequestBuilder) -> Result<Reply, reqwest::Error> {
    let mut response = request.send().await?;
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await? {
        if body.len() < ANSWER_MAX {
            body.extend_from_slice(&part);
        }
    }
    Ok(Reply { status: response.status().as_u16(), body: String::from_utf8_lossy(&body).into_owned() })
}

fn url_of(member: &Member) -> Result<&str, RestError> {
    member.data.api_url().ok_or_else(|| RestError::NoUrl { member: member.name.to_string() })
}

/// Scheme and authority.
fn server_of(url: &str) -> &str {
    let begin = url.find("://").map_or(0, |at| at + 3);
    let end = url[begin..].find(['/', '?', '#']).map_or(url.len(), |at| begin + at);
    &url[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_stand_beside_the_published_path() {
        for (url, server) in [
            ("http://10.0.0.4:8008/patroni", "http://10.0.0.4:8008"),
            ("https://[fd00::1]:8008/a/b?c", "https://[fd00::1]:8008"),
            ("http://h:1", "http://h:1"),
        ] {
            assert_eq!(server_of(url), server);
        }
    }
}
