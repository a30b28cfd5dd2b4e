//! A model of one PostgreSQL server: its data directory and its processes.
//!
//! Pure: it is told what is done to it and answers with the steps that follow by themselves ([`Postgres::take_due`]),
//! each of which the world hands back after its time. A step of an earlier run of the server is ignored.
//!
//! What it models because rules depend on it: a SIGKILLed postmaster leaves backends that go on committing; a fast
//! shutdown removes clients, writes the shutdown checkpoint and then waits for walsenders; a stopped or
//! uninterruptible backend holds everything up; a promotion shows its timeline in `pg_control` only after a
//! checkpoint; files alone decide whether a start comes up writable; a commit that waits for standbys is on the disk
//! already ([`sync_commit`]).

pub mod data;
pub mod rewind;
pub mod start;
pub mod sync_commit;
pub mod sync_names;

use std::time::Duration;

use jogi_core::ha::server::{Accepting, ControlState, Process as Seen};
use jogi_core::{Lsn, Wall};

use crate::rng::Rng;
use crate::wal::{Kind, RecordId, Wal};
use data::{Data, Dir};
use start::Plan;

/// What the postmaster and its children are at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Replaying to a consistent state; no connections.
    Recovering,
    /// A standby that has not reached its minimum recovery point: it streams, but takes no connections.
    Inconsistent,
    /// Read-only.
    Standby,
    /// Read-only still; will be primary.
    Promoting,
    Primary,
    /// Fast shutdown: clients are being sent away.
    ClosingClients {
        writable: bool,
    },
    /// The last record is being written; nobody can commit any more.
    WritingCheckpoint,
    /// The data directory is clean; walsenders bring the rest to the standbys.
    Draining,
}

/// The server hangs: its processes exist and do nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hang {
    #[default]
    No,
    /// SIGSTOP to the postmaster: no new connections, no reaction to signals; backends work on.
    Postmaster,
    /// Every process is stopped.
    Everything,
}

/// A backend that does not go when told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StuckBackend {
    /// SIGSTOPped: SIGKILL removes it.
    Stopped,
    /// In uninterruptible sleep: nothing removes it until the sleep ends.
    Uninterruptible,
}

/// The running server.
#[derive(Clone, Debug)]
pub struct Running {
    pub pid: u32,
    pub adopted: bool,
    pub phase: Phase,
    pub hang: Hang,
    pub started: Wall,
    /// A signal that arrived while the postmaster was stopped.
    pending: Option<Signal>,
    /// One of its processes has crashed and it has not seen that yet.
    crashed: bool,
    /// What it was at when a shutdown began.
    was: Option<Phase>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signal {
    Fast,
    Immediate,
}

/// What is left of a server without a postmaster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orphans {
    /// Some of them may still commit.
    pub writable: bool,
    /// They have SIGKILL pending and end as soon as the kernel lets them.
    pub condemned: bool,
}

/// Something that follows by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Recovered(Plan),
    /// Every process but the postmaster has ended after a crash of one of them.
    Reinitialised,
    Promoted,
    ClientsGone,
    CheckpointWritten,
    DrainTimeout,
    /// Every backend has been told to end at once.
    QuickDie,
    /// The processes have ended.
    Gone,
    OrphansGone,
}

/// What the world has to know at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The postmaster ended.
    Exited { pid: u32, status: String },
    /// Takes connections now.
    Accepts,
    /// Writable now.
    Writable,
    /// It became unable to follow, or able: streams have to be looked at.
    Changed,
}

/// One server.
#[derive(Clone, Debug, Default)]
pub struct Postgres {
    pub dir: Dir,
    pub running: Option<Running>,
    pub orphans: Option<Orphans>,
    pub stuck_backend: Option<StuckBackend>,
    /// Multiplies everything that reads or writes the disk; 0 and 1 are normal.
    pub slow_disk: u32,
    /// Nothing can be written any more: reading, and what is running and only reads, goes on.
    pub disk_full: bool,
    /// Starts end with this message.
    pub fail_starts: Option<String>,
    /// `synchronous_standby_names` in force, and the commits that wait for those standbys.
    pub sync: sync_commit::SyncCommit,
    /// Counts starts: a client's session belongs to one of them.
    pub server: u64,
    run: u64,
    due: Vec<(Duration, u64, Step)>,
}

