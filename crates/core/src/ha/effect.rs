//! Effects: what the core asks to be done, as data. Each ends in exactly one [`Event::Done`](super::Event).
//!
//! An effect is one signal, one program, one query, one set of files, or one store transaction. Whoever
//! carries it out takes no next step of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::peer::Lineage;
use super::server::Server;
use crate::view::{Expect, Revision, Write, Written};
use crate::{Lsn, MemberName, SlotName, Tick, Timeline};

/// Names one effect of this run of the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EffectId(pub u64);

/// Names one taking of the lock by this member on this host: the guard lets nobody start or promote a
/// primary under another one. Unique among the takings of this data directory (the keeper seeds it).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

/// Two effects of one lane never overlap; a lane whose effect is stuck stays closed until it has ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Start, promote, programs and files of the data directory.
    Server,
    /// Signals to the postmaster and the killing of what is left: never waits for the server's lane.
    Fence,
    /// What the guard is told to hold: it waits for no work on the server.
    Arm,
    /// The leader key, through the lease keeper.
    Lock,
    /// Looks at our own server.
    Look,
    /// Queries that change our server (checkpoint, slots, roles).
    Sql,
    /// What takes long on replication slots: creating and advancing logical ones.
    Slots,
    /// Writes to the store, one after another.
    Store,
    /// Our own member key: what rules write does not wait for it.
    Member,
    /// What one request writes to the store: it does not wait for the routine writes.
    Request(super::RequestId),
    /// Readings of the store on demand.
    Load,
    /// Requests to one other member.
    Peer(MemberName),
    /// One per callback action: on_reload beside the others.
    Callback(CallbackLane),
    /// Archiving of finished WAL before a rewind.
    Archive,
    /// The kernel watchdog.
    Watchdog,
    /// Removal of copies that were put aside: it may take minutes, and nothing waits for it.
    Copies,
}

