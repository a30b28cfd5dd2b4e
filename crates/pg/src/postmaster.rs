//! The postmaster of a data directory: who it is, and signals to it.

use std::io;
use std::path::{Path, PathBuf};

pub use rustix::process::Signal;

/// What postmaster.pid says, checked against the process of that number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Postmaster {
    pub pid: u32,
    /// Seconds since 1970.
    pub started: i64,
    pub port: Option<u16>,
    pub socket_dir: Option<PathBuf>,
    /// Negative in the file: a single-user server.
    pub single_user: bool,
    /// `ready`, `starting`, `stopping`, `standby` (PostgreSQL ≥ 10).
    pub status: Option<String>,
}

/// The living postmaster of this data directory, if any. Blocking, microseconds.
pub fn find(_data_dir: &Path) -> Option<Postmaster> {
    todo!()
}

/// Sends a signal to the living postmaster; `false` when there is none.
pub fn signal(_data_dir: &Path, _signal: Signal) -> io::Result<bool> {
    todo!()
}

/// SIGHUP: read the files again.
pub fn reload(data_dir: &Path) -> io::Result<bool> {
    signal(data_dir, Signal::HUP)
}
