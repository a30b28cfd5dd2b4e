//! What can be found out without the store: configuration, programs, data directory, run directory.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jogi_config::Local;
use jogi_config::postgres::effective_postgresql;
use jogi_core::ha::Intent;
use jogi_pg::binaries::{Binaries, BinariesError};
use jogi_pg::files;
use jogi_pg::instance::Instance;
use jogi_pg::rundir::{RunDir, RunDirError};
use rustix::fs::{Access, AtFlags, CWD};
use serde_json::Value;

use crate::local::VERSION;
use crate::logging::{Logging, LoggingError, panics};
use crate::perform;
use crate::source::{Source, SourceError};

pub(super) struct Prepared {
    pub source: Source,
    pub instance: Instance,
    pub rundir: RunDir,
    /// A change of the data directory that an earlier agent did not finish.
    pub intent: Option<Intent>,
}

/// Why the agent cannot start.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Logging(#[from] LoggingError),
    #[error(transparent)]
    Binaries(#[from] BinariesError),
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    #[error("the data directory {} cannot be used: {cause}; {remedy}", path.display())]
    DataDir { path: PathBuf, cause: String, remedy: &'static str },
    #[error(
        "a newer version of this program began '{kind}' on the data directory {} and did not finish; start that version",
        path.display()
    )]
    NewerIntent { path: PathBuf, kind: String },
}

/// Reads the configuration, starts the log, looks at programs and data directory, and locks the run directory.
pub(super) fn prepare(source: Source) -> Result<Prepared, Refusal> {
    let loaded = source.load()?;
    panics::install();
    Logging::start(&loaded.local.log)?;
    let local = loaded.local;
    tracing::info!(
        "jogi {} begins as member '{}' of '{}' (as Patroni {VERSION})",
        env!("CARGO_PKG_VERSION"),
        local.name,
        local.scope
    );
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let dynamic = saved_dynamic(&local).unwrap_or_else(|| local.bootstrap.dcs.clone());
    let effective = effective_postgresql(&dynamic, &local);
    let binaries = Binaries::locate(effective.bin_dir.as_deref(), &effective.bin_names)?;
    let data_dir = local.postgresql.data_dir.clone();
    usable(&data_dir)?;
    let rundir = RunDir::lock(&data_dir)?;
    leave(&data_dir);
    if rundir.owner().uid == 0 {
        return Err(Refusal::DataDir {
            path: data_dir,
            cause: "it belongs to root, and PostgreSQL refuses to run as root".into(),
            remedy: "run the agent as the user postgres, or give the data directory (or, before there is one, its parent) to that user",
        });
    }
    let intent = unfinished(&rundir, &data_dir)?;
    let instance = Instance::new(Arc::new(local), Arc::new(dynamic), Arc::new(binaries));
    for warning in &instance.effective.warnings {
        tracing::warn!("{warning}");
    }
    Ok(Prepared { source, instance, rundir, intent })
}

/// The dynamic configuration as last saved beside the data.
pub(super) fn saved_dynamic(local: &Local) -> Option<Value> {
    files::load_dynamic(&local.postgresql.data_dir)
}

/// A process whose working directory is the data directory counts as part of its server, and is killed with it.
fn leave(data_dir: &Path) {
    let here = std::env::current_dir().and_then(|here| here.canonicalize());
    let inside = here.ok().zip(data_dir.canonicalize().ok()).is_some_and(|(here, data)| here == data);
    if inside && std::env::set_current_dir("/").is_ok() {
        tracing::warn!("the agent was started inside the data directory and has left it for /");
    }
}

fn unfinished(rundir: &RunDir, data_dir: &Path) -> Result<Option<Intent>, Refusal> {
    let Some(recorded) = rundir.intent()? else { return Ok(None) };
    match perform::recorded(&recorded) {
        Ok(known) => {
            tracing::warn!("an earlier agent began to change the data directory and did not finish: {}", known.word());
            Ok(Some(known))
        }
        Err(kind) => Err(Refusal::NewerIntent { path: data_dir.to_owned(), kind }),
    }
}

/// The data directory can be entered by us and will be accepted by PostgreSQL, or can be made.
fn usable(data_dir: &Path) -> Result<(), Refusal> {
    let refuse = |cause: String, remedy| Refusal::DataDir { path: data_dir.to_owned(), cause, remedy };
    const ACCESS: &str = "run the agent as the owner of the data directory, or change its owner and permissions";
    let found = match data_dir.metadata() {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return with_parent(data_dir),
        Err(error) => return Err(refuse(error.to_string(), ACCESS)),
    };
    if !found.is_dir() {
        return Err(refuse("it is not a directory".into(), "set postgresql.data_dir to the path of a directory"));
    }
    let own = rustix::process::geteuid().as_raw();
    if own != 0 && found.uid() != own {
        let cause = format!("it belongs to user {} and the agent runs as user {own}", found.uid());
        return Err(refuse(cause, ACCESS));
    }
    let entries = std::fs::read_dir(data_dir).and_then(|mut entries| entries.next().transpose());
    if let Err(error) = entries {
        return Err(refuse(error.to_string(), ACCESS));
    }
    Ok(())
}

/// A data directory that is still to be made needs a place for it and for the run directory beside it.
fn with_parent(data_dir: &Path) -> Result<(), Refusal> {
    let Some(parent) = data_dir.parent().filter(|parent| !parent.as_os_str().is_empty()) else { return Ok(()) };
    let made = std::fs::create_dir_all(parent).and_then(|()| {
        let needed = Access::WRITE_OK | Access::EXEC_OK;
        rustix::fs::accessat(CWD, parent, needed, AtFlags::EACCESS).map_err(Into::into)
    });
    made.map_err(|error| Refusal::DataDir {
        path: data_dir.to_owned(),
        cause: format!("it does not exist, and nothing can be made in {}: {error}", parent.display()),
        remedy: "make the parent directory and give it to the user that runs the agent",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_place_of_the_data_directory_is_refused_with_its_path() {
        let path = std::env::temp_dir().join(format!("jogi-prepare-{}", std::process::id()));
        std::fs::write(&path, "x").expect("written");
        let refusal = usable(&path).expect_err("no directory").to_string();
        assert!(refusal.contains("not a directory") && refusal.contains(&*path.to_string_lossy()), "{refusal}");
        std::fs::remove_file(&path).expect("ours");
        usable(&path.join("deep/data")).expect("the parents are made");
        assert!(path.join("deep").is_dir() && !path.join("deep/data").exists());
        std::fs::remove_dir_all(&path).expect("ours");
    }
}
