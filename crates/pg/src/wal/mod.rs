//! Reading write-ahead log from the files of a stopped server.

use std::path::Path;
use std::time::Duration;

use jogi_core::{Lsn, Timeline};

/// How far the log goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndOfWal {
    pub timeline: Timeline,
    /// The first byte after the last valid record.
    pub end: Lsn,
    /// `false`: the time was over; `end` is the furthest point reached.
    pub complete: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum WalError {}

/// Walks the log of a stopped server from its last checkpoint to its last valid record. Blocking, for at
/// most `budget` (and one segment's read).
pub fn find_end(_data_dir: &Path, _budget: Duration) -> Result<EndOfWal, WalError> {
    todo!()
}
