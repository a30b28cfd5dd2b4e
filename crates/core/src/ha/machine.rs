//! The state of one member and its way through a turn: take in what happened, decide, hand out effects.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::op::Op;
use super::peers::Round;
use super::rewind::Divergence;
use super::server::{DataDir, Process, Row, Server};
use super::slots::Retained;
use super::timer::{Timer, Timers};
use super::{
    Act, Decision, Effect, EffectId, Event, Failure, Found, GuardNews, GuardState, Lane, Lease, Local, Lock, Outcome,
    RequestId, Restart, Snapshot, Yield,
};
use crate::view::{Cluster, MemberData, Revision, Settings, Status, SyncState};
use crate::{Lsn, MemberName, Now, Tick, Timeline, Wall, Weaken, Weakness};

/// The rules and operations of one member. See the [module documentation](super) for how to drive it.
#[derive(Debug)]
pub struct Ha {
    pub(super) local: Arc<Local>,
    pub(super) weaken: Weaken,
    pub(super) now: Now,
    pub(super) began: bool,
    pub(super) began_at: Tick,
    pub(super) found: Found,

    // What is known.
    pub(super) view: Option<Seen>,
    /// The last view that had a leader other than us or ourselves: who might still have data ahead of us.
    pub(super) old_view: Option<Arc<Cluster>>,
    pub(super) settings: Arc<Settings>,
    pub(super) dynamic: Arc<Value>,
    pub(super) dynamic_saved: Option<Revision>,
    pub(super) server: Option<Arc<Server>>,
    /// When our server last became something else by an effect or event that we know of.
    pub(super) changed_at: Tick,
    /// The last query that our server completed.
    pub(super) answered_at: Tick,
    /// Since when fresh connections are not answered although the server runs.
    pub(super) shut_since: Option<Tick>,
    pub(super) lease: Lease,
    pub(super) guard: GuardState,
    pub(super) armed: Option<super::Generation>,
    pub(super) store_last_seen: Wall,
    pub(super) store_error: Option<String>,
    pub(super) round: Option<Round>,

    // What this member is.
    pub(super) role: Role,
    pub(super) phase: Phase,
    /// The server ran as primary under our lock when it was last seen; it died under our eyes.
    pub(super) died_as_primary: bool,
    pub(super) unlocked_since: Option<Tick>,
    /// Primaries that may not have heard of the end of a pause.
    pub(super) unheard: super::resume::Unheard,
    /// Since when our server may be writable without a lease.
    pub(super) unleased_since: Option<Tick>,
    /// Nobody may be raced before this (a failed pre_promote).
    pub(super) no_race_until: Tick,
    /// When we gave the lock to others, so that we do not start without having seen who took it.
    pub(super) handed_over_at: Option<Tick>,
    pub(super) divergence: Divergence,
    pub(super) followed: Option<Followed>,
    pub(super) first_start_done: bool,
    pub(super) checkpointed: Option<Timeline>,
    pub(super) history_written: Option<Timeline>,
    pub(super) retained: Retained,
    /// Slots are planned again only on a look that saw the last plan carried out.
    pub(super) slots_changed_at: Tick,
    /// Replay is resumed once for each look that shows it paused.
    pub(super) resumed_at: Tick,
    pub(super) failures: Failures,
    pub(super) failsafe: super::failsafe::Failsafe,
    pub(super) sync: super::synchronous::Synchronous,
    pub(super) last_end: Option<super::leader::LastEnd>,
    pub(super) clone_from_leader: bool,
    /// The dynamic configuration that a running primary was last configured with.
    pub(super) configured: Option<Option<Revision>>,
    pub(super) reload_asked: bool,
    pub(super) seen_request: bool,

    // What is being done.
    pub(super) op: Option<Op>,
    pub(super) inflight: BTreeMap<EffectId, InFlight>,
    pub(super) lanes: BTreeMap<Lane, EffectId>,
    /// Lanes whose last effects failed, and until when they rest.
    pub(super) pauses: BTreeMap<Lane, Pause>,
    pub(super) queue: VecDeque<Effect>,
    pub(super) last_id: u64,
    pub(super) timers: Timers,
    pub(super) last_turn: Tick,
    /// After a stall nothing is decided before a linearizable view that began after it.
    pub(super) fresh_after: Option<Tick>,
    pub(super) permission: Option<Tick>,
    pub(super) requests: BTreeMap<RequestId, super::requests::Pending>,
    pub(super) scheduled_restart: Option<Restart>,
    pub(super) shutting_down: bool,
    pub(super) exited: bool,

