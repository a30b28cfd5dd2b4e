//! Segments that recovery will ask for next, fetched before it does, by a process of its own.
//!
//! They lie outside `pg_wal`: in it, pg_rewind and pg_basebackup would take them for the server's. Nothing depends on
//! them: what is missing, half or strange there is fetched from the archive.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use tokio::task::JoinSet;

use super::fetch::{download, move_file};
use super::{Archive, WalError, header};
use crate::names::WalFile;

const RUNNING: &str = "running";
const LOOK: Duration = Duration::from_millis(5);
/// A download that does not grow for this long is not waited for.
const STILL: Duration = Duration::from_millis(300);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefetched {
    Segments(usize),
    /// Another process does it.
    Busy,
}

/// Starts the process that fetches what follows `name`, and does not wait for it.
pub fn start_prefetch(name: &str, dir: &Path) -> io::Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["archive", "wal-prefetch", name]).arg(dir);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // PostgreSQL waits for the group of its restore_command when it is stopped; this one may outlive it.
    command.process_group(0).spawn().map(|_| ())
}

/// Fetches what follows `name` and is not there yet; removes what is older.
pub async fn prefetch(archive: &Archive, name: &str, dir: &Path) -> Result<Prefetched, WalError> {
    let file = WalFile::parse(name)?;
    let running = dir.join(RUNNING);
    fs::create_dir_all(&running).map_err(WalError::file("create", &running))?;
    let lock = File::create(dir.join("lock")).map_err(WalError::file("create", dir))?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(Prefetched::Busy);
    }
    let wanted = file.following(archive.settings.fetch_at_once.saturating_sub(1), archive.settings.segment_size);
    clean(dir, &wanted);
    // Half a download of a process that was killed.
    clean(&running, &[]);
    let missing = wanted.into_iter().filter(|w| !dir.join(w.name()).exists());
    let mut downloads = JoinSet::new();
    for next in missing {
        let (archive, dir) = (archive.clone(), dir.to_owned());
        downloads.spawn(async move { one(&archive, &next, &dir).await });
    }
    let mut count = 0;
    while let Some(done) = downloads.join_next().await {
        match done.unwrap_or_else(|e| Err(WalError::file("fetch into", dir)(io::Error::other(e)))) {
            Ok(found) => count += usize::from(found),
            // Whoever needs it fetches it, and tells.
            Err(error) => tracing::debug!(%error, "a segment was not fetched ahead"),
        }
    }
    Ok(Prefetched::Segments(count))
}

async fn one(archive: &Archive, file: &WalFile, dir: &Path) -> Result<bool, WalError> {
    let running = dir.join(RUNNING).join(file.name());
    if !download(archive, file, &running).await? {
        return Ok(false);
    }
    let ready = dir.join(file.name());
    fs::rename(&running, &ready).map_err(WalError::file("rename to", &ready))?;
    Ok(true)
}

/// Removes segments that are not wanted. What is no segment is not ours.
fn clean(dir: &Path, wanted: &[WalFile]) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let segment = name.get(..24).is_some_and(|stem| WalFile::parse(stem).is_ok());
        if segment && !wanted.iter().any(|w| w.name() == name) {
            // Left for the next time.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Moves a segment that was fetched ahead to its destination; waits for one that is on its way. `false`: fetch it.
pub(super) async fn take(dir: &Path, file: &WalFile, destination: &Path) -> bool {
    wait_for_running(dir, file).await;
    let ready = dir.join(file.name());
    let Ok(content) = File::open(&ready) else { return false };
    let sound = matches!(header::examine(file, &content), Ok(Ok(())));
    let moved = sound && move_file(&ready, destination).is_ok();
    if !moved {
        let _ = fs::remove_file(&ready);
    }
    moved
}

async fn wait_for_running(dir: &Path, file: &WalFile) {
    let mut last = (0, Instant::now());
    while let Some(size) = running_size(dir, file) {
        if size != last.0 {
            last = (size, Instant::now());
        }
        if last.1.elapsed() > STILL {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Of the temporary file of a download, whose name begins with the segment's.
fn running_size(dir: &Path, file: &WalFile) -> Option<u64> {
    let entries = fs::read_dir(dir.join(RUNNING)).ok()?;
    let own = |path: &PathBuf| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(file.name()));
    entries.flatten().map(|e| e.path()).find(own).map(|path| fs::metadata(path).map_or(0, |m| m.len()))
}
