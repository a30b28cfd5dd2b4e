//! The `postgresql` section as the layers together make it.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

use super::Parameters;
use crate::Local;
use crate::local::RawSection;

/// The effective `postgresql` section: defaults, then the store, then the local files.
#[derive(Clone, Debug, PartialEq)]
pub struct Effective {
    pub raw: RawSection,
    /// Before version-dependent treatment; see [`super::ServerParameters`].
    pub parameters: Parameters,
    pub use_slots: bool,
    pub use_pg_rewind: bool,
    pub remove_data_directory_on_rewind_failure: bool,
    pub remove_data_directory_on_diverged_timelines: bool,
    /// In order of preference; never empty.
    pub create_replica_methods: Vec<ReplicaMethod>,
    pub callbacks: Callbacks,
    pub pg_hba: Option<Vec<String>>,
    pub pg_ident: Option<Vec<String>>,
    pub recovery_conf: Map<String, Value>,
    /// None: programs are searched in PATH.
    pub bin_dir: Option<PathBuf>,
    pub bin_names: BinNames,
    /// How long a start may take before it is called failed. Zero: no limit.
    pub pg_ctl_timeout: Duration,
    pub pre_promote: Option<String>,
    pub before_stop: Option<String>,
    pub use_unix_socket: bool,
    pub use_unix_socket_repl: bool,
    pub custom_conf: Option<String>,
    /// `NAME.conf`, `NAME.base.conf`.
    pub config_base_name: String,
    pub krbsrvname: Option<String>,
    pub warnings: Vec<String>,
}

/// A way to make a replica.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplicaMethod {
    /// `basebackup` is built in.
    pub name: String,
    /// The method's own section: an object, or for basebackup also a list of options.
    pub section: Value,
}

/// Commands, split by shell rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Callbacks {
    pub on_start: Option<String>,
    pub on_stop: Option<String>,
    pub on_restart: Option<String>,
    pub on_reload: Option<String>,
    pub on_role_change: Option<String>,
}

/// The names of PostgreSQL's programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BinNames {
    pub pg_ctl: String,
    pub initdb: String,
    pub pg_controldata: String,
    pub pg_basebackup: String,
    pub postgres: String,
    pub pg_isready: String,
    pub pg_rewind: String,
}

/// Merges the store's configuration (`config` key) with the local one.
pub fn effective_postgresql(_dynamic: &Value, _local: &Local) -> Effective {
    todo!()
}