/// `wal_sender_timeout`.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);
/// After a crash of one of its processes, until every other has ended and recovery begins.
const REINITIALISES: Duration = Duration::from_millis(250);
/// What ENOSPC reads like.
pub const NO_SPACE: &str = "No space left on device";

impl Postgres {
    /// The steps that will follow, with how long from now; each is handed to [`step`](Self::step) with its run.
    pub fn take_due(&mut self) -> Vec<(Duration, u64, Step)> {
        std::mem::take(&mut self.due)
    }

    fn later(&mut self, wait: Duration, step: Step) {
        self.due.push((wait, self.run, step));
    }

    fn disk(&self, wait: Duration) -> Duration {
        wait * self.slow_disk.max(1)
    }

    /// How long the disk takes to make one write durable; `None` when that need not be counted.
    pub fn flush_time(&self, rng: &mut Rng) -> Option<Duration> {
        (self.slow_disk > 1).then(|| self.disk(rng.millis(2, 12)))
    }

    pub fn data(&self) -> Option<&Data> {
        self.dir.whole()
    }

    pub fn data_mut(&mut self) -> Option<&mut Data> {
        self.dir.whole_mut()
    }

    pub fn phase(&self) -> Option<Phase> {
        self.running.as_ref().map(|r| r.phase)
    }

    pub fn hang(&self) -> Hang {
        self.running.as_ref().map_or(Hang::No, |r| r.hang)
    }

    /// Nothing of it is left.
    pub fn is_gone(&self) -> bool {
        self.running.is_none() && self.orphans.is_none()
    }

    /// A session that is open could commit at this moment, or when its process is continued.
    pub fn can_commit(&self) -> bool {
        let running = self.running.as_ref().is_some_and(|r| match r.phase {
            Phase::Primary | Phase::ClosingClients { writable: true } => r.hang != Hang::Everything,
            Phase::Recovering
            | Phase::Inconsistent
            | Phase::Standby
            | Phase::Promoting
            | Phase::ClosingClients { writable: false }
            | Phase::WritingCheckpoint
            | Phase::Draining => false,
        });
        running || self.orphans.is_some_and(|o| o.writable && !o.condemned)
    }

    /// Takes new connections.
    pub fn accepts(&self) -> bool {
        self.seen_accepting() == Some(Accepting::Yes)
    }

    /// Completes a query on a connection that is already open.
    pub fn answers(&self) -> bool {
        self.running.as_ref().is_some_and(|r| r.hang != Hang::Everything && is_open(r.phase))
    }

    fn seen_accepting(&self) -> Option<Accepting> {
        let running = self.running.as_ref()?;
        Some(match running.hang {
            Hang::Postmaster | Hang::Everything => Accepting::NoAnswer,
            Hang::No if is_open(running.phase) => Accepting::Yes,
            Hang::No => Accepting::NotYet,
        })
    }

    /// The processes as a look finds them.
    pub fn seen(&self) -> Seen {
        match (&self.running, self.orphans) {
            (Some(r), _) => {
                let accepting = self.seen_accepting().unwrap_or(Accepting::NoAnswer);
                Seen::Running { pid: r.pid, adopted: r.adopted, accepting }
            }
            (None, Some(_)) => Seen::Leftovers,
            (None, None) => Seen::Stopped,
        }
    }

    /// In recovery and alive: it can receive WAL.
    pub fn receives(&self) -> bool {
        self.running.as_ref().is_some_and(|r| {
            r.hang != Hang::Everything && matches!(r.phase, Phase::Recovering | Phase::Inconsistent | Phase::Standby)
        })
    }

    /// Its walsenders work.
    pub fn sends(&self) -> bool {
        self.running.as_ref().is_some_and(|r| r.hang != Hang::Everything && r.phase != Phase::Recovering)
    }

