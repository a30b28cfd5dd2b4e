//! One file of the log. Its name is the index of its first entry.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::LogError;
use super::frame::{self, Entry, Found};

const MAGIC: &[u8; 8] = b"JOGILOG1";
const SUFFIX: &str = "log";

#[derive(Debug)]
pub(super) struct Segment {
    file: File,
    path: PathBuf,
    first: u64,
    bytes: u64,
}

/// The files of a directory with the index of their first entry, in order.
pub(super) fn segments(dir: &Path) -> Result<Vec<(u64, PathBuf)>, LogError> {
    let mut found = Vec::new();
    for item in std::fs::read_dir(dir).map_err(LogError::io("reading", dir))? {
        let path = item.map_err(LogError::io("reading", dir))?.path();
        let name = path.file_stem().and_then(|stem| stem.to_str());
        let first = name.and_then(|stem| u64::from_str_radix(stem, 16).ok());
        if let (Some(first), true) = (first, path.extension().is_some_and(|suffix| suffix == SUFFIX)) {
            found.push((first, path));
        }
    }
    found.sort();
    Ok(found)
}

impl Segment {
    pub fn create(dir: &Path, first: u64) -> Result<Segment, LogError> {
        let path = dir.join(format!("{first:016x}.{SUFFIX}"));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        let mut file = options.open(&path).map_err(|e| no_room_or(e, "making", &path))?;
        if let Err(error) = file.write_all(MAGIC).and_then(|()| file.sync_all()) {
            // Left there, it would stand between others when there is room again.
            std::fs::remove_file(&path).map_err(LogError::io("removing", &path))?;
            return Err(no_room_or(error, "writing", &path));
        }
        sync_dir(dir)?;
        Ok(Segment { file, path, first, bytes: MAGIC.len() as u64 })
    }

    /// A file without its beginning has no entries: that is on the disk before the first of them.
    pub fn is_unbegun(path: &Path) -> Result<bool, LogError> {
        let length = std::fs::metadata(path).map_err(LogError::io("reading", path))?.len();
        Ok(length < MAGIC.len() as u64)
    }

    /// Reads all entries; of the last file, cuts off what was torn.
    pub fn open(path: PathBuf, first: u64, last_file: bool) -> Result<(Segment, Vec<Entry>), LogError> {
        let whole = std::fs::read(&path).map_err(LogError::io("reading", &path))?;
        let mut file = OpenOptions::new().read(true).write(true).open(&path).map_err(LogError::io("opening", &path))?;
        if whole.len() < MAGIC.len() && last_file {
            let begun = file.set_len(0).and_then(|()| file.write_all(MAGIC)).and_then(|()| file.sync_all());
            begun.map_err(LogError::io("beginning", &path))?;
            return Ok((Segment { file, path, first, bytes: MAGIC.len() as u64 }, Vec::new()));
        }
        if !whole.starts_with(MAGIC) {
            let what = "it does not begin as a log of jogi's store".to_owned();
            return Err(LogError::Damaged { path, offset: 0, what });
        }
        let (entries, end) = read_frames(&whole, last_file).map_err(|(offset, what)| LogError::Damaged {
            path: path.clone(),
            offset,
            what,
        })?;
        if end < whole.len() {
            tracing::warn!(file = %path.display(), offset = end, bytes = whole.len() - end,
                "the log's last write was never finished: it is cut off");
        }
        if last_file {
            file = settle(file, &path, &whole[..end])?;
        }
        file.seek(SeekFrom::Start(end as u64)).map_err(LogError::io("reading", &path))?;
        Ok((Segment { file, path, first, bytes: end as u64 }, entries))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn first(&self) -> u64 {
        self.first
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn append(&mut self, entries: &[Entry]) -> Result<(), LogError> {
        let frame = frame::encode(entries);
        if let Err(error) = self.file.write_all(&frame) {
            let back = self.file.set_len(self.bytes).and_then(|()| self.file.seek(SeekFrom::Start(self.bytes)));
            back.map_err(LogError::io("taking back a write to", &self.path))?;
            return Err(no_room_or(error, "writing", &self.path));
        }
        self.file.sync_data().map_err(LogError::io("bringing to the disk", &self.path))?;
        self.bytes += frame.len() as u64;
        Ok(())
    }
}

/// What was read may be in memory alone: its last write was killed before it was on the disk, or the disk refused it. Before
/// anything is built on it, it is written anew. Without room for that it is brought to the disk where it stands.
fn settle(file: File, path: &Path, content: &[u8]) -> Result<File, LogError> {
    let anew = path.with_extension("new");
    let write = || -> std::io::Result<File> {
        let mut copy = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&anew)?;
        copy.write_all(content)?;
        copy.sync_all()?;
        std::fs::rename(&anew, path)?;
        Ok(copy)
    };
    match write().map_err(|e| no_room_or(e, "writing anew", path)) {
        Ok(copy) => {
            path.parent().map_or(Ok(()), sync_dir)?;
            Ok(copy)
        }
        Err(LogError::NoRoom { .. }) => {
            std::fs::remove_file(&anew).map_err(LogError::io("removing", &anew))?;
            let settled = file.set_len(content.len() as u64).and_then(|()| file.sync_all());
            settled.map_err(LogError::io("bringing to the disk", path))?;
            Ok(file)
        }
        Err(error) => Err(error),
    }
}

/// All entries and where they end; or where it is damaged, and how.
fn read_frames(whole: &[u8], last_file: bool) -> Result<(Vec<Entry>, usize), (u64, String)> {
    let (mut entries, mut offset) = (Vec::new(), MAGIC.len());
    loop {
        match frame::read(whole, offset, last_file) {
            Found::Frame { entries: more, bytes } => {
                entries.extend(more);
                offset += bytes;
            }
            Found::End | Found::Torn => return Ok((entries, offset)),
            Found::Damaged(what) => return Err((offset as u64, what)),
        }
    }
}

fn no_room_or(error: std::io::Error, what: &'static str, path: &Path) -> LogError {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            LogError::NoRoom { path: path.to_owned(), cause: error }
        }
        _ => LogError::io(what, path)(error),
    }
}

/// A new name is there after a power cut only when its directory was brought to the disk.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), LogError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(LogError::io("bringing to the disk", dir))
}