    // What is said.
    pub(super) decision: Decision,
    pub(super) notes: VecDeque<Note>,
    pub(super) published: Published,
}

/// A view of the store with its age.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub cluster: Arc<Cluster>,
    pub read_at: Tick,
    pub linearizable: bool,
}

/// The role in memory, as published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Uninitialized,
    Replica,
    Promoted,
    Primary,
    Demoted,
}

impl Role {
    pub fn word(self) -> &'static str {
        match self {
            Role::Uninitialized => "uninitialized",
            Role::Replica => "replica",
            Role::Promoted => "promoted",
            Role::Primary => "primary",
            Role::Demoted => "demoted",
        }
    }

    /// The role that callbacks are told.
    pub fn for_callback(self) -> &'static str {
        match self {
            Role::Promoted => "primary",
            other @ (Role::Uninitialized | Role::Replica | Role::Primary | Role::Demoted) => other.word(),
        }
    }

    pub fn is_primary(self) -> bool {
        matches!(self, Role::Primary | Role::Promoted)
    }
}

/// The state of PostgreSQL as published, where it does not follow from the last look alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    #[default]
    AsSeen,
    InitializingCluster,
    InitdbFailed,
    CreatingReplica,
    Starting,
    StartFailed,
    Restarting,
    RestartFailed,
    Stopping,
    Crashed,
}

/// The upstream that the server was last told to follow, and on which timeline's leader.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Followed {
    pub upstream: Option<super::Upstream>,
    pub dynamic: Option<Revision>,
}

/// Consecutive failures, for growing pauses between tries.
#[derive(Clone, Debug, Default)]
pub(super) struct Failures {
    pub start: u32,
    pub clone: u32,
    pub rewind: u32,
    pub compare: u32,
    pub compare_at: Tick,
    pub retry_at: Tick,
}

/// How long a lane rests after failures.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pause {
    failures: u32,
    until: Tick,
}

/// What was last written under our own name, so that nothing is written twice.
#[derive(Clone, Debug, Default)]
pub(super) struct Published {
    pub member: Option<String>,
    pub shown: Option<super::member::Shown>,
    pub member_session: Option<crate::view::Session>,
    pub member_at: Tick,
    pub status: Option<Status>,
    pub failover_cleared: Option<Revision>,
    /// The failsafe topology, and when it was written.
    pub failsafe: Option<(BTreeMap<MemberName, String>, Tick)>,
    pub initialize: bool,
}

/// Something that a person reading the log ought to know, beside the decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub level: NoteLevel,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteLevel {
    Info,
    Warning,
    Error,
}

/// Why an effect was issued: where its outcome goes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Purpose {
    Op,
    Look,
    Load,
    Acquire,
    ReleaseStale,
    Member { text: String },
    Status(Box<Status>),
    ClearFailover,
    Config,
    Initialize,
    History(Timeline),
    HistoryRead(Timeline),
    Ask(MemberName),
    Topology,
    AskPromise { member: MemberName, sent: Tick },
    Inquiry { member: MemberName, sent: Tick },
    Compare,
    LocalEnd,
    OurHistory,
    PostPromoteCheckpoint(Timeline),
    Arm(Option<super::Generation>),
    Slots,
    SyncKey { before: Option<Revision>, after: Box<SyncState> },
    SyncNames(String),
    FailoverRequest(RequestId),
    FailoverCancel(RequestId),
    Unattended,
}

#[derive(Clone, Debug)]
pub(super) struct InFlight {
    pub lane: Lane,
    pub purpose: Purpose,
    /// Counted as stuck when nothing has come by then.
    pub overdue: Tick,
}

/// How much longer than its own deadline an effect may stay silent before the core stops waiting for it.
const OVERDUE_GRACE: Duration = Duration::from_secs(2);
/// A deadline for what is one small request or query.
pub(super) const SHORT: Duration = Duration::from_secs(3);
/// Pauses before a store that did not answer is asked again.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// A bound on the sentences that wait to be logged.
const NOTES_MAX: usize = 64;

