//! The files that make a server what it is to be.

use std::path::Path;

use jogi_core::ha::Setup;
use serde_json::Value;

use crate::instance::Instance;
use crate::look::Running;

/// What writing the files means for the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configured {
    /// The running server needs a restart for this to take effect (rather than a reload).
    pub restart: bool,
    /// Nothing had changed.
    pub unchanged: bool,
    /// Values left out, clamped or raised, and why.
    pub warnings: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum FileError {}

/// Writes postgresql.conf, pg_hba.conf, pg_ident.conf, signal files (or recovery.conf) and the password file.
/// `running` is what the running server has in force ([`crate::look::running`]), if one runs. Blocking.
pub fn configure(_instance: &Instance, _setup: &Setup, _running: Option<&Running>) -> Result<Configured, FileError> {
    todo!()
}

/// Keeps `patroni.dynamic.json` in the data directory current. Blocking.
pub fn save_dynamic(_data_dir: &Path, _config: &Value) -> Result<(), FileError> {
    todo!()
}

/// The dynamic configuration as last saved; `None` when there is none or it cannot be read.
pub fn load_dynamic(_data_dir: &Path) -> Option<Value> {
    todo!()
}

/// Copies the configuration files beside themselves as `NAME.backup`, after each successful start. Blocking.
pub fn save_backups(_instance: &Instance) -> Result<(), FileError> {
    todo!()
}

/// Restores configuration files that a copy lacks from their `.backup`, after cloning. Blocking.
pub fn restore_backups(_instance: &Instance) -> Result<(), FileError> {
    todo!()
}
