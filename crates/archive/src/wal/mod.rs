//! WAL into the archive and back. One object per file: compressed, then encrypted.

mod fetch;
mod header;
mod prefetch;
mod push;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

pub use fetch::{Fetched, fetch};
pub use header::SegmentFault;
pub use prefetch::{Prefetched, prefetch, start_prefetch};
pub use push::{Pushed, push};

use crate::codec::{self, Encoder};
use crate::names::{EXTENSIONS, NotWal, WalFile};
use crate::pipe::{ChunkReader, ChunkWriter};
use crate::settings::Settings;
use crate::sodium::{SodiumReader, SodiumWriter};
use crate::storage::{self, Storage, StorageError, get_into, put_from};

/// Where the WAL of one cluster lies, and in which form.
#[derive(Clone, Debug)]
pub struct Archive {
    pub settings: Settings,
    pub storage: Arc<dyn Storage>,
}

#[derive(Debug, thiserror::Error)]
pub enum WalError {
    #[error(transparent)]
    Name(#[from] NotWal),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("{file} cannot be archived: {fault}")]
    Source { file: String, fault: SegmentFault },
    #[error(
        "the archived {file} is not whole: {fault}; restore its object {key} from a copy, or recover to a point before it"
    )]
    Archived { file: String, key: String, fault: SegmentFault },
    #[error(
        "{file} is in the archive already, as {key}, with other content: it is not replaced. Does another cluster write to \
         {place}? If so, give one of them a prefix of its own"
    )]
    Different { file: String, key: String, place: String },
    #[error("could not {tried} {path}: {cause}")]
    File { tried: &'static str, path: String, cause: io::Error },
    #[error("{0} exists already: nothing was fetched")]
    DestinationExists(String),
}

impl WalError {
    fn file(tried: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WalError {
        let path = path.display().to_string();
        move |cause| WalError::File { tried, path, cause }
    }
}

impl Archive {
    pub fn open(settings: Settings) -> Result<Archive, StorageError> {
        let storage = storage::open(&settings)?;
        Ok(Archive { settings, storage })
    }

    /// The key under which we write a file.
    fn key(&self, file: &WalFile) -> String {
        format!("{}{}", file.key_prefix(), self.settings.method.extension())
    }

    /// The objects of a file that exist. More than one, when the method was changed between two uploads.
    async fn keys(&self, file: &WalFile) -> Result<Vec<String>, StorageError> {
        self.storage.ends(&file.key_prefix(), &EXTENSIONS).await
    }

    /// Writes an object in our form. Returns what it takes in the storage.
    pub(crate) async fn write(&self, key: &str, mut from: impl Read + Send + 'static) -> Result<u64, StorageError> {
        let settings = self.settings.clone();
        let produce = move |to: ChunkWriter| seal(&settings, &mut from, to);
        put_from(self.storage.as_ref(), key, produce).await.map(|(stored, ())| stored)
    }

    /// Reads an object through `consume`; `None` when there is none.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        key: &str,
        consume: impl FnOnce(&mut dyn Read) -> io::Result<T> + Send + 'static,
    ) -> Result<Option<T>, StorageError> {
        let settings = self.settings.clone();
        let name = key.to_owned();
        get_into(self.storage.as_ref(), key, move |from| consume(&mut *unseal(&settings, &name, from)?)).await
    }
}

fn seal(settings: &Settings, from: &mut impl Read, to: ChunkWriter) -> io::Result<()> {
    let Some(key) = &settings.key else {
        let mut encoder = Encoder::new(settings.method, to)?;
        io::copy(from, &mut encoder)?;
        return encoder.finish()?.finish();
    };
    let mut encoder = Encoder::new(settings.method, SodiumWriter::new(key, to))?;
    io::copy(from, &mut encoder)?;
    encoder.finish()?.finish()?.finish()
}

fn unseal(settings: &Settings, key: &str, from: ChunkReader) -> io::Result<Box<dyn Read + Send>> {
    let name = key.rsplit('/').next().unwrap_or(key);
    let extension = EXTENSIONS.iter().filter(|e| !e.is_empty() && name.ends_with(**e)).max_by_key(|e| e.len());
    let plain: Box<dyn Read + Send> = match &settings.key {
        Some(key) => Box::new(SodiumReader::new(key, from)),
        None => Box::new(from),
    };
    let unknown = || io::Error::new(io::ErrorKind::Unsupported, format!("nobody here reads the compression of {name}"));
    codec::decode(extension.unwrap_or(&""), plain).unwrap_or_else(|| Err(unknown()))
}

/// Copies into a new file and syncs it. Returns its size.
fn write_file(path: &Path, from: &mut dyn Read) -> io::Result<u64> {
    let mut file = File::create(path)?;
    let size = io::copy(from, &mut file)?;
    file.flush()?;
    file.sync_all()?;
    Ok(size)
}
