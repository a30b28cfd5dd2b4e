//! Another server's branch of WAL, asked for over the replication protocol; and our own from its history file.

use std::path::Path;
use std::time::Duration;

use jogi_core::Timeline;
use jogi_core::ha::{Lineage, Upstream};

use crate::connect::SqlError;
use crate::instance::Instance;

/// Asks the upstream for its timeline, history and whether it has left recovery.
pub async fn compare(_instance: &Instance, _upstream: &Upstream, _within: Duration) -> Result<Lineage, SqlError> {
    todo!()
}

/// The timeline and history of our own running server, over a local replication connection.
pub async fn own_lineage(_instance: &Instance, _within: Duration) -> Result<Lineage, SqlError> {
    todo!()
}

/// Reads `pg_wal/TTTTTTTT.history`. Timeline 1 has none and is an empty history. Blocking.
pub fn read_history(_data_dir: &Path, _timeline: Timeline) -> std::io::Result<Lineage> {
    todo!()
}
