//! The postmaster of a data directory: who it is, and signals to it.

use std::io;
use std::path::Path;

pub use rustix::process::Signal;

use crate::pidfd::Process;
use crate::pidfile::PostmasterPid;

/// The living postmaster of a data directory.
#[derive(Debug)]
pub struct Postmaster {
    pub file: PostmasterPid,
    pub process: Process,
}

impl Postmaster {
    pub fn pid(&self) -> u32 {
        u32::try_from(self.process.pid()).unwrap_or(0)
    }

    /// It writes of itself that it does not take connections yet (PostgreSQL 10 and newer).
    pub fn says_starting(&self) -> bool {
        self.file.status.as_deref() == Some("starting")
    }

    /// It writes of itself that it takes connections.
    pub fn says_ready(&self) -> bool {
        self.file.status.as_deref().is_some_and(|status| matches!(status, "ready" | "standby"))
    }
}

/// The living postmaster of this data directory, if any; a single-user server is none. Blocking, microseconds.
pub fn find(data_dir: &Path) -> io::Result<Option<Postmaster>> {
    let Some(file) = PostmasterPid::read(data_dir)? else { return Ok(None) };
    if file.single_user {
        return Ok(None);
    }
    Ok(file.process(data_dir)?.map(|process| Postmaster { file, process }))
}

/// Sends a signal to the living postmaster; `false` when there is none.
pub fn signal(data_dir: &Path, signal: Signal) -> io::Result<bool> {
    let Some(postmaster) = find(data_dir)? else { return Ok(false) };
    match postmaster.process.signal(signal) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// SIGHUP: read the files again.
pub fn reload(data_dir: &Path) -> io::Result<bool> {
    signal(data_dir, Signal::HUP)
}
