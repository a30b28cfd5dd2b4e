//! A data directory as it lies on disk, with what `pg_control` says.

use std::collections::BTreeMap;

use jogi_core::ha::server::{Control, ControlState, DataDir};
use jogi_core::{History, Lsn, MemberName, SlotName, Timeline};

use crate::wal::{Kind, RecordId, Wal};

/// What is where the data directory should be.
#[derive(Clone, Debug, Default)]
#[expect(clippy::large_enum_variant, reason = "one for each member, and a whole one is the rule")]
pub enum Dir {
    #[default]
    Empty,
    /// Something began to fill or change it and has not ended.
    HalfMade(HalfMade),
    Whole(Data),
}

/// A directory in the middle of a change.
#[derive(Clone, Debug)]
pub struct HalfMade {
    pub by: Making,
    /// Its `pg_control` can be read: it looks like a whole one to whoever does not know better.
    pub looks_like: Option<Box<Data>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Making {
    Initdb,
    Clone,
    Rewind,
}

/// The state of a logical slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogicalSlot {
    pub database: String,
    pub plugin: String,
    /// What its reader has confirmed: it begins there again.
    pub confirmed: Lsn,
}

impl LogicalSlot {
    /// The oldest transaction whose catalog rows it needs. Transactions of the model are as old as their place in the log.
    pub fn catalog_xmin(&self) -> u32 {
        transaction(self.confirmed)
    }
}

/// The transaction that stands at a place of the log.
pub fn transaction(at: Lsn) -> u32 {
    (at.0 >> 3) as u32
}

/// A whole data directory.
#[derive(Clone, Debug)]
pub struct Data {
    pub system: u64,
    pub state: ControlState,
    /// The latest checkpoint; its timeline is the one that `pg_control` shows.
    pub checkpoint: RecordId,
    pub min_recovery: Lsn,
    pub min_recovery_timeline: Timeline,
    /// The end of the log on this disk.
    pub tip: RecordId,
    /// The end of a log of a newer timeline that lies in `pg_wal` too and was left by a recovery.
    pub beside: Option<RecordId>,
    /// The history files in `pg_wal`.
    pub histories: BTreeMap<Timeline, History>,
    /// The checkpoint that `backup_label` names: recovery begins there, whatever `pg_control` says.
    pub backup_label: Option<RecordId>,
    pub standby_signal: bool,
    /// Whom `primary_conninfo` names.
    pub upstream: Option<MemberName>,
    /// The hosts outside the herd that it names instead.
    pub remotes: Vec<crate::net::HostId>,
    pub slot: Option<SlotName>,
    pub synchronous_standby_names: String,
    /// Physical slots and where they hold WAL.
    pub slots: BTreeMap<SlotName, Lsn>,
    /// Logical slots, and those that were laid ready beside them: a server that starts throws these away.
    pub logical: BTreeMap<SlotName, LogicalSlot>,
    pub staged: BTreeMap<SlotName, LogicalSlot>,
    /// `hot_standby_feedback`.
    pub feedback: bool,
    /// Pages or log of two histories have met in it (its own log's end, and that of the other): data is corrupt, whatever
    /// PostgreSQL thinks.
    pub mixed: Option<(RecordId, RecordId)>,
}

impl Data {
    /// What initdb leaves.
    pub fn new(system: u64, wal: &mut Wal) -> Data {
        let origin = wal.origin();
        Data {
            system,
            state: ControlState::ShutDown,
            checkpoint: origin,
            min_recovery: Lsn::INVALID,
            min_recovery_timeline: Timeline(0),
            tip: origin,
            beside: None,
            histories: BTreeMap::new(),
            backup_label: None,
            standby_signal: false,
            upstream: None,
            remotes: Vec::new(),
            slot: None,
            synchronous_standby_names: String::new(),
            slots: BTreeMap::new(),
            logical: BTreeMap::new(),
            staged: BTreeMap::new(),
            feedback: false,
            mixed: None,
        }
    }

    pub fn system_identifier(&self) -> String {
        self.system.to_string()
    }

    /// The timeline that crash recovery ends on, and that recovery starts to look for newer ones from.
    pub fn own_timeline(&self, wal: &Wal) -> Timeline {
        wal.timeline(self.checkpoint).max(self.min_recovery_timeline)
    }

    /// Crash recovery, without a standby's signal file: it replays the timeline that `pg_control` names and no newer
    /// one, even where the log goes on (a standby that has followed its primary onto a new timeline, and has
    /// completed no restartpoint since). Answers that timeline.
    pub fn recover_alone(&mut self, wal: &Wal) -> Timeline {
        let own = self.own_timeline(wal);
        if wal.timeline(self.tip) > own {
            self.beside = Some(self.tip);
        }
        let end = wal.back_from(self.tip).find(|record| wal.timeline(*record) <= own);
        self.tip = end.unwrap_or(self.tip);
        self.backup_label = None;
        own
    }

