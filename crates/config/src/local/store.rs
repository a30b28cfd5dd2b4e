//! The section that says where the herd keeps its state.

use std::fmt;
use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::{HostPort, Secret};

/// The store of the herd. Patroni takes the first section present in this order: consul, etcd, etcd3,
/// exhibitor, kubernetes, raft, zookeeper.
#[derive(Clone, Debug, PartialEq)]
pub enum StoreSection {
    Etcd3(Etcd),
    Etcd(Etcd),
    Consul(RawSection),
    Exhibitor(RawSection),
    Kubernetes(RawSection),
    Raft(RawSection),
    Zookeeper(RawSection),
}

/// A section as written. It may hold secrets, so `Debug` prints its keys only.
#[derive(Clone, Default, PartialEq)]
pub struct RawSection(pub Map<String, Value>);

impl fmt::Debug for RawSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// `etcd` and `etcd3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Etcd {
    /// `http` or `https`.
    pub protocol: String,
    /// From `hosts`, `host` or `url`; empty when only `srv` is given.
    pub addresses: Vec<HostPort>,
    /// Ask only the given addresses, never the members that etcd itself names.
    pub use_proxies: bool,
    /// DNS domain with SRV records; asked before `addresses`.
    pub srv: Option<String>,
    pub srv_suffix: Option<String>,
    pub username: Option<String>,
    pub password: Option<Secret>,
    pub cacert: Option<PathBuf>,
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// etcd3: the gateway's path, found out when not given.
    pub version_prefix: Option<String>,
}

impl StoreSection {
    /// The section's name in the configuration.
    pub fn name(&self) -> &'static str {
        match self {
            StoreSection::Etcd3(_) => "etcd3",
            StoreSection::Etcd(_) => "etcd",
            StoreSection::Consul(_) => "consul",
            StoreSection::Exhibitor(_) => "exhibitor",
            StoreSection::Kubernetes(_) => "kubernetes",
            StoreSection::Raft(_) => "raft",
            StoreSection::Zookeeper(_) => "zookeeper",
        }
    }
}

impl Etcd {
    /// `http://HOST:PORT` for each address.
    pub fn urls(&self) -> Vec<String> {
        self.addresses.iter().map(|address| format!("{}://{address}", self.protocol)).collect()
    }
}
