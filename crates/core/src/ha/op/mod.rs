//! Operations: what takes more than one effect. Each is a list of steps; a step is one effect, or waiting
//! for one thing with a deadline.

mod begin;
mod end;
mod stand;
mod stop;

use std::collections::VecDeque;
use std::time::Duration;

use super::machine::Ha;
use super::state::Role;
use super::timer::Timer;
use super::{Action, Aside, Decision, EffectId, Intent, Mode, Outcome, RequestId, Script, Stop, Upstream};
use crate::view::{Revision, Status};
use crate::{SlotName, Tick, Timeline};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bootstrap,
    Start,
    Restart,
    /// The server must not be writable (any longer).
    Close,
    /// Orderly: to give the lock to somebody who has everything.
    HandOver,
    /// Orderly: the primary of what has become a standby cluster.
    DemoteCluster,
    /// The server died and others take over.
    Bequeath,
    Promote,
    Follow,
    Rewind,
    Clone,
    Reinitialize,
    /// A restart of a standby in which logical slots of the leader are put in place.
    CopySlots,
    CleanUp,
    Shutdown,
}

impl Kind {
    /// Whether the server is stopped only to be started again.
    pub fn restarts(self) -> bool {
        matches!(self, Kind::Restart | Kind::CopySlots)
    }

    /// Whether it starts a server that has run before, as what it was.
    pub fn starts_again(self) -> bool {
        matches!(self, Kind::Start | Kind::Restart)
    }

    /// Whether the data directory is about to be another's: no server may come up on it meanwhile.
    pub fn replaces_data(self) -> bool {
        matches!(self, Kind::Reinitialize | Kind::Rewind)
    }

