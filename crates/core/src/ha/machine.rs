//! The state of one member, the doors through which it is driven, and the order of a turn: take in what happened,
//! decide, hand out effects.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::Value;

use super::basis::Basis;
use super::divergence::Divergence;
use super::flight::{InFlight, Pause};
use super::note::Note;
use super::op::Op;
use super::peers::Round;
use super::server::{Row, Server};
use super::slots::Retained;
use super::state::{Failures, Followed, Phase, Published, Role, Seen};
use super::timer::{Timer, Timers};
use super::{Decision, Effect, EffectId, Event, Found, GuardState, Lane, Lease, Local, RequestId, Restart, Snapshot};
use crate::view::{Cluster, Revision, Settings};
use crate::{Now, Tick, Timeline, Wall, Weaken};

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
    /// The permanent slots that it names.
    pub(super) permanent: Arc<super::slots::Configured>,
    pub(super) dynamic_saved: Option<Revision>,
    pub(super) server: Option<Arc<Server>>,
    /// When our server last became something else by an effect or event that we know of.
    pub(super) changed_at: Tick,
    /// The last query that our server completed.
    pub(super) answered_at: Tick,
    /// The last look that showed more WAL than the one before.
    pub(super) grew_at: Tick,
    /// Since when fresh connections are not answered although the server runs.
    pub(super) shut_since: Option<Tick>,
    pub(super) lease: Lease,
    /// The newest taking of the lock that the keeper has told of.
    pub(super) lock_told: Option<super::Generation>,
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
    /// The newest timeline that was known when this member decided to lead, or announced one itself.
    pub(super) raced_beside: Option<Timeline>,
    /// When we gave the lock to others, so that we do not start without having seen who took it.
    pub(super) handed_over_at: Option<Tick>,
    pub(super) divergence: Divergence,
    pub(super) followed: Option<Followed>,
    /// The upstream that was found last, and what says that it is the same still.
    pub(super) upstream_made: (Option<Basis>, Option<Followed>),
    pub(super) first_start_done: bool,
    /// Our server came up without a word of the store, and there has been none since.
    pub(super) aside: bool,
    pub(super) checkpointed: Option<Timeline>,
    pub(super) history_written: Option<Timeline>,
    pub(super) retained: Retained,
    pub(super) logical: super::slots::Logical,
    /// Slots are planned again only on a look that saw the last plan carried out.
    pub(super) slots_changed_at: Tick,
    /// What was known when no slot wanted changing.
    pub(super) slots_rest: Option<Basis>,
    /// The slots that ought to be here, and what that was made of.
    pub(super) slots_made: Option<(Basis, Arc<super::slots::Wanted>)>,
    /// Replay is resumed once for each look that shows it paused.
    pub(super) resumed_at: Tick,
    pub(super) failures: Failures,
    pub(super) failsafe: super::failsafe::Failsafe,
    pub(super) sync: super::synchronous::Synchronous,
    pub(super) last_end: Option<super::leader::LastEnd>,
    pub(super) watchdog: super::watchdog::Watchdog,
    pub(super) clone_from_leader: bool,
    pub(super) copies: super::copies::Copies,
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
    pub(super) moments: VecDeque<super::Moment>,
    pub(super) told: super::moment::Told,
    pub(super) published: Published,
}

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
            permanent: Arc::default(),
            dynamic_saved: None,
            server: None,
            changed_at: Tick::ZERO,
            answered_at: Tick::ZERO,
            grew_at: Tick::ZERO,
            shut_since: None,
            lease: Lease::default(),
            lock_told: None,
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
            raced_beside: None,
            handed_over_at: None,
            divergence: Divergence::default(),
            followed: None,
            first_start_done: false,
            aside: false,
            checkpointed: None,
            history_written: None,
            retained: Retained::default(),
            logical: super::slots::Logical::default(),
            slots_changed_at: Tick::ZERO,
            slots_rest: None,
            slots_made: None,
            upstream_made: (None, None),
            resumed_at: Tick::ZERO,
            failures: Failures::default(),
            failsafe: super::failsafe::Failsafe::default(),
            sync: super::synchronous::Synchronous::default(),
            last_end: None,
            watchdog: super::watchdog::Watchdog::default(),
            clone_from_leader: false,
            copies: super::copies::Copies::default(),
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
            moments: VecDeque::new(),
            told: super::moment::Told::default(),
            published: Published::default(),
        }
    }

    /// Takes protections away, for tests that must be seen red.
    pub fn weakened(mut self, weaken: Weaken) -> Ha {
        self.weaken = weaken;
        self
    }

    /// Takes in one event and decides anew, unless nothing depends on what it brings.
    pub fn handle(&mut self, event: Event, now: Now) {
        self.enter(now);
        let news = self.is_news(&event);
        self.take_in(event);
        if news {
            self.turn();
        }
    }

    /// Most views bring only how far servers have come, in a large herd many in a second. To a member at rest that makes
    /// no difference before it looks at its own server again, which it does within `loop_wait`.
    fn is_news(&self, event: &Event) -> bool {
        let Event::View { cluster, .. } = event else { return true };
        let ours = |seen: &Seen| seen.cluster.leader.as_ref().is_some_and(|leader| leader.name == *self.me());
        let rests = |seen: &&Seen| {
            self.op.is_none()
                && self.decision.waiting_for.is_empty()
                && self.store_error.is_none()
                && self.fresh_after.is_none()
                && !self.aside
                && !self.failsafe_active()
                && ours(seen) == self.lock().is_some()
        };
        !self.view.as_ref().filter(rests).is_some_and(|seen| seen.cluster.differs_in_positions(cluster))
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
            coming_up: self.is_coming_up(),
            aside: self.aside,
            scheduled_restart: self.scheduled_restart.clone(),
            failsafe_active: self.failsafe_active(),
            failsafe_topology: self.cluster().and_then(|c| c.failsafe.clone()),
            store_last_seen: self.store_last_seen,
            next_turn: self.poll_timeout().map(|(at, _)| at),
            member: self.member_data(),
            position: self.row().map(Row::position).unwrap_or_default(),
            guard: GuardState { armed: self.armed.is_some(), ..self.guard.clone() },
            watchdog_failed: self.watchdog_failed(),
        }
    }

    fn turn(&mut self) {
        if !self.began || self.exited {
            return;
        }
        self.permission = Some(self.now.boot + self.settings.ttl);
        self.timers.set(Timer::Heartbeat, self.now.boot + self.heartbeat());
        self.overdue();
        let routine = self.timers.fired(Timer::Routine, self.now.boot);
        let looks = self.timers.fired(Timer::Look, self.now.boot);
        if routine || !self.timers.is_set(Timer::Routine) {
            self.timers.set(Timer::Routine, self.now.boot + self.settings.loop_wait);
            self.published.positions_due = self.now.boot;
            self.look();
        } else if looks {
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
        self.watchdog_turn();
        self.background();
        self.expire_requests();
        self.remember_changes();
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
}
