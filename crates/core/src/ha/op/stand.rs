//! How a step stands after all that has happened: over, waiting, or failed.

use std::time::Duration;

use super::super::machine::Ha;
use super::super::note::NoteLevel;
use super::super::server::{Accepting, ControlState, DataDir, Process};
use super::super::state::{Phase, Role};
use super::super::timer::Timer;
use super::super::{Failure, Outcome, Script, Yield};
use super::stop::LANE_BUSY;
use super::{Doing, Kind, Needs, Op, START_POLL, Stand, Starting, Step};
use crate::view::Written;
use crate::{Lsn, Tick, Weakness};

/// How often members are asked again whether they have the last record.
const HEIR_POLL: Duration = Duration::from_millis(20);

impl Ha {
    /// How the step stands after all that has happened. A step whose lane was taken is begun again.
    pub(super) fn step_stands(&mut self, op: &mut Op) -> Stand {
        let needs_effect = {
            let Some(doing) = &op.doing else { return Stand::Over };
            doing.effect.is_none() && doing.outcome.is_none() && doing.step.is_effect(op.needs)
        };
        if needs_effect {
            self.step_begins(op);
            let waits = op.doing.as_ref().is_some_and(|d| d.effect.is_none() && d.outcome.is_none());
            if waits && op.doing.as_ref().is_some_and(|d| d.step.is_effect(op.needs)) {
                // Its lane is taken or rests: a step whose time is over looks again soon, and not at once.
                let again = self.now.boot + LANE_BUSY;
                if let Some(until) = op.doing.as_mut().and_then(|d| d.until.as_mut()) {
                    *until = again.max(*until);
                }
                return if self.skips_while_unanswered(op) { Stand::Over } else { Stand::Waiting };
            }
        }
        let Some(mut doing) = op.doing.take() else { return Stand::Over };
        let stand = match &doing.step {
            Step::Stop(..) => self.stop_stands(&mut doing, op),
            Step::Accept(_) => self.accept_stands(&doing),
            Step::Heir { required, .. } => self.heir_stands(&doing, *required),
            Step::Reading => self.reading_stands(doing.since),
            Step::Succession => self.succession_stands(),
            Step::Retract => self.retract_stands(),
            Step::LeaveSync => self.release_stands(),
            // What a watch has shown since may be older than what was read.
            Step::Number if !self.sees_a_reading() || self.lags_by_an_old_look(doing.since) => Stand::Waiting,
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
            Step::Checkpoint | Step::Script(Script::BeforeStop) if doing.outcome.is_none() && self.is_silent() => {
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
                Step::Checkpoint
                | Step::ArchivePending
                | Step::ArchiveShutdown
                | Step::Script(Script::BeforeStop)
                | Step::Member,
                Err(failure),
            ) => {
                self.note(NoteLevel::Warning, format!("{} failed: {failure}; going on", step.waits_for()));
                Stand::Over
            }
            (Step::Watchdog, outcome) => self.watchdog_stands(outcome),
            (Step::Configure(_), Ok(Yield::Configured { restart, unchanged })) => {
                op.needs = match (unchanged, restart) {
                    (true, _) => Needs::Nothing,
                    (false, true) => Needs::Restart,
                    (false, false) => Needs::Reload,
                };
                Stand::Over
            }
            // The server has to come up again, with or without them.
            (Step::InstallSlots(_), Err(failure)) => {
                self.note(NoteLevel::Warning, format!("the logical slots were not put in place: {failure}; going on"));
                Stand::Over
            }
            (Step::EndOfWal, Ok(Yield::EndOfWal { end, .. }))
                if matches!(op.kind, Kind::Rewind | Kind::Reinitialize) =>
            {
                self.more_given_up(end);
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
            (Step::Rewind(_), Ok(Yield::Rewound { changed })) => {
                self.divergence.rewind_ended(changed);
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

    fn sees_a_reading(&mut self) -> bool {
        let read = self.view.as_ref().is_some_and(|seen| seen.linearizable);
        if !read && !self.weaken.has(Weakness::PromoteUnread) {
            self.load();
            return false;
        }
        true
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
        if let Some(ready) = self.heirs_with(end, &heirs) {
            if ready >= self.heirs_needed() {
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
                self.role = if self.leads_standby_cluster() { Role::StandbyLeader } else { Role::Replica };
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
    pub(in crate::ha) fn stopped_end(&self) -> Lsn {
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
        published.is_some() && published == self.system_identifier()
    }
}