impl Ha {
    pub fn new(local: Local) -> Ha {
        let dynamic = Arc::new(Value::Null);
        Ha {
            local: Arc::new(local),
            weaken: Weaken::default(),
            now: Now::default(),
            began: false,
            began_at: Tick::ZERO,
            found: Found::default(),
            view: None,
            old_view: None,
            settings: Arc::new(Settings::default()),
            dynamic,
            dynamic_saved: None,
            server: None,
            changed_at: Tick::ZERO,
            answered_at: Tick::ZERO,
            shut_since: None,
            lease: Lease::default(),
            guard: GuardState::default(),
            armed: None,
            store_last_seen: Wall::default(),
            store_error: None,
            round: None,
            role: Role::Uninitialized,
            phase: Phase::AsSeen,
            died_as_primary: false,
            unlocked_since: None,
            unheard: super::resume::Unheard::default(),
            unleased_since: None,
            no_race_until: Tick::ZERO,
            handed_over_at: None,
            divergence: Divergence::default(),
            followed: None,
            first_start_done: false,
            checkpointed: None,
            history_written: None,
            retained: Retained::default(),
            slots_changed_at: Tick::ZERO,
            resumed_at: Tick::ZERO,
            failures: Failures::default(),
            failsafe: super::failsafe::Failsafe::default(),
            sync: super::synchronous::Synchronous::default(),
            last_end: None,
            clone_from_leader: false,
            configured: None,
            reload_asked: false,
            seen_request: false,
            op: None,
            inflight: BTreeMap::new(),
            lanes: BTreeMap::new(),
            pauses: BTreeMap::new(),
            queue: VecDeque::new(),
            last_id: 0,
            timers: Timers::default(),
            last_turn: Tick::ZERO,
            fresh_after: None,
            permission: None,
            requests: BTreeMap::new(),
            scheduled_restart: None,
            shutting_down: false,
            exited: false,
            decision: Decision::new("starting", "the agent has just begun"),
            notes: VecDeque::new(),
            published: Published::default(),
        }
    }

    /// Takes protections away, for tests that must be seen red.
    pub fn weakened(mut self, weaken: Weaken) -> Ha {
        self.weaken = weaken;
        self
    }

    /// Takes in one event and decides anew.
    pub fn handle(&mut self, event: Event, now: Now) {
        self.enter(now);
        self.take_in(event);
        self.turn();
    }

    /// Decides anew because a deadline of [`Ha::poll_timeout`] has passed.
    pub fn handle_timeout(&mut self, now: Now) {
        self.enter(now);
        self.turn();
    }

