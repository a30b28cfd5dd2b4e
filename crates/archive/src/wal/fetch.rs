//! One file out of the archive: `restore_command`.
//!
//! The hazards: PostgreSQL takes "not there" for the end of WAL and may promote, so only an archive that answered may
//! say so; and it takes any file at the destination for a whole one, so the file appears there in one step.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Archive, WalError, header, prefetch, write_file};
use crate::names::WalFile;
use crate::storage::{Fault, StorageError};

/// Whole downloads tried; within each, single requests are tried again by the storage.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetched {
    Stored,
    /// It had been fetched ahead.
    Ahead,
    /// The archive answers, and has no such file.
    Absent,
}

/// Fetches a file to `destination`, which must not exist.
pub async fn fetch(
    archive: &Archive,
    name: &str,
    destination: &Path,
    ahead: Option<&Path>,
) -> Result<Fetched, WalError> {
    let file = WalFile::parse(name)?;
    if fs::symlink_metadata(destination).is_ok() {
        return Err(WalError::DestinationExists(destination.display().to_string()));
    }
    if let Some(dir) = ahead
        && prefetch::take(dir, &file, destination).await
    {
        return Ok(Fetched::Ahead);
    }
    let found = download(archive, &file, destination).await?;
    Ok(if found { Fetched::Stored } else { Fetched::Absent })
}

/// Downloads, trying again what may pass. `false`: there is no such file.
pub(super) async fn download(archive: &Archive, file: &WalFile, destination: &Path) -> Result<bool, WalError> {
    let mut tried = 1;
    loop {
        match attempt(archive, file, destination).await {
            Err(WalError::Storage(error)) if may_pass(&error) && tried < TRIES => {
                tried += 1;
                tokio::time::sleep(PAUSE).await;
            }
            ended => return ended,
        }
    }
}

fn may_pass(error: &StorageError) -> bool {
    matches!(error.fault, Fault::Network | Fault::Busy | Fault::Other)
}

async fn attempt(archive: &Archive, file: &WalFile, destination: &Path) -> Result<bool, WalError> {
    // Nearly always the method has not changed since: one request.
    let usual = archive.key(file);
    if from_object(archive, file, &usual, destination).await? {
        return Ok(true);
    }
    for key in archive.keys(file).await? {
        if from_object(archive, file, &key, destination).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn from_object(archive: &Archive, file: &WalFile, key: &str, destination: &Path) -> Result<bool, WalError> {
    let temporary = beside(destination);
    let to = temporary.clone();
    let received = archive.read(key, move |from| write_file(&to, from)).await;
    let placed = match received {
        Ok(Some(_)) => place(file, key, &temporary, destination).map(|()| true),
        Ok(None) => Ok(false),
        Err(error) => Err(error.into()),
    };
    if !matches!(placed, Ok(true)) {
        // Nothing was written, or what was written is of no use.
        let _ = fs::remove_file(&temporary);
    }
    placed
}

fn place(file: &WalFile, key: &str, temporary: &Path, destination: &Path) -> Result<(), WalError> {
    let content = fs::File::open(temporary).map_err(WalError::file("open", temporary))?;
    if let Err(fault) = header::examine(file, &content).map_err(WalError::file("read", temporary))? {
        return Err(WalError::Archived { file: file.name().to_owned(), key: key.to_owned(), fault });
    }
    fs::rename(temporary, destination).map_err(WalError::file("rename to", destination))
}

/// A name in the same directory that nobody else uses at this time.
fn beside(destination: &Path) -> PathBuf {
    let mut name = destination.file_name().unwrap_or_default().to_owned();
    name.push(format!(".jogi-{}", std::process::id()));
    destination.with_file_name(name)
}

/// Moves a file, also to another file system. At the destination it appears whole.
pub(super) fn move_file(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            let temporary = beside(to);
            let copied = fs::File::open(from).and_then(|mut file| write_file(&temporary, &mut file));
            let moved = copied.and_then(|_| fs::rename(&temporary, to));
            if moved.is_err() {
                let _ = fs::remove_file(&temporary);
            }
            moved.and_then(|()| fs::remove_file(from))
        }
        done => done,
    }
}
