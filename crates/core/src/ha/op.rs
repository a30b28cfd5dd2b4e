//! Operations: what takes more than one effect. Each is a list of steps; a step is one effect, or waiting
//! for one thing with a deadline.

use std::collections::VecDeque;
use std::time::Duration;

use super::machine::{Ha, NoteLevel, Phase, Purpose, Role, SHORT};
use super::peers::RoundFor;
use super::server::{Accepting, ControlState, DataDir, Process};
use super::timer::Timer;
use super::{
    Act, Action, Aside, Decision, EffectId, Failure, Intent, Lane, LaunchAs, Mode, Outcome, Reply, RequestId, Script,
    Stop, Upstream, Yield,
};
use crate::view::{Condition, Key, Revision, Write, Written};
use crate::{Lsn, Tick, Timeline, Weakness};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bootstrap,
    Start,
    Restart,
    /// The server must not be writable (any longer).
    Close,
    /// Orderly: to give the lock to somebody who has everything.
    HandOver,
    /// The server died and others take over.
    Bequeath,
    Promote,
    Follow,
    Rewind,
    Clone,
    Reinitialize,
    CleanUp,
    Shutdown,
}

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Kind::Bootstrap => "bootstrap",
            Kind::Start => "start",
            Kind::Restart => "restart",
            Kind::Close => "demote",
            Kind::HandOver => "hand over",
            Kind::Bequeath => "failover of a dead primary",
            Kind::Promote => "promote",
            Kind::Follow => "follow",
            Kind::Rewind => "pg_rewind",
            Kind::Clone => "clone",
            Kind::Reinitialize => "reinitialize",
            Kind::CleanUp => "clean up",
            Kind::Shutdown => "shutdown",
        }
    }
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
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
    /// Numbers of timelines that others have opened are not opened again.
    Reserve {
        above: Timeline,
        up_to: Timeline,
    },
    /// Which timeline is about to be opened, in the store before it is: whoever leads next opens another one,
    /// even when this member dies before anything else of it is known.
    Announce(Timeline),
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
    Rewind(Upstream),
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
}

/// How a step stands.
enum Stand {
    Over,
    Waiting,
    Failed(String),
}

