//! The output of pg_controldata, for control files whose layout we do not know.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use jogi_core::ha::server::ControlState;
use jogi_core::{Lsn, Timeline};

use super::{ControlFile, Minimums};

/// Runs pg_controldata. The text says what went wrong.
pub fn run(program: &Path, data_dir: &Path) -> Result<ControlFile, String> {
    let output = Command::new(program)
        .arg("-D")
        .arg(data_dir)
        .envs([("LC_ALL", "C"), ("LANG", "C")])
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("{} could not be started: {e}", program.display()))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{} ended with {}: {}", program.display(), output.status, stderr.trim()));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    parse(&text).ok_or_else(|| format!("{} printed no control data that can be read", program.display()))
}

/// Reads the lines `NAME:   VALUE`. `None` when one that is needed is missing.
pub fn parse(text: &str) -> Option<ControlFile> {
    let lines: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.split_once(':')).map(|(name, value)| (name.trim(), value.trim())).collect();
    let number = |name: &str| lines.get(name).and_then(|value| value.parse::<i64>().ok());
    let unsigned = |name: &str| lines.get(name).and_then(|value| value.parse::<u32>().ok());
    let lsn = |name: &str| lines.get(name).and_then(|value| value.parse::<Lsn>().ok());
    Some(ControlFile {
        version: unsigned("pg_control version number")?,
        system_identifier: lines.get("Database system identifier")?.parse().ok()?,
        state: state(lines.get("Database cluster state")?)?,
        checkpoint: lsn("Latest checkpoint location")?,
        redo: lsn("Latest checkpoint's REDO location")?,
        timeline: Timeline(unsigned("Latest checkpoint's TimeLineID")?),
        min_recovery: lsn("Minimum recovery ending location")?,
        min_recovery_timeline: Timeline(unsigned("Min recovery ending loc's timeline")?),
        wal_log_hints: lines.get("wal_log_hints setting") == Some(&"on"),
        checksums: number("Data page checksum version").is_some_and(|version| version != 0),
        wal_block_size: unsigned("WAL block size")?,
        wal_segment_size: unsigned("Bytes per WAL segment")?,
        minimums: Minimums {
            max_connections: number("max_connections setting")?,
            max_worker_processes: number("max_worker_processes setting")?,
            max_wal_senders: number("max_wal_senders setting"),
            max_prepared_xacts: number("max_prepared_xacts setting")?,
            max_locks_per_xact: number("max_locks_per_xact setting")?,
        },
    })
}

fn state(text: &str) -> Option<ControlState> {
    Some(match text {
        "starting up" => ControlState::StartingUp,
        "shut down" => ControlState::ShutDown,
        "shut down in recovery" => ControlState::ShutDownInRecovery,
        "shutting down" => ControlState::ShuttingDown,
        "in crash recovery" => ControlState::InCrashRecovery,
        "in archive recovery" => ControlState::InArchiveRecovery,
        "in production" => ControlState::InProduction,
        _ => return None,
    })
}
