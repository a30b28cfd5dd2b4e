//! Files of the WAL and the names of their objects.

use std::fmt;

/// The folder of WAL.
pub const WAL: &str = "wal_005";
/// The folder of base backups.
pub const BASE_BACKUPS: &str = "basebackups_005";

/// Every extension that an object may carry, with nothing for an object that is not compressed. WAL-G's older writers
/// left a trailing dot there.
pub const EXTENSIONS: [&str; 8] = ["", ".", ".lz4", ".zst", ".lzma", ".br", ".gz", ".lzo"];

/// A file that PostgreSQL archives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalFile {
    name: String,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `TTTTTTTTXXXXXXXXYYYYYYYY`
    Segment,
    /// The last segment of a timeline that was left.
    Partial,
    /// `TTTTTTTT.history`
    History,
    /// `SEG.OOOOOOOO.backup`
    Backup,
}

/// The name is none that PostgreSQL archives.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not the name of a WAL segment, a partial segment, a timeline's history or a backup's label: nothing else \
     is archived"
)]
pub struct NotWal(pub String);

impl WalFile {
    /// Takes the bare name of a file.
    pub fn parse(name: &str) -> Result<WalFile, NotWal> {
        let kind = kind(name).ok_or_else(|| NotWal(name.to_owned()))?;
        Ok(WalFile { name: name.to_owned(), kind })
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// What all objects of this file begin with.
    pub fn key_prefix(&self) -> String {
        format!("{WAL}/{}", self.name)
    }

    /// Whether this key is an object of this file. Objects of other files begin alike: `SEG.partial`, `SEG_delta`.
    pub fn owns(&self, key: &str) -> bool {
        key.strip_prefix(&self.key_prefix()).is_some_and(|rest| EXTENSIONS.contains(&rest))
    }

    /// The segments that follow a whole segment, for fetching ahead.
    pub fn following(&self, count: usize, segment_size: u64) -> Vec<WalFile> {
        if self.kind != Kind::Segment {
            return Vec::new();
        }
        let per_log = 0x1_0000_0000 / segment_size;
        let after = (self.number(segment_size) + 1..).take(count);
        let name = |n: u64| format!("{}{:08X}{:08X}", &self.name[..8], n / per_log, n % per_log);
        after.map(|n| WalFile { name: name(n), kind: Kind::Segment }).collect()
    }

    /// Where the WAL of a segment begins; `None` for a history.
    pub fn begins(&self, segment_size: u64) -> Option<u64> {
        (self.kind != Kind::History).then(|| self.number(segment_size) * segment_size)
    }

    /// Of the segment that the name begins with.
    fn number(&self, segment_size: u64) -> u64 {
        let digits = |from: usize| self.name.get(from..from + 8).and_then(|d| u64::from_str_radix(d, 16).ok());
        digits(8).unwrap_or(0) * (0x1_0000_0000 / segment_size) + digits(16).unwrap_or(0)
    }
}

impl fmt::Display for WalFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

fn kind(name: &str) -> Option<Kind> {
    let hex = |text: &str, digits: usize| {
        text.len() == digits && text.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b))
    };
    let mut words = name.split('.');
    let first = words.next()?;
    match (words.next(), words.next(), words.next()) {
        (None, ..) => hex(first, 24).then_some(Kind::Segment),
        (Some("history"), None, _) => hex(first, 8).then_some(Kind::History),
        (Some("partial"), None, _) => hex(first, 24).then_some(Kind::Partial),
        (Some(offset), Some("backup"), None) => (hex(first, 24) && hex(offset, 8)).then_some(Kind::Backup),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: &str = "0000000100000000000000FF";

    #[test]
    fn only_what_postgres_archives_has_a_name() {
        for (name, kind) in [
            (SEGMENT, Kind::Segment),
            ("0000000100000000000000FF.partial", Kind::Partial),
            ("0000002A.history", Kind::History),
            ("0000000100000000000000FF.00000028.backup", Kind::Backup),
        ] {
            assert_eq!(WalFile::parse(name).map(|f| f.kind()), Ok(kind), "{name}");
        }
        for name in [
            "",
            "0000000100000000000000ff",
            "0000000100000000000000F",
            "../0000000100000000000000FF",
            "00000001.history.lz4",
            "0000000100000000000000FF.28.backup",
            "0000000100000000000000FF.partial.x",
            "archive_status",
        ] {
            assert_eq!(WalFile::parse(name), Err(NotWal(name.to_owned())));
        }
    }

    #[test]
    fn a_file_knows_its_objects_from_its_neighbours() {
        let file = WalFile::parse(SEGMENT).expect("a segment");
        for end in ["", ".", ".lz4", ".br", ".lzma", ".lzo", ".zst", ".gz"] {
            assert!(file.owns(&format!("wal_005/{SEGMENT}{end}")), "{end}");
        }
        for end in [".partial.lz4", "_delta.lz4", ".00000028.backup.lz4", ".json", ".partial"] {
            assert!(!file.owns(&format!("wal_005/{SEGMENT}{end}")), "{end}");
        }
    }

    #[test]
    fn segments_follow_each_other_across_logs() {
        let names = |size: u64| {
            let next = WalFile::parse(SEGMENT).expect("a segment").following(2, size);
            next.iter().map(|f| f.name().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(16 << 20), ["000000010000000100000000", "000000010000000100000001"]);
        assert_eq!(names(1 << 20), ["000000010000000000000100", "000000010000000000000101"]);
        assert!(WalFile::parse("0000002A.history").expect("a history").following(2, 16 << 20).is_empty());
    }
}