    /// Launches a postmaster on the whole directory. `Err`: what it prints before it ends.
    pub fn start(&mut self, wal: &Wal, started: Wall, rng: &mut Rng) -> Result<u32, String> {
        if !self.is_gone() {
            return Err("lock file \"postmaster.pid\" already exists, or shared memory is still in use".to_owned());
        }
        let Some(data) = self.dir.whole() else {
            return Err("the directory is not a whole database cluster".to_owned());
        };
        let plan = match &self.fail_starts {
            Some(why) => Plan::Fatal(why.clone()),
            None if self.disk_full => Plan::Fatal(format!("could not write lock file \"postmaster.pid\": {NO_SPACE}")),
            None => start::plan(data, wal),
        };
        let wait = match plan {
            Plan::Serve => rng.millis(60, 200),
            Plan::CrashRecovery => rng.millis(150, 1500),
            Plan::Standby | Plan::Stuck => rng.millis(80, 400),
            Plan::Fatal(_) => rng.millis(30, 120),
        };
        if let Some(data) = self.dir.whole_mut() {
            data.staged.clear();
        }
        self.run += 1;
        self.server += 1;
        let pid = 1000 + u32::try_from(self.server).unwrap_or(u32::MAX - 1000);
        self.running = Some(Running {
            pid,
            adopted: false,
            phase: Phase::Recovering,
            hang: Hang::No,
            started,
            pending: None,
            crashed: false,
            was: None,
        });
        self.later(self.disk(wait), Step::Recovered(plan));
        self.sync = sync_commit::SyncCommit::default();
        self.reload();
        Ok(pid)
    }

    /// Carries out a step of run `run`.
    pub fn step(&mut self, run: u64, step: Step, wal: &mut Wal, rng: &mut Rng) -> Vec<News> {
        if run != self.run {
            return Vec::new();
        }
        match step {
            Step::Recovered(plan) => self.recovered(plan, wal),
            Step::Promoted => self.promoted(wal),
            Step::ClientsGone => self.clients_gone(rng),
            Step::CheckpointWritten => self.checkpoint_written(wal, rng),
            Step::Reinitialised => self.reinitialised(wal, rng),
            Step::QuickDie => self.quick_died(),
            Step::DrainTimeout => self.exit("exited with code 0"),
            Step::Gone if self.stuck_backend == Some(StuckBackend::Uninterruptible) => {
                self.later(Duration::from_millis(100), Step::Gone);
                Vec::new()
            }
            Step::Gone => self.exit("exited with code 0"),
            Step::OrphansGone => self.orphans_gone(),
        }
    }

    fn recovered(&mut self, plan: Plan, wal: &mut Wal) -> Vec<News> {
        if self.phase() != Some(Phase::Recovering) {
            return Vec::new();
        }
        match plan {
            Plan::Fatal(why) => self.exit(&format!("exited with code 1: {why}")),
            Plan::Stuck => Vec::new(),
            Plan::Serve => self.opened(),
            Plan::CrashRecovery if self.disk_full => {
                self.exit(&format!("exited with code 1: could not write to file: {NO_SPACE}"))
            }
            Plan::CrashRecovery => {
                if let Some(data) = self.data_mut() {
                    let timeline = data.recover_alone(wal);
                    data.write_checkpoint(wal, Kind::Checkpoint, timeline);
                }
                self.opened()
            }
            Plan::Standby => self.standby_recovered(wal),
        }
    }

    fn opened(&mut self) -> Vec<News> {
        if let Some(data) = self.data_mut() {
            data.state = ControlState::InProduction;
            data.min_recovery = Lsn::INVALID;
            data.min_recovery_timeline = jogi_core::Timeline(0);
        }
        self.set_phase(Phase::Primary);
        vec![News::Accepts, News::Writable, News::Changed]
    }

    fn standby_recovered(&mut self, wal: &Wal) -> Vec<News> {
        let Some(data) = self.dir.whole_mut() else { return Vec::new() };
        data.checkpoint = data.backup_label.take().unwrap_or(data.checkpoint);
        if data.state.is_crashed_primary() {
            data.min_recovery = wal.end(data.tip);
            data.min_recovery_timeline = wal.timeline(data.tip);
        }
        if data.state == ControlState::ShutDown {
            data.min_recovery = wal.end(data.checkpoint);
            data.min_recovery_timeline = wal.timeline(data.checkpoint);
        }
        data.state = ControlState::InArchiveRecovery;
        self.set_phase(Phase::Inconsistent);
        let mut news = self.reach_consistency(wal);
        news.push(News::Changed);
        news
    }

    fn reach_consistency(&mut self, wal: &Wal) -> Vec<News> {
        let consistent = self.data().is_some_and(|d| wal.end(d.tip) >= d.min_recovery);
        if self.phase() != Some(Phase::Inconsistent) || !consistent {
            return Vec::new();
        }
        self.set_phase(Phase::Standby);
        vec![News::Accepts]
    }

    fn set_phase(&mut self, phase: Phase) {
        if let Some(running) = self.running.as_mut() {
            running.phase = phase;
        }
    }

