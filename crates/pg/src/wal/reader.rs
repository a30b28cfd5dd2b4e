//! Walking records, across pages and segments.

use std::ops::Range;
use std::path::Path;

use jogi_core::{Lsn, Timeline};

use super::NoRecord;
use super::page::{Expected, PageHeader, u32_at};
use super::record::{Header, RECORD_HEADER, RECORD_MAX, Record};
use super::segments::Segments;
use crate::control::ControlFile;
use crate::crc32c::Crc32c;

/// The checksum covers a record's data and then its header up to the checksum itself.
const CHECKED_HEADER: usize = 20;

/// Reads the records of a stopped server.
#[derive(Debug)]
pub struct Reader {
    segments: Segments,
    system_identifier: u64,
    magic: Option<u16>,
    /// Of the last page, in the order of reading.
    timeline: Option<Timeline>,
    last: Option<Record>,
    /// The last record before this was given up in the middle; its successor's back pointer skips it.
    gave_up: bool,
}

impl Reader {
    pub fn open(data_dir: &Path, control: &ControlFile) -> Reader {
        Reader {
            segments: Segments::new(data_dir, control),
            system_identifier: control.system_identifier,
            magic: None,
            timeline: None,
            last: None,
            gave_up: false,
        }
    }

    /// The timeline of the page that the last record ended on.
    pub fn timeline(&self) -> Option<Timeline> {
        self.timeline
    }

    /// The record that begins at `at`.
    pub fn read(&mut self, at: Lsn) -> Result<Record, NoRecord> {
        self.last = None;
        self.timeline = None;
        self.gave_up = false;
        let record = self.record_at(at)?;
        self.last = Some(record);
        Ok(record)
    }

    /// The record after the last one read.
    pub fn read_next(&mut self) -> Result<Record, NoRecord> {
        let Some(last) = self.last else {
            return Err(NoRecord::Record { at: Lsn::INVALID, what: "no record was read before" });
        };
        self.gave_up = false;
        let record = self.record_at(last.end)?;
        if !self.gave_up && record.prev != last.at {
            return Err(NoRecord::Record { at: record.at, what: "its back pointer names another record" });
        }
        self.last = Some(record);
        Ok(record)
    }

    fn record_at(&mut self, start: Lsn) -> Result<Record, NoRecord> {
        let mut start = start;
        loop {
            match self.try_record(start)? {
                Found::Record(record) => return Ok(record),
                Found::GivenUp { page } => {
                    self.gave_up = true;
                    start = page;
                }
            }
        }
    }

    fn try_record(&mut self, start: Lsn) -> Result<Found, NoRecord> {
        let begin = self.first_byte(start)?;
        let bad = |what| NoRecord::Record { at: begin, what };
        let length = self.length_at(begin)?;
        let mut raw = [0; RECORD_HEADER];
        let mut done = 0;
        let keep = |piece: &[u8]| {
            raw[done..done + piece.len()].copy_from_slice(piece);
            done += piece.len();
        };
        let at = match self.gather(begin, length, 0..RECORD_HEADER as u32, keep)? {
            Gathered::Up(at) => at,
            Gathered::GivenUp { page } => return Ok(Found::GivenUp { page }),
        };
        let header = Header::parse(&raw);
        if let Some(what) = header.fault(begin) {
            return Err(bad(what));
        }
        let mut crc = Crc32c::new();
        let end = match self.gather(at, length, RECORD_HEADER as u32..length, |piece| crc.update(piece))? {
            Gathered::Up(end) => end,
            Gathered::GivenUp { page } => return Ok(Found::GivenUp { page }),
        };
        crc.update(&raw[..CHECKED_HEADER]);
        if crc.finish() != header.crc {
            return Err(bad("wrong checksum"));
        }
        let Header { prev, length, rmgr, info, .. } = header;
        let record = Record { at: begin, end: Lsn(end.0.next_multiple_of(8)), prev, length, rmgr, info };
        let unit = if record.is_switch() { self.segments.segment_size } else { 8 };
        Ok(Found::Record(Record { end: Lsn(end.0.next_multiple_of(unit)), ..record }))
    }

