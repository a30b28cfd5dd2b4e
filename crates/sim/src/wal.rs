//! Write-ahead logs as they truly are: a tree of records.
//!
//! Every record names the one before it, so a server's whole log is one number: the last record that it has. Two
//! servers agree up to the last record that is in both logs, whatever their timelines are called. That is the truth
//! that checks read; what a server *believes* (timeline numbers, history files) is in [`crate::postgres`].

use jogi_core::timeline::Switch;
use jogi_core::{History, Lsn, Timeline};

/// One record, and with it the log that ends in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(pub u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The first record of a new cluster.
    Origin,
    /// A client's commit.
    Commit,
    /// A checkpoint of a running server, or at the end of crash recovery.
    Checkpoint,
    /// The last record of a clean shutdown.
    ShutdownCheckpoint,
    /// The first record after a promotion; no checkpoint.
    EndOfRecovery,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    pub previous: Option<RecordId>,
    pub timeline: Timeline,
    pub start: Lsn,
    /// First byte after it: what PostgreSQL calls the position once it is flushed.
    pub end: Lsn,
    pub kind: Kind,
    branch: usize,
    /// How many records come before it in its log.
    depth: u32,
    /// Some record before it, most often far before it: searches of long logs go by these.
    far: Option<RecordId>,
}

/// The records of one timeline that one promotion opened.
#[derive(Clone, Copy, Debug)]
struct Branch {
    /// The branch that it left, and where.
    left: Option<(usize, RecordId)>,
    timeline: Timeline,
}

/// Every record that was ever written in the world.
#[derive(Clone, Debug)]
pub struct Wal {
    /// Size of a segment: streams begin at the start of one.
    segment: u64,
    /// Where the log of a new cluster begins.
    first: Lsn,
    records: Vec<Record>,
    branches: Vec<Branch>,
}

/// initdb leaves the log of a new cluster about here.
const FIRST_LSN: u64 = 0x0150_0000;
/// `wal_segment_size` as it usually is.
const SEGMENT: u64 = 16 << 20;

impl Default for Wal {
    fn default() -> Wal {
        Wal::of(SEGMENT, Lsn(FIRST_LSN))
    }
}

/// Records are aligned to eight bytes.
const ALIGNMENT: u64 = 8;

impl Wal {
    /// No log yet: segments of so many bytes, the first record of a cluster at `first`.
    pub fn of(segment: u64, first: Lsn) -> Wal {
        Wal { segment, first, records: Vec::new(), branches: Vec::new() }
    }

    /// The beginning of the segment that `lsn` is in.
    pub fn segment_start(&self, lsn: Lsn) -> Lsn {
        Lsn(lsn.0 - lsn.0 % self.segment)
    }

    /// The log of a cluster just made.
    pub fn origin(&mut self) -> RecordId {
        let branch = self.open(None, Timeline(1));
        let (start, end) = (self.first, Lsn(self.first.0 + 120));
        let timeline = Timeline(1);
        self.push(Record { previous: None, timeline, start, end, kind: Kind::Origin, branch, depth: 0, far: None })
    }

    /// Appends a record of `bytes` on `timeline`.
    pub fn append(&mut self, after: RecordId, timeline: Timeline, kind: Kind, bytes: u64) -> RecordId {
        let before = self.get(after);
        let (start, end) = (before.end, Lsn(before.end.0 + bytes.next_multiple_of(ALIGNMENT).max(ALIGNMENT)));
        let same = before.timeline == timeline;
        let branch = if same { before.branch } else { self.open(Some((before.branch, after)), timeline) };
        let (depth, far) = (before.depth + 1, Some(self.far(after)));
        self.push(Record { previous: Some(after), timeline, start, end, kind, branch, depth, far })
    }

    /// Where a record that comes after `before` points: back over as many records as the last two such steps together,
    /// where those are equally long, so that any record is reached in a number of steps that grows as the logarithm.
    fn far(&self, before: RecordId) -> RecordId {
        let depth = |id: RecordId| self.get(id).depth;
        let Some(first) = self.get(before).far else { return before };
        match self.get(first).far {
            Some(second) if depth(before) - depth(first) == depth(first) - depth(second) => second,
            Some(_) | None => before,
        }
    }

    fn open(&mut self, left: Option<(usize, RecordId)>, timeline: Timeline) -> usize {
        self.branches.push(Branch { left, timeline });
        self.branches.len() - 1
    }

    fn push(&mut self, record: Record) -> RecordId {
        let id = RecordId(u32::try_from(self.records.len()).unwrap_or(u32::MAX));
        self.records.push(record);
        id
    }

    pub fn get(&self, id: RecordId) -> Record {
        self.records[id.0 as usize]
    }

    pub fn end(&self, id: RecordId) -> Lsn {
        self.get(id).end
    }