    /// WAL arrives at a standby: its log ends in `tip` now.
    pub fn receive(&mut self, tip: RecordId, wal: &Wal) -> Vec<News> {
        if !self.receives() {
            return Vec::new();
        }
        if let Some(data) = self.data_mut() {
            if wal.contains(data.tip, tip) {
                return Vec::new();
            }
            if !wal.contains(tip, data.tip) {
                data.mixed = Some((data.tip, tip));
            }
            data.tip = tip;
        }
        self.reach_consistency(wal)
    }

    /// A client's commit reaches the disk. `None`: the session is broken.
    pub fn commit(&mut self, wal: &mut Wal, bytes: u64) -> Option<RecordId> {
        if !self.can_commit() {
            return None;
        }
        self.append(wal, Kind::Commit, bytes)
    }

    /// One of the server's processes crashes: the postmaster ends all others and begins again with recovery. The files
    /// that decide whether it comes up writable are the ones of its start: who leads, and with what right, it does not
    /// ask.
    pub fn crash_inside(&mut self) -> Vec<News> {
        let Some(running) = self.running.as_mut() else { return Vec::new() };
        if running.hang != Hang::No {
            running.crashed = true;
            return Vec::new();
        }
        // "abnormal database system shutdown": one that is being stopped does not begin again.
        let stops = match running.phase {
            Phase::ClosingClients { .. } | Phase::WritingCheckpoint | Phase::Draining => true,
            Phase::Recovering | Phase::Inconsistent | Phase::Standby | Phase::Promoting | Phase::Primary => false,
        };
        if stops {
            running.phase = Phase::ClosingClients { writable: false };
            self.run += 1;
            self.due.clear();
            self.stuck_backend = None;
            self.cancel_waits();
            self.later(REINITIALISES, Step::Gone);
            return vec![News::Changed];
        }
        running.phase = Phase::Recovering;
        self.server += 1;
        self.run += 1;
        self.due.clear();
        self.stuck_backend = None;
        self.cancel_waits();
        self.later(self.disk(REINITIALISES), Step::Reinitialised);
        vec![News::Changed]
    }

    fn reinitialised(&mut self, wal: &Wal, rng: &mut Rng) -> Vec<News> {
        let Some(plan) = self.dir.whole().map(|data| start::plan(data, wal)) else { return Vec::new() };
        let wait = self.disk(rng.millis(100, 1000));
        self.later(wait, Step::Recovered(plan));
        Vec::new()
    }

    fn append(&mut self, wal: &mut Wal, kind: Kind, bytes: u64) -> Option<RecordId> {
        let data = self.data_mut()?;
        let timeline = wal.timeline(data.tip);
        data.tip = wal.append(data.tip, timeline, kind, bytes);
        Some(data.tip)
    }

    /// CHECKPOINT; on a standby a restartpoint, at the last checkpoint that was replayed.
    pub fn checkpoint(&mut self, wal: &mut Wal) -> Result<(), String> {
        match self.phase() {
            Some(_) if self.disk_full => Err(format!("CHECKPOINT: could not write to file: {NO_SPACE}")),
            Some(Phase::Primary) if self.answers() => {
                if let Some(data) = self.data_mut() {
                    let timeline = wal.timeline(data.tip);
                    data.write_checkpoint(wal, Kind::Checkpoint, timeline);
                }
                Ok(())
            }
            Some(Phase::Standby) if self.answers() => {
                if let Some(data) = self.data_mut() {
                    data.restartpoint(wal);
                }
                Ok(())
            }
            Some(_) => Err("CHECKPOINT: the server does not answer".to_owned()),
            None => Err("CHECKPOINT: connection refused".to_owned()),
        }
    }

    /// SIGUSR1 with the promote file. `Err`: it is not a standby.
    pub fn promote(&mut self, rng: &mut Rng) -> Result<Vec<News>, String> {
        match self.phase() {
            Some(Phase::Standby) => {
                self.set_phase(Phase::Promoting);
                let wait = self.disk(rng.millis(60, 250));
                self.later(wait, Step::Promoted);
                Ok(vec![News::Changed])
            }
            Some(Phase::Inconsistent) => Ok(self.exit("exited with code 1: WAL ends before consistent recovery point")),
            Some(Phase::Promoting | Phase::Primary) => Ok(Vec::new()),
            Some(phase) => Err(format!("cannot promote a server that is {phase:?}")),
            None => Err("cannot promote: no server is running".to_owned()),
        }
    }