impl Lane {
    /// Whether its effects only ask: one that was given up may still be under way when the next is issued, and harms
    /// nobody. What works on the server or its data keeps its lane until it has really ended.
    pub fn is_question(&self) -> bool {
        match self {
            Lane::Lock | Lane::Look | Lane::Store | Lane::Member | Lane::Request(_) | Lane::Load | Lane::Peer(_) => {
                true
            }
            Lane::Server
            | Lane::Fence
            | Lane::Arm
            | Lane::Sql
            | Lane::Slots
            | Lane::Archive
            | Lane::Copies
            | Lane::Watchdog
            | Lane::Callback(_) => false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallbackLane {
    Reload,
    Other,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    pub id: EffectId,
    pub lane: Lane,
    /// Past this the performer answers [`Failure::Stuck`] even when the work has not ended.
    pub deadline: Duration,
    pub act: Act,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    // Lock: carried out by the lease keeper.
    /// Take the leader lock. Yields [`Yield::Acquired`].
    Acquire { expect: Expect },
    /// Delete the leader key if it is ours still, with the `status` text in the same transaction; stop
    /// renewing before the request is sent. Yields [`Yield::Released`].
    Release { status: Option<String> },
    /// Delete a leader key that carries our name but that the keeper does not hold (`created` names it).
    ReleaseStale { created: Revision, status: Option<String> },

    // Store.
    /// Read the cluster linearizably. The view comes as [`Event::View`](super::Event) before the `Done`.
    Load,
    /// One conditional write. Yields [`Yield::Wrote`].
    Write(Write),

    // Observation.
    /// Look at data directory, process and server. Yields [`Yield::Looked`].
    Look,
    /// `GET` the member's `api_url`. Yields [`Yield::Answered`] with the JSON document, whatever the status.
    Ask { member: MemberName, api_url: String },
    /// `POST /failsafe` to a member. Yields [`Yield::Answered`] with `{"accepted": bool, "status": …, "lsn": …}`.
    AskFailsafe { member: MemberName, api_url: String, body: Value },
    /// Ask the leader's PostgreSQL for its timeline and history (IDENTIFY_SYSTEM, TIMELINE_HISTORY) and whether
    /// it has left recovery. Yields [`Yield::Lineage`].
    Compare { upstream: Upstream },
    /// Walk the WAL of the stopped server from its last checkpoint to its last valid record. Yields
    /// [`Yield::EndOfWal`]; bounded to the effect's deadline, then the furthest point reached.
    FindEndOfWal,
    /// Read `pg_wal/TTTTTTTT.history`. Yields [`Yield::Lineage`].
    ReadHistory { timeline: Timeline },

    // The data directory and its server.
    /// Write down what is about to change the data directory, durably, before it changes.
    Intend { intent: Intent },
    /// The change is complete: remove the intent.
    Settle,
    /// Write postgresql.conf, pg_hba.conf, pg_ident.conf, signal files and the password file.
    /// Yields [`Yield::Configured`].
    Configure { setup: Setup },
    /// Make the running server read its files again.
    Reload,
    /// Write the files with these `synchronous_standby_names`, have the running server read them, and wait until every
    /// process of it that has to do with commits works by them: not the value that a session shows, but that commits
    /// really wait. Done means that.
    SyncNames { setup: Setup },
    /// Start the postmaster under the guard. Yields [`Yield::Launched`].
    Launch { as_: LaunchAs, setup: Setup },
    /// One signal to the postmaster.
    Signal { stop: Stop },
    /// Wait until no process of the data directory is left, killing what is left with SIGKILL when `kill`.
    /// Done means fenced.
    Fence { kill: bool },
    /// Promote the standby through the guard. Done means: recovery has ended, the server is writable.
    Promote { generation: Generation },
    /// Make sure that a promotion opens no timeline up to `up_to`, and that a standby may ask for the history of each:
    /// other members have opened them, and WAL of two branches with one number must never meet (fault-scenarios F6).
    /// For each number above `above` that has no history file in `pg_wal`, one is made that holds a comment alone:
    /// PostgreSQL then takes the next number, and does not take the file for a child of its own timeline
    /// (findNewestTimeLine and rescanLatestTimeLine in xlog.c and xlogrecovery.c).
    ReserveTimelines { above: Timeline, up_to: Timeline },
    /// Tell the guard whether this server has to be fenced when the lease runs out.
    Arm { armed: Option<Generation> },
    /// Open the kernel watchdog with this timeout, or change the timeout of one that is open: from now on this host is reset
    /// unless it is pinged.
    OpenWatchdog { seconds: u32 },
    /// Close the watchdog so that it does not reset the host.
    CloseWatchdog,
    /// Whether the watchdog is there and could be opened, without opening it.
    TryWatchdog,
    /// Run initdb (or the custom method) into the empty data directory.
    Initdb,
    /// Roles, passwords and post_bootstrap on the freshly made server.
    PostBootstrap,
    /// Rename the data directory aside (`.failed`; or `.old`, `.diverged` while the disk has room, else remove).
    PutAside { suffix: Aside },
    /// Remove the copies that were put aside and are not needed any more: those that a new copy has replaced, and of
    /// those that may hold commits of their own all but the newest `keep_diverged`. Each is named first, with its size.
    /// Only what was put aside by this member. One that was interrupted is gone on with.
    RemoveCopies { keep_diverged: usize },
    /// Make a copy of `source` (or of nothing but the archive) by the configured methods, in order.
    Clone { source: Option<Upstream>, basebackup_only: bool },
    /// Crash recovery in single-user mode.
    SingleUser,
    /// pg_rewind from `source`. Yields [`Yield::Rewound`].
    Rewind { source: Upstream },
    /// Archive finished segments before a rewind may discard them. Yields [`Yield::Archived`].
    ArchivePending,
    /// Archive the segment that the shutdown checkpoint lies in, finished or not: whoever follows by the archive alone can
    /// then be promoted to a branch that ours is part of. Yields [`Yield::Archived`].
    ArchiveShutdown,
    /// CHECKPOINT.
    Checkpoint,
    /// Resume WAL replay.
    ResumeReplay,
    /// Create, drop and advance replication slots.
    Slots { plan: SlotPlan },
    /// Create and advance logical slots. Yields [`Yield::LogicalSlots`].
    LogicalSlots { plan: LogicalPlan },
    /// Ask the leader's PostgreSQL for the catalog_xmin of these slots. Yields [`Yield::Horizon`].
    AskHorizon { from: Upstream, slots: Vec<SlotName> },
    /// Read the state of the leader's logical slots and lay it ready in our data directory, where a server that starts
    /// throws it away. Yields [`Yield::Fetched`].
    FetchSlots { from: Upstream, slots: Vec<SlotName> },
    /// Put in place what was laid ready, while no server runs: each slot as a whole or not at all.
    InstallSlots { slots: Vec<SlotName> },
    /// Run `pre_promote` or `before_stop`. A non-zero exit is [`Failure::Failed`].
    Script { script: Script },
    /// Run a callback; the one that runs in the same lane is killed first.
    Callback { action: Action, role: &'static str },
    /// Keep `patroni.dynamic.json` current.
    SaveDynamic { config: Arc<Value> },

    /// Ask the performer to end another effect early: its program is killed. That effect still ends in its own
    /// `Done`, as a rule [`Failure::Cancelled`], and only then is its lane free. Needs no lane.
    Cancel { effect: EffectId },

    // The outside.
    /// Answer a request that came in.
    Reply { request: super::RequestId, reply: super::Reply },
    /// End the agent.
    Exit { code: i32, why: String },
}

impl Act {
    /// A short name for logs and traces.
    pub fn name(&self) -> &'static str {
        match self {
            Act::Acquire { .. } => "acquire",
            Act::Release { .. } => "release",
            Act::ReleaseStale { .. } => "release-stale",
            Act::Load => "load",
            Act::Write(_) => "write",
            Act::Look => "look",
            Act::Ask { .. } => "ask",
            Act::AskFailsafe { .. } => "ask-failsafe",
            Act::Compare { .. } => "compare",
            Act::FindEndOfWal => "find-end-of-wal",
            Act::ReadHistory { .. } => "read-history",
            Act::Intend { .. } => "intend",
            Act::Settle => "settle",
            Act::Configure { .. } => "configure",
            Act::Reload => "reload",
            Act::SyncNames { .. } => "sync-names",
            Act::Launch { .. } => "launch",
            Act::Signal { .. } => "signal",
            Act::Fence { .. } => "fence",
            Act::Promote { .. } => "promote",
            Act::ReserveTimelines { .. } => "reserve-timelines",
            Act::Arm { .. } => "arm",
            Act::OpenWatchdog { .. } => "open-watchdog",
            Act::CloseWatchdog => "close-watchdog",
            Act::TryWatchdog => "try-watchdog",
            Act::Initdb => "initdb",
            Act::PostBootstrap => "post-bootstrap",
            Act::PutAside { .. } => "put-aside",
            Act::RemoveCopies { .. } => "remove-copies",
            Act::Clone { .. } => "clone",
            Act::SingleUser => "single-user",
            Act::Rewind { .. } => "rewind",
            Act::ArchivePending => "archive-pending",
            Act::ArchiveShutdown => "archive-shutdown",
            Act::Checkpoint => "checkpoint",
            Act::ResumeReplay => "resume-replay",
            Act::Slots { .. } => "slots",
            Act::LogicalSlots { .. } => "logical-slots",
            Act::AskHorizon { .. } => "ask-horizon",
            Act::FetchSlots { .. } => "fetch-slots",
            Act::InstallSlots { .. } => "install-slots",
            Act::Script { .. } => "script",
            Act::Callback { .. } => "callback",
            Act::SaveDynamic { .. } => "save-dynamic",
            Act::Cancel { .. } => "cancel",
            Act::Reply { .. } => "reply",
            Act::Exit { .. } => "exit",
        }
    }
}

/// Where to stream, clone or rewind from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// `None`: a remote primary outside the herd (standby cluster).
    pub member: Option<MemberName>,
    /// Empty: there is nobody to stream from, only an archive (standby cluster).
    pub host: String,
    pub port: u16,
    /// Further addresses of a remote primary: whichever of all is writable is meant.
    pub others: Vec<(String, u16)>,
    /// Ours on it, when slots are used.
    pub slot: Option<SlotName>,
}

impl Upstream {
    /// Whether there is anybody to connect to.
    pub fn streams(&self) -> bool {
        !self.host.is_empty()
    }

    pub fn addresses(&self) -> impl Iterator<Item = (&str, u16)> {
        let first = (self.host.as_str(), self.port);
        std::iter::once(first).chain(self.others.iter().map(|(host, port)| (host.as_str(), *port)))
    }

    /// Each address alone.
    pub fn each(&self) -> impl Iterator<Item = Upstream> {
        self.addresses().map(|(host, port)| Upstream {
            host: host.to_owned(),
            port,
            others: Vec::new(),
            ..self.clone()
        })
    }

    /// All hosts as one value of libpq's `host`.
    pub fn hosts(&self) -> String {
        self.addresses().map(|(host, _)| host).collect::<Vec<_>>().join(",")
    }

    /// All ports as one value of libpq's `port`: one for each host, or one for all.
    pub fn ports(&self) -> String {
        if self.others.iter().all(|(_, port)| *port == self.port) {
            return self.port.to_string();
        }
        self.addresses().map(|(_, port)| port.to_string()).collect::<Vec<_>>().join(",")
    }
}

impl std::fmt::Display for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all: Vec<String> = self.addresses().map(|(host, port)| format!("{host}:{port}")).collect();
        f.write_str(&all.join(", "))
    }
}

