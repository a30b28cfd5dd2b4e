//! One file into the archive: `archive_command`. Returns only when the object is durable.
//!
//! The hazard: what is archived under a name stays. A file of the same name and other content comes from another
//! cluster, or from a branch that nobody resolved; replacing the object would spoil a recovery that needs it.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use super::{Archive, WalError, header};
use crate::names::{Kind, WalFile};

const COMPARED_AT_ONCE: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    Stored {
        bytes: u64,
        /// What it takes in the storage.
        stored: u64,
    },
    /// The same content was there.
    WasThere,
}

/// Archives the file at `path`, which bears its own name.
pub async fn push(archive: &Archive, path: &Path) -> Result<Pushed, WalError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let file = WalFile::parse(&name)?;
    let content = File::open(path).map_err(WalError::file("open", path))?;
    if let Err(fault) = header::examine(&file, &content).map_err(WalError::file("read", path))? {
        return Err(WalError::Source { file: file.name().to_owned(), fault });
    }
    // A timeline's history is never replaced, whatever the settings say: recovery finds its way by it.
    let replace = archive.settings.overwrite && file.kind() != Kind::History;
    if !replace && was_there(archive, &file, path).await? {
        return Ok(Pushed::WasThere);
    }
    let bytes = content.metadata().map_err(WalError::file("look at", path))?.len();
    let stored = archive.write(&archive.key(&file), content).await?;
    Ok(Pushed::Stored { bytes, stored })
}

async fn was_there(archive: &Archive, file: &WalFile, path: &Path) -> Result<bool, WalError> {
    let mut there = false;
    for key in archive.keys(file).await? {
        let ours = File::open(path).map_err(WalError::file("open", path))?;
        match archive.read(&key, move |theirs| same(ours, theirs)).await? {
            Some(true) => {
                // Put there by a try of ours that was killed before it was durable, perhaps.
                archive.storage.settle(&key).await?;
                there = true;
            }
            Some(false) => {
                let place = archive.storage.place().to_owned();
                return Err(WalError::Different { file: file.name().to_owned(), key, place });
            }
            // Deleted meanwhile.
            None => {}
        }
    }
    Ok(there)
}

fn same(ours: File, theirs: &mut dyn Read) -> io::Result<bool> {
    let mut ours = BufReader::with_capacity(COMPARED_AT_ONCE, ours);
    let (mut a, mut b) = (vec![0; COMPARED_AT_ONCE], vec![0; COMPARED_AT_ONCE]);
    loop {
        let (read_a, read_b) = (fill(&mut ours, &mut a)?, fill(theirs, &mut b)?);
        if a[..read_a] != b[..read_b] {
            return Ok(false);
        }
        if read_a == 0 {
            return Ok(true);
        }
    }
}

fn fill(from: &mut (impl Read + ?Sized), buffer: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match from.read(&mut buffer[done..]) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
