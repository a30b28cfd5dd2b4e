//! A step begins: which effect it is, with which deadline.

use std::time::Duration;

use super::super::flight::{Purpose, SHORT};
use super::super::machine::Ha;
use super::super::state::Phase;
use super::super::unready::VAIN_STOP;
use super::super::{Act, Action, Failure, Intent, Lane, LaunchAs, Mode, Stop, Yield};
use super::{FENCE, Needs, Op, START_POLL, Starting, Step, UNLIMITED};
use crate::view::{Condition, Key, Write};

/// How long a server that answers nobody may take to end by SIGQUIT.
const HUNG_STOP: Duration = Duration::from_millis(500);
const CHECKPOINT: Duration = Duration::from_secs(3600);
const PROGRAM: Duration = Duration::from_secs(24 * 3600);
const SCRIPT: Duration = Duration::from_secs(3600);
const PROMOTE: Duration = Duration::from_secs(300);
/// How long the walk to the end of a dead primary's WAL may take.
const END_OF_WAL: Duration = Duration::from_millis(100);

impl Ha {
    pub(super) fn step_begins(&mut self, op: &mut Op) {
        let Some(doing) = &mut op.doing else { return };
        let now = self.now.boot;
        let step = doing.step.clone();
        let (lane, act, deadline) = match step {
            Step::Script(script) => (Lane::Server, Act::Script { script }, SCRIPT),
            Step::Checkpoint => (Lane::Sql, Act::Checkpoint, CHECKPOINT),
            Step::Stop(stop, patience) => {
                self.phase = if op.kind.restarts() { Phase::Restarting } else { Phase::Stopping };
                // A hung server ends by no orderly stop.
                let (stop, patience) = match (self.is_hung(), self.is_unready()) {
                    (true, _) => (Stop::Immediate, HUNG_STOP),
                    (false, true) => (stop, patience.min(VAIN_STOP)),
                    (false, false) => (stop, patience),
                };
                doing.until = doing.until.or(Some(now + patience));
                (Lane::Fence, Act::Signal { stop }, SHORT)
            }
            Step::Watchdog => match self.watchdog_step() {
                Ok(Some(act)) => (Lane::Watchdog, act, SHORT),
                Ok(None) => {
                    doing.outcome = Some(Ok(Yield::Done));
                    return;
                }
                Err(why) => {
                    doing.outcome = Some(Err(Failure::Refused(why)));
                    return;
                }
            },
            // What an operation that was given up has in hand may be a start: its server comes up after this fence.
            Step::Fence if op.kind.replaces_data() && self.lanes.contains_key(&Lane::Server) => return,
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
            Step::Configure(Mode::Primary) if op.kind.starts_again() && self.is_left_in_recovery() => {
                let why = "the server was in recovery when it ended: it is a standby that has to be promoted";
                doing.outcome = Some(Err(Failure::Refused(why.into())));
                return;
            }
            Step::Configure(mode) => {
                self.will_follow(&mode);
                (Lane::Server, Act::Configure { setup: self.setup(mode) }, SHORT * 10)
            }
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
                self.phase = if op.kind.restarts() { Phase::Restarting } else { Phase::Starting };
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
            Step::Number | Step::Succession | Step::Retract | Step::LeaveSync => return,
            Step::Promote => match self.lock().map(|l| l.generation) {
                Some(generation) => (Lane::Server, Act::Promote { generation }, PROMOTE),
                None => {
                    doing.outcome = Some(Err(Failure::Refused("there is no leader lock to promote under".into())));
                    return;
                }
            },
            Step::Announce(status) => match self.announcement(&status) {
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
            Step::ArchiveShutdown => (Lane::Archive, Act::ArchiveShutdown, SCRIPT),
            Step::Rewind(source) => (Lane::Server, Act::Rewind { source }, PROGRAM),
            Step::InstallSlots(slots) => (Lane::Server, Act::InstallSlots { slots }, SHORT * 10),
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
                let text = crate::view::compact(&*self.dynamic);
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

    fn launch(&mut self, starting: Starting) -> Option<Act> {
        let (as_, mode) = match starting {
            Starting::Standby => {
                // What its files say, whoever leads by now: following another is the next turn's.
                let upstream = self.followed.as_ref().and_then(|followed| followed.upstream.clone());
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

    pub(in crate::ha) fn start_wait(&self) -> Duration {
        Duration::from_secs(self.local.start_wait_seconds)
    }
}
