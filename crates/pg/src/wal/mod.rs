//! Reading write-ahead log from the files of a stopped server.
//!
//! The hazard: a dead primary's control file names its last checkpoint, which may be minutes old. What the
//! others must know before one of them is promoted is where its log really ends, so the records are walked
//! as crash recovery would walk them, each checked by page header, back pointer and checksum. The format is
//! the same from PostgreSQL 10 to 18 (src/include/access/xlogrecord.h, xlog_internal.h).
//!
//! Never for a running server: its pages are still being filled.

mod page;
mod reader;
mod record;
mod segments;
mod timelines;

use std::path::Path;
use std::time::{Duration, Instant};

use jogi_core::{Lsn, Timeline};

use crate::control::{self, ControlError};
pub use reader::Reader;
pub use record::Record;
pub use segments::segment_name;
pub use timelines::{forget_reserved, reserve_timelines};

/// Records read between two looks at the clock.
const RECORDS_PER_LOOK: u32 = 32;

/// How far the log goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndOfWal {
    pub timeline: Timeline,
    /// The first byte after the last valid record.
    pub end: Lsn,
    /// `false`: the time was over; `end` is the furthest point reached.
    pub complete: bool,
}

/// Why there is no record at a position. All but `Read` are also how a log normally ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRecord {
    #[error("there is no WAL file for {0}")]
    NoFile(Lsn),
    #[error("the WAL file for {at} cannot be read: {cause}")]
    Read { at: Lsn, cause: String },
    #[error("the page at {at} is not the next one of the log ({what})")]
    Page { at: Lsn, what: &'static str },
    #[error("the bytes at {at} are no record ({what})")]
    Record { at: Lsn, what: &'static str },
}

#[derive(Debug, thiserror::Error)]
pub enum WalError {
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error("the record of the last checkpoint cannot be read: {0}")]
    Checkpoint(NoRecord),
}

/// Walks the log of a stopped server from its last checkpoint to its last valid record. Blocking, for at
/// most `budget` (and the reading of a few records).
pub fn find_end(data_dir: &Path, budget: Duration) -> Result<EndOfWal, WalError> {
    let file = control::read_file(data_dir, None)?;
    let reader = Reader::open(data_dir, &file);
    end_of_wal(reader, file.checkpoint, file.timeline, budget).map_err(WalError::Checkpoint)
}

/// Walks from the record at `start`, which must be there.
pub fn end_of_wal(mut reader: Reader, start: Lsn, timeline: Timeline, budget: Duration) -> Result<EndOfWal, NoRecord> {
    let begun = Instant::now();
    let mut end = reader.read(start)?.end;
    let mut count = 0_u32;
    while let Ok(record) = reader.read_next() {
        end = record.end;
        count = count.wrapping_add(1);
        if count.is_multiple_of(RECORDS_PER_LOOK) && begun.elapsed() >= budget {
            return Ok(EndOfWal { timeline: reader.timeline().unwrap_or(timeline), end, complete: false });
        }
    }
    Ok(EndOfWal { timeline: reader.timeline().unwrap_or(timeline), end, complete: true })
}