/// A fast stop that nobody may bound: only the lease does.
pub(super) const UNLIMITED: Duration = Duration::from_secs(365 * 24 * 3600);
/// How soon an escalation that found its lane taken is tried again.
const LANE_BUSY: Duration = Duration::from_millis(10);
/// How long a server that answers nobody may take to end by SIGQUIT.
const HUNG_STOP: Duration = Duration::from_millis(500);
/// An immediate stop that has not ended by then is ended by SIGKILL.
const IMMEDIATE_STOP: Duration = Duration::from_secs(5);
const CHECKPOINT: Duration = Duration::from_secs(3600);
const PROGRAM: Duration = Duration::from_secs(24 * 3600);
const SCRIPT: Duration = Duration::from_secs(3600);
const FENCE: Duration = Duration::from_secs(60);
const PROMOTE: Duration = Duration::from_secs(300);
/// How long the walk to the end of a dead primary's WAL may take.
const END_OF_WAL: Duration = Duration::from_millis(100);
/// How often a starting server is looked at.
const START_POLL: Duration = Duration::from_millis(50);
/// How often members are asked again whether they have the last record.
const HEIR_POLL: Duration = Duration::from_millis(20);

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
            Step::Reserve { .. } => "a note of the timelines that are taken",
            Step::Announce(_) => "the store to know of the new timeline",
            Step::Promote => "the end of recovery",
            Step::Intend(_) | Step::Settle => "the note of intent",
            Step::PutAside(_) => "the data directory to be put aside",
            Step::Clone { .. } => "the copy",
            Step::SingleUser => "crash recovery in single-user mode",
            Step::ArchivePending => "finished WAL segments to be archived",
            Step::Rewind(_) => "pg_rewind",
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
                op.doing = Some(Doing { step, since, effect: None, outcome: None, until, escalated: 0 });
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
            | Kind::CleanUp
            | Kind::Shutdown => false,
        };
        let released = matches!(&op.doing, Some(d) if d.step == Step::Release) || !op.holds_lock_ahead();
        needs_lock && !self.paused() && self.lock().is_none() && !released
    }

    fn op_voided(&mut self, op: Op) {
        self.note(NoteLevel::Warning, format!("{} is given up: the leader lock is lost", op.kind.word()));
        self.reply_to(op.request, Reply::new(503, format!("{} failed", op.kind.word())));
        self.phase = Phase::AsSeen;
        self.look();
    }

    fn step_begins(&mut self, op: &mut Op) {
        let Some(doing) = &mut op.doing else { return };
        let now = self.now.boot;
        let step = doing.step.clone();
        let (lane, act, deadline) = match step {
            Step::Script(script) => (Lane::Server, Act::Script { script }, SCRIPT),
            Step::Checkpoint => (Lane::Sql, Act::Checkpoint, CHECKPOINT),
            Step::Stop(stop, patience) => {
                self.phase = if op.kind == Kind::Restart { Phase::Restarting } else { Phase::Stopping };
                // A hung server ends by no orderly stop.
                let (stop, patience) = if self.is_hung() { (Stop::Immediate, HUNG_STOP) } else { (stop, patience) };
                doing.until = doing.until.or(Some(now + patience));
                (Lane::Fence, Act::Signal { stop }, SHORT)
            }
            Step::Fence => (Lane::Fence, Act::Fence { kill: true }, FENCE),
            Step::Look => (Lane::Look, Act::Look, SHORT),
            Step::EndOfWal => (Lane::Server, Act::FindEndOfWal, END_OF_WAL),
            Step::Heir { within, .. } => {
                doing.until = Some(now + within);
                self.round = None;
                return;
            }
            Step::Release => (Lane::Lock, Act::Release { status: self.last_status() }, self.settings.ttl),
            Step::Member => {
                self.phase = Phase::AsSeen;
                match self.last_member_write() {
                    Some(write) => (Lane::Member, Act::Write(write), SHORT),
                    None => {
                        doing.outcome = Some(Ok(Yield::Done));
                        return;
                    }
                }
            }
            Step::Role(role) => {
                self.role = role;
                return;
            }
            Step::Configure(mode) => (Lane::Server, Act::Configure { setup: self.setup(mode) }, SHORT * 10),
            Step::Apply => match op.needs {
                Needs::Nothing => return,
                Needs::Reload => {
                    self.callback(Action::OnReload);
                    (Lane::Server, Act::Reload, SHORT)
                }
                Needs::Restart => {
                    let wait = self.start_wait();
                    let again = [
                        Step::Stop(Stop::Fast, UNLIMITED),
                        Step::Fence,
                        Step::Launch(Starting::Standby),
                        Step::Accept(wait),
                    ];
                    for step in again.into_iter().rev() {
                        op.steps.push_front(step);
                    }
                    return;
                }
            },
            Step::Launch(starting) => {
                self.phase = if op.kind == Kind::Restart { Phase::Restarting } else { Phase::Starting };
                match self.launch(starting) {
                    Some(act) => (Lane::Server, act, SHORT * 3),
                    None => {
                        doing.outcome = Some(Err(Failure::Refused("there is no leader lock to start under".into())));
                        return;
                    }
                }
            }
            Step::Accept(wait) => {
                doing.until = Some(now + wait);
                self.look_in(START_POLL);
                return;
            }
            Step::Reading => return self.load(),
            Step::Number => return,
            Step::Promote => match self.lock().map(|l| l.generation) {
                Some(generation) => (Lane::Server, Act::Promote { generation }, PROMOTE),
                None => {
                    doing.outcome = Some(Err(Failure::Refused("there is no leader lock to promote under".into())));
                    return;
                }
            },
            Step::Announce(timeline) => match self.announcement(timeline) {
                Some(write) => (Lane::Store, Act::Write(write), self.settings.ttl.min(SHORT)),
                None => {
                    doing.outcome = Some(Err(Failure::Refused("there is no leader lock to promote under".into())));
                    return;
                }
            },
            Step::Reserve { above, up_to } => (Lane::Server, Act::ReserveTimelines { above, up_to }, SHORT),
            Step::Intend(Intent::Bootstrap { .. }) => {
                let initialize = op.initialize.clone();
                (Lane::Server, Act::Intend { intent: Intent::Bootstrap { initialize } }, SHORT * 3)
            }
            Step::Intend(intent) => (Lane::Server, Act::Intend { intent }, SHORT * 3),
            Step::Settle => (Lane::Server, Act::Settle, SHORT * 3),
            Step::PutAside(suffix) => (Lane::Server, Act::PutAside { suffix }, PROGRAM),
            Step::Clone { source, basebackup_only } => {
                self.phase = Phase::CreatingReplica;
                (Lane::Server, Act::Clone { source, basebackup_only }, PROGRAM)
            }
            Step::SingleUser => (Lane::Server, Act::SingleUser, PROGRAM),
            Step::ArchivePending => (Lane::Archive, Act::ArchivePending, SCRIPT),
            Step::Rewind(source) => (Lane::Server, Act::Rewind { source }, PROGRAM),
            Step::Initdb => {
                self.phase = Phase::InitializingCluster;
                (Lane::Server, Act::Initdb, PROGRAM)
            }
            Step::PostBootstrap => (Lane::Sql, Act::PostBootstrap, SCRIPT),
            Step::ClaimInitialize => {
                // On our session: a claim goes with its owner, and the publication takes it off the session.
                let mut claim = Write::put(Key::Initialize, "").when(Condition::Absent);
                claim.session = self.lease.session.clone();
                (Lane::Store, Act::Write(claim), SHORT)
            }
            Step::PublishInitialize => {
                let Some(id) = self.system_identifier() else {
                    doing.outcome = Some(Err(Failure::Failed("the new server's system identifier is unknown".into())));
                    return;
                };
                let write = Write::put(Key::Initialize, id).when(Condition::as_read(op.initialize.as_ref()));
                (Lane::Store, Act::Write(write), SHORT)
            }
            Step::PublishConfig => {
                let text = crate::view::compact(&self.dynamic);
                let present = self.cluster().is_some_and(|c| c.config.is_some());
                if present || self.dynamic.is_null() {
                    doing.outcome = Some(Ok(Yield::Done));
                    return;
                }
                (Lane::Store, Act::Write(Write::put(Key::Config, text).when(Condition::Absent)), SHORT)
            }
            Step::DropInitialize(revision) => {
                let write = Write::delete(Key::Initialize).when(Condition::Unchanged(revision));
                (Lane::Store, Act::Write(write), SHORT)
            }
            Step::Callback(action) => return self.callback(action),
            Step::Exit(code, why) => {
                self.exited = true;
                self.fire(Lane::Server, Act::Exit { code, why }, SHORT, Purpose::Unattended);
                return;
            }
        };
        doing.effect = self.issue(lane, act, deadline, Purpose::Op);
    }

    /// How the step stands after all that has happened. A step whose lane was taken is begun again.
    fn step_stands(&mut self, op: &mut Op) -> Stand {
        let needs_effect = {
            let Some(doing) = &op.doing else { return Stand::Over };
            doing.effect.is_none() && doing.outcome.is_none() && doing.step.is_effect(op.needs)
        };
        if needs_effect {
            self.step_begins(op);
            let waits = op.doing.as_ref().is_some_and(|d| d.effect.is_none() && d.outcome.is_none());
            if waits && op.doing.as_ref().is_some_and(|d| d.step.is_effect(op.needs)) {
                return if self.skips_while_unanswered(op) { Stand::Over } else { Stand::Waiting };
            }
        }
        let Some(mut doing) = op.doing.take() else { return Stand::Over };
        let stand = match &doing.step {
            Step::Stop(..) => self.stop_stands(&mut doing, op.kind),
            Step::Accept(_) => self.accept_stands(&doing),
            Step::Heir { required, .. } => self.heir_stands(&doing, *required),
            Step::Reading => self.reading_stands(doing.since),
            Step::Number => match self.timeline_to_open() {
                Ok(steps) => {
                    steps.into_iter().rev().for_each(|step| op.steps.push_front(step));
                    Stand::Over
                }
                Err(why) => {
                    op.refused = true;
                    Stand::Failed(why)
                }
            },
            Step::Checkpoint | Step::Script(Script::BeforeStop) if doing.outcome.is_none() && self.is_hung() => {
                Stand::Over
            }
            _ => match doing.outcome.take() {
                // Whether it was published is unknown, and what was made must not be thrown away on a doubt.
                Some(Err(_)) if doing.step == Step::PublishInitialize => {
                    doing.effect = None;
                    Stand::Waiting
                }
                Some(outcome) => self.effect_ended(op, &doing.step, outcome),
                None if doing.effect.is_some() => Stand::Waiting,
                None => Stand::Over,
            },
        };
        op.doing = Some(doing);
        stand
    }

    /// Steps that are a courtesy do not wait for a lane that somebody else has.
    fn skips_while_unanswered(&self, op: &Op) -> bool {
        op.doing.as_ref().is_some_and(|d| matches!(d.step, Step::Checkpoint))
    }

    fn effect_ended(&mut self, op: &mut Op, step: &Step, outcome: Outcome) -> Stand {
        match (step, outcome) {
            (Step::Look, Err(failure)) if op.kind == Kind::HandOver => Stand::Failed(failure.to_string()),
            (Step::Look, outcome) => {
                self.looked_for_op(outcome);
                Stand::Over
            }
            (
                Step::Checkpoint | Step::ArchivePending | Step::Script(Script::BeforeStop) | Step::Member,
                Err(failure),
            ) => {
                self.note(NoteLevel::Warning, format!("{} failed: {failure}; going on", step.waits_for()));
                Stand::Over
            }
            (Step::Configure(_), Ok(Yield::Configured { restart, unchanged })) => {
                op.needs = match (unchanged, restart) {
                    (true, _) => Needs::Nothing,
                    (false, true) => Needs::Restart,
                    (false, false) => Needs::Reload,
                };
                Stand::Over
            }
            (Step::EndOfWal, Ok(Yield::EndOfWal { timeline, end, complete })) => {
                self.last_words(timeline, end, complete);
                Stand::Over
            }
            (Step::EndOfWal, Err(failure)) => {
                self.note(NoteLevel::Warning, format!("the end of the WAL is not known: {failure}"));
                Stand::Over
            }
            (Step::Release, Ok(Yield::Released(_))) => {
                self.lease.lock = None;
                self.armed = None;
                self.handed_over_at = Some(self.now.boot);
                Stand::Over
            }
            (Step::Release, Err(failure)) => {
                self.lease.lock = None;
                self.note(NoteLevel::Warning, format!("the lock could not be released and will run out: {failure}"));
                Stand::Over
            }
            (Step::Launch(starting), Ok(Yield::Launched { pid })) => {
                self.launched(*starting, pid);
                Stand::Over
            }
            (
                Step::ClaimInitialize | Step::PublishInitialize | Step::PublishConfig | Step::DropInitialize(_),
                Ok(Yield::Wrote(written)),
            ) => match (step, written) {
                (Step::ClaimInitialize | Step::PublishInitialize, Written::Done { revision }) => {
                    op.initialize = Some(revision);
                    Stand::Over
                }
                (Step::PublishConfig | Step::DropInitialize(_), _) => Stand::Over,
                // An earlier try whose answer was lost.
                (Step::PublishInitialize, _) if self.is_our_identity_published() => Stand::Over,
                (_, Written::Conflict | Written::SessionGone) => {
                    Stand::Failed("another member was first to write `initialize`".into())
                }
                (_, Written::Done { .. }) => Stand::Over,
            },
            (Step::Announce(_), Ok(Yield::Wrote(Written::Conflict | Written::SessionGone))) => {
                op.refused = true;
                Stand::Failed("the leader lock is another's".into())
            }
            (_, Ok(_)) => Stand::Over,
            (_, Err(failure)) => {
                op.refused = matches!(failure, Failure::Refused(_));
                Stand::Failed(failure.to_string())
            }
        }
    }

    /// A stop is over when the postmaster is gone. An impatient one is escalated: immediate, then SIGKILL; a close
    /// goes to SIGKILL at once.
    fn stop_stands(&mut self, doing: &mut Doing, kind: Kind) -> Stand {
        if !self.is_running() {
            self.timers.clear(Timer::Step);
            return Stand::Over;
        }
        if let Some(Err(failure)) = doing.outcome.take() {
            self.note(NoteLevel::Warning, format!("the signal could not be sent: {failure}"));
            self.look_in(Duration::from_millis(100));
            // Sent again when its lane has rested.
            doing.effect = None;
        }
        let late = doing.until.is_some_and(|at| at <= self.now.boot);
        if late {
            let act = match (doing.escalated, kind) {
                // What must not be writable has had its time.
                (_, Kind::Close) => Act::Fence { kill: true },
                (0, _) => Act::Signal { stop: Stop::Immediate },
                (_, _) => Act::Fence { kill: true },
            };
            match self.issue(Lane::Fence, act, FENCE, Purpose::Op) {
                Some(effect) => {
                    doing.effect = Some(effect);
                    doing.escalated += 1;
                    doing.until = Some(self.now.boot + IMMEDIATE_STOP);
                }
                // The signal before is still under way.
                None => doing.until = Some(self.now.boot + LANE_BUSY),
            }
        }
        Stand::Waiting
    }

    fn accept_stands(&mut self, doing: &Doing) -> Stand {
        let late = doing.until.is_some_and(|at| at <= self.now.boot);
        let Some(server) = &self.server else { return Stand::Waiting };
        match server.process {
            Process::Running { accepting: Accepting::Yes, .. } if server.row.is_some() => {
                self.phase = Phase::AsSeen;
                Stand::Over
            }
            Process::Running { .. } if late => {
                Stand::Failed("the server has not accepted connections in time; its log says why".into())
            }
            Process::Running { .. } => {
                self.look_in(START_POLL);
                Stand::Waiting
            }
            Process::Stopped | Process::Leftovers => {
                Stand::Failed("the postmaster ended while starting; its log says why".into())
            }
        }
    }

    fn reading_stands(&mut self, since: Tick) -> Stand {
        let fresh = self.view.as_ref().is_some_and(|seen| seen.linearizable && seen.read_at >= since);
        if fresh || self.weaken.has(Weakness::PromoteUnread) {
            return Stand::Over;
        }
        self.load();
        Stand::Waiting
    }

    fn heir_stands(&mut self, doing: &Doing, required: bool) -> Stand {
        let end = self.stopped_end();
        if required && !end.is_valid() {
            return Stand::Failed("the server did not end cleanly: where its WAL ends is not known".into());
        }
        let heirs = self.heirs();
        if heirs.is_empty() {
            return if required { Stand::Failed("no other member may lead".into()) } else { Stand::Over };
        }
        if let Some(answers) = self.polled(RoundFor::Heir, &heirs, Duration::ZERO) {
            let ours = self.control_timeline();
            let same_branch =
                |peer: &super::PeerStatus| peer.timeline.is_none() || ours.is_none() || peer.timeline == ours;
            let has_all = |peer: &super::PeerStatus| peer.position >= end && same_branch(peer);
            let ready = answers.values().flatten().any(|peer| has_all(peer) && self.may_lead(peer));
            if ready {
                return Stand::Over;
            }
            self.round = None;
            self.timers.set(Timer::Retry, self.now.boot + HEIR_POLL);
        }
        match doing.until.is_some_and(|at| at <= self.now.boot) {
            false => Stand::Waiting,
            true if required => Stand::Failed(format!("no member that may lead has received the last record ({end})")),
            true => {
                self.note(NoteLevel::Warning, format!("no member that may lead has everything up to {end}"));
                Stand::Over
            }
        }
    }

    fn op_over(&mut self, op: Op) {
        self.timers.clear(Timer::Step);
        match op.kind {
            Kind::Promote => {
                self.armed = self.lease.lock.as_ref().map(|l| l.generation);
                self.server_changed(|server| {
                    if let Some(row) = &mut server.row {
                        row.in_recovery = false;
                        row.flushed = row.replayed.max(row.received);
                        row.timeline = None;
                        row.receiver = None;
                    }
                });
                self.role = Role::Primary;
                self.phase = Phase::AsSeen;
                self.divergence = Default::default();
                self.followed = None;
                self.look();
            }
            Kind::Start | Kind::Restart | Kind::Follow => {
                self.failures.start = 0;
                self.first_start_done = true;
                self.phase = Phase::AsSeen;
                self.look();
            }
            Kind::Rewind => {
                self.failures.rewind = 0;
                self.divergence.rewound();
                self.look();
            }
            Kind::Clone => {
                self.failures.clone = 0;
                self.divergence = Default::default();
                self.phase = Phase::AsSeen;
                self.look();
            }
            Kind::Bootstrap => {
                self.phase = Phase::AsSeen;
                self.first_start_done = true;
                self.load();
                self.look();
            }
            Kind::CleanUp => {
                self.found.intent = None;
                self.look();
            }
            Kind::Reinitialize => {
                self.divergence = Default::default();
                self.phase = Phase::AsSeen;
                self.look();
            }
            Kind::Close | Kind::HandOver | Kind::Bequeath => {
                self.phase = Phase::AsSeen;
                self.look();
            }
            Kind::Shutdown => {}
        }
        self.reply_to(op.request, op.kind.good_news());
    }

    fn op_failed(&mut self, op: Op, why: &str) {
        self.timers.clear(Timer::Step);
        self.note(NoteLevel::Error, format!("{} failed: {why}", op.kind.word()));
        self.reply_to(op.request, op.kind.bad_news(why));
        self.look();
        match op.kind {
            Kind::Start | Kind::Restart => {
                self.phase = if op.kind == Kind::Restart { Phase::RestartFailed } else { Phase::StartFailed };
                self.failures.start += 1;
                self.pause_after(self.failures.start);
            }
            Kind::Clone | Kind::CleanUp => {
                self.phase = Phase::AsSeen;
                self.failures.clone += 1;
                self.pause_after(self.failures.clone);
                if op.kind == Kind::Clone {
                    self.found.intent = Some(Intent::Clone);
                }
            }
            Kind::Rewind => self.rewind_failed(why, op.was_at(|step| matches!(step, Step::Rewind(_)))),
            Kind::Promote => self.promotion_failed(&op),
            Kind::HandOver => self.hand_over_failed(why),
            Kind::Bootstrap => self.bootstrap_failed(op.initialize, why),
            Kind::Follow => {
                self.followed = None;
                self.configured = None;
                self.pause_after(1);
            }
            Kind::Reinitialize => {
                self.phase = Phase::AsSeen;
                if op.is_past(|step| matches!(step, Step::Intend(_))) {
                    self.found.intent = Some(Intent::PutAside);
                }
                self.pause_after(1);
            }
            Kind::Close | Kind::Bequeath => {
                self.phase = Phase::AsSeen;
                self.pause_after(1);
            }
            Kind::Shutdown => {
                self.exited = true;
                let why = format!("the shutdown was not clean: {why}");
                self.fire(Lane::Server, Act::Exit { code: 1, why }, SHORT, Purpose::Unattended);
            }
        }
    }

    /// Growing pauses between tries of the same thing: 0.5 s, doubled up to 30 s.
    pub(super) fn pause_after(&mut self, failures: u32) {
        let pause = Duration::from_millis(500) * 2u32.pow(failures.saturating_sub(1).min(6));
        self.failures.retry_at = self.now.boot + pause.min(Duration::from_secs(30));
        self.timers.set(Timer::Retry, self.failures.retry_at);
    }

    fn launch(&mut self, starting: Starting) -> Option<Act> {
        let (as_, mode) = match starting {
            Starting::Standby => {
                let upstream = self.upstream();
                (LaunchAs::Standby, Mode::Standby { upstream })
            }
            Starting::Bootstrap => (LaunchAs::Bootstrap, Mode::Primary),
            Starting::Primary => match self.lock() {
                Some(lock) => (LaunchAs::Primary { generation: lock.generation }, Mode::Primary),
                // In pause a primary without a lock is left what it is.
                None if self.paused() => (LaunchAs::Bootstrap, Mode::Primary),
                None => return None,
            },
        };
        Some(Act::Launch { as_, setup: self.setup(mode) })
    }

    fn launched(&mut self, starting: Starting, pid: u32) {
        self.server_changed(|server| {
            server.process = Process::Running { pid, adopted: false, accepting: Accepting::NotYet };
            server.row = None;
        });
        self.guard.adopted = false;
        self.shut_since = None;
        self.died_as_primary = false;
        self.answered_at = self.now.boot;
        match starting {
            Starting::Primary => {
                self.armed = self.lock().map(|l| l.generation);
                self.role = Role::Primary;
            }
            Starting::Standby => {
                self.armed = None;
                self.role = Role::Replica;
            }
            Starting::Bootstrap => {}
        }
    }

    fn looked_for_op(&mut self, outcome: Outcome) {
        if let Ok(Yield::Looked(server)) = outcome {
            if server.row.is_some() {
                self.answered_at = self.now.boot;
            }
            self.server = Some(std::sync::Arc::new(*server));
        }
    }

    /// Where the WAL of the stopped server ends, for whoever is to have it all.
    pub(super) fn stopped_end(&self) -> Lsn {
        if let Some(words) = &self.last_end {
            return words.end;
        }
        match self.server.as_ref().map(|s| &s.data) {
            Some(DataDir::Present(control)) if control.state == ControlState::ShutDown => {
                control.shutdown_end.unwrap_or(control.checkpoint)
            }
            _ => Lsn::INVALID,
        }
    }

    fn is_our_identity_published(&self) -> bool {
        let published = self.cluster().and_then(|c| c.system_identifier());
        published.is_some() && published == self.system_identifier().as_deref()
    }

    fn control_timeline(&self) -> Option<Timeline> {
        match &self.server.as_ref()?.data {
            DataDir::Present(control) => Some(control.timeline),
            DataDir::Empty | DataDir::Unusable(_) | DataDir::Broken(_) => None,
        }
    }

    pub(super) fn start_wait(&self) -> Duration {
        Duration::from_secs(self.local.start_wait_seconds)
    }
}

