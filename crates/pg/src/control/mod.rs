//! `global/pg_control`: what PostgreSQL last wrote down about itself.

use std::path::Path;

use jogi_core::ha::server::Control;

/// The settings that a standby must not start below, and more that only the control file knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Minimums {
    pub max_connections: i64,
    pub max_worker_processes: i64,
    /// From PostgreSQL 12 on.
    pub max_wal_senders: Option<i64>,
    pub max_prepared_xacts: i64,
    pub max_locks_per_xact: i64,
}

#[derive(Debug, thiserror::Error)]
pub enum ControlError {}

/// Reads everything that the rules want to know of a data directory at rest. Blocking; well below a millisecond.
pub fn read(_data_dir: &Path) -> Result<Control, ControlError> {
    todo!()
}
