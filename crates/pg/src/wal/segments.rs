//! Segment files: which file holds a position, and reading pieces of it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use jogi_core::{History, Lsn, Timeline};

use super::NoRecord;
use crate::control::ControlFile;

/// Read at once. A few pages more than needed cost nothing beside the system call.
const CHUNK: u64 = 128 * 1024;

/// `TTTTTTTTXXXXXXXXYYYYYYYY`.
pub fn segment_name(timeline: Timeline, at: Lsn, segment_size: u64) -> String {
    let number = at.0 / segment_size;
    let per_id = 0x1_0000_0000 / segment_size;
    format!("{:08X}{:08X}{:08X}", timeline.0, number / per_id, number % per_id)
}

/// The segment files of one server along one branch.
#[derive(Debug)]
pub struct Segments {
    dir: PathBuf,
    pub segment_size: u64,
    pub block_size: u64,
    /// Newest first, each with the position from which it counts.
    branch: Vec<(Timeline, Lsn)>,
    open: Option<(u64, File)>,
    chunk: Vec<u8>,
    chunk_at: u64,
}

impl Segments {
    pub fn new(data_dir: &Path, control: &ControlFile) -> Segments {
        let dir = data_dir.join("pg_wal");
        let branch = branch(&dir, control);
        Segments {
            dir,
            segment_size: u64::from(control.wal_segment_size).max(1 << 20),
            block_size: u64::from(control.wal_block_size).max(512),
            branch,
            open: None,
            chunk: Vec::new(),
            chunk_at: 0,
        }
    }

    /// The page that begins at `at`.
    pub fn page(&mut self, at: Lsn) -> Result<&[u8], NoRecord> {
        let size = self.block_size;
        let cached = at.0 >= self.chunk_at && at.0 + size <= self.chunk_at + self.chunk.len() as u64;
        if !cached {
            self.load(at)?;
        }
        let from = usize::try_from(at.0 - self.chunk_at).unwrap_or(usize::MAX);
        let to = from.saturating_add(usize::try_from(size).unwrap_or(usize::MAX));
        self.chunk.get(from..to).ok_or(NoRecord::Page { at, what: "the file is too short" })
    }

    fn load(&mut self, at: Lsn) -> Result<(), NoRecord> {
        let segment = at.0 / self.segment_size;
        if self.open.as_ref().is_none_or(|(number, _)| *number != segment) {
            self.open = Some((segment, self.open_segment(at)?));
        }
        let Some((_, file)) = &self.open else { return Err(NoRecord::NoFile(at)) };
        let offset = at.0 % self.segment_size;
        let wanted = CHUNK.min(self.segment_size - offset);
        self.chunk.resize(usize::try_from(wanted).unwrap_or(0), 0);
        self.chunk_at = at.0;
        let read = read_full(file, &mut self.chunk, offset);
        let read = read.map_err(|e| NoRecord::Read { at, cause: e.to_string() })?;
        self.chunk.truncate(read);
        Ok(())
    }

    /// As PostgreSQL does: the newest timeline of the branch that has the segment.
    fn open_segment(&self, at: Lsn) -> Result<File, NoRecord> {
        for (timeline, begins) in &self.branch {
            if at.0 / self.segment_size < begins.0 / self.segment_size {
                continue;
            }
            match File::open(self.dir.join(segment_name(*timeline, at, self.segment_size))) {
                Ok(file) => return Ok(file),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(NoRecord::Read { at, cause: e.to_string() }),
            }
        }
        Err(NoRecord::NoFile(at))
    }
}

fn read_full(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// The control file's timeline, or for a standby the newest one that descends from it, with its ancestors.
fn branch(dir: &Path, control: &ControlFile) -> Vec<(Timeline, Lsn)> {
    let own = control.timeline.max(control.min_recovery_timeline);
    let newest = match control.state.is_crashed_primary() {
        true => own,
        false => newest_descendant(dir, own),
    };
    let history = read_history(dir, newest);
    let mut branch = Vec::new();
    let mut begins = Lsn::INVALID;
    for switch in &history.0 {
        branch.push((switch.parent, begins));
        begins = switch.switched_at;
    }
    branch.push((newest, begins));
    branch.reverse();
    branch
}

fn newest_descendant(dir: &Path, own: Timeline) -> Timeline {
    let Ok(entries) = std::fs::read_dir(dir) else { return own };
    let timelines = entries.flatten().filter_map(|entry| {
        let name = entry.file_name();
        let number = u32::from_str_radix(name.to_str()?.strip_suffix(".history")?, 16).ok()?;
        Some(Timeline(number)).filter(|t| *t > own && read_history(dir, *t).left(own).is_some())
    });
    timelines.max().unwrap_or(own)
}

fn read_history(dir: &Path, timeline: Timeline) -> History {
    let text = std::fs::read_to_string(dir.join(format!("{:08X}.history", timeline.0)));
    History::parse(&text.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_postgres() {
        for (timeline, at, size, name) in [
            (1, 0x0100_0028, 16 << 20, "000000010000000000000001"),
            (0x2A, 0x1_FF00_0000, 16 << 20, "0000002A00000001000000FF"),
            (1, 0x1_4000_0000, 1 << 30, "000000010000000100000001"),
        ] {
            assert_eq!(segment_name(Timeline(timeline), Lsn(at), size), name);
        }
    }
}