    /// The next effect to carry out, if any.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.queue.pop_front()
    }

    /// When to call [`Ha::handle_timeout`], and for what reason.
    pub fn poll_timeout(&self) -> Option<(Tick, &'static str)> {
        if self.exited {
            return None;
        }
        let overdue = self.inflight.values().map(|f| f.overdue).min().map(|t| (t, "an effect is overdue"));
        self.timers.next().into_iter().chain(overdue).min_by_key(|(at, _)| *at)
    }

    /// Until when the keeper may renew the lease: renewed by every turn, so that nobody keeps a lease alive
    /// under an agent that no longer decides.
    pub fn permission(&self) -> Option<Tick> {
        self.permission
    }

    /// The next sentence for the log.
    pub fn poll_note(&mut self) -> Option<Note> {
        self.notes.pop_front()
    }

    pub fn last_decision(&self) -> &Decision {
        &self.decision
    }

    /// What the configuration that this member knows says.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub fn snapshot(&self, now: Now) -> Snapshot {
        Snapshot {
            local: self.local.clone(),
            taken_at: now,
            state: self.state_word(),
            role: self.role.word(),
            server: self.server.clone(),
            cluster: self.current_cluster(),
            settings: self.settings.clone(),
            dynamic: self.dynamic.clone(),
            lease: self.lease.clone(),
            decision: self.decision.clone(),
            operation: self.op.as_ref().map(|op| op.kind.word()),
            scheduled_restart: self.scheduled_restart.clone(),
            failsafe_active: self.failsafe_active(),
            failsafe_topology: self.cluster().and_then(|c| c.failsafe.clone()),
            store_last_seen: self.store_last_seen,
            next_turn: self.poll_timeout().map(|(at, _)| at),
            member: self.member_data(),
            position: self.row().map(Row::position).unwrap_or_default(),
            guard: GuardState { armed: self.armed.is_some(), ..self.guard.clone() },
            watchdog_failed: false,
        }
    }

    // ---- taking in

    /// A pause of more than `ttl/4` beyond the heartbeat that should have come: what was decided before may
    /// stand on a world that is gone.
    fn enter(&mut self, now: Now) {
        self.now = now;
        let pause = now.boot.since(self.last_turn);
        let looks_back = !self.weaken.has(Weakness::ActAfterStall);
        if looks_back && self.last_turn != Tick::ZERO && pause > self.heartbeat() + self.settings.ttl / 4 {
            self.stalled(pause);
        }
        self.last_turn = now.boot;
    }

    fn stalled(&mut self, pause: Duration) {
        self.note(
            NoteLevel::Warning,
            format!("nothing was decided for {} ms: looking again before acting", pause.as_millis()),
        );
        for effect in std::mem::take(&mut self.queue) {
            let purpose = self.inflight.get(&effect.id).map(|f| f.purpose.clone());
            match purpose {
                // Answers, notes and the end itself stand on no view.
                None | Some(Purpose::Unattended) => self.queue.push_back(effect),
                Some(purpose) => {
                    self.inflight.remove(&effect.id);
                    self.lanes.retain(|_, id| *id != effect.id);
                    match (&purpose, &mut self.op) {
                        (Purpose::Op, Some(op)) => op.dropped(effect.id),
                        (_, _) => self.ended(effect.id, purpose, Err(Failure::Cancelled)),
                    }
                }
            }
        }
        self.round = None;
        self.fresh_after = Some(self.now.boot);
    }

    fn take_in(&mut self, event: Event) {
        match event {
            Event::Began(found) => self.begin(found),
            Event::View { cluster, read_at, linearizable } => self.see(cluster, read_at, linearizable),
            Event::StoreLost(why) => {
                if self.store_error.is_none() {
                    self.note(NoteLevel::Warning, format!("the store does not answer: {why}"));
                }
                self.store_error = Some(why);
            }
            Event::Lease(lease) => self.leased(lease),
            Event::PostmasterExited { pid, status } => self.postmaster_exited(pid, &status),
            Event::Guard(news) => self.guard_news(news),
            Event::Request(id, request) => self.request(id, request),
            Event::Done { id, outcome } => self.done(id, outcome),
            Event::Freed { id } => self.lanes.retain(|_, held| *held != id),
            Event::Configured(local) => {
                self.local = Arc::new(*local);
                self.followed = None;
                self.reload_asked = true;
            }
        }
    }

    fn begin(&mut self, found: Found) {
        self.began = true;
        self.began_at = self.now.boot;
        self.armed = found.armed;
        if found.armed.is_some() {
            self.failsafe.found_leading();
        }
        if let Some(dynamic) = &found.dynamic {
            self.settings = Arc::new(Settings::from_value(dynamic));
            self.dynamic = Arc::new(dynamic.clone());
        } else if !self.local.bootstrap_dcs.is_null() {
            self.settings = Arc::new(Settings::from_value(&self.local.bootstrap_dcs));
            self.dynamic = Arc::new(self.local.bootstrap_dcs.clone());
        }
        self.found = found;
        self.answered_at = self.now.boot;
        self.divergence.suspect();
        self.fresh_after = Some(self.now.boot);
    }

    fn see(&mut self, cluster: Arc<Cluster>, read_at: Tick, linearizable: bool) {
        self.store_error = None;
        self.store_last_seen = self.now.wall;
        if linearizable && self.fresh_after.is_some_and(|after| read_at >= after) {
            self.fresh_after = None;
        }
        if self.view.as_ref().is_some_and(|seen| seen.read_at > read_at) {
            return;
        }
        if let Some(config) = &cluster.config
            && config.value.as_object().is_some_and(|o| !o.is_empty())
            && self.dynamic_saved.as_ref() != Some(&config.revision)
        {
            self.adopt_dynamic(&config.value, config.revision.clone());
        }
        self.note_who_has_heard(&cluster);
        if let Some(leader) = &cluster.leader {
            if leader.name != self.local.name {
                self.handed_over_at = None;
            }
            self.old_view = Some(cluster.clone());
            self.unlocked_since = None;
        } else if self.unlocked_since.is_none() {
            self.unlocked_since = Some(self.now.boot);
        }
        self.view = Some(Seen { cluster, read_at, linearizable });
        self.switchover_progress();
    }

    fn adopt_dynamic(&mut self, value: &Value, revision: Revision) {
        let old = self.settings.clone();
        self.settings = Arc::new(Settings::from_value(value));
        self.dynamic = Arc::new(value.clone());
        self.dynamic_saved = Some(revision);
        if old.failsafe_mode && !self.settings.failsafe_mode {
            self.failsafe.switched_off(self.now.boot);
        }
        if old.pause && !self.settings.pause {
            if !self.divergence.must() {
                self.divergence = Divergence::default();
            }
            self.followed = None;
        }
        let config = self.dynamic.clone();
        if self.has_data() {
            self.fire(
                Lane::Callback(super::CallbackLane::Reload),
                Act::SaveDynamic { config },
                SHORT,
                Purpose::Unattended,
            );
        }
    }

    fn leased(&mut self, lease: Lease) {
        let held = lease.lock.is_some();
        if held != self.lease.lock.is_some() {
            self.published.status = None;
            self.sync_lock_ended();
        }
        self.lease = lease;
        match self.lease.lock.as_ref().map(|lock| lock.soft) {
            Some(soft) => self.timers.set(Timer::Soft, soft),
            None => self.timers.clear(Timer::Soft),
        }
    }

    fn postmaster_exited(&mut self, pid: u32, status: &str) {
        let Some(server) = self.server.clone() else { return };
        let Process::Running { pid: known, .. } = server.process else { return };
        if known != pid {
            return;
        }
        let expected = self.op.as_ref().is_some_and(Op::stops_server);
        if !expected {
            self.note(NoteLevel::Error, format!("the postmaster (pid {pid}) ended by itself: {status}"));
            self.phase = Phase::Crashed;
        }
        self.died_as_primary = !expected && self.role.is_primary() && self.lease.lock.is_some();
        self.armed = None;
        // Whether backends are left is what a fence finds out; until then nothing says that it is stopped.
        self.server_changed(|server| {
            server.process = Process::Leftovers;
            server.row = None;
        });
        if !expected {
            self.timers.set(Timer::Look, self.now.boot);
        }
    }

    fn guard_news(&mut self, news: GuardNews) {
        match news {
            GuardNews::ClosedAtSoft => {
                self.guard.last = Some("closed at soft");
                self.note(NoteLevel::Error, "the lease ran out: the guard has begun a fast shutdown");
            }
            GuardNews::KilledAtHard => {
                self.guard.last = Some("killed at hard");
                self.note(
                    NoteLevel::Error,
                    "the fast shutdown did not end before the lease did: the guard killed the server; rows \
                     acknowledged in its last moments may not have reached a standby",
                );
            }
            GuardNews::Died => {
                self.guard.last = Some("died");
                self.armed = None;
                self.note(NoteLevel::Error, "the guard died, and with it its postmaster");
            }
            GuardNews::Adopted(adopted) => self.guard.adopted = adopted,
        }
        self.timers.set(Timer::Look, self.now.boot);
    }

    /// Routes the end of an effect to whoever issued it.
    fn done(&mut self, id: EffectId, outcome: Outcome) {
        let Some(flight) = self.inflight.remove(&id) else {
            // Given up before. One that is stuck still works, and keeps its lane until it is freed.
            if outcome != Err(Failure::Stuck) {
                self.lanes.retain(|_, held| *held != id);
            }
            return;
        };
        if outcome != Err(Failure::Stuck) {
            self.lanes.retain(|_, held| *held != id);
        }
        self.pace(flight.lane, &outcome);
        self.ended(id, flight.purpose, outcome);
    }

    /// Whoever did not answer is asked again after a growing pause.
    fn pace(&mut self, lane: Lane, outcome: &Outcome) {
        match (&lane, outcome) {
            (
                Lane::Load
                | Lane::Member
                | Lane::Store
                | Lane::Lock
                | Lane::Arm
                | Lane::Sql
                | Lane::Archive
                | Lane::Fence,
                Err(_),
            )
            | (
                Lane::Member | Lane::Store,
                Ok(Yield::Wrote(crate::view::Written::Conflict | crate::view::Written::SessionGone)),
            ) => {
                let pause = self.pauses.entry(lane).or_default();
                pause.failures += 1;
                let wait = PAUSE_FIRST * 2u32.pow((pause.failures - 1).min(5));
                pause.until = self.now.boot + wait.min(PAUSE_MAX);
            }
            (_, _) => _ = self.pauses.remove(&lane),
        }
    }

    pub(super) fn ended(&mut self, id: EffectId, purpose: Purpose, outcome: Outcome) {
        match purpose {
            Purpose::Op => {
                if let Some(op) = &mut self.op {
                    op.outcome(id, outcome);
                }
            }
            Purpose::Look => self.looked(outcome),
            Purpose::Load => {
                if let Err(failure) = outcome {
                    self.store_error = Some(failure.to_string());
                }
            }
            Purpose::Acquire => self.acquired(outcome),
            Purpose::ReleaseStale | Purpose::Unattended => {}
            Purpose::Member { text } => {
                if matches!(outcome, Ok(Yield::Wrote(crate::view::Written::Done { .. }))) {
                    self.published.member = Some(text);
                }
            }
            Purpose::Status(status) => {
                if matches!(outcome, Ok(Yield::Wrote(crate::view::Written::Done { .. }))) {
                    self.published.status = Some(*status);
                }
            }
            Purpose::Config => {}
            Purpose::ClearFailover => {
                if !matches!(outcome, Ok(Yield::Wrote(crate::view::Written::Done { .. }))) {
                    self.published.failover_cleared = None;
                }
            }
            Purpose::Initialize => self.published.initialize = false,
            Purpose::History(timeline) => {
                if !matches!(outcome, Ok(Yield::Wrote(crate::view::Written::Done { .. }))) {
                    self.history_written = None;
                } else {
                    self.history_written = Some(timeline);
                }
            }
            Purpose::HistoryRead(timeline) => self.history_read(timeline, outcome),
            Purpose::Ask(name) => self.asked(name, outcome),
            Purpose::Topology => self.topology_written(&outcome),
            Purpose::AskPromise { member, sent } => self.promise_answered(member, sent, outcome),
            Purpose::Inquiry { member, sent } => self.inquiry_answered(member, sent, outcome),
            Purpose::Compare => self.compared(outcome),
            Purpose::LocalEnd => self.local_end_found(outcome),
            Purpose::OurHistory => self.our_history_read(outcome),
            Purpose::PostPromoteCheckpoint(timeline) => {
                self.checkpointed = outcome.is_ok().then_some(timeline);
            }
            Purpose::Arm(armed) => {
                if outcome.is_ok() {
                    self.armed = armed;
                }
            }
            Purpose::Slots => self.slots_changed_at = self.now.boot,
            Purpose::SyncKey { before, after } => self.sync_key_written(before, *after, outcome),
            Purpose::SyncNames(text) => self.names_put(text, outcome),
            Purpose::FailoverRequest(request) => self.failover_written(request, outcome),
            Purpose::FailoverCancel(request) => self.failover_cancelled(request, outcome),
        }
    }

    fn looked(&mut self, outcome: Outcome) {
        let server = match outcome {
            Ok(Yield::Looked(server)) => *server,
            Ok(_) => return,
            Err(failure) => {
                self.note(NoteLevel::Warning, format!("could not look at our own server: {failure}"));
                self.timers.set(Timer::Look, self.now.boot + Duration::from_secs(1));
                return self.unseen(failure.to_string());
            }
        };
        if server.looked_at < self.changed_at {
            // It shows the server as it was before something that we know of.
            return self.look();
        }
        if server.row.is_some() {
            self.answered_at = self.now.boot;
        }
        match server.fresh {
            Some(false) => _ = self.shut_since.get_or_insert(self.now.boot),
            Some(true) => self.shut_since = None,
            None if !server.process.is_running() => self.shut_since = None,
            None => {}
        }
        if !server.process.is_running() && self.phase == Phase::AsSeen && self.role.is_primary() && self.op.is_none() {
            self.phase = Phase::Crashed;
            self.died_as_primary = self.lease.lock.is_some();
        }
        self.server = Some(Arc::new(server));
        self.role_as_seen();
    }

    /// A look that did not end is no answer of the server.
    fn unseen(&mut self, why: String) {
        if let Some(server) = &mut self.server {
            let server = Arc::make_mut(server);
            server.row = None;
            server.silent = Some(why);
        }
    }

    /// What is known of the server was true before this moment: looks that began earlier do not count.
    pub(super) fn server_changed(&mut self, change: impl FnOnce(&mut Server)) {
        self.changed_at = self.now.boot;
        if let Some(server) = &mut self.server {
            change(Arc::make_mut(server));
        }
    }

    /// Keeps the role in memory in step with what the server is.
    fn role_as_seen(&mut self) {
        let Some(server) = &self.server else { return };
        if let Some(row) = &server.row {
            self.role = match (row.in_recovery, self.role) {
                (false, _) => Role::Primary,
                (true, Role::Promoted) if self.promoting() => Role::Promoted,
                (true, _) => Role::Replica,
            };
            if self.op.is_none() {
                self.phase = Phase::AsSeen;
            }
        } else if matches!(server.data, DataDir::Empty) && self.op.is_none() {
            self.role = Role::Uninitialized;
        }
    }

    // ---- a turn

    fn turn(&mut self) {
        if !self.began || self.exited {
            return;
        }
        self.permission = Some(self.now.boot + self.settings.ttl);
        self.timers.set(Timer::Heartbeat, self.now.boot + self.heartbeat());
        self.overdue();
        let routine = self.timers.fired(Timer::Routine, self.now.boot);
        if routine {
            self.timers.set(Timer::Routine, self.now.boot + self.settings.loop_wait);
        }
        if self.timers.fired(Timer::Look, self.now.boot) || routine {
            self.look();
        }
        if !self.timers.is_set(Timer::Routine) {
            self.timers.set(Timer::Routine, self.now.boot + self.settings.loop_wait);
            self.look();
        }
        for timer in
            [Timer::Again, Timer::Race, Timer::Retry, Timer::Soft, Timer::Step, Timer::Scheduled, Timer::Failsafe]
        {
            self.timers.fired(timer, self.now.boot);
        }
        if self.fresh_after.is_some() {
            self.load();
        }
        self.failsafe_turn();
        self.progress();
        self.keep_armed();
        self.background();
        self.expire_requests();
    }

    /// Operations and rules, in turn, until both rest.
    fn progress(&mut self) {
        const ROUNDS_MAX: usize = 8;
        for _ in 0..ROUNDS_MAX {
            if self.op.is_some() {
                self.op_advance();
                if self.exited {
                    return;
                }
                if let Some(op) = &self.op {
                    self.decision = op.decision();
                    return;
                }
            }
            let decision = self.cycle();
            self.decision = decision;
            if self.op.is_none() {
                return;
            }
        }
    }

    /// Effects whose `Done` never came count as stuck. The lanes of mere questions open again; what works on
    /// the data directory keeps its lane until it has really ended.
    fn overdue(&mut self) {
        let late: Vec<EffectId> =
            self.inflight.iter().filter(|(_, f)| f.overdue <= self.now.boot).map(|(id, _)| *id).collect();
        for id in late {
            let Some(flight) = self.inflight.remove(&id) else { continue };
            let question = match flight.lane {
                Lane::Server | Lane::Arm | Lane::Fence | Lane::Sql | Lane::Archive | Lane::Callback(_) => false,
                Lane::Lock
                | Lane::Look
                | Lane::Store
                | Lane::Member
                | Lane::Request(_)
                | Lane::Load
                | Lane::Peer(_) => true,
            };
            if question {
                self.lanes.retain(|_, held| *held != id);
            }
            self.ended(id, flight.purpose, Err(Failure::Stuck));
        }
    }

    // ---- issuing

    /// Issues an effect unless its lane is taken.
    pub(super) fn issue(&mut self, lane: Lane, act: Act, deadline: Duration, purpose: Purpose) -> Option<EffectId> {
        if self.exited || self.lanes.contains_key(&lane) {
            return None;
        }
        if let Some(pause) = self.pauses.get(&lane)
            && self.now.boot < pause.until
        {
            self.timers.set_earlier(Timer::Again, pause.until);
            return None;
        }
        self.last_id += 1;
        let id = EffectId(self.last_id);
        self.lanes.insert(lane.clone(), id);
        let overdue = self.now.boot + deadline + OVERDUE_GRACE;
        self.inflight.insert(id, InFlight { lane: lane.clone(), purpose, overdue });
        self.queue.push_back(Effect { id, lane, deadline, act });
        Some(id)
    }

    /// Issues an effect that needs no lane of its own: replies, callbacks (which replace one another), exit.
    pub(super) fn fire(&mut self, lane: Lane, act: Act, deadline: Duration, purpose: Purpose) {
        self.last_id += 1;
        let id = EffectId(self.last_id);
        let overdue = self.now.boot + deadline + OVERDUE_GRACE;
        self.inflight.insert(id, InFlight { lane: lane.clone(), purpose, overdue });
        self.queue.push_back(Effect { id, lane, deadline, act });
    }

    /// Asks for the end of what an operation that is given up has in hand. Its lane stays closed until then.
    pub(super) fn cancel_op(&mut self) {
        let working: Vec<EffectId> = self
            .inflight
            .iter()
            .filter(|(_, f)| f.purpose == Purpose::Op && f.lane == Lane::Server)
            .map(|(id, _)| *id)
            .collect();
        for effect in working {
            self.fire(Lane::Fence, Act::Cancel { effect }, SHORT, Purpose::Unattended);
        }
        self.op = None;
    }

    pub(super) fn look(&mut self) {
        self.issue(Lane::Look, Act::Look, SHORT, Purpose::Look);
    }

    /// Looks again after `wait`, unless a look comes sooner.
    pub(super) fn look_in(&mut self, wait: Duration) {
        self.timers.set_earlier(Timer::Look, self.now.boot + wait);
    }

    pub(super) fn load(&mut self) {
        let deadline = self.settings.retry_timeout.min(self.settings.ttl / 2);
        self.issue(Lane::Load, Act::Load, deadline, Purpose::Load);
    }

    pub(super) fn note(&mut self, level: NoteLevel, text: impl Into<String>) {
        if self.notes.len() < NOTES_MAX {
            self.notes.push_back(Note { level, text: text.into() });
        }
    }

    pub(super) fn callback(&mut self, action: super::Action) {
        let lane = match action {
            super::Action::OnReload => super::CallbackLane::Reload,
            super::Action::OnStart | super::Action::OnStop | super::Action::OnRestart | super::Action::OnRoleChange => {
                super::CallbackLane::Other
            }
        };
        let role = self.role.for_callback();
        // Callbacks have no deadline of ours: the next one of the same lane replaces them.
        const FOR_EVER: Duration = Duration::from_secs(24 * 3600);
        self.fire(Lane::Callback(lane), Act::Callback { action, role }, FOR_EVER, Purpose::Unattended);
    }

    // ---- reading

    pub(super) fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.view.as_ref().map(|seen| &seen.cluster)
    }

    /// The view while it is younger than `ttl`.
    fn current_cluster(&self) -> Option<Arc<Cluster>> {
        let seen = self.view.as_ref()?;
        let lost = self.store_error.is_some() && self.now.boot.since(seen.read_at) > self.settings.ttl;
        (!lost).then(|| seen.cluster.clone())
    }

    pub(super) fn row(&self) -> Option<&Row> {
        self.server.as_ref()?.row.as_ref()
    }

    pub(super) fn has_data(&self) -> bool {
        self.server.as_ref().is_some_and(|s| matches!(s.data, DataDir::Present(_)))
    }

    pub(super) fn is_running(&self) -> bool {
        self.server.as_ref().is_some_and(|s| s.process.is_running())
    }

    /// The lock, while it may be acted on: not past `soft`.
    pub(super) fn lock(&self) -> Option<&Lock> {
        self.lease.lock.as_ref().filter(|lock| self.now.boot < lock.soft)
    }

    pub(super) fn promoting(&self) -> bool {
        self.op.as_ref().is_some_and(|op| op.kind == super::op::Kind::Promote)
    }

    pub(super) fn paused(&self) -> bool {
        self.settings.pause
    }

    fn heartbeat(&self) -> Duration {
        self.settings.ttl / 8
    }

    pub(super) fn me(&self) -> &MemberName {
        &self.local.name
    }

    pub(super) fn member_data(&self) -> MemberData {
        super::member::data(self)
    }

    pub(super) fn my_position(&self) -> Lsn {
        self.row().map(Row::position).unwrap_or_default()
    }

    /// Members that could answer us: all of this view, of the last one with a leader, and of the failsafe topology,
    /// except ourselves.
    pub(super) fn peers(&self) -> BTreeMap<MemberName, crate::view::Member> {
        let views = [self.old_view.as_ref(), self.cluster()];
        let mut peers = self.topology_peers();
        for cluster in views.into_iter().flatten() {
            peers.extend(cluster.members.iter().map(|(n, m)| (n.clone(), m.clone())));
        }
        peers.remove(self.me());
        peers
    }

    pub(super) fn peer_names(&self, keep: impl Fn(&crate::view::Member) -> bool) -> BTreeSet<MemberName> {
        self.peers().into_values().filter(|m| m.data.api_url().is_some() && keep(m)).map(|m| m.name).collect()
    }
}
