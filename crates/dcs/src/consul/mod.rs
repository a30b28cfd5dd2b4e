//! Consul: sessions of behaviour `delete`, and transactions.
//!
//! - `operations`: what the trait asks for, in Consul's words.
//! - `txn`: transactions as they are written, and what their answers mean.
//! - `watch`: blocking queries over the whole prefix.
//! - `service`: the service that a member may be registered as.
//!
//! A session lives from its `TTL` to twice that after its last renewal; as Patroni does, half of the herd's `ttl`
//! is asked for. Consul's own least session (`session_ttl_min`, 10 s) so makes 20 s the least `ttl` that takes effect:
//! a smaller one is raised, and said. A holder goes by the `ttl` it was told, so it only gives up earlier.
//!
//! The lock delay is 1 ms, as Patroni sets it: a lock is free as soon as its session has ended, because the
//! holder's own deadline lies before that.

mod operations;
mod service;
mod txn;
mod watch;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jogi_config::local;
use jogi_core::view::Revision;
use jogi_net::tls::{ClientTls, Verify};
use tokio::sync::watch as signal;

use crate::hosts::Hosts;
use crate::rest::Rest;
use crate::{Place, SetupError};

/// Twice Consul's own `session_ttl_min`, as long as no agent has said another.
const USUAL_FLOOR: Duration = Duration::from_secs(20);

/// A client of one cluster's keys in Consul.
pub struct Consul {
    shared: Arc<Shared>,
    rest: Rest,
}

struct Shared {
    section: local::Consul,
    /// `SCOPE-NAME`.
    session_name: String,
    scope: String,
    name: String,
    /// The prefix of every key, without a slash at its beginning.
    prefix: String,
    hosts: Arc<Hosts>,
    floor_ms: AtomicU64,
    /// Of the session opened last.
    ttl_ms: AtomicU64,
    /// The leader key as last seen: its incarnation, and its index now. Saves a reading per write of the holder.
    leader: Mutex<Option<(Revision, u64)>>,
    registered: service::Registered,
    /// Rung when a request failed: the watch then looks whether its server still answers.
    doubt: signal::Sender<u64>,
}

impl Shared {
    fn ring(&self) {
        self.doubt.send_modify(|rings| *rings = rings.wrapping_add(1));
    }

    fn tls(&self) -> Option<ClientTls> {
        (self.section.scheme == "https").then(|| ClientTls {
            ca: self.section.cacert.clone(),
            cert: self.section.cert.clone(),
            key: self.section.key.clone(),
            key_password: None,
            verify: if self.section.verify { Verify::Full } else { Verify::Nothing },
        })
    }
}

impl Consul {
    pub fn new(section: local::Consul, place: &Place) -> Result<Consul, SetupError> {
        let base = place.base();
        let shared = Shared {
            session_name: format!("{}-{}", place.scope, place.name),
            scope: place.scope.clone(),
            name: place.name.clone(),
            prefix: format!("{}/", base.trim_start_matches('/')),
            hosts: Arc::new(Hosts::new(&[section.url()])),
            floor_ms: AtomicU64::new(u64::try_from(USUAL_FLOOR.as_millis()).unwrap_or(u64::MAX)),
            ttl_ms: AtomicU64::new(30_000),
            leader: Mutex::new(None),
            registered: service::Registered::default(),
            doubt: signal::Sender::new(0),
            section,
        };
        Consul::on(Arc::new(shared))
    }

    fn on(shared: Arc<Shared>) -> Result<Consul, SetupError> {
        let rest = Rest::new(shared.hosts.clone(), shared.tls().as_ref())?;
        Ok(Consul { shared, rest })
    }
}
