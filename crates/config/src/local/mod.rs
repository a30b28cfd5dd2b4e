//! The local configuration of one member: files and variables, merged, typed, complete.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use jogi_core::MemberName;
use jogi_core::view::Tags;

mod api;
mod bootstrap;
mod log;
mod postgresql;
mod store;

pub use api::{BasicAuth, Ctl, RestApi, ServerTokens, VerifyClient};
pub use bootstrap::{Bootstrap, CustomBootstrap};
pub use log::{Log, LogField, LogFormat, LogType};
pub use postgresql::{Authentication, Credentials, Postgresql};
pub use store::{Etcd, RawSection, StoreSection};

/// The configuration of one member. `Debug` hides secrets.
#[derive(Clone, Debug, PartialEq)]
pub struct Local {
    pub name: MemberName,
    pub scope: String,
    /// Begins with a slash: `/service`.
    pub namespace: String,
    pub restapi: RestApi,
    pub ctl: Ctl,
    pub store: StoreSection,
    pub log: Log,
    pub tags: Tags,
    pub watchdog: Watchdog,
    pub bootstrap: Bootstrap,
    pub postgresql: Postgresql,
    pub citus: Option<Citus>,
    /// The merged configuration as written, with its secrets.
    pub raw: RawSection,
}

/// A valid `citus` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Citus {
    pub group: i64,
    pub database: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchdogMode {
    Off,
    Automatic,
    Required,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watchdog {
    pub mode: WatchdogMode,
    pub device: String,
    /// Seconds; −1 gives half of the ttl to the margin.
    pub safety_margin: i64,
    pub driver: String,
}

/// A configuration that can be used, and what is odd about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    pub local: Local,
    pub warnings: Vec<String>,
}

/// One reason why a configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where: `FILE, line 3, column 7`, `postgresql.listen` …
    pub place: String,
    pub message: String,
}

/// All the reasons together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub problems: Vec<Problem>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place.is_empty() {
            true => f.write_str(&self.message),
            false => write!(f, "{}: {}", self.place, self.message),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            write!(f, "{}{problem}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl Local {
    /// Merges the files in order (later ones win, null deletes), then the `PATRONI_*` variables. Without
    /// any file `PATRONI_CONFIGURATION` is the whole configuration, else the variables alone.
    /// Each file is its name, for messages, and its text.
    pub fn load(_files: &[(String, String)], _env: &BTreeMap<String, String>) -> Result<Loaded, ConfigError> {
        todo!()
    }
}

/// What `jogi ctl` needs: nothing in it is mandatory.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientConfig {
    pub scope: Option<String>,
    pub namespace: String,
    pub store: Option<StoreSection>,
    pub ctl: Ctl,
    pub citus: Option<Citus>,
    /// The superuser, for `ctl query` and `dsn`.
    pub postgresql: Map<String, Value>,
    pub warnings: Vec<String>,
}

impl ClientConfig {
    /// As [`Local::load`], for the control tool.
    pub fn load(_files: &[(String, String)], _env: &BTreeMap<String, String>) -> Result<ClientConfig, ConfigError> {
        todo!()
    }
}
