//! pg_rewind.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use jogi_core::ha::Upstream;
use tokio::time::Instant;

use super::{Cancel, Program, ProgramError, postgres_program, run_blocking, succeed, with_passwords};
use crate::files::passwords::{Passwords, conninfo_to};
use crate::files::{FileError, stay_standby};
use crate::instance::Instance;
use crate::postmaster;

/// How many missing segments are fetched for one rewind, where pg_rewind does not fetch them itself: 16 GB of WAL
/// in the usual size.
const FETCHES_MAX: usize = 1024;

/// Rewinds the stopped data directory to the source's branch. Whether there was anything to do, by pg_rewind's judgement.
pub async fn rewind(
    instance: &Instance,
    source: &Upstream,
    within: Duration,
    cancel: &mut Cancel,
) -> Result<bool, ProgramError> {
    let until = Instant::now() + within;
    let left = || until.saturating_duration_since(Instant::now());
    run_blocking(instance, refuse_running).await?;
    let (connection, passwords) = connection(instance, source).await?;
    let restore_command = restore_command(instance);
    let mut program = postgres_program(&instance.binaries.pg_rewind)
        .arg("-D")
        .arg(instance.data_dir())
        .arg(format!("--source-server={connection}"))
        .env("PGOPTIONS", "-c statement_timeout=0")
        .inside(instance.data_dir());
    let fetches_itself = restores_by_itself(instance) && restore_command.is_some();
    if fetches_itself {
        program = program.arg("--restore-target-wal");
    }
    if is_elsewhere(instance) && instance.binaries.version >= 150_000 {
        let mut option = OsString::from("--config-file=");
        option.push(instance.conf_file());
        program = program.arg(option);
    }
    let program = with_passwords(program, &passwords);
    for _ in 0..FETCHES_MAX {
        let error = match succeed(&program, left(), cancel).await {
            Ok(output) => {
                run_blocking(instance, after_rewind).await?;
                return Ok(!says_nothing_to_do(&output));
            }
            Err(error) => error,
        };
        let missing = match &error {
            ProgramError::Failed { output, .. } if !fetches_itself => missing_segment(output),
            ProgramError::Failed { .. }
            | ProgramError::NotStarted { .. }
            | ProgramError::TimedOut { .. }
            | ProgramError::Cancelled { .. }
            | ProgramError::Prepare(_) => None,
        };
        let (Some(segment), Some(restore)) = (missing, &restore_command) else { return Err(error) };
        fetch(instance, restore, &segment, left(), cancel).await?;
    }
    Err(ProgramError::Prepare(format!("pg_rewind was given up: it asked for more than {FETCHES_MAX} segments")))
}

fn refuse_running(instance: &Instance) -> Result<(), ProgramError> {
    match postmaster::find(instance.data_dir()) {
        Ok(None) => Ok(()),
        Ok(Some(_)) => Err(ProgramError::Prepare("the server runs: it must be stopped before pg_rewind".to_owned())),
        Err(e) => Err(ProgramError::Prepare(format!("it cannot be told whether the server runs: {e}"))),
    }
}

async fn connection(instance: &Instance, source: &Upstream) -> Result<(String, Passwords), ProgramError> {
    let source = source.clone();
    run_blocking(instance, move |instance| {
        let local = &instance.local.postgresql;
        let credentials = local.authentication.rewind(instance.version()).cloned().unwrap_or_default();
        let mut wanted = conninfo_to(&credentials, &source, &local.database);
        let passwords = Passwords::write(instance, &wanted, "rewind")?;
        wanted.0.remove("password");
        Ok::<_, FileError>((wanted.to_dsn(instance.binaries.version), passwords))
    })
    .await
}

fn restore_command(instance: &Instance) -> Option<String> {
    let remote = instance.dynamic.get("standby_cluster").and_then(|remote| remote.get("restore_command"));
    let command = instance.effective.recovery_conf.get("restore_command").or(remote)?;
    command.as_str().filter(|command| !command.is_empty()).map(str::to_owned)
}

/// pg_rewind reads restore_command from the configuration: from 13 on in the data directory, from 15 on anywhere.
fn restores_by_itself(instance: &Instance) -> bool {
    let version = instance.binaries.version;
    version >= 150_000 || version >= 130_000 && !is_elsewhere(instance)
}

fn is_elsewhere(instance: &Instance) -> bool {
    instance.config_dir() != instance.data_dir() || instance.effective.config_base_name != "postgresql"
}

/// `pg_rewind: no rewind required`, without the prefix until PostgreSQL 11.
fn says_nothing_to_do(output: &str) -> bool {
    output.lines().any(|line| line.trim_start_matches("pg_rewind: ") == "no rewind required")
}

/// The segment that pg_rewind could not open: `could not open file ".../pg_wal/NAME": No such file`.
fn missing_segment(output: &str) -> Option<String> {
    let (_, after) = output.split_once("could not open file \"")?;
    let (path, _) = after.split_once('"')?;
    let name = Path::new(path).file_name()?.to_str()?;
    let is_segment = name.len() == 24 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_segment && path.contains("pg_wal/")).then(|| name.to_owned())
}

/// Fetches one segment as the server would: restore_command is a shell command of PostgreSQL's.
async fn fetch(
    instance: &Instance,
    restore_command: &str,
    segment: &str,
    within: Duration,
    cancel: &mut Cancel,
) -> Result<(), ProgramError> {
    let command = super::archive::substitute(restore_command, segment);
    let program = Program::new("/bin/sh").args(["-c", &command]).inside(instance.data_dir());
    succeed(&program, within, cancel).await.map(|_| ())
}

/// Before PostgreSQL 11 pg_rewind copies the source's slots as well, which are nobody's here.
fn after_rewind(instance: &Instance) -> Result<(), FileError> {
    stay_standby(instance)?;
    if instance.version() >= 110_000 {
        return Ok(());
    }
    let dir = instance.data_dir().join("pg_replslot");
    for slot in std::fs::read_dir(&dir).map_err(FileError::io("read", &dir))?.flatten() {
        std::fs::remove_dir_all(slot.path()).map_err(FileError::io("remove", &slot.path()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_to_do_is_told_from_a_rewind() {
        let nothing = "pg_rewind: source and target cluster are on the same timeline\npg_rewind: no rewind required\n";
        assert!(says_nothing_to_do(nothing) && says_nothing_to_do("no rewind required\n"));
        let rewound = "pg_rewind: servers diverged at WAL location 0/3000000 on timeline 1\npg_rewind: Done!\n";
        assert!(!says_nothing_to_do(rewound) && !says_nothing_to_do(""));
    }

    #[test]
    fn the_missing_segment_is_found_in_the_message() {
        let output = "pg_rewind: servers diverged at WAL location 0/3000000 on timeline 1\n\
            pg_rewind: error: could not open file \"/data/pg_wal/000000010000000000000002\": No such file or directory\n";
        assert_eq!(missing_segment(output).as_deref(), Some("000000010000000000000002"));
        for other in
            ["", "could not open file \"/data/global/pg_control\": Permission denied", "could not open file \"x"]
        {
            assert_eq!(missing_segment(other), None);
        }
    }
}
