//! Crash recovery in single-user mode: a crashed primary's data directory gets to a clean end of its WAL without
//! ever taking a connection, so that it can be rewound.

use std::time::Duration;

use super::{Cancel, ProgramError, archive, postgres_program, run_blocking, succeed};
use crate::files::{self, FileError};
use crate::instance::Instance;

/// Options of the crashed server that a single-user server must not take over.
const NOT_TAKEN: [&str; 3] = ["archive_mode", "archive_command", "archive_library"];

/// Lets the data directory finish its recovery. Signal files go: a single-user server refuses them; what
/// the server is to be is written again before it starts.
pub async fn single_user(instance: &Instance, within: Duration, cancel: &mut Cancel) -> Result<(), ProgramError> {
    let options = run_blocking(instance, prepare).await?;
    let mut program = postgres_program(&instance.binaries.postgres)
        .arg("--single")
        .arg("-D")
        .arg(instance.data_dir())
        .inside(instance.data_dir());
    for option in options {
        program = program.arg("-c").arg(option);
    }
    // WAL that a rewind needs must not be recycled: to the server it is all still to be archived.
    program = program.args(["-c", "archive_mode=on", "-c", "archive_command=false", "template1"]);
    program.stdin = Some(Vec::new());
    let output = succeed(&program, within, cancel).await?;
    tracing::debug!("single-user recovery: {output}");
    Ok(())
}

fn prepare(instance: &Instance) -> Result<Vec<String>, FileError> {
    files::remove_signal_files(instance.data_dir())?;
    archive::forget_done(instance.data_dir())?;
    Ok(last_options(instance).unwrap_or_else(|| own_options(instance)))
}

/// `name=value` as the server last ran with (`postmaster.opts`).
fn last_options(instance: &Instance) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(instance.data_dir().join("postmaster.opts")).ok()?;
    let words = jogi_config::shell::split(text.trim()).ok()?;
    let options = words.iter().skip(1).filter_map(|word| word.strip_prefix("--")).filter(|word| word.contains('='));
    Some(options.map(|option| option.replacen("config-file=", "config_file=", 1)).filter(|o| is_taken(o)).collect())
}

fn own_options(instance: &Instance) -> Vec<String> {
    vec![format!("config_file={}", instance.conf_file().display())]
}

fn is_taken(option: &str) -> bool {
    let name = option.split('=').next().unwrap_or_default().replace('-', "_");
    !NOT_TAKEN.contains(&name.as_str())
}
