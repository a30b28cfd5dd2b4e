//! One lean HTTP/1.1 client.
//!
//! The environment's proxy variables are for people's browsers, not for the traffic between a member and
//! its store: they are ignored. No redirect is followed: whoever answers one is not the server we meant.

use std::time::Duration;

use rustls::ClientConfig;

use crate::resolve::CachingResolver;
use crate::tls::{ClientTls, TlsError};

/// How a client connects and notices that the other side is gone.
#[derive(Clone)]
pub struct HttpOptions {
    /// TLS configuration for `https` addresses; without one an `https` address trusts nobody and fails.
    pub tls: Option<ClientConfig>,
    pub connect_timeout: Duration,
    /// TCP keepalive: first probe after this silence.
    pub keepalive_idle: Duration,
    pub keepalive_interval: Duration,
    pub keepalive_probes: u32,
    /// Unacknowledged data or probes for this long break the connection (TCP_USER_TIMEOUT).
    pub user_timeout: Duration,
    /// Idle connections kept per host.
    pub idle_per_host: usize,
    pub idle_timeout: Duration,
}

impl Default for HttpOptions {
    fn default() -> HttpOptions {
        HttpOptions {
            tls: None,
            connect_timeout: Duration::from_secs(5),
            keepalive_idle: Duration::from_secs(10),
            keepalive_interval: Duration::from_secs(5),
            keepalive_probes: 3,
            user_timeout: Duration::from_secs(20),
            idle_per_host: 2,
            idle_timeout: Duration::from_secs(90),
        }
    }
}

/// A client that cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the HTTP client cannot be set up: {0}")]
    Setup(String),
}

/// Builds a client. Its connections belong to the runtime on which it is first used.
pub fn client(options: &HttpOptions) -> Result<reqwest::Client, HttpError> {
    let tls = match &options.tls {
        Some(tls) => tls.clone(),
        // No system certificates are loaded for a client that speaks plain HTTP.
        None => ClientTls::nobody()?,
    };
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .dns_resolver(CachingResolver::default())
        .tcp_nodelay(true)
        .tcp_keepalive(options.keepalive_idle)
        .tcp_keepalive_interval(options.keepalive_interval)
        .tcp_keepalive_retries(options.keepalive_probes)
        .tcp_user_timeout(options.user_timeout)
        .connect_timeout(options.connect_timeout)
        .pool_max_idle_per_host(options.idle_per_host)
        .pool_idle_timeout(options.idle_timeout)
        .build()
        .map_err(|e| HttpError::Setup(describe(&e)))
}

/// An error with all its causes on one line, without the address (which may carry credentials).
pub fn describe(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
    while let Some(e) = cause {
        let part = e.to_string();
        if !text.ends_with(&part) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&part);
        }
        cause = e.source();
    }
    if text.is_empty() { kind(error).to_owned() } else { text }
}

fn kind(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "timed out"
    } else if error.is_connect() {
        "cannot connect"
    } else if error.is_builder() {
        "the request cannot be built (is the address a valid URL?)"
    } else if error.is_body() || error.is_decode() {
        "the answer broke off"
    } else {
        "the request failed"
    }
}