    fn promoted(&mut self, wal: &mut Wal) -> Vec<News> {
        if self.phase() != Some(Phase::Promoting) {
            return Vec::new();
        }
        if self.hang() == Hang::Everything {
            self.later(Duration::from_millis(100), Step::Promoted);
            return Vec::new();
        }
        if self.disk_full {
            return self.exit(&format!("exited with code 1: could not write to file: {NO_SPACE}"));
        }
        if let Some(data) = self.data_mut() {
            let timeline = data.next_timeline(wal);
            data.tip = wal.append(data.tip, timeline, Kind::EndOfRecovery, 42);
            data.histories.insert(timeline, wal.history(data.tip));
            data.state = ControlState::InProduction;
            data.min_recovery = wal.end(data.tip);
            data.min_recovery_timeline = timeline;
            data.standby_signal = false;
        }
        self.set_phase(Phase::Primary);
        vec![News::Writable, News::Changed]
    }

    /// SIGINT: fast shutdown.
    pub fn fast(&mut self, rng: &mut Rng) {
        let Some(running) = self.running.as_mut() else { return };
        if running.hang != Hang::No {
            running.pending = running.pending.or(Some(Signal::Fast));
            return;
        }
        let writable = match running.phase {
            Phase::Primary => true,
            Phase::Recovering | Phase::Inconsistent | Phase::Standby | Phase::Promoting => false,
            Phase::ClosingClients { .. } | Phase::WritingCheckpoint | Phase::Draining => return,
        };
        running.was = Some(running.phase);
        running.phase = Phase::ClosingClients { writable };
        self.cancel_waits();
        if let Some(data) = self.data_mut().filter(|d| writable && d.state == ControlState::InProduction) {
            data.state = ControlState::ShuttingDown;
        }
        self.later(rng.millis(5, 60), Step::ClientsGone);
    }

    fn clients_gone(&mut self, rng: &mut Rng) -> Vec<News> {
        let Some(Phase::ClosingClients { .. }) = self.phase() else { return Vec::new() };
        if self.stuck_backend.is_some() || self.hang() != Hang::No {
            self.later(Duration::from_millis(100), Step::ClientsGone);
            return Vec::new();
        }
        self.set_phase(Phase::WritingCheckpoint);
        let wait = self.disk(rng.millis(10, 120));
        self.later(wait, Step::CheckpointWritten);
        Vec::new()
    }

    fn checkpoint_written(&mut self, wal: &mut Wal, rng: &mut Rng) -> Vec<News> {
        if self.phase() != Some(Phase::WritingCheckpoint) {
            return Vec::new();
        }
        // A last record may fit into what is there already, or need a new file.
        if self.disk_full && rng.one_in(2) {
            return self.exit(&format!("exited with code 1: could not write to file: {NO_SPACE}"));
        }
        let was = self.running.as_ref().and_then(|running| running.was);
        let Some(data) = self.dir.whole_mut() else { return Vec::new() };
        match was {
            Some(Phase::Primary) => {
                let timeline = wal.timeline(data.tip);
                data.write_checkpoint(wal, Kind::ShutdownCheckpoint, timeline);
                data.state = ControlState::ShutDown;
                data.min_recovery = Lsn::INVALID;
                data.min_recovery_timeline = jogi_core::Timeline(0);
            }
            Some(Phase::Standby | Phase::Promoting | Phase::Inconsistent) => {
                data.restartpoint(wal);
                data.state = ControlState::ShutDownInRecovery;
            }
            // Whatever it was before, one that was a primary included.
            Some(Phase::Recovering) => data.state = ControlState::ShutDownInRecovery,
            Some(Phase::ClosingClients { .. } | Phase::WritingCheckpoint | Phase::Draining) | None => {}
        }
        self.set_phase(Phase::Draining);
        self.later(DRAIN_TIMEOUT, Step::DrainTimeout);
        vec![News::Changed]
    }

    /// The walsenders have nothing left to send: the last processes go.
    pub fn drained(&mut self, rng: &mut Rng) {
        if self.phase() == Some(Phase::Draining) {
            self.later(rng.millis(1, 20), Step::Gone);
        }
    }