    /// `recovery_target_timeline = latest`: the newest of the consecutive timelines with a history file.
    pub fn latest_timeline(&self, wal: &Wal) -> Timeline {
        let mut latest = self.own_timeline(wal);
        while self.histories.contains_key(&Timeline(latest.0 + 1)) {
            latest = Timeline(latest.0 + 1);
        }
        latest
    }

    /// What a promotion names its timeline: the first number above its own without a history file.
    pub fn next_timeline(&self, wal: &Wal) -> Timeline {
        let mut next = Timeline(self.latest_timeline(wal).max(wal.timeline(self.tip)).0 + 1);
        while self.histories.contains_key(&next) {
            next = Timeline(next.0 + 1);
        }
        next
    }

    /// Puts a history file without content where a promotion would otherwise take the number.
    pub fn reserve(&mut self, above: Timeline, up_to: Timeline) {
        for number in above.0 + 1..=up_to.0 {
            self.histories.entry(Timeline(number)).or_default();
        }
    }

    /// Takes back what [`reserve`](Self::reserve) has put there and no promotion has used.
    pub fn forget_reserved(&mut self) {
        let real = self.histories.iter().filter(|(_, history)| !history.0.is_empty());
        let newest = real.map(|(number, _)| *number).next_back().unwrap_or(Timeline(0));
        self.histories.retain(|number, _| *number <= newest);
    }

    /// What has been replayed so far is on the disk, and recovery will begin at the last checkpoint in it.
    pub fn restartpoint(&mut self, wal: &Wal) {
        let last = wal.last_checkpoint(self.tip).unwrap_or(self.checkpoint);
        self.checkpoint = self.checkpoint.max(last);
        self.min_recovery = self.min_recovery.max(wal.end(self.tip));
        self.min_recovery_timeline = self.min_recovery_timeline.max(wal.timeline(self.tip));
    }

    /// What `pg_controldata` and a look at the files show.
    pub fn control(&self, wal: &Wal) -> Control {
        let checkpoint = wal.get(self.checkpoint);
        let clean = self.state == ControlState::ShutDown;
        Control {
            system_identifier: self.system_identifier(),
            state: self.state,
            timeline: checkpoint.timeline,
            checkpoint: checkpoint.start,
            shutdown_end: clean.then_some(checkpoint.end),
            shutdown_optime: clean.then_some(checkpoint.start),
            min_recovery: self.min_recovery,
            min_recovery_timeline: self.min_recovery_timeline,
            checksums: true,
            wal_log_hints: true,
            backup_label: self.backup_label.is_some(),
            recovery_files: self.standby_signal,
        }
    }

    /// Writes a checkpoint record at the end of the log and names it in `pg_control`.
    pub fn write_checkpoint(&mut self, wal: &mut Wal, kind: Kind, timeline: Timeline) {
        self.tip = wal.append(self.tip, timeline, kind, CHECKPOINT_BYTES);
        self.checkpoint = self.tip;
    }
}

/// Size of a checkpoint record.
pub const CHECKPOINT_BYTES: u64 = 114;

impl Dir {
    pub fn whole(&self) -> Option<&Data> {
        match self {
            Dir::Whole(data) => Some(data),
            Dir::Empty | Dir::HalfMade(_) => None,
        }
    }

    pub fn whole_mut(&mut self) -> Option<&mut Data> {
        match self {
            Dir::Whole(data) => Some(data),
            Dir::Empty | Dir::HalfMade(_) => None,
        }
    }

    /// What reads like a data directory, whole or not.
    pub fn readable(&self) -> Option<&Data> {
        match self {
            Dir::Whole(data) => Some(data),
            Dir::HalfMade(half) => half.looks_like.as_deref(),
            Dir::Empty => None,
        }
    }

    pub fn readable_mut(&mut self) -> Option<&mut Data> {
        match self {
            Dir::Whole(data) => Some(data),
            Dir::HalfMade(half) => half.looks_like.as_deref_mut(),
            Dir::Empty => None,
        }
    }

    /// What someone sees who looks at the files alone.
    pub fn seen(&self, wal: &Wal) -> DataDir {
        match (self, self.readable()) {
            (Dir::Empty, _) => DataDir::Empty,
            (Dir::Whole(_) | Dir::HalfMade(_), Some(data)) => DataDir::Present(data.control(wal)),
            (Dir::Whole(_) | Dir::HalfMade(_), None) => {
                DataDir::Broken("there are files in it, but no global/pg_control".to_owned())
            }
        }
    }
}
