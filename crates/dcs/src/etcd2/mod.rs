//! etcd's v2 API: keys with a time to live of their own, no sessions and no transactions.
//!
//! A *session* is this process's own book of what it holds: a beat renews the leader key (if it is held) and the member
//! key. So what a key is bound to is known to the process that bound it alone; after a restart our own leader key is one of
//! a foreign session, and taken over as such. A session ends by its own clock when no beat was answered for its `ttl`.
//!
//! Conditions on several keys are looked at one after the other: only the leader key itself is compared by etcd. The
//! leader's own writes read the leader key first.

mod book;
mod operations;
mod watch;
mod wire;

use std::sync::Arc;

use jogi_core::MemberName;
use jogi_net::tls::ClientTls;
use tokio::sync::watch as signal;

use self::book::Book;
use crate::hosts::Hosts;
use crate::rest::Rest;
use crate::{Etcd3Options, SetupError};

/// A client of one cluster's keys in etcd's v2 store.
pub struct Etcd2 {
    shared: Arc<Shared>,
    rest: Rest,
}

struct Shared {
    /// `/v2/keys` and the cluster's base path.
    keys: String,
    /// The cluster's base path, as keys are named.
    base: String,
    name: MemberName,
    authorization: Option<String>,
    tls: Option<ClientTls>,
    hosts: Arc<Hosts>,
    book: Book,
    /// Rung when a request failed: the watch then reads, and so finds out whether its server answers.
    doubt: signal::Sender<u64>,
}

impl Shared {
    fn ring(&self) {
        self.doubt.send_modify(|rings| *rings = rings.wrapping_add(1));
    }
}

impl Etcd2 {
    /// The options are those of etcd v3, which has the same section.
    pub fn new(options: Etcd3Options) -> Result<Etcd2, SetupError> {
        if options.urls.is_empty() {
            return Err(SetupError::NoAddress { section: "etcd" });
        }
        let prefix = options.version_prefix.as_deref().unwrap_or("/v2").trim_end_matches('/');
        let shared = Shared {
            keys: format!("{prefix}/keys{}", crate::rest::escape(&options.base)),
            authorization: options.username.as_deref().map(|user| basic(user, options.password.as_deref())),
            hosts: Arc::new(Hosts::new(&options.urls)),
            book: Book::default(),
            doubt: signal::Sender::new(0),
            base: options.base,
            name: options.name,
            tls: options.tls,
        };
        Etcd2::on(Arc::new(shared))
    }

    fn on(shared: Arc<Shared>) -> Result<Etcd2, SetupError> {
        let rest = Rest::new(shared.hosts.clone(), shared.tls.as_ref())?;
        Ok(Etcd2 { shared, rest })
    }
}

fn basic(user: &str, password: Option<&str>) -> String {
    use base64::Engine;
    let text = format!("{user}:{}", password.unwrap_or_default());
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text))
}