    /// Where a record that comes after `start` begins: behind the header when `start` is a page's first byte.
    fn first_byte(&mut self, start: Lsn) -> Result<Lsn, NoRecord> {
        if !start.0.is_multiple_of(8) || start.0 == 0 {
            return Err(NoRecord::Record { at: start, what: "impossible position" });
        }
        let into_page = start.0 % self.segments.block_size;
        let header = self.header(Lsn(start.0 - into_page))?;
        if into_page > 0 {
            return Ok(start);
        }
        match header.continuation {
            true => Err(NoRecord::Page { at: start, what: "it continues a record that is not there" }),
            false => Ok(Lsn(start.0 + header.length as u64)),
        }
    }

    /// A record's length: its first field, which never crosses a page.
    fn length_at(&mut self, begin: Lsn) -> Result<u32, NoRecord> {
        let into_page = begin.0 % self.segments.block_size;
        let page = self.segments.page(Lsn(begin.0 - into_page))?;
        match u32_at(page, into_page as usize) {
            0 => Err(NoRecord::Record { at: begin, what: "nothing was written there" }),
            length if length < RECORD_HEADER as u32 || length > RECORD_MAX => {
                Err(NoRecord::Record { at: begin, what: "impossible length" })
            }
            length => Ok(length),
        }
    }

    /// Hands the bytes `part` of a record of `length` bytes to `sink`, of which the first lies at `at`.
    fn gather(
        &mut self,
        at: Lsn,
        length: u32,
        part: Range<u32>,
        mut sink: impl FnMut(&[u8]),
    ) -> Result<Gathered, NoRecord> {
        let block = self.segments.block_size;
        let (mut at, mut done) = (at, part.start);
        while done < part.end {
            if at.0.is_multiple_of(block) {
                match self.continue_on(at, length - done)? {
                    Some(behind_header) => at = behind_header,
                    None => return Ok(Gathered::GivenUp { page: at }),
                }
            }
            let into_page = at.0 % block;
            let wanted = u64::from(part.end - done).min(block - into_page);
            let page = self.segments.page(Lsn(at.0 - into_page))?;
            sink(&page[into_page as usize..(into_page + wanted) as usize]);
            at = Lsn(at.0 + wanted);
            done += wanted as u32;
        }
        Ok(Gathered::Up(at))
    }

    /// Goes on to the page at `at` for the rest of a record; `None` when the page says that it was given up.
    fn continue_on(&mut self, at: Lsn, wanted: u32) -> Result<Option<Lsn>, NoRecord> {
        let header = self.header(at)?;
        if header.overwritten {
            return Ok(None);
        }
        if !header.continuation {
            return Err(NoRecord::Page { at, what: "it does not continue the record before" });
        }
        if header.remaining != wanted {
            return Err(NoRecord::Page { at, what: "it continues another record" });
        }
        Ok(Some(Lsn(at.0 + header.length as u64)))
    }

    fn header(&mut self, at: Lsn) -> Result<PageHeader, NoRecord> {
        let expected = Expected {
            at,
            first_of_segment: at.0.is_multiple_of(self.segments.segment_size),
            segment_size: self.segments.segment_size,
            block_size: self.segments.block_size,
            system_identifier: self.system_identifier,
            magic: self.magic,
            timeline: self.timeline,
        };
        let page = self.segments.page(at)?;
        let header = PageHeader::parse(page, &expected).map_err(|what| NoRecord::Page { at, what })?;
        self.magic = Some(header.magic);
        self.timeline = Some(header.timeline);
        Ok(header)
    }
}

enum Found {
    Record(Record),
    /// The server died while it wrote the record; the next start goes on at this page.
    GivenUp {
        page: Lsn,
    },
}

enum Gathered {
    /// The first byte after what was gathered.
    Up(Lsn),
    GivenUp {
        page: Lsn,
    },
}
