//! Where to connect, as whom, and how.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use jogi_config::Secret;
use jogi_config::local::Credentials;
use jogi_config::postgres::{local_tcp_host, socket_directory};
use jogi_core::ha::Upstream;

use crate::instance::Instance;

/// A statement of a routine connection that takes longer is ended by the server (configuration 8.2).
const STATEMENT_TIMEOUT_MS: u32 = 2000;

/// A place where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// The directory of its socket.
    Unix(PathBuf, u16),
    /// One host, or several parted by commas, tried in order.
    Tcp(String, u16),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(dir, port) => write!(f, "{}/.s.PGSQL.{port}", dir.display()),
            Address::Tcp(host, port) if host.contains(':') && !host.contains(',') => write!(f, "[{host}]:{port}"),
            Address::Tcp(host, port) => write!(f, "{host}:{port}"),
        }
    }
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

impl Purpose {
    fn application_name(self) -> &'static str {
        match self {
            Purpose::Heartbeat => "Patroni heartbeat",
            Purpose::RestApi => "Patroni restapi",
            Purpose::Work => "Patroni",
        }
    }

    fn settings(self) -> Vec<(String, String)> {
        let timeout = match self {
            Purpose::Heartbeat | Purpose::RestApi => STATEMENT_TIMEOUT_MS,
            Purpose::Work => 0,
        };
        vec![
            ("statement_timeout".to_owned(), timeout.to_string()),
            ("pg_stat_statements.track".to_owned(), "none".to_owned()),
            ("search_path".to_owned(), "pg_catalog".to_owned()),
        ]
    }
}

/// Everything needed to open one connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    pub address: Address,
    pub user: String,
    pub password: Option<Secret>,
    pub database: String,
    /// `sslmode`, `sslrootcert` … as libpq names them.
    pub parameters: BTreeMap<String, String>,
    pub application_name: String,
    /// Settings of the session, as `options=-c name=value` gives them.
    pub settings: Vec<(String, String)>,
    /// A physical replication connection.
    pub replication: bool,
}

impl Target {
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// `options` of the startup packet; spaces and backslashes are escaped as the server unescapes them.
    pub(super) fn options(&self) -> String {
        let escape = |text: &str| text.replace('\\', "\\\\").replace(' ', "\\ ");
        let options = self.settings.iter().map(|(name, value)| format!("-c {name}={}", escape(value)));
        options.collect::<Vec<_>>().join(" ")
    }
}

impl Instance {
    /// To our own server as superuser.
    pub fn local_target(&self, purpose: Purpose) -> Target {
        let authentication = &self.local.postgresql.authentication;
        let nobody = Credentials::default();
        Target {
            application_name: purpose.application_name().to_owned(),
            settings: purpose.settings(),
            ..self.target(self.local_address(), authentication.superuser.as_ref().unwrap_or(&nobody))
        }
    }

    /// To our own server on another database (logical slots, post-bootstrap).
    pub fn local_target_for(&self, purpose: Purpose, database: &str) -> Target {
        Target { database: database.to_owned(), ..self.local_target(purpose) }
    }

    /// To our own server as the replication role, speaking the replication protocol.
    pub fn local_replication_target(&self) -> Target {
        let address = match self.effective.use_unix_socket_repl {
            true => self.socket_address().unwrap_or_else(|| self.tcp_address()),
            false => self.tcp_address(),
        };
        Target { replication: true, ..self.target(address, &self.local.postgresql.authentication.replication) }
    }

    /// To another server, as the role that pg_rewind connects as.
    pub fn rewind_target(&self, upstream: &Upstream) -> Target {
        let nobody = Credentials::default();
        let credentials = self.local.postgresql.authentication.rewind(self.binaries.version).unwrap_or(&nobody);
        Target {
            settings: Purpose::Heartbeat.settings(),
            ..self.target(Address::Tcp(upstream.host.clone(), upstream.port), credentials)
        }
    }

    /// To another server, as the replication role, speaking the replication protocol.
    pub fn replication_target(&self, upstream: &Upstream) -> Target {
        let address = Address::Tcp(upstream.host.clone(), upstream.port);
        Target { replication: true, ..self.target(address, &self.local.postgresql.authentication.replication) }
    }

    /// Where our own server is reached (configuration 8.2).
    pub fn local_address(&self) -> Address {
        match self.effective.use_unix_socket {
            true => self.socket_address().unwrap_or_else(|| self.tcp_address()),
            false => self.tcp_address(),
        }
    }

    fn tcp_address(&self) -> Address {
        let listen = &self.local.postgresql.listen;
        Address::Tcp(local_tcp_host(&listen.host), listen.port)
    }

    fn socket_address(&self) -> Option<Address> {
        let dirs = self.effective.parameters.text("unix_socket_directories")?;
        Some(Address::Unix(PathBuf::from(socket_directory(&dirs)?), self.local.postgresql.listen.port))
    }

    fn target(&self, address: Address, credentials: &Credentials) -> Target {
        Target {
            address,
            user: credentials.username.clone().unwrap_or_else(crate::instance::system_user),
            password: credentials.password.clone(),
            database: self.local.postgresql.database.clone(),
            parameters: credentials.parameters.clone(),
            application_name: "Patroni".to_owned(),
            settings: Vec::new(),
            replication: false,
        }
    }
}