    pub fn timeline(&self, id: RecordId) -> Timeline {
        self.get(id).timeline
    }

    /// The records of the log that ends in `tip`, newest first.
    pub fn back_from(&self, tip: RecordId) -> impl Iterator<Item = RecordId> + '_ {
        std::iter::successors(Some(tip), |id| self.get(*id).previous)
    }

    /// Whether the log of `tip` contains `record`. Records get numbers as they are written, so the search ends
    /// at the first smaller one.
    pub fn contains(&self, tip: RecordId, record: RecordId) -> bool {
        let mut at = tip;
        while at > record {
            let Some(back) = self.back(at, record) else { return false };
            at = back;
        }
        at == record
    }

    /// A step back from `from` that passes over nothing with a number up to `to`.
    fn back(&self, from: RecordId, to: RecordId) -> Option<RecordId> {
        let Record { previous, far, .. } = self.get(from);
        far.filter(|far| *far >= to).or(previous)
    }

    /// The last record in both logs; `None` for logs of different clusters.
    pub fn common(&self, a: RecordId, b: RecordId) -> Option<RecordId> {
        let (mut a, mut b) = (a, b);
        while a != b {
            if a > b {
                a = self.back(a, b)?;
            } else {
                b = self.back(b, a)?;
            }
        }
        Some(a)
    }

    /// The last record of the log that ends at `lsn` or before.
    pub fn up_to(&self, tip: RecordId, lsn: Lsn) -> Option<RecordId> {
        self.back_from(tip).find(|id| self.end(*id) <= lsn)
    }

    /// The last checkpoint of the log that ends in `tip`.
    pub fn last_checkpoint(&self, tip: RecordId) -> Option<RecordId> {
        self.last_checkpoint_before(tip, Lsn(u64::MAX))
    }

    /// The last checkpoint that begins before `lsn`.
    pub fn last_checkpoint_before(&self, tip: RecordId, lsn: Lsn) -> Option<RecordId> {
        self.back_from(tip).filter(|id| self.get(*id).start < lsn).find(|id| match self.get(*id).kind {
            Kind::Origin | Kind::Checkpoint | Kind::ShutdownCheckpoint => true,
            Kind::Commit | Kind::EndOfRecovery => false,
        })
    }

    /// The ancestry of the timeline of `tip`, as history files tell it.
    pub fn history(&self, tip: RecordId) -> History {
        let mut switches = Vec::new();
        let mut branch = self.get(tip).branch;
        while let Some((parent, at)) = self.branches[branch].left {
            switches.push(Switch {
                parent: self.branches[parent].timeline,
                switched_at: self.end(at),
                reason: "no recovery target specified".to_owned(),
            });
            branch = parent;
        }
        switches.reverse();
        History(switches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_logs_are_searched_as_if_record_by_record() {
        let mut wal = Wal::default();
        let mut tips = vec![wal.origin(), wal.origin()];
        let mut rng = crate::rng::Rng::new(7);
        for _ in 0..600 {
            let after = tips[rng.range(tips.len().saturating_sub(3) as u64, tips.len() as u64) as usize];
            tips.push(wal.append(after, Timeline(1), Kind::Commit, 8));
        }
        for _ in 0..2_000 {
            let (a, b) = (*rng.pick(&tips).expect("some"), *rng.pick(&tips).expect("some"));
            let log: Vec<RecordId> = wal.back_from(a).collect();
            assert_eq!(wal.contains(a, b), log.contains(&b), "{a:?} {b:?}");
            assert_eq!(wal.common(a, b), wal.back_from(b).find(|id| log.contains(id)), "{a:?} {b:?}");
        }
    }

    #[test]
    fn logs_part_and_agree() {
        let mut wal = Wal::default();
        let origin = wal.origin();
        let a1 = wal.append(origin, Timeline(1), Kind::Commit, 100);
        let a2 = wal.append(a1, Timeline(1), Kind::Commit, 100);
        let b2 = wal.append(a1, Timeline(2), Kind::EndOfRecovery, 42);
        let b3 = wal.append(b2, Timeline(2), Kind::Commit, 100);
        assert_eq!(wal.common(a2, b3), Some(a1));
        assert!(wal.contains(b3, a1) && !wal.contains(b3, a2) && wal.contains(b3, b3));
        assert_eq!(wal.end(a1), Lsn(FIRST_LSN + 120 + 104));
        assert_eq!(wal.history(b3).left(Timeline(1)), Some(wal.end(a1)));
        assert!(wal.history(a2).0.is_empty());
        assert_eq!(wal.up_to(a2, Lsn(wal.end(a2).0 - 1)), Some(a1));
        let other = wal.origin();
        assert_eq!(wal.common(a2, other), None);
    }
}
