//! What a client of etcd needs to know.

use jogi_core::MemberName;
use jogi_net::tls::ClientTls;

/// Options of an [`Etcd3`](super::Etcd3). Not `Debug`: it holds a password.
#[derive(Clone)]
pub struct Etcd3Options {
    /// `http://HOST:PORT` of each server, in the order of trying.
    pub urls: Vec<String>,
    /// Ask etcd for its members and use them too. Off for proxies, which stand for all servers.
    pub discover: bool,
    pub username: Option<String>,
    pub password: Option<String>,
    /// For `https` addresses.
    pub tls: Option<ClientTls>,
    /// The gateway's path (`/v3`); found out when not given.
    pub version_prefix: Option<String>,
    /// The cluster's base path, as [`base_path`](crate::base_path) makes it.
    pub base: String,
    /// Our member's name, the value of the leader key; empty for a client that never holds the lock.
    pub name: MemberName,
}

impl Etcd3Options {
    /// Plain HTTP to `urls`, without credentials and discovery.
    pub fn plain(urls: Vec<String>, base: impl Into<String>, name: impl Into<String>) -> Etcd3Options {
        Etcd3Options {
            urls,
            discover: false,
            username: None,
            password: None,
            tls: None,
            version_prefix: None,
            base: base.into(),
            name: MemberName::from(name.into()),
        }
    }

    /// The prefix of every key of the cluster.
    pub(super) fn prefix(&self) -> String {
        format!("{}/", self.base)
    }
}