impl Op {
    /// Whether a step that needs the lock is still to come.
    fn holds_lock_ahead(&self) -> bool {
        match self.kind {
            Kind::HandOver => self.steps.contains(&Step::Release),
            Kind::Promote | Kind::Start | Kind::Restart => true,
            Kind::Bootstrap
            | Kind::Close
            | Kind::Bequeath
            | Kind::Follow
            | Kind::Rewind
            | Kind::Clone
            | Kind::Reinitialize
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
            | Step::Accept(_)
            | Step::Role(_)
            | Step::Callback(_)
            | Step::Exit(..) => false,
            Step::Apply => needs == Needs::Reload,
            Step::Script(_)
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
            | Step::Rewind(_)
            | Step::Initdb
            | Step::PostBootstrap
            | Step::ClaimInitialize
            | Step::PublishInitialize
            | Step::PublishConfig
            | Step::DropInitialize(_) => true,
        }
    }
}

impl Kind {
    fn good_news(self) -> Reply {
        match self {
            Kind::Restart => Reply::new(200, "restarted successfully"),
            Kind::Reinitialize => Reply::new(200, "reinitialize started"),
            other => Reply::new(200, format!("{} done", other.word())),
        }
    }

    fn bad_news(self, why: &str) -> Reply {
        match self {
            Kind::Restart if why.contains("in time") => Reply::new(503, "postgres is still starting"),
            Kind::Restart => Reply::new(503, "restart failed"),
            other => Reply::new(503, format!("{} failed: {why}", other.word())),
        }
    }
}