/// How the server's files are to be: recovery target aside, everything else comes from the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Setup {
    pub mode: Mode,
    /// The dynamic configuration in force.
    pub dynamic: Arc<Value>,
    /// Overrides `synchronous_standby_names`; `None` leaves the user's own.
    pub synchronous_standby_names: Option<String>,
    /// `hot_standby_feedback` is on, whatever the user's own says: logical slots here need catalog rows of the primary.
    pub feedback: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// No recovery files.
    Primary,
    /// `standby.signal` (or `recovery.conf`), streaming from `upstream` when there is one.
    Standby { upstream: Option<Upstream> },
}

/// The conditions under which a postmaster is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaunchAs {
    /// It comes up read-only: signal files stand.
    Standby,
    /// It comes up writable under this lease; the guard is armed first and refuses when the lease is over.
    Primary { generation: Generation },
    /// The first start after initdb, of a cluster that nobody knows yet.
    Bootstrap,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// SIGINT: clients go, walsenders drain.
    Fast,
    /// SIGQUIT.
    Immediate,
}

/// What is about to change the data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Intent {
    /// initdb by this member; `initialize` names the key's revision, so that a restart can take it back.
    Bootstrap {
        initialize: Option<Revision>,
    },
    Clone,
    Rewind,
    SingleUser,
    PutAside,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aside {
    /// A bootstrap that failed: kept for the person who looks into it.
    Failed,
    /// Data that a new copy replaces, and that held nothing but what the leader has.
    Old,
    /// Data that a new copy replaces, and that may hold commits which no other member has.
    Diverged,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    PrePromote,
    BeforeStop,
}

