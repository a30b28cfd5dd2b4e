//! Making the first data directory.

use std::path::PathBuf;
use std::time::Duration;

use super::{Cancel, Program, ProgramError, operators_command, postgres_program, run_blocking, succeed};
use crate::data_dir;
use crate::files::passwords::Passwords;
use crate::files::{self, FileError};
use crate::instance::Instance;

/// Runs initdb into the empty data directory, then appends `bootstrap.pg_hba`.
///
/// initdb writes out file by file; the file system is asked once for all of it instead.
pub async fn initdb(instance: &Instance, within: Duration, cancel: &mut Cancel) -> Result<(), ProgramError> {
    let options = match &instance.local.bootstrap.initdb {
        Ok(options) => options,
        Err(problems) => return Err(ProgramError::Prepare(format!("bootstrap.initdb: {}", problems.join("; ")))),
    };
    run_blocking(instance, |instance| data_dir::create(instance.data_dir())).await?;
    let mut program = postgres_program(&instance.binaries.initdb).arg("-D").arg(instance.data_dir()).args(options);
    let superuser = instance.local.postgresql.authentication.superuser.clone().unwrap_or_default();
    if let Some(name) = &superuser.username {
        program = program.arg(format!("--username={name}"));
    }
    let passwords = match superuser.password {
        None => None,
        Some(password) => Some(run_blocking(instance, move |i| Passwords::plain(i, password.expose())).await?),
    };
    if let Some(path) = passwords.as_ref().and_then(Passwords::path) {
        let mut option = std::ffi::OsString::from("--pwfile=");
        option.push(path);
        program = program.arg(option);
    }
    let program = program.arg("--no-sync").inside(instance.data_dir());
    succeed(&program, within, cancel).await?;
    drop(passwords);
    run_blocking(instance, after_initdb).await
}

fn after_initdb(instance: &Instance) -> Result<(), FileError> {
    let lines = &instance.local.bootstrap.pg_hba;
    let elsewhere = instance.effective.parameters.contains("hba_file");
    if instance.effective.pg_hba.is_none() && !elsewhere && !lines.is_empty() {
        files::append_hba(instance, lines)?;
    }
    for dir in [instance.data_dir().to_owned(), instance.data_dir().join("pg_wal")] {
        sync_file_system(dir)?;
    }
    Ok(())
}

fn sync_file_system(dir: PathBuf) -> Result<(), FileError> {
    let synced = std::fs::File::open(&dir).and_then(|file| Ok(rustix::fs::syncfs(&file)?));
    synced.map_err(FileError::io("write out", &dir))
}

/// Runs the configured custom bootstrap method.
pub async fn custom_bootstrap(instance: &Instance, within: Duration, cancel: &mut Cancel) -> Result<(), ProgramError> {
    let Some(custom) = &instance.local.bootstrap.custom else {
        return Err(ProgramError::Prepare("there is no custom method in the bootstrap section".to_owned()));
    };
    let mut program: Program = operators_command(&custom.command, &format!("bootstrap.{}.command", custom.method))?;
    if !custom.no_params {
        program = program.arg(format!("--scope={}", instance.local.scope));
        program = program.arg(format!("--datadir={}", instance.data_dir().display()));
    }
    program = program.args(custom.arguments.iter().map(|(key, value)| format!("--{key}={value}")));
    let output = succeed(&program, within, cancel).await?;
    tracing::debug!(method = %custom.method, "custom bootstrap: {output}");
    run_blocking(instance, check_custom).await
}

/// A method's word that it succeeded is not enough; what another cluster left in its data is not ours.
fn check_custom(instance: &Instance) -> Result<(), ProgramError> {
    files::forget_dynamic(instance.data_dir())?;
    match data_dir::inspect(instance.data_dir(), instance.binaries.major()) {
        data_dir::Found::Cluster { .. } => Ok(()),
        data_dir::Found::Empty => Err(ProgramError::Prepare(format!(
            "the bootstrap method ended with success and left {} empty",
            instance.data_dir().display()
        ))),
        data_dir::Found::Unusable(why) | data_dir::Found::Broken(why) => Err(ProgramError::Prepare(why)),
    }
}
