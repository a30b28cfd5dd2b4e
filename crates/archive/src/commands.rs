//! `jogi archive …`, and the same under the name `wal-g`.
//!
//! Exit codes are what PostgreSQL goes by. `wal-fetch`: 0 fetched, 74 the archive has no such file, and for an error 1 on
//! a standby, which tries again, but more than 125 in a recovery that would otherwise end too early.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::check::{Report, check};
use crate::settings::{Settings, Variables, key_file};
use crate::wal::{Archive, Fetched, Pushed, fetch, prefetch, push, start_prefetch};

const FAILED: u8 = 1;
/// WAL-G's code for an object that is not there.
const ABSENT: u8 = 74;
/// PostgreSQL takes codes up to 125 for "no such file" and may end recovery; above, it stops. 129 and more could be
/// mistaken for a signal by a shell between us.
const STOP_RECOVERY: u8 = 126;
/// A handful of requests at a time: work that blocks has threads of its own.
const WORKERS: usize = 2;

#[derive(Args, Debug)]
pub struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Archives a WAL file: archive_command = 'jogi archive wal-push "%p"'.
    WalPush {
        /// The file; its name is the one that PostgreSQL gave it.
        path: PathBuf,
    },
    /// Fetches a WAL file: restore_command = 'jogi archive wal-fetch "%f" "%p"'.
    WalFetch {
        /// A segment, a history, a backup's label.
        name: String,
        destination: PathBuf,
    },
    /// Fetches the segments after one ahead of their time. Started by wal-fetch.
    #[command(hide = true)]
    WalPrefetch { name: String, dir: PathBuf },
    /// Writes, lists, reads and deletes a probe, and says what is wrong.
    Check {
        /// For programs.
        #[arg(long)]
        json: bool,
    },
}

/// A line for PostgreSQL's log. Where it cannot be written, as on a full disk, the exit code says what counts.
macro_rules! say {
    ($($text:tt)*) => {{
        let _ = writeln!(io::stderr(), $($text)*);
    }};
}

/// Runs one command.
pub fn main(options: Options) -> ExitCode {
    let failed = match &options.command {
        Command::WalFetch { destination, .. } => fetch_failed(destination),
        Command::WalPush { .. } | Command::WalPrefetch { .. } | Command::Check { .. } => FAILED,
    };
    // An error of ours must not end with a code that PostgreSQL takes for the end of WAL.
    let code = match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(options.command))) {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => {
            say!("ERROR: {error}");
            failed
        }
        Err(_) => failed,
    };
    ExitCode::from(code)
}

type AnyError = Box<dyn std::error::Error>;

fn run(command: Command) -> Result<u8, AnyError> {
    let settings = settings()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    runtime.block_on(async {
        let archive = Archive::open(settings)?;
        match command {
            Command::WalPush { path } => wal_push(&archive, &path).await,
            Command::WalFetch { name, destination } => wal_fetch(&archive, &name, &destination).await,
            Command::WalPrefetch { name, dir } => {
                // PostgreSQL started us in its data directory, and whoever works in there counts as one of its processes.
                let dir = std::path::absolute(dir)?;
                std::env::set_current_dir("/")?;
                prefetch(&archive, &name, &dir).await.map(|_| 0).map_err(Into::into)
            }
            Command::Check { json } => print_check(&check(&archive).await, json),
        }
    })
}

fn settings() -> Result<Settings, AnyError> {
    let pairs =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let mut variables = Variables::new(pairs);
    if let Some(path) = key_file(&variables) {
        let text = fs::read_to_string(&path)
            .map_err(|e| format!("could not read the libsodium key {}: {e}", path.display()))?;
        variables = variables.with_key(&text);
    }
    Ok(Settings::read(&variables)?)
}

async fn wal_push(archive: &Archive, path: &Path) -> Result<u8, AnyError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match push(archive, path).await? {
        Pushed::Stored { bytes, stored } => say!("INFO: archived {name} ({bytes} bytes, {stored} stored)"),
        Pushed::WasThere => say!("INFO: {name} is in the archive already, with the same content"),
    }
    Ok(0)
}

async fn wal_fetch(archive: &Archive, name: &str, destination: &Path) -> Result<u8, AnyError> {
    let ahead = prefetch_dir(archive, name, destination);
    let fetched = fetch(archive, name, destination, ahead.as_deref()).await?;
    if fetched != Fetched::Absent
        && let Some(dir) = &ahead
        && let Err(error) = start_prefetch(name, dir)
    {
        // What is not fetched ahead is fetched when it is asked for.
        say!("WARNING: what follows {name} is not fetched ahead: {error}");
    }
    match fetched {
        Fetched::Stored => say!("INFO: fetched {name}"),
        Fetched::Ahead => say!("INFO: fetched {name} (it was here already)"),
        Fetched::Absent => {
            say!("INFO: there is no {name} in {}", archive.storage.place());
            return Ok(ABSENT);
        }
    }
    Ok(0)
}

/// Where segments are fetched ahead: `WALG_PREFETCH_DIR`, else in the agent's run directory beside the data directory,
/// where there is one. `None`: nothing is fetched ahead, as for a file that is asked for by its own name (pg_rewind).
fn prefetch_dir(archive: &Archive, name: &str, destination: &Path) -> Option<PathBuf> {
    let own_name = destination.file_name().is_some_and(|n| n == name);
    if own_name || archive.settings.fetch_at_once < 2 {
        return None;
    }
    if let Some(dir) = &archive.settings.prefetch_dir {
        return Some(dir.clone());
    }
    let mut run_dir = data_dir(destination)?.into_os_string();
    run_dir.push(".jogi");
    Path::new(&run_dir).is_dir().then(|| Path::new(&run_dir).join("prefetch"))
}

/// PostgreSQL runs its commands in the data directory; others name a destination in its `pg_wal`.
fn data_dir(destination: &Path) -> Option<PathBuf> {
    let is_one = |dir: &Path| dir.join("PG_VERSION").is_file();
    let here = std::env::current_dir().ok();
    let by_destination = || fs::canonicalize(destination.parent()?.parent()?).ok();
    here.filter(|dir| is_one(dir)).or_else(|| by_destination().filter(|dir| is_one(dir)))
}

/// A standby tries again whatever the code. A recovery to a target, or of a new cluster, must not take an error for the
/// end of WAL.
fn fetch_failed(destination: &Path) -> u8 {
    let Some(dir) = data_dir(destination) else { return FAILED };
    let is_standby = dir.join("standby.signal").exists();
    if !is_standby && dir.join("recovery.signal").exists() { STOP_RECOVERY } else { FAILED }
}

fn print_check(report: &Report, json: bool) -> Result<u8, AnyError> {
    if json {
        println!("{}", serde_json::to_string(report)?);
    } else {
        println!("archive: {}", report.place);
        for step in &report.steps {
            let error = step.error.as_deref().unwrap_or("ok");
            let remedy = step.remedy.map(|remedy| format!("\n        {remedy}")).unwrap_or_default();
            println!("{:>6}  {error}{remedy}", step.name);
        }
    }
    Ok(if report.ok { 0 } else { FAILED })
}