    pub fn word(self) -> &'static str {
        match self {
            Kind::Bootstrap => "bootstrap",
            Kind::Start => "start",
            Kind::Restart => "restart",
            Kind::Close => "demote",
            Kind::HandOver => "hand over",
            Kind::DemoteCluster => "demotion to a standby cluster",
            Kind::Bequeath => "failover of a dead primary",
            Kind::Promote => "promote",
            Kind::Follow => "follow",
            Kind::Rewind => "pg_rewind",
            Kind::Clone => "clone",
            Kind::Reinitialize => "reinitialize",
            Kind::CopySlots => "copying of logical slots",
            Kind::CleanUp => "clean up",
            Kind::Shutdown => "shutdown",
        }
    }
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// Where a watchdog is required, nothing goes on without it.
    Watchdog,
    Script(Script),
    Checkpoint,
    Stop(Stop, Duration),
    Fence,
    Look,
    EndOfWal,
    /// Wait until a member that may lead has everything that the stopped server has.
    Heir {
        within: Duration,
        required: bool,
    },
    Release,
    Member,
    Role(Role),
    Configure(Mode),
    /// Reload, or restart where `Configure` said that only that takes effect.
    Apply,
    Launch(Starting),
    Accept(Duration),
    /// Wait for a reading of the store that began after this step did: whoever led before may have written
    /// what the view on which the lock was taken does not show (fault-scenarios F6).
    Reading,
    /// Take a number for the new timeline, by that reading; or find that this member must not lead after all.
    Number,
    /// Settle who may succeed and who is waited for, before anything can be committed (synchronous modes).
    Succession,
    /// Nothing was promoted: who might have succeeded before may succeed again.
    Retract,
    /// Ask the leader to wait for others instead of us (synchronous modes).
    LeaveSync,
    /// Numbers of timelines that others have opened are not opened again.
    Reserve {
        above: Timeline,
        up_to: Timeline,
    },
    /// Which timeline is about to be opened, in the store before it is: whoever leads next opens another one,
    /// even when this member dies before anything else of it is known.
    Announce(Box<Status>),
    Promote,
    Intend(Intent),
    Settle,
    PutAside(Aside),
    Clone {
        source: Option<Upstream>,
        basebackup_only: bool,
    },
    SingleUser,
    ArchivePending,
    ArchiveShutdown,
    Rewind(Upstream),
    InstallSlots(Vec<SlotName>),
    Initdb,
    PostBootstrap,
    ClaimInitialize,
    PublishInitialize,
    PublishConfig,
    DropInitialize(Revision),
    Callback(Action),
    Exit(i32, String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Starting {
    Standby,
    /// Under the lock that is held at that moment.
    Primary,
    Bootstrap,
}

#[derive(Debug)]
pub(super) struct Op {
    pub kind: Kind,
    pub because: String,
    steps: VecDeque<Step>,
    doing: Option<Doing>,
    pub request: Option<RequestId>,
    /// `Configure` said that the change needs a restart (or nothing at all).
    needs: Needs,
    initialize: Option<Revision>,
    /// The step that failed was not tried at all.
    pub refused: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    Nothing,
    Reload,
    Restart,
}

#[derive(Debug)]
struct Doing {
    step: Step,
    since: Tick,
    effect: Option<EffectId>,
    outcome: Option<Outcome>,
    /// When a waiting step gives up.
    until: Option<Tick>,
    /// How often a stop has been escalated.
    escalated: u8,
    /// Since when the server has been seen with its shutdown checkpoint written.
    checkpointed: Option<Tick>,
}

/// How a step stands.
pub(super) enum Stand {
    Over,
    Waiting,
    Failed(String),
}

/// A fast stop that nobody may bound: only the lease does.
pub(super) const UNLIMITED: Duration = Duration::from_secs(365 * 24 * 3600);
const FENCE: Duration = Duration::from_secs(60);
/// How often a starting server is looked at.
const START_POLL: Duration = Duration::from_millis(50);

impl Op {
    pub fn new(kind: Kind, because: impl Into<String>, steps: impl IntoIterator<Item = Step>) -> Op {
        Op {
            kind,
            because: because.into(),
            steps: steps.into_iter().collect(),
            doing: None,
            request: None,
            needs: Needs::Reload,
            initialize: None,
            refused: false,
        }
    }

    pub fn for_request(mut self, request: Option<RequestId>) -> Op {
        self.request = request;
        self
    }

    /// Whether the end of the postmaster is what this operation wants.
    pub fn stops_server(&self) -> bool {
        self.doing.as_ref().is_some_and(|d| matches!(d.step, Step::Stop(..) | Step::Fence | Step::Apply))
    }

    pub fn outcome(&mut self, id: EffectId, outcome: Outcome) {
        if let Some(doing) = &mut self.doing
            && doing.effect == Some(id)
        {
            doing.outcome = Some(outcome);
        }
    }

    /// An effect that had not been handed out was dropped: the step begins again.
    pub fn dropped(&mut self, id: EffectId) {
        if let Some(doing) = self.doing.take_if(|d| d.effect == Some(id)) {
            self.steps.push_front(doing.step);
        }
    }

    pub fn decision(&self) -> Decision {
        let state = match self.kind {
            Kind::Bootstrap => "trying to bootstrap a new cluster".to_owned(),
            Kind::Rewind => "running pg_rewind".to_owned(),
            other => format!("{} in progress", other.word()),
        };
        let waiting = self.doing.as_ref().map_or("", |d| d.step.waits_for());
        Decision::new(state, self.because.clone()).waiting(waiting)
    }
}

impl Step {
    fn waits_for(&self) -> &'static str {
        match self {
            Step::Script(Script::PrePromote) => "the pre_promote script",
            Step::Script(Script::BeforeStop) => "the before_stop script",
            Step::Watchdog => "the watchdog",
            Step::Checkpoint => "a checkpoint",
            Step::Stop(Stop::Fast, _) => "the fast shutdown",
            Step::Stop(Stop::Immediate, _) => "the immediate shutdown",
            Step::Fence => "the last process of the data directory",
            Step::Look => "a look at the data directory",
            Step::EndOfWal => "the end of the WAL",
            Step::Heir { .. } => "a member that has the last record",
            Step::Release => "the release of the leader lock",
            Step::Member => "the member key",
            Step::Role(_) | Step::Callback(_) => "",
            Step::Configure(_) => "the configuration files",
            Step::Apply => "the new configuration to take effect",
            Step::Launch(_) => "the postmaster",
            Step::Accept(_) => "the server to accept connections",
            Step::Reading | Step::Number => "a reading of the store",
            Step::Succession | Step::Retract => "the synchronous state to be settled",
            Step::LeaveSync => "the leader to wait for other standbys",
            Step::Reserve { .. } => "a note of the timelines that are taken",
            Step::Announce(_) => "the store to know of the new timeline",
            Step::Promote => "the end of recovery",
            Step::Intend(_) | Step::Settle => "the note of intent",
            Step::PutAside(_) => "the data directory to be put aside",
            Step::Clone { .. } => "the copy",
            Step::SingleUser => "crash recovery in single-user mode",
            Step::ArchivePending => "finished WAL segments to be archived",
            Step::ArchiveShutdown => "the last WAL segment to be archived",
            Step::Rewind(_) => "pg_rewind",
            Step::InstallSlots(_) => "the logical slots to be put in place",
            Step::Initdb => "initdb",
            Step::PostBootstrap => "roles and post_bootstrap",
            Step::ClaimInitialize | Step::PublishInitialize | Step::PublishConfig | Step::DropInitialize(_) => {
                "the store"
            }
            Step::Exit(..) => "the end",
        }
    }
}

impl Ha {
    pub(super) fn begin_op(&mut self, op: Op) {
        self.sync.leaving = None;
        self.op = Some(op);
    }

