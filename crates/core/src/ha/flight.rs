//! Effects on their way: how one is issued, what becomes of its lane, and where its outcome goes.
//!
//! Two effects of one lane never overlap. A lane opens when its effect has really ended; an effect that is given up
//! ([`Failure::Stuck`]) keeps its lane closed until [`super::Event::Freed`] or a late `Done` says that its work is over.
//! A lane whose effects fail rests for growing pauses, so that a store that answers every request at once with an error
//! is not asked a thousand times a second.

use std::time::Duration;

use super::machine::Ha;
use super::timer::Timer;
use super::{Act, Action, CallbackLane, Effect, EffectId, Failure, Generation, Lane, Outcome, RequestId, Yield};
use crate::view::{Revision, Status, SyncState, Written};
use crate::{MemberName, Tick, Timeline};

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
    Arm(Option<Generation>),
    Slots,
    LogicalSlots,
    Horizon,
    FetchSlots,
    SyncKey { before: Option<Revision>, after: Box<SyncState> },
    SyncNames(String),
    FailoverRequest(RequestId),
    FailoverCancel(RequestId),
    Copies,
    OpenWatchdog(u32),
    CloseWatchdog,
    TryWatchdog,
    Unattended,
}

#[derive(Clone, Debug)]
pub(super) struct InFlight {
    pub lane: Lane,
    pub purpose: Purpose,
    /// Counted as stuck when nothing has come by then.
    pub overdue: Tick,
}

/// How long a lane rests after failures.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pause {
    failures: u32,
    until: Tick,
}

/// How much longer than its own deadline an effect may stay silent before the core stops waiting for it.
const OVERDUE_GRACE: Duration = Duration::from_secs(2);
/// A deadline for what is one small request or query.
pub(super) const SHORT: Duration = Duration::from_secs(3);
/// Pauses before a store that did not answer is asked again.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
impl Ha {
    /// Whether an effect of this lane could begin now.
    pub(super) fn is_open(&mut self, lane: &Lane) -> bool {
        if self.exited || self.lanes.contains_key(lane) {
            return false;
        }
        let rests_until = self.pauses.get(lane).map(|pause| pause.until).filter(|until| self.now.boot < *until);
        if let Some(until) = rests_until {
            self.timers.set_earlier(Timer::Again, until);
        }
        rests_until.is_none()
    }

    /// Issues an effect unless its lane is taken.
    pub(super) fn issue(&mut self, lane: Lane, act: Act, deadline: Duration, purpose: Purpose) -> Option<EffectId> {
        if !self.is_open(&lane) {
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

    pub(super) fn callback(&mut self, action: Action) {
        let lane = match action {
            Action::OnReload => CallbackLane::Reload,
            Action::OnStart | Action::OnStop | Action::OnRestart | Action::OnRoleChange => CallbackLane::Other,
        };
        let role = self.role.for_callback();
        // Callbacks have no deadline of ours: the next one of the same lane replaces them.
        const FOR_EVER: Duration = Duration::from_secs(24 * 3600);
        self.fire(Lane::Callback(lane), Act::Callback { action, role }, FOR_EVER, Purpose::Unattended);
    }

    /// Routes the end of an effect to whoever issued it.
    pub(super) fn done(&mut self, id: EffectId, outcome: Outcome) {
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
                | Lane::Slots
                | Lane::Archive
                | Lane::Fence
                | Lane::Watchdog,
                Err(_),
            )
            | (Lane::Member | Lane::Store, Ok(Yield::Wrote(Written::Conflict | Written::SessionGone))) => {
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
                if matches!(outcome, Ok(Yield::Wrote(Written::Done { .. }))) {
                    self.published.member = Some(text);
                }
            }
            Purpose::Status(status) => {
                if matches!(outcome, Ok(Yield::Wrote(Written::Done { .. }))) {
                    self.published.status = Some(*status);
                }
            }
            Purpose::Config => {}
            Purpose::ClearFailover => {
                if !matches!(outcome, Ok(Yield::Wrote(Written::Done { .. }))) {
                    self.published.failover_cleared = None;
                }
            }
            Purpose::Initialize => self.published.initialize = false,
            Purpose::History(timeline) => {
                if !matches!(outcome, Ok(Yield::Wrote(Written::Done { .. }))) {
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
            Purpose::LogicalSlots => self.logical_worked(outcome),
            Purpose::Horizon => self.horizon_told(outcome),
            Purpose::FetchSlots => self.slots_fetched(outcome),
            Purpose::SyncKey { before, after } => self.sync_key_written(before, *after, outcome),
            Purpose::SyncNames(text) => self.names_put(text, outcome),
            Purpose::FailoverRequest(request) => self.failover_written(request, outcome),
            Purpose::Copies => self.copies_removed(outcome),
            Purpose::OpenWatchdog(seconds) => self.watchdog_opened(seconds, outcome),
            Purpose::CloseWatchdog => self.watchdog_closed(&outcome),
            Purpose::TryWatchdog => self.watchdog_tried(outcome),
            Purpose::FailoverCancel(request) => self.failover_cancelled(request, outcome),
        }
    }

    /// Effects whose `Done` never came count as stuck. The lanes of mere questions open again; what works on
    /// the data directory keeps its lane until it has really ended.
    pub(super) fn overdue(&mut self) {
        let late: Vec<EffectId> =
            self.inflight.iter().filter(|(_, f)| f.overdue <= self.now.boot).map(|(id, _)| *id).collect();
        for id in late {
            let Some(flight) = self.inflight.remove(&id) else { continue };
            if flight.lane.is_question() {
                self.lanes.retain(|_, held| *held != id);
            }
            self.ended(id, flight.purpose, Err(Failure::Stuck));
        }
    }
}
