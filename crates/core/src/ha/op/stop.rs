//! How a stop stands: what ends an impatient one, and what a fast one need not wait for.
//!
//! A fast shutdown ends when the last walsender does, and one whose standby is silently gone ends only with
//! `wal_sender_timeout`. Before that the shutdown checkpoint has been written: not a byte of WAL comes after it, and a
//! server that is then stopped immediately is still one that was shut down. So whoever gives the lock away waits for
//! those that may succeed, and not for the others; and a restart waits for nobody for long.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::flight::Purpose;
use super::super::machine::Ha;
use super::super::note::NoteLevel;
use super::super::peers::RoundFor;
use super::super::server::{ControlState, DataDir};
use super::super::timer::Timer;
use super::super::{Act, Lane, PeerStatus, Stop};
use super::{Doing, FENCE, Kind, Op, Stand, Step};
use crate::{Lsn, MemberName, Tick, Timeline, Weakness};

/// How soon an escalation that found its lane taken is tried again.
pub(super) const LANE_BUSY: Duration = Duration::from_millis(10);
/// An immediate stop that has not ended by then is ended by SIGKILL.
const IMMEDIATE_STOP: Duration = Duration::from_secs(5);
/// How often a fast stop is looked at, and the members that may succeed are asked: most have ended before the first.
const LINGERS: Duration = Duration::from_millis(250);
/// How long a restart leaves standbys to receive the last of the WAL: those that live have it in milliseconds.
const DRAINS: Duration = Duration::from_secs(1);
/// How often a server that stops in order is looked at for a hang.
const STOPS: Duration = Duration::from_secs(2);

impl Ha {
    /// A stop is over when the postmaster is gone. An impatient one is escalated: immediate, then SIGKILL; a close
    /// goes to SIGKILL at once.
    pub(super) fn stop_stands(&mut self, doing: &mut Doing, op: &Op) -> Stand {
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
        let late = doing.until.is_some_and(|at| at <= self.now.boot)
            || doing.escalated == 0 && self.hangs_in_its_stop(&doing.step, doing.since);
        if late || doing.escalated == 0 && self.lingers_in_vain(doing, op) {
            let act = match (doing.escalated, op.kind) {
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

    /// The postmaster of a server that stops in order has answered nobody since: not even that it stops. It has not heard
    /// the signal, and would be waited for without end.
    fn hangs_in_its_stop(&mut self, step: &Step, since: Tick) -> bool {
        if !matches!(step, Step::Stop(Stop::Fast, _)) || self.weaken.has(Weakness::IgnoreHung) {
            return false;
        }
        self.look_in(STOPS);
        let seen = self.server.as_ref().is_some_and(|server| server.looked_at >= since);
        seen && self.is_hung() && self.now.boot.since(since) >= self.patience()
    }

    /// Nothing is left of the server but walsenders that nobody needs to wait for.
    fn lingers_in_vain(&mut self, doing: &mut Doing, op: &Op) -> bool {
        if op.gives_lock_away_after(&doing.step) {
            return self.heirs_have_all(doing.since);
        }
        if op.kind != Kind::Restart || !matches!(doing.step, Step::Stop(Stop::Fast, _)) {
            return false;
        }
        self.look_in(LINGERS);
        if self.checkpointed_end(doing.since).is_none() {
            return false;
        }
        let in_vain = self.now.boot.since(*doing.checkpointed.get_or_insert(self.now.boot)) >= DRAINS;
        if in_vain {
            let text = "the shutdown checkpoint is written: what is left of the server is stopped at once, as \
                        walsenders whose standbys are silent would wait for wal_sender_timeout; the others go on from \
                        there when it is up again";
            self.note(NoteLevel::Info, text.to_owned());
        }
        in_vain
    }

    /// As many members as have to have all of its WAL, the shutdown checkpoint included.
    fn heirs_have_all(&mut self, since: Tick) -> bool {
        self.look_in(LINGERS);
        let Some(end) = self.checkpointed_end(since) else { return false };
        let heirs = self.heirs();
        if heirs.is_empty() {
            return false;
        }
        match self.heirs_with(end, &heirs) {
            Some(ready) if ready >= self.heirs_needed() => {
                let text = format!(
                    "the shutdown checkpoint is written and who may succeed has everything up to {end}: what is left \
                     of the server is stopped at once, as walsenders whose standbys are silent would wait for \
                     wal_sender_timeout"
                );
                self.note(NoteLevel::Info, text);
                true
            }
            Some(_) => {
                self.round = None;
                self.timers.set(Timer::Retry, self.now.boot + LINGERS);
                false
            }
            None => false,
        }
    }

    /// Where the WAL of a server ends that has written its shutdown checkpoint since then and runs still. Not while its
    /// archiver works: nobody else archives what the successor has received as WAL of this server.
    fn checkpointed_end(&self, since: Tick) -> Option<Lsn> {
        let server = self.server.as_ref().filter(|server| server.looked_at >= since && !server.archiving)?;
        match &server.data {
            DataDir::Present(control) if control.state == ControlState::ShutDown => control.shutdown_end,
            DataDir::Present(_) | DataDir::Empty | DataDir::Unusable(_) | DataDir::Broken(_) => None,
        }
    }

    /// How many of the heirs may lead and have everything up to `end` (`None`: being asked). The caller throws the
    /// round away when that is not enough.
    pub(super) fn heirs_with(&mut self, end: Lsn, heirs: &BTreeSet<MemberName>) -> Option<usize> {
        let answers = self.polled(RoundFor::Heir, heirs, Duration::ZERO)?;
        let ours = self.control_timeline();
        let same_branch = |peer: &PeerStatus| peer.timeline.is_none() || ours.is_none() || peer.timeline == ours;
        let has_all = |peer: &PeerStatus| peer.position >= end && same_branch(peer);
        Some(answers.values().flatten().filter(|peer| has_all(peer) && self.may_lead(peer)).count())
    }

    fn control_timeline(&self) -> Option<Timeline> {
        match &self.server.as_ref()?.data {
            DataDir::Present(control) => Some(control.timeline),
            DataDir::Empty | DataDir::Unusable(_) | DataDir::Broken(_) => None,
        }
    }
}

impl Op {
    /// It is a fast stop, and others lead when this operation is over.
    pub(super) fn gives_lock_away_after(&self, step: &Step) -> bool {
        matches!(step, Step::Stop(Stop::Fast, _)) && self.steps.contains(&Step::Release)
    }
}