    /// SIGQUIT: immediate shutdown. The postmaster takes no connections any more and tells every backend to end where
    /// it is; one that does not hear it now ends before it does anything else.
    pub fn immediate(&mut self, rng: &mut Rng) {
        let Some(running) = self.running.as_mut() else { return };
        if running.hang != Hang::No {
            running.pending = Some(Signal::Immediate);
            return;
        }
        let writable = matches!(running.phase, Phase::Primary | Phase::ClosingClients { writable: true });
        running.phase = Phase::ClosingClients { writable };
        self.cancel_waits();
        self.due.clear();
        self.run += 1;
        self.later(rng.millis(5, 40), Step::QuickDie);
    }

    fn quick_died(&mut self) -> Vec<News> {
        if self.stuck_backend.is_none() {
            return self.exit("exited with code 0");
        }
        // The postmaster follows with SIGKILL after five seconds.
        self.set_phase(Phase::ClosingClients { writable: false });
        self.later(Duration::from_secs(5), Step::Gone);
        vec![News::Changed]
    }

    /// SIGKILL to the postmaster alone.
    pub fn kill_postmaster(&mut self, rng: &mut Rng) -> Vec<News> {
        let Some(running) = self.running.take() else { return Vec::new() };
        self.cancel_waits();
        let writable = match running.phase {
            Phase::Primary | Phase::ClosingClients { writable: true } => true,
            Phase::Recovering
            | Phase::Inconsistent
            | Phase::Standby
            | Phase::Promoting
            | Phase::ClosingClients { writable: false }
            | Phase::WritingCheckpoint
            | Phase::Draining => false,
        };
        self.run += 1;
        if running.hang == Hang::Everything {
            self.stuck_backend = self.stuck_backend.or(Some(StuckBackend::Stopped));
        }
        self.orphans = Some(Orphans { writable, condemned: false });
        let wait = rng.millis(10, 3000);
        self.later(wait, Step::OrphansGone);
        vec![News::Exited { pid: running.pid, status: "killed by signal 9".to_owned() }, News::Changed]
    }

    /// SIGKILL to every process of the data directory.
    pub fn kill_all(&mut self, rng: &mut Rng) -> Vec<News> {
        let mut news = self.kill_postmaster(rng);
        if let Some(orphans) = self.orphans.as_mut().filter(|o| !o.condemned) {
            orphans.condemned = true;
            self.due.clear();
            self.run += 1;
            let wait = rng.millis(1, 15);
            self.later(wait, Step::OrphansGone);
            news.push(News::Changed);
        }
        news
    }

    fn orphans_gone(&mut self) -> Vec<News> {
        let Some(orphans) = self.orphans else { return Vec::new() };
        let stays = match self.stuck_backend {
            None => false,
            Some(StuckBackend::Stopped) => !orphans.condemned,
            Some(StuckBackend::Uninterruptible) => true,
        };
        if stays {
            self.later(Duration::from_millis(100), Step::OrphansGone);
            return Vec::new();
        }
        self.orphans = None;
        self.stuck_backend = None;
        vec![News::Changed]
    }

    /// The host loses power: everything is gone at once.
    pub fn power_off(&mut self) {
        self.run += 1;
        self.running = None;
        self.orphans = None;
        self.stuck_backend = None;
        self.cancel_waits();
        self.due.clear();
    }

    pub fn hang_now(&mut self, hang: Hang) {
        if let Some(running) = self.running.as_mut() {
            running.hang = hang;
        }
    }

    /// SIGCONT: what was sent meanwhile arrives now.
    pub fn go_on(&mut self, rng: &mut Rng) -> Vec<News> {
        let Some(running) = self.running.as_mut() else { return Vec::new() };
        running.hang = Hang::No;
        let (crashed, pending) = (std::mem::take(&mut running.crashed), running.pending.take());
        let news = if crashed { self.crash_inside() } else { vec![News::Changed] };
        match pending {
            Some(Signal::Fast) => self.fast(rng),
            Some(Signal::Immediate) => self.immediate(rng),
            None => {}
        }
        news
    }

    fn exit(&mut self, status: &str) -> Vec<News> {
        self.stuck_backend = None;
        self.cancel_waits();
        self.run += 1;
        match self.running.take() {
            Some(running) => vec![News::Exited { pid: running.pid, status: status.to_owned() }, News::Changed],
            None => Vec::new(),
        }
    }
}

fn is_open(phase: Phase) -> bool {
    match phase {
        Phase::Standby | Phase::Promoting | Phase::Primary => true,
        Phase::Recovering
        | Phase::Inconsistent
        | Phase::ClosingClients { .. }
        | Phase::WritingCheckpoint
        | Phase::Draining => false,
    }
}

#[cfg(test)]
mod tests;
