//! A standby whose server runs and does not get ready (ha-rules 9): it has not reached a consistent state, and waits for
//! WAL.
//!
//! The hazard is a member that waits for ever: for WAL that nobody has, or for WAL that somebody has of whom the server
//! was never told. Nothing is discarded here. The server is stopped, and whatever ends is compared and started, rewound or
//! copied as any stopped standby is: a server that is not consistent can neither lead nor feed anybody, so nobody misses
//! it meanwhile.

use std::time::Duration;

use super::divergence::{Local, NOT_STREAMING, Was, diverged};
use super::flight::{Purpose, SHORT};
use super::machine::Ha;
use super::note::NoteLevel;
use super::op::{Kind, Op, Step};
use super::server::{Accepting, Process};
use super::{Act, Decision, Lane, Stop};
use crate::MemberName;

/// How long a standby that does not get ready may take to end.
pub(super) const VAIN_STOP: Duration = Duration::from_secs(60);

impl Ha {
    /// The server answers that it is starting, stopping, or not yet consistent.
    pub(super) fn says_not_yet(&self) -> bool {
        let process = self.server.as_ref().map(|server| &server.process);
        matches!(process, Some(Process::Running { accepting: Accepting::NotYet, .. }))
    }

    /// It has said so for long: it may end in order, and whether it ever would is not known.
    pub(super) fn is_unready(&self) -> bool {
        self.is_silent() && self.says_not_yet()
    }

    /// The server was started with no word of who leads now: nobody led then, or another did.
    fn is_told_of_another(&self) -> bool {
        let upstream = self.upstream();
        upstream.is_some() && self.followed.as_ref().is_none_or(|told| told.upstream != upstream)
    }

    /// Who leads, where it is for us to follow.
    fn leader_beside_us(&self) -> Option<&MemberName> {
        let leader = &self.cluster()?.leader.as_ref()?.name;
        let bound = self.lease.lock.is_some() || self.paused() || leader == self.me();
        (!bound).then_some(leader)
    }

    /// A server of ours under the leader lock that begins recovery anew, as when one of its processes crashes during the
    /// promotion. The notes of timelines that the promotion has left in its directory may be what it cannot recover by: a
    /// start of ours takes them away, and then it is promoted again.
    pub(super) fn recovers_in_vain(&mut self, silent: Duration) -> Option<Decision> {
        let left = self.control().is_some_and(|control| control.recovery_files);
        if !left || self.lock().is_none() || self.paused() || self.is_standby_cluster() || silent < NOT_STREAMING {
            return None;
        }
        let because = format!("this server was to be promoted and is in recovery again, not ready after {silent:.0?}");
        self.note(NoteLevel::Warning, because.clone());
        self.followed = None;
        let steps = [Step::Stop(Stop::Fast, VAIN_STOP), Step::Fence, Step::Look];
        self.begin_op(Op::new(Kind::CleanUp, because.clone(), steps));
        Some(Decision::new("stopping a server that does not get ready", because))
    }

    /// A standby that does not get ready, beside a leader. Where its checkpoint is not part of the leader's WAL and the
    /// leader's history file is there already, it waits for ever for WAL that nobody has ("unexpected timeline ID"): it
    /// is stopped, and then rewound or copied like any other. One that was told of nobody, or of another leader, may wait
    /// for what the leader of now has: it is told by being started anew, once for each leader. A reload would tell it
    /// sooner, but what it has must be compared first: two timelines of one number would be streamed into one another. One
    /// that somebody else has started may wait because of files that a start of ours puts in order: it is started anew,
    /// once. Both are given the time of a start before, for they may have a lot to replay.
    pub(super) fn starts_in_vain(&mut self, silent: Duration) -> Option<Decision> {
        let leader = self.leader_beside_us()?.clone();
        let control = self.control().filter(|control| control.recovery_files)?;
        if silent < NOT_STREAMING || self.now.boot < self.failures.compare_at {
            return None;
        }
        let Some(theirs) = self.divergence.theirs.take() else {
            let upstream = self.upstream_of(&leader)?;
            self.issue(Lane::Load, Act::Compare { upstream }, SHORT, Purpose::Compare);
            return None;
        };
        let checkpoint = Local { timeline: control.timeline, end: control.checkpoint, was: Was::Standby };
        let settled = theirs.in_recovery != Some(true) || self.is_standby_cluster();
        let astray = settled && diverged(checkpoint, &theirs) == Some(true);
        let adopted = self.server.as_ref().is_some_and(|s| matches!(s.process, Process::Running { adopted: true, .. }));
        let had_its_time = silent >= self.start_wait();
        let because = if astray {
            format!(
                "our last checkpoint (timeline {}, {}) is not part of {leader}'s WAL: this server will never be ready",
                control.timeline, control.checkpoint
            )
        } else if adopted && had_its_time {
            format!("this server was not started by this agent, and is not ready after {silent:.0?}")
        } else if self.is_told_of_another() && had_its_time {
            format!("this server was started with no word of {leader}, and is not ready after {silent:.0?}")
        } else {
            self.compare_again();
            return None;
        };
        self.note(NoteLevel::Warning, because.clone());
        self.divergence.suspect();
        (self.failures.compare, self.failures.compare_at) = (0, self.now.boot);
        self.followed = None;
        // What it has received stays, however it ends; in order, it keeps what it has replayed as well.
        let steps = [Step::Stop(Stop::Fast, VAIN_STOP), Step::Fence, Step::Look];
        self.begin_op(Op::new(Kind::CleanUp, because.clone(), steps));
        Some(Decision::new("stopping a standby that does not get ready", because))
    }
}
