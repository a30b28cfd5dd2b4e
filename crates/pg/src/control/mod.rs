//! `global/pg_control`: what PostgreSQL last wrote down about itself.
//!
//! Read directly, because an election waits for it and a program costs milliseconds; a version whose layout
//! we do not know is left to its own pg_controldata. A running server rewrites the file in place, so a wrong
//! checksum is looked at again before it is believed. Nothing here ever writes.

pub mod controldata;
mod layout;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jogi_core::ha::server::{Control, ControlState};
use jogi_core::{Lsn, Timeline};

use crate::wal::{self, Record};
use layout::Misfit;

/// Looks at a file with a wrong checksum before it is believed to be damaged, and the time between two of them
/// (PostgreSQL's own `get_controlfile` does the same since 17).
const CHECKSUM_TRIES: u32 = 5;
const BETWEEN_TRIES: Duration = Duration::from_millis(10);

/// The control file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlFile {
    /// `pg_control_version`.
    pub version: u32,
    pub system_identifier: u64,
    pub state: ControlState,
    pub checkpoint: Lsn,
    pub redo: Lsn,
    pub timeline: Timeline,
    pub min_recovery: Lsn,
    pub min_recovery_timeline: Timeline,
    pub wal_log_hints: bool,
    pub checksums: bool,
    /// Bytes.
    pub wal_block_size: u32,
    /// Bytes.
    pub wal_segment_size: u32,
    pub minimums: Minimums,
}

/// The settings of the server that wrote the WAL: a standby that replays it must not be started below them.
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
pub enum ControlError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is damaged: it {what}. Restore the data directory from a backup or make a new copy of the leader", path.display())]
    Damaged { path: PathBuf, what: &'static str },
    #[error("{} has the unknown format {version} and pg_controldata does not help: {cause}", path.display())]
    Unknown { path: PathBuf, version: u32, cause: String },
}

/// Reads everything that the rules want to know of a data directory. Blocking; well below a millisecond.
/// `pg_controldata` is run only when the format is unknown.
pub fn read(data_dir: &Path, pg_controldata: Option<&Path>) -> Result<Control, ControlError> {
    let file = read_file(data_dir, pg_controldata)?;
    Ok(describe(data_dir, &file))
}

/// Reads the control file alone. Blocking.
pub fn read_file(data_dir: &Path, pg_controldata: Option<&Path>) -> Result<ControlFile, ControlError> {
    let path = data_dir.join("global/pg_control");
    let mut tries = CHECKSUM_TRIES;
    loop {
        let bytes = std::fs::read(&path).map_err(|source| ControlError::Read { path: path.clone(), source })?;
        tries -= 1;
        match layout::parse(&bytes) {
            Ok(control) => return Ok(control),
            Err(Misfit::Checksum) if tries > 0 => std::thread::sleep(BETWEEN_TRIES),
            Err(Misfit::Checksum) => return Err(ControlError::Damaged { path, what: "has a wrong checksum" }),
            Err(Misfit::Short) => return Err(ControlError::Damaged { path, what: "is too short" }),
            Err(Misfit::Unknown(version)) => return by_program(path, version, data_dir, pg_controldata),
        }
    }
}

fn by_program(
    path: PathBuf,
    version: u32,
    data_dir: &Path,
    program: Option<&Path>,
) -> Result<ControlFile, ControlError> {
    let unknown = |cause: String| ControlError::Unknown { path: path.clone(), version, cause };
    let program = program.ok_or_else(|| unknown("it was not found".to_owned()))?;
    controldata::run(program, data_dir).map_err(unknown)
}

/// Adds what lies beside the file: the end of a clean shutdown's WAL, labels and signal files.
pub fn describe(data_dir: &Path, file: &ControlFile) -> Control {
    let (shutdown_end, shutdown_optime) = match file.state {
        ControlState::ShutDown => shutdown_positions(data_dir, file).unzip(),
        ControlState::StartingUp
        | ControlState::ShutDownInRecovery
        | ControlState::ShuttingDown
        | ControlState::InCrashRecovery
        | ControlState::InArchiveRecovery
        | ControlState::InProduction => (None, None),
    };
    let lies_there = |name: &str| data_dir.join(name).exists();
    Control {
        system_identifier: file.system_identifier.to_string(),
        state: file.state,
        timeline: file.timeline,
        checkpoint: file.checkpoint,
        shutdown_end,
        shutdown_optime,
        min_recovery: file.min_recovery,
        min_recovery_timeline: file.min_recovery_timeline,
        checksums: file.checksums,
        wal_log_hints: file.wal_log_hints,
        backup_label: lies_there("backup_label"),
        recovery_files: ["standby.signal", "recovery.signal", "recovery.conf"].into_iter().any(lies_there),
    }
}

/// The end of the shutdown checkpoint's record, and the position to publish after it (dcs-layout 2.4).
fn shutdown_positions(data_dir: &Path, file: &ControlFile) -> Option<(Lsn, Lsn)> {
    let mut reader = wal::Reader::open(data_dir, file);
    let checkpoint = reader.read(file.checkpoint).ok()?;
    let before = reader.read(checkpoint.prev).ok();
    let optime = if before.as_ref().is_some_and(Record::is_switch) { checkpoint.prev } else { file.checkpoint };
    Some((checkpoint.end, optime))
}
