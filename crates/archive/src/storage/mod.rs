//! Where objects lie. The trait is thin, so that one kind of storage can be replaced without the others.
//!
//! | promise | directory | S3, Google, Azure |
//! |---|---|---|
//! | [`Storage::put`] returned: the object is whole and durable | file and directory synced, then renamed | the service has confirmed it |
//! | [`Storage::put`] failed: no object, or the one from before | a temporary file at most | an unfinished upload at most |
//! | no listing shows half an object | names of temporary files are no objects | yes |

mod directory;
mod error;
mod objects;

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;

pub use directory::Directory;
pub use error::{Fault, StorageError};
pub use objects::Objects;

use crate::pipe::{ChunkReader, ChunkWriter, Chunks, pipe};
use crate::settings::{Location, Settings};

/// What a listing tells of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub key: String,
    pub size: u64,
    pub modified: Option<SystemTime>,
}

#[async_trait]
pub trait Storage: Send + Sync + std::fmt::Debug {
    /// Writes an object in one step from the outside. Returns its stored size. An error among the chunks leaves nothing.
    async fn put(&self, key: &str, chunks: Chunks) -> Result<u64, StorageError>;

    /// Reads an object; `None` when there is none. What goes wrong on the way stands among the chunks.
    async fn get(&self, key: &str) -> Result<Option<Chunks>, StorageError>;

    /// The objects directly in a folder, without those of its folders.
    async fn list(&self, folder: &str) -> Result<Vec<Object>, StorageError>;

    /// Which keys of the form `stem` + one of `ends` exist.
    async fn ends(&self, stem: &str, ends: &[&str]) -> Result<Vec<String>, StorageError>;

    /// An object that was found there is durable after this. Where an answer of the storage says so already, it asks nothing.
    async fn settle(&self, _key: &str) -> Result<(), StorageError> {
        Ok(())
    }

    /// Deletes an object. One that is not there is deleted.
    async fn delete(&self, key: &str) -> Result<(), StorageError>;

    /// For people: what kind of storage, and where.
    fn place(&self) -> &str;
}

/// The storage of these settings. Nothing is sent yet.
pub fn open(settings: &Settings) -> Result<Arc<dyn Storage>, StorageError> {
    Ok(match &settings.location {
        Location::Directory(path) => Arc::new(Directory::open(path)?),
        remote => Arc::new(Objects::open(remote)?),
    })
}

/// Writes an object from what `produce` writes, which runs on a thread that may block. Returns the stored size and what
/// `produce` returned.
pub async fn put_from<T: Send + 'static>(
    storage: &dyn Storage,
    key: &str,
    produce: impl FnOnce(ChunkWriter) -> io::Result<T> + Send + 'static,
) -> Result<(u64, T), StorageError> {
    let (writer, chunks) = pipe();
    let producer = tokio::task::spawn_blocking(move || produce(writer));
    let stored = storage.put(key, chunks).await;
    let produced =
        producer.await.map_err(|e| StorageError::local(storage.place(), "write", key, io::Error::other(e)))?;
    match (stored, produced) {
        (Ok(size), Ok(value)) => Ok((size, value)),
        // The producer's own reason; the storage only saw it break off.
        (_, Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(StorageError::local(storage.place(), "write", key, error))
        }
        (Err(error), _) => Err(error),
        (Ok(_), Err(error)) => Err(StorageError::local(storage.place(), "write", key, error)),
    }
}

/// Reads an object through `consume`, which runs on a thread that may block. `None` when there is no such object.
pub async fn get_into<T: Send + 'static>(
    storage: &dyn Storage,
    key: &str,
    consume: impl FnOnce(ChunkReader) -> io::Result<T> + Send + 'static,
) -> Result<Option<T>, StorageError> {
    let Some(chunks) = storage.get(key).await? else { return Ok(None) };
    let consumed = tokio::task::spawn_blocking(move || consume(ChunkReader::new(chunks))).await;
    let consumed = consumed.unwrap_or_else(|e| Err(io::Error::other(e)));
    consumed.map(Some).map_err(|error| StorageError::local(storage.place(), "read", key, error))
}
