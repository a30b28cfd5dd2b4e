//! Is a configured value the one the server runs with? Unit-aware, as `pending_restart` needs it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Parameters;

/// A row of pg_settings: `name, setting, unit, vartype, context`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    pub setting: String,
    pub unit: Option<String>,
    /// `bool`, `integer`, `real`, `enum` or `string`.
    pub vartype: String,
    /// `postmaster`, `sighup`, `user`, `internal` …
    pub context: String,
}

/// A parameter that differs and takes effect only after a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingRestart {
    pub old_value: String,
    pub new_value: String,
}

/// The parameters before and after a change of configuration.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub before: &'a Parameters,
    pub after: &'a Parameters,
}

/// What a change of configuration means for a running server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// `postgresql.conf` must be written and the server reloaded.
    pub changed: bool,
    pub pending_restart: BTreeMap<String, PendingRestart>,
    /// One sentence per change, for the log.
    pub messages: Vec<String>,
    /// Configured names that the server does not know: not to be written.
    pub invalid: Vec<String>,
    /// `listen_addresses`, `port` or the socket directories change: keep the local connection as it is.
    pub local_address_changed: bool,
}

/// Compares pg_settings (rows of every name in `wanted`) with a new configuration.
pub fn compare(_settings: &BTreeMap<String, Setting>, _wanted: Wanted<'_>) -> Comparison {
    todo!()
}

/// True when a configured value is the server's value: numbers by their units, booleans by their meaning.
pub fn equivalent(_setting: &Setting, _configured: &Value) -> bool {
    todo!()
}
