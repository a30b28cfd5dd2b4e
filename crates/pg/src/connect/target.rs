//! Where to connect, as whom, and how.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jogi_config::Secret;
use jogi_core::ha::Upstream;

use crate::instance::Instance;

/// A place where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// The directory of its socket.
    Unix(PathBuf, u16),
    Tcp(String, u16),
}

/// What a local connection is for; decides application name and statement timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `Patroni heartbeat`.
    Heartbeat,
    /// `Patroni restapi`.
    RestApi,
    /// `Patroni`, without a statement timeout: checkpoint, roles, slots.
    Work,
}

/// Everything needed to open one connection.
#[derive(Clone, Debug)]
pub struct Target {
    pub address: Address,
    pub user: String,
    pub password: Option<Secret>,
    pub database: String,
    /// `sslmode`, `sslrootcert` … as libpq names them.
    pub parameters: BTreeMap<String, String>,
    pub application_name: String,
    /// Server settings in the startup packet, as `options` would give them.
    pub settings: Vec<(String, String)>,
    /// A physical replication connection.
    pub replication: bool,
}

impl Instance {
    /// To our own server as superuser.
    pub fn local_target(&self, _purpose: Purpose) -> Target {
        todo!()
    }

    /// To another server, as the role that pg_rewind connects as.
    pub fn rewind_target(&self, _upstream: &Upstream) -> Target {
        todo!()
    }

    /// To another server, as the replication role, speaking the replication protocol.
    pub fn replication_target(&self, _upstream: &Upstream) -> Target {
        todo!()
    }
}