/// Callback actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    OnStart,
    OnStop,
    OnRestart,
    OnReload,
    OnRoleChange,
}

impl Action {
    pub fn word(self) -> &'static str {
        match self {
            Action::OnStart => "on_start",
            Action::OnStop => "on_stop",
            Action::OnRestart => "on_restart",
            Action::OnReload => "on_reload",
            Action::OnRoleChange => "on_role_change",
        }
    }
}

/// Changes of replication slots, in this order: drop, create, advance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotPlan {
    pub drop: Vec<SlotName>,
    /// Physical slots, reserving WAL at once.
    pub create: Vec<SlotName>,
    pub advance: Vec<(SlotName, Lsn)>,
}

impl SlotPlan {
    pub fn is_empty(&self) -> bool {
        self.drop.is_empty() && self.create.is_empty() && self.advance.is_empty()
    }
}

/// Changes of logical replication slots, in this order: create, advance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogicalPlan {
    pub create: Vec<LogicalSlot>,
    /// Name, database, and how far.
    pub advance: Vec<(SlotName, String, Lsn)>,
}

/// A logical slot to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogicalSlot {
    pub name: SlotName,
    pub database: String,
    pub plugin: String,
}

impl LogicalPlan {
    pub fn is_empty(&self) -> bool {
        self.create.is_empty() && self.advance.is_empty()
    }
}

/// How an effect ended.
pub type Outcome = Result<Yield, Failure>;

/// What an effect brought.
#[derive(Clone, Debug, PartialEq)]
pub enum Yield {
    /// It is done; nothing more to say.
    Done,
    Looked(Box<Server>),
    Answered(Value),
    Wrote(Written),
    Acquired(Taken),
    /// `false`: the key was not ours any more.
    Released(bool),
    Lineage(Lineage),
    EndOfWal {
        timeline: Timeline,
        end: Lsn,
        complete: bool,
    },
    Launched {
        pid: u32,
    },
    Configured {
        /// The running server needs a restart for this to take effect (rather than a reload).
        restart: bool,
        /// Nothing had changed.
        unchanged: bool,
    },
    Archived {
        segments: u32,
    },
    Rewound {
        /// `false`: pg_rewind says that no rewind is required, and has left the data directory as it was.
        changed: bool,
    },
    LogicalSlots {
        /// The WAL that they need is not here any more.
        lost: Vec<SlotName>,
    },
    Fetched {
        /// Laid ready, each with the leader's `catalog_xmin`.
        ready: BTreeMap<SlotName, u32>,
        /// Why others were not.
        left_out: Vec<String>,
    },
    /// `catalog_xmin` by slot, of those that exist and have one.
    Horizon(BTreeMap<SlotName, u32>),
}

/// The answer of the keeper to an attempt to take the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    Yes {
        generation: Generation,
        created: Revision,
        valid_until: Tick,
        soft: Tick,
    },
    /// Another's, or something that the decision stood on has changed.
    Conflict,
}

/// Why an effect brought nothing. Unknown whether it took effect, except for `Refused`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It was tried and did not work; the text says what was tried and what happened.
    Failed(String),
    /// It was not tried, because it must not be (the guard's answer when a lease is over).
    Refused(String),
    /// Nobody answered.
    Unreachable(String),
    /// The deadline is over and the work has not ended; its lane stays closed until [`Event::Freed`](super::Event).
    Stuck,
    /// Cancelled at our request, and ended.
    Cancelled,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Failed(why) | Failure::Refused(why) | Failure::Unreachable(why) => f.write_str(why),
            Failure::Stuck => f.write_str("it did not end within its deadline"),
            Failure::Cancelled => f.write_str("it was cancelled"),
        }
    }
}