    /// Drives the running operation as far as it goes.
    pub(super) fn op_advance(&mut self) {
        while let Some(mut op) = self.op.take() {
            if self.op_is_void(&op) {
                self.op_voided(op);
                return;
            }
            if op.doing.is_none() {
                let waits = !matches!(op.kind, Kind::Close | Kind::Shutdown);
                if self.fresh_after.is_some() && waits {
                    self.op = Some(op);
                    return;
                }
                let Some(step) = op.steps.pop_front() else {
                    self.op_over(op);
                    continue;
                };
                let until = None;
                let since = self.now.boot;
                op.doing =
                    Some(Doing { step, since, effect: None, outcome: None, until, escalated: 0, checkpointed: None });
                self.step_begins(&mut op);
            }
            match self.step_stands(&mut op) {
                Stand::Over => {
                    op.doing = None;
                    self.op = Some(op);
                }
                Stand::Waiting => {
                    let until = op.doing.as_ref().and_then(|d| d.until);
                    match until {
                        Some(at) => self.timers.set(Timer::Step, at),
                        None => self.timers.clear(Timer::Step),
                    }
                    self.op = Some(op);
                    return;
                }
                Stand::Failed(why) => self.op_failed(op, &why),
            }
        }
    }

    /// An operation that needs the lock is void without it.
    fn op_is_void(&self, op: &Op) -> bool {
        let needs_lock = match op.kind {
            Kind::Promote | Kind::HandOver => true,
            Kind::DemoteCluster => self.may_write(),
            Kind::Start | Kind::Restart => {
                op.steps.contains(&Step::Launch(Starting::Primary))
                    || op.doing.as_ref().is_some_and(|d| d.step == Step::Launch(Starting::Primary))
                    || (self.role.is_primary() && self.is_running())
            }
            Kind::Bootstrap
            | Kind::Close
            | Kind::Bequeath
            | Kind::Follow
            | Kind::Rewind
            | Kind::Clone
            | Kind::Reinitialize
            | Kind::CopySlots
            | Kind::CleanUp
            | Kind::Shutdown => false,
        };
        let released = matches!(&op.doing, Some(d) if d.step == Step::Release) || !op.holds_lock_ahead();
        needs_lock && !self.paused() && self.lock().is_none() && !released
    }
}

impl Op {
    /// Whether a step that needs the lock is still to come.
    fn holds_lock_ahead(&self) -> bool {
        match self.kind {
            Kind::HandOver => self.steps.contains(&Step::Release),
            Kind::Promote | Kind::Start | Kind::Restart | Kind::DemoteCluster => true,
            Kind::Bootstrap
            | Kind::Close
            | Kind::Bequeath
            | Kind::Follow
            | Kind::Rewind
            | Kind::Clone
            | Kind::Reinitialize
            | Kind::CopySlots
            | Kind::CleanUp
            | Kind::Shutdown => false,
        }
    }

    /// Whether the step that is being done is such a one.
    fn was_at(&self, is: impl Fn(&Step) -> bool) -> bool {
        self.doing.as_ref().is_some_and(|d| is(&d.step))
    }

    /// Whether such a step has been begun.
    fn is_past(&self, is: impl Fn(&Step) -> bool) -> bool {
        !self.steps.iter().any(is)
    }

    pub(super) fn took_part_in_promotion(&self) -> bool {
        self.doing.as_ref().is_some_and(|d| d.step == Step::Promote)
    }

    pub(super) fn failed_in_script(&self) -> bool {
        self.doing.as_ref().is_some_and(|d| matches!(d.step, Step::Script(Script::PrePromote)))
    }
}

impl Step {
    /// Whether the step is carried out by an effect (and not by waiting or by the core itself).
    fn is_effect(&self, needs: Needs) -> bool {
        match self {
            Step::Heir { .. }
            | Step::Reading
            | Step::Number
            | Step::Succession
            | Step::Retract
            | Step::LeaveSync
            | Step::Accept(_)
            | Step::Role(_)
            | Step::Callback(_)
            | Step::Exit(..) => false,
            Step::Apply => needs == Needs::Reload,
            Step::Watchdog
            | Step::Script(_)
            | Step::Checkpoint
            | Step::Stop(..)
            | Step::Fence
            | Step::Look
            | Step::EndOfWal
            | Step::Release
            | Step::Member
            | Step::Configure(_)
            | Step::Launch(_)
            | Step::Reserve { .. }
            | Step::Announce(_)
            | Step::Promote
            | Step::Intend(_)
            | Step::Settle
            | Step::PutAside(_)
            | Step::Clone { .. }
            | Step::SingleUser
            | Step::ArchivePending
            | Step::ArchiveShutdown
            | Step::Rewind(_)
            | Step::InstallSlots(_)
            | Step::Initdb
            | Step::PostBootstrap
            | Step::ClaimInitialize
            | Step::PublishInitialize
            | Step::PublishConfig
            | Step::DropInitialize(_) => true,
        }
    }
}
