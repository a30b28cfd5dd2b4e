//! Archiving finished segments of a stopped server.
//!
//! The hazard: a rewind discards the WAL after the point of divergence; what the archive has not got by then is
//! lost for point-in-time recovery.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jogi_core::ha::server::ControlState;
use tokio::time::Instant;

use super::{Cancel, Program, ProgramError, postgres_program, run_blocking, succeed};
use crate::control;
use crate::files::FileError;
use crate::instance::Instance;
use crate::wal::segment_name;

/// Archives every segment marked `.ready` with archive_command, in order; the number archived. The first one
/// that fails ends it. Nothing is done when archiving is off.
pub async fn archive_pending(instance: &Instance, within: Duration, cancel: &mut Cancel) -> Result<u32, ProgramError> {
    let until = Instant::now() + within;
    let left = || until.saturating_duration_since(Instant::now());
    let pending = run_blocking(instance, pending).await?;
    if pending.is_empty() {
        return Ok(0);
    }
    let Some(archive_command) = archive_command(instance, left(), cancel).await? else { return Ok(0) };
    let mut archived = 0;
    for segment in pending {
        archive(instance, &archive_command, &segment, left(), cancel).await?;
        run_blocking(instance, move |instance| mark_done(instance.data_dir(), &segment)).await?;
        archived += 1;
    }
    Ok(archived)
}

/// Archives the segment with the shutdown checkpoint of a primary that ended in order, finished or not; the number
/// archived. The server itself leaves it out. Its mark is left alone: what is written into it later is archived as ever.
pub async fn archive_shutdown(instance: &Instance, within: Duration, cancel: &mut Cancel) -> Result<u32, ProgramError> {
    let until = Instant::now() + within;
    let left = || until.saturating_duration_since(Instant::now());
    let Some(segment) = run_blocking(instance, last_segment).await? else { return Ok(0) };
    let Some(archive_command) = archive_command(instance, left(), cancel).await? else { return Ok(0) };
    archive(instance, &archive_command, &segment, left(), cancel).await?;
    Ok(1)
}

/// `None`: the server did not end in order as a primary.
fn last_segment(instance: &Instance) -> Result<Option<String>, ProgramError> {
    let control = control::read_file(instance.data_dir(), Some(&instance.binaries.pg_controldata))
        .map_err(|error| ProgramError::Prepare(error.to_string()))?;
    let segment = || segment_name(control.timeline, control.redo, u64::from(control.wal_segment_size));
    Ok((control.state == ControlState::ShutDown).then(segment))
}

/// `None`: archiving is off.
async fn archive_command(
    instance: &Instance,
    within: Duration,
    cancel: &mut Cancel,
) -> Result<Option<String>, ProgramError> {
    let mode = configured(instance, "archive_mode", within, cancel).await?;
    let archive_command = configured(instance, "archive_command", within, cancel).await?;
    Ok((mode != "off" && !archive_command.is_empty()).then_some(archive_command))
}

/// As the server does: a shell command, in the data directory.
async fn archive(
    instance: &Instance,
    archive_command: &str,
    segment: &str,
    within: Duration,
    cancel: &mut Cancel,
) -> Result<(), ProgramError> {
    let command = substitute(archive_command, segment);
    let program = Program::new("/bin/sh").args(["-c", &command]).inside(instance.data_dir());
    let ended = succeed(&program, within, cancel).await;
    ended.map(|_| ()).map_err(|error| ProgramError::Prepare(format!("{segment} could not be archived: {error}")))
}

/// The value of a parameter in the files of the stopped server.
async fn configured(
    instance: &Instance,
    parameter: &str,
    within: Duration,
    cancel: &mut Cancel,
) -> Result<String, ProgramError> {
    let mut config_file = std::ffi::OsString::from("--config-file=");
    config_file.push(instance.conf_file());
    let program = postgres_program(&instance.binaries.postgres)
        .arg("-D")
        .arg(instance.data_dir())
        .arg(config_file)
        .args(["-C", parameter]);
    Ok(succeed(&program, within, cancel).await?.trim().to_owned())
}

/// `%p`, `%f` and `%%` of archive_command and restore_command.
pub(super) fn substitute(command: &str, segment: &str) -> String {
    let mut out = String::with_capacity(command.len() + 64);
    let mut chars = command.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('%', Some('p')) => out.push_str(&format!("pg_wal/{segment}")),
            ('%', Some('f')) => out.push_str(segment),
            ('%', Some('%')) => out.push('%'),
            (c, _) => {
                out.push(c);
                continue;
            }
        }
        chars.next();
    }
    out
}

fn status_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("pg_wal/archive_status")
}

/// Segments marked `.ready` that are there; history files first, as the server's archiver takes them.
fn pending(instance: &Instance) -> Result<Vec<String>, FileError> {
    let dir = status_dir(instance.data_dir());
    let mut found = Vec::new();
    for entry in fs::read_dir(&dir).map_err(FileError::io("read", &dir))?.flatten() {
        let name = entry.file_name();
        let Some(segment) = name.to_str().and_then(|name| name.strip_suffix(".ready")) else { continue };
        if instance.data_dir().join("pg_wal").join(segment).exists() {
            found.push(segment.to_owned());
        }
    }
    found.sort_by_key(|segment| (!segment.ends_with(".history"), segment.clone()));
    Ok(found)
}

fn mark_done(data_dir: &Path, segment: &str) -> Result<(), FileError> {
    let dir = status_dir(data_dir);
    let ready = dir.join(format!("{segment}.ready"));
    fs::rename(&ready, dir.join(format!("{segment}.done"))).map_err(FileError::io("rename", &ready))
}

/// Takes away the marks of archived segments, so that recovery marks them anew and keeps them: a rewind needs
/// them. Blocking.
pub(super) fn forget_done(data_dir: &Path) -> Result<(), FileError> {
    let dir = status_dir(data_dir);
    for entry in fs::read_dir(&dir).map_err(FileError::io("read", &dir))?.flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "done") {
            fs::remove_file(&path).map_err(FileError::io("remove", &path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_those_of_the_server() {
        for (command, result) in
            [("cp %p /a/%f", "cp pg_wal/0A /a/0A"), ("date +%%s; x %q %", "date +%s; x %q %"), ("%%p %%%f", "%p %0A")]
        {
            assert_eq!(substitute(command, "0A"), result);
        }
    }
}
