//! The log: entries in files, checksummed, on the disk before anybody hears of them.
//!
//! Entries are written in *frames*: one write and one `fdatasync` each. The next frame begins when the one before is on
//! the disk, so a power cut can only tear the last one, which was never acknowledged. Hence, when a file is read:
//!
//! - A last frame that is short, or that has gaps where the disk did not write, is torn: it is cut off.
//! - Anything else that does not match its checksum was whole once. It may have been acknowledged, so the store refuses to
//!   start and says where, instead of going on without it.
//!
//! A write that fails for lack of room is taken back and may be tried again. After a failed `fdatasync` nobody knows what
//! is on the disk: the log is then of no use until the store starts again.

mod frame;
mod segment;

use std::io;
use std::path::{Path, PathBuf};

pub use self::frame::Entry;
pub(crate) use self::segment::sync_dir;
use self::segment::{Segment, segments};

/// A new file is begun when the last one has this many bytes.
const SEGMENT_BYTES: u64 = 8 * 1024 * 1024;

/// The log of one voter.
#[derive(Debug)]
pub struct Log {
    dir: PathBuf,
    /// Oldest first; the last one is written to.
    segments: Vec<Segment>,
    next_index: u64,
    broken: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("{what} {}: {cause}", path.display())]
    Io { what: &'static str, path: PathBuf, cause: io::Error },
    #[error("{}, byte {offset}: {what}", path.display())]
    Damaged { path: PathBuf, offset: u64, what: String },
    #[error("there is no room for the log in {}: {cause}", path.display())]
    NoRoom { path: PathBuf, cause: io::Error },
    #[error("the log could not be brought to the disk before, so nobody knows what is there: start again")]
    Broken,
}

impl LogError {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LogError {
        let path = path.to_owned();
        move |cause| LogError::Io { what, path, cause }
    }
}

impl Log {
    /// Opens the log of a directory and reads what comes after the entry `after`, which a snapshot stands for.
    pub fn open(dir: &Path, after: u64) -> Result<(Log, Vec<Entry>), LogError> {
        let mut log = Log { dir: dir.to_owned(), segments: Vec::new(), next_index: after + 1, broken: false };
        let mut entries = Vec::new();
        let found = segments(dir)?;
        let last = found.len().saturating_sub(1);
        for (number, (first, path)) in found.into_iter().enumerate() {
            // Never begun, for lack of room: what is missing would be missed in the next one.
            if number != last && Segment::is_unbegun(&path)? {
                std::fs::remove_file(&path).map_err(LogError::io("removing", &path))?;
                continue;
            }
            let (segment, read) = Segment::open(path, first, number == last)?;
            log.take(&segment, read, after, &mut entries)?;
            log.segments.push(segment);
        }
        Ok((log, entries))
    }

    /// The entries of a file must go on where those before end.
    fn take(&mut self, segment: &Segment, read: Vec<Entry>, after: u64, all: &mut Vec<Entry>) -> Result<(), LogError> {
        for entry in read {
            if entry.index <= after {
                continue;
            }
            if entry.index != self.next_index {
                let what = format!("it goes on with entry {}, and {} is missing", entry.index, self.next_index);
                return Err(LogError::Damaged { path: segment.path().to_owned(), offset: 0, what });
            }
            self.next_index += 1;
            all.push(entry);
        }
        Ok(())
    }

    /// The index of the next entry.
    pub fn next_index(&self) -> u64 {
        self.next_index
    }

    /// What the files take.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(Segment::bytes).sum()
    }

    /// Returns when the entries are on the disk. They are numbered in order from [`Log::next_index`] on.
    ///
    /// On [`LogError::NoRoom`] nothing is left of them.
    pub fn append(&mut self, entries: &[Entry]) -> Result<(), LogError> {
        if self.broken {
            return Err(LogError::Broken);
        }
        let last = entries.last().map_or(0, |entry| entry.index);
        let appended = self.current().and_then(|segment| segment.append(entries));
        match appended {
            Ok(()) => self.next_index = last + 1,
            Err(LogError::NoRoom { .. }) => {}
            Err(_) => self.broken = true,
        }
        appended
    }

    fn current(&mut self) -> Result<&mut Segment, LogError> {
        let full = self.segments.last().is_none_or(|segment| segment.bytes() >= SEGMENT_BYTES);
        if full {
            self.segments.push(Segment::create(&self.dir, self.next_index)?);
        }
        Ok(self.segments.last_mut().expect("one was just made"))
    }

    /// Removes the files whose entries are all at or before `index`, which a snapshot stands for.
    pub fn forget(&mut self, index: u64) -> Result<(), LogError> {
        while self.segments.len() > 1 && self.segments[1].first() <= index + 1 {
            let old = self.segments.remove(0);
            std::fs::remove_file(old.path()).map_err(LogError::io("removing", old.path()))?;
        }
        Ok(())
    }

    /// Begins a new file, so that [`Log::forget`] can remove all before it.
    pub fn begin_segment(&mut self) -> Result<(), LogError> {
        if self.segments.last().is_some_and(|last| last.first() < self.next_index) {
            self.segments.push(Segment::create(&self.dir, self.next_index)?);
        }
        Ok(())
    }
}
