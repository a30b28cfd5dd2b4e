//! What one look at our own PostgreSQL found: plain data, observed by the agent or a model of it.
//!
//! A look never decides: it says what is in the data directory, what runs, and what one query answered.

use std::collections::BTreeMap;

use crate::{Lsn, SlotName, Tick, Timeline, Wall};

/// Everything one look found.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    pub data: DataDir,
    pub process: Process,
    /// The answer of one query, when the server completed one.
    pub row: Option<Row>,
    /// Why there is no row, when the server runs and should have answered.
    pub silent: Option<String>,
    /// Whether a fresh connection was answered, by whatever answer (`None`: not tried by this look). A stopped
    /// postmaster lets old sessions work on and new ones wait for ever.
    pub fresh: Option<bool>,
    /// The shutdown checkpoint is written, and the archiver of the server works still.
    pub archiving: bool,
    /// The boot clock before the look began.
    pub looked_at: Tick,
}

/// The data directory.
#[derive(Clone, Debug, PartialEq)]
pub enum DataDir {
    /// Missing or empty: may be filled.
    Empty,
    /// Cannot be entered or read; the text says why and what to do.
    Unusable(String),
    /// Something is in it that is no cluster: `pg_control` cannot be read. (An intent that stands is not the
    /// look's business: the core knows it.)
    Broken(String),
    Present(Control),
}

/// `global/pg_control`, as far as rules read it.
#[derive(Clone, Debug, PartialEq)]
pub struct Control {
    /// Decimal text, as the store's `initialize` key has it.
    pub system_identifier: String,
    pub state: ControlState,
    /// Timeline of the latest checkpoint.
    pub timeline: Timeline,
    /// Location of the latest checkpoint record. After a clean shutdown the last record of the log.
    pub checkpoint: Lsn,
    /// First byte after the shutdown checkpoint record, when the state is `ShutDown` and it could be read.
    pub shutdown_end: Option<Lsn>,
    /// What a position in the store should be after a clean shutdown (dcs-layout 2.4): the record before the
    /// shutdown checkpoint if that is a WAL switch, else the checkpoint record itself.
    pub shutdown_optime: Option<Lsn>,
    pub min_recovery: Lsn,
    pub min_recovery_timeline: Timeline,
    pub checksums: bool,
    pub wal_log_hints: bool,
    /// A `backup_label` lies in the data directory.
    pub backup_label: bool,
    /// `standby.signal`, `recovery.signal` or `recovery.conf` lies in the data directory.
    pub recovery_files: bool,
}

/// PostgreSQL's `DBState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlState {
    StartingUp,
    ShutDown,
    ShutDownInRecovery,
    ShuttingDown,
    InCrashRecovery,
    InArchiveRecovery,
    InProduction,
}

impl ControlState {
    /// The log may end in the middle of things: recovery has to replay before its end is known.
    pub fn is_crashed_primary(self) -> bool {
        match self {
            ControlState::ShuttingDown | ControlState::InCrashRecovery | ControlState::InProduction => true,
            ControlState::StartingUp
            | ControlState::ShutDown
            | ControlState::ShutDownInRecovery
            | ControlState::InArchiveRecovery => false,
        }
    }
}

/// The postmaster of our data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Process {
    Stopped,
    /// No postmaster, but processes that still hold the data directory or its shared memory.
    Leftovers,
    Running {
        pid: u32,
        /// Running before the guard that watches it: not its child.
        adopted: bool,
        accepting: Accepting,
    },
}

impl Process {
    pub fn is_running(&self) -> bool {
        match self {
            Process::Running { .. } => true,
            Process::Stopped | Process::Leftovers => false,
        }
    }
}

/// Whether the server takes connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepting {
    Yes,
    /// It answers that it is starting up, shutting down, or not yet consistent.
    NotYet,
    /// It does not answer at all.
    NoAnswer,
}

/// One query's answer (ha-rules 23.1).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// e.g. 150020.
    pub server_version: u32,
    pub postmaster_start: Wall,
    pub in_recovery: bool,
    /// Of the primary's own WAL, or what the wal receiver last received (else what replay is on).
    pub timeline: Option<Timeline>,
    /// Primary: end of flushed WAL.
    pub flushed: Lsn,
    /// Standby: what has been replayed.
    pub replayed: Lsn,
    /// Standby: what the wal receiver has written or flushed.
    pub received: Lsn,
    pub replayed_at: Option<Wall>,
    pub replay_paused: bool,
    pub receiver: Option<Receiver>,
    /// A `restore_command` is set.
    pub restores: bool,
    /// Connected walsenders.
    pub replication: Vec<Walsender>,
    pub slots: BTreeMap<SlotName, Slot>,
    /// Value of `synchronous_standby_names` and `synchronous_commit` in force.
    pub synchronous_standby_names: String,
    pub synchronous_commit: String,
    /// Parameters that wait for a restart: name → (old, new).
    pub pending_restart: BTreeMap<String, (String, String)>,
    pub system_identifier: Option<String>,
}

impl Row {
    /// The last operation (ha-rules 23.2): what is flushed on a primary, else the later of replayed and received.
    pub fn position(&self) -> Lsn {
        if self.in_recovery { self.replayed.max(self.received) } else { self.flushed }
    }

    /// Whether all that a later look has to add is how far this server and those who stream from it have come. A slot
    /// that nobody uses has to be moved along: where there is one, positions matter.
    pub(super) fn slots_stand(&self, later: &Row) -> bool {
        let same_slot = |((name, then), (other, now)): ((&SlotName, &Slot), (&SlotName, &Slot))| {
            let used = then.active && now.active && !then.logical && !now.logical && !now.lost;
            name == other && used && (then.xmin, then.restart.is_some()) == (now.xmin, now.restart.is_some())
        };
        (self.in_recovery, self.timeline, self.server_version)
            == (later.in_recovery, later.timeline, later.server_version)
            && self.slots.len() == later.slots.len()
            && self.slots.iter().zip(&later.slots).all(same_slot)
    }

    /// `streaming`, `in archive recovery` where there is an archive to recover from, else nothing.
    pub fn replication_state(&self) -> Option<&'static str> {
        if !self.in_recovery {
            return None;
        }
        let streaming = self.receiver.as_ref().is_some_and(|r| r.status == "streaming");
        if streaming { Some("streaming") } else { self.restores.then_some("in archive recovery") }
    }
}

/// The wal receiver of a standby.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Receiver {
    /// `pg_stat_wal_receiver.status`.
    pub status: String,
    pub host: String,
    pub port: Option<u16>,
    pub slot: Option<SlotName>,
    pub latest_end: Lsn,
}

/// One row of `pg_stat_replication`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Walsender {
    pub user: String,
    pub application_name: String,
    pub client_addr: Option<String>,
    pub state: String,
    pub sync_state: String,
    pub sync_priority: i64,
    pub write: Lsn,
    pub flush: Lsn,
    pub replay: Lsn,
}

/// One row of `pg_replication_slots` that is neither temporary nor a failover slot.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Slot {
    pub logical: bool,
    pub plugin: Option<String>,
    pub database: Option<String>,
    pub active: bool,
    pub restart: Option<Lsn>,
    pub confirmed_flush: Option<Lsn>,
    pub xmin: bool,
    pub catalog_xmin: Option<u32>,
    /// `wal_status` is `lost`.
    pub lost: bool,
}
