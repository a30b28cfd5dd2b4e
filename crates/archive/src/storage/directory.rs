//! A directory: a disk, or a share of the network.
//!
//! The hazard: a file that is there but not synced is gone after a power failure, and PostgreSQL has been told that it
//! was archived. An object is written beside its place, synced, renamed, and its directory synced.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;

use super::{Object, Storage, StorageError};
use crate::pipe::{ChunkReader, Chunks, channel};

const READ_AT_ONCE: usize = 256 * 1024;
/// In every name of a temporary file, as newer versions of WAL-G have it.
const TEMPORARY: &str = ".tmp.";

#[derive(Clone, Debug)]
pub struct Directory {
    root: PathBuf,
    place: String,
}

impl Directory {
    /// The directory must be there: one that an unmounted share left behind must not be filled silently.
    pub fn open(root: &Path) -> Result<Directory, StorageError> {
        let place = format!("the directory {}", root.display());
        if !root.is_dir() {
            return Err(StorageError::settings(&place, "there is no such directory"));
        }
        let root = std::path::absolute(root).map_err(|e| StorageError::local(&place, "find", "", e))?;
        Ok(Directory { root, place })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        verb: &str,
        key: &str,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, StorageError> {
        let path = self.root.join(key);
        let done = tokio::task::spawn_blocking(move || work(&path)).await;
        let done = done.unwrap_or_else(|e| Err(io::Error::other(e)));
        done.map_err(|error| StorageError::local(&self.place, verb, key, error))
    }
}

#[async_trait]
impl Storage for Directory {
    async fn put(&self, key: &str, chunks: Chunks) -> Result<u64, StorageError> {
        self.blocking("write", key, move |path| write_whole(path, chunks)).await
    }

    async fn get(&self, key: &str) -> Result<Option<Chunks>, StorageError> {
        let opened = self.blocking("read", key, open_or_absent).await?;
        Ok(opened.map(stream))
    }

    async fn list(&self, folder: &str) -> Result<Vec<Object>, StorageError> {
        let within = folder.trim_end_matches('/').to_owned();
        self.blocking("list", folder, move |path| list(path, &within)).await
    }

    async fn ends(&self, stem: &str, ends: &[&str]) -> Result<Vec<String>, StorageError> {
        let root = self.root.clone();
        let keys: Vec<String> = ends.iter().map(|end| format!("{stem}{end}")).collect();
        let there = move |_: &Path| {
            let mut found_keys = Vec::new();
            for key in keys {
                if found(fs::metadata(root.join(&key)))?.is_some_and(|m| m.is_file()) {
                    found_keys.push(key);
                }
            }
            Ok(found_keys)
        };
        self.blocking("look for", stem, there).await
    }

    async fn settle(&self, key: &str) -> Result<(), StorageError> {
        let root = self.root.clone();
        let settle = move |path: &Path| {
            File::open(path)?.sync_all()?;
            path.ancestors()
                .skip(1)
                .take_while(|dir| dir.starts_with(&root))
                .try_for_each(|dir| File::open(dir)?.sync_all())
        };
        self.blocking("bring to the disk", key, settle).await
    }

    async fn delete(&self, key: &str) -> Result<(), StorageError> {
        self.blocking("delete", key, |path| found(fs::remove_file(path)).map(|_| ())).await
    }

    fn place(&self) -> &str {
        &self.place
    }
}

fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Absent is what its folder lacks. A folder that is not there says nothing: where a share is not mounted, an empty
/// directory stands in its place, and a recovery that takes that for an answer ends early.
fn open_or_absent(path: &Path) -> io::Result<Option<File>> {
    let opened = found(File::open(path))?;
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    if opened.is_none() && !folder.is_dir() {
        let said = format!(
            "there is no folder {}: nothing was ever archived here, or a share is not mounted",
            folder.display()
        );
        return Err(io::Error::new(io::ErrorKind::NotFound, said));
    }
    Ok(opened)
}

fn write_whole(path: &Path, chunks: Chunks) -> io::Result<u64> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    make_durable(dir)?;
    let temporary = temporary(path);
    let written = fill(&temporary, chunks).and_then(|size| fs::rename(&temporary, path).map(|()| size));
    if written.is_err() {
        // What cannot be removed is no object by its name.
        let _ = fs::remove_file(&temporary);
    }
    let size = written?;
    File::open(dir)?.sync_all()?;
    Ok(size)
}

fn fill(path: &Path, chunks: Chunks) -> io::Result<u64> {
    let mut file = File::create_new(path)?;
    let size = io::copy(&mut ChunkReader::new(chunks), &mut file)?;
    file.flush()?;
    file.sync_all()?;
    Ok(size)
}

/// Creates the folders that are missing, each synced into its parent.
fn make_durable(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().ok_or(io::ErrorKind::InvalidInput)?;
    make_durable(parent)?;
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    File::open(parent)?.sync_all()
}

/// `NAME.tmp.<time>-<8 hexadecimal digits>`
fn temporary(path: &Path) -> PathBuf {
    let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!("{TEMPORARY}{time}-{:08x}", jogi_net::random_u64() & 0xFFFF_FFFF));
    path.with_file_name(name)
}

fn stream(mut file: File) -> Chunks {
    let (sender, chunks) = channel();
    tokio::task::spawn_blocking(move || {
        loop {
            let mut buffer = vec![0; READ_AT_ONCE];
            let next = match file.read(&mut buffer) {
                Ok(0) => return,
                Ok(read) => {
                    buffer.truncate(read);
                    Ok(Bytes::from(buffer))
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let failed = next.is_err();
            // A reader that is gone wants no more.
            if sender.blocking_send(next).is_err() || failed {
                return;
            }
        }
    });
    chunks
}

fn list(path: &Path, folder: &str) -> io::Result<Vec<Object>> {
    let Some(entries) = found(fs::read_dir(path))? else { return Ok(Vec::new()) };
    let mut objects = Vec::new();
    for entry in entries {
        let entry = entry?;
        // Gone between the listing and the look: it is not there.
        let Some(metadata) = found(entry.metadata())? else { continue };
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if metadata.is_file() && !name.contains(TEMPORARY) {
            let key = format!("{folder}/{name}");
            objects.push(Object { key, size: metadata.len(), modified: metadata.modified().ok() });
        }
    }
    objects.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(objects)
}
