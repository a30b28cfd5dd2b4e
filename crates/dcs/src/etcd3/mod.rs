//! etcd v3 over its JSON gateway: the calls that Patroni makes, and stronger transactions.
//!
//! A thin client on purpose: one HTTP/1.1 client, no generated code. What each file keeps:
//!
//! - `call`: one request on whichever server answers, with a login where one is needed.
//! - `knowledge`: the newest history that was seen; a server that is behind it is not believed.
//! - `operations`: leases and transactions, and what an answer means when an earlier try may have been applied.
//! - `watch`: the newest view for ever, at rest without a request.
//! - `failure`: every answer and every silence, mapped to [`DcsError`](crate::DcsError).

mod call;
mod failure;
mod knowledge;
mod login;
mod operations;
mod options;
mod txn;
mod watch;
mod wire;

use std::sync::Arc;

use jogi_net::http::{HttpOptions, client};
use tokio::sync::watch as signal;

use self::knowledge::Knowledge;
use self::login::Login;
pub use self::options::Etcd3Options;
use crate::SetupError;
use crate::hosts::Hosts;

/// A client of one cluster's keys in etcd.
#[derive(Clone)]
pub struct Etcd3 {
    shared: Arc<Shared>,
    http: reqwest::Client,
}

/// What all clients of one process know together.
struct Shared {
    options: Etcd3Options,
    hosts: Hosts,
    login: Login,
    knowledge: Knowledge,
    /// Rung when a server failed or a newer revision was seen than the watch has brought.
    doubt: signal::Sender<u64>,
}

impl Shared {
    fn ring(&self) {
        self.doubt.send_modify(|rings| *rings = rings.wrapping_add(1));
    }
}

impl Etcd3 {
    pub fn new(options: Etcd3Options) -> Result<Etcd3, SetupError> {
        if options.urls.is_empty() {
            return Err(SetupError::NoAddress { section: "etcd3" });
        }
        let shared = Shared {
            hosts: Hosts::new(&options.urls),
            login: Login::new(options.username.clone(), options.password.clone()),
            knowledge: Knowledge::new(options.prefix()),
            doubt: signal::Sender::new(0),
            options,
        };
        Etcd3::on(Arc::new(shared))
    }

    fn on(shared: Arc<Shared>) -> Result<Etcd3, SetupError> {
        let tls = shared.options.tls.as_ref().map(|tls| tls.build());
        let tls = tls.transpose().map_err(jogi_net::http::HttpError::from)?;
        let http = client(&HttpOptions { tls, ..HttpOptions::default() })?;
        Ok(Etcd3 { shared, http })
    }

    /// See [`Dcs::sibling`](crate::Dcs::sibling).
    fn twin(&self) -> Result<Etcd3, SetupError> {
        Etcd3::on(self.shared.clone())
    }
}
