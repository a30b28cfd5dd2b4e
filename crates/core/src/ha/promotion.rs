//! From the leader lock to a writable server (ha-rules 6).

use super::divergence::Divergence;
use super::flight::{Purpose, SHORT};
use super::machine::Ha;
use super::note::NoteLevel;
use super::op::{Kind, Op, Step};
use super::race::is_failover_by_hand;
use super::timer::Timer;
use super::{Act, Cover, Decision, Generation, Lane, Outcome, Script, Taken, Yield};
use crate::view::{Condition, Expect, Status};
use crate::{Tick, Timeline, Weakness};

impl Ha {
    pub(super) fn take_lock(&mut self, because: String) -> Decision {
        let Some(cluster) = self.cluster().cloned() else { return Decision::default() };
        if self.fresh_after.is_some() {
            return Decision::new("no action", because).waiting("a fresh view of the store");
        }
        let expect = Expect {
            leader: Condition::Absent,
            sync: Condition::as_read(cluster.sync.revision.as_ref()),
            failover: Condition::as_read(cluster.failover.as_ref().map(|f| &f.revision)),
            initialize: Condition::as_read(cluster.initialize.as_ref().map(|i| &i.revision)),
        };
        self.raced_beside = self.known_timeline();
        self.issue(Lane::Lock, Act::Acquire { expect }, self.settings.ttl.min(SHORT), Purpose::Acquire);
        Decision::new("acquiring the leader lock", because).waiting("the store's answer")
    }

    pub(super) fn acquired(&mut self, outcome: Outcome) {
        match outcome {
            // An answer that comes after the keeper has told of this lock, and of its end.
            Ok(Yield::Acquired(Taken::Yes { generation, .. }))
                if self.lock_told >= Some(generation) && !self.holds(generation) => {}
            Ok(Yield::Acquired(Taken::Yes { generation, created, valid_until, soft })) => {
                self.lease.lock = Some(super::Lock {
                    generation,
                    created,
                    valid_until,
                    soft,
                    renewed: self.now.boot,
                    cover: Cover::Lease,
                });
                self.lease.lost = None;
                self.sync_lock_ended();
                self.timers.set(Timer::Soft, soft);
                self.unlocked_since = None;
                self.retained = Default::default();
                self.published.status = None;
                self.history_written = None;
            }
            Ok(Yield::Acquired(Taken::Conflict)) => self.load(),
            Ok(_) => {}
            Err(failure) => {
                self.note(NoteLevel::Warning, format!("the leader lock could not be taken: {failure}"));
                self.load();
            }
        }
    }

    fn holds(&self, generation: Generation) -> bool {
        self.lease.lock.as_ref().is_some_and(|lock| lock.generation == generation)
    }

    /// Section 6: from the lock to a writable server.
    pub(super) fn promote(&mut self, because: &str) -> Decision {
        self.divergence = Divergence::default();
        let script = self.local.has_pre_promote.then_some(Step::Script(Script::PrePromote));
        let watchdog = self.watchdog_step_first();
        let steps = watchdog.into_iter().chain(script).chain([
            Step::Reading,
            Step::Number,
            Step::Succession,
            Step::Role(super::state::Role::Promoted),
            Step::Promote,
            Step::Callback(super::Action::OnRoleChange),
        ]);
        self.begin_op(Op::new(Kind::Promote, because, steps));
        Decision::new("promoted self to leader by acquiring session lock", because.to_owned())
    }

    /// What the reading after the taking of the lock says: which timeline comes next, or why this member may not
    /// lead after all. Nobody else writes `status` and `history` while we hold the lock, so this stands.
    pub(super) fn timeline_to_open(&mut self) -> Result<Vec<Step>, String> {
        let Some(me) = self.row().map(|row| (row.position(), row.timeline)) else {
            return Err("our own server does not answer".into());
        };
        let cluster = self.cluster().cloned().unwrap_or_default();
        if let Some(why) = self.outside_topology(&cluster) {
            return Err(why);
        }
        if let Some(lag) = self.excess_lag(&cluster, me.0).filter(|_| !is_failover_by_hand(&cluster)) {
            return Err(format!("My wal position exceeds maximum replication lag ({lag} bytes)"));
        }
        let Some(mine) = me.1.filter(|_| !self.weaken.has(Weakness::OpenUnannounced)) else { return Ok(Vec::new()) };
        let known = self.known_timeline().unwrap_or(mine).max(mine);
        // As in the race: whoever has what was written on it may still come.
        if known > mine && Some(known) > self.raced_beside && !is_failover_by_hand(&cluster) {
            return Err(format!(
                "timeline {known} was opened after this member had decided to lead, from timeline {mine}"
            ));
        }
        let opened = Timeline(known.0 + 1);
        self.raced_beside = Some(opened);
        self.published.status_made = None;
        // Below our own, too: a copy has the history file of its own timeline alone, and a standby that comes from an
        // older one asks for each in between before it streams.
        let reserve = (known > Timeline(1)).then_some(Step::Reserve { above: Timeline(1), up_to: known });
        // As it was read: what a watch shows meanwhile may be older, and what the last leader had is not taken back.
        let status = Status { opened: Some(opened), ..cluster.status.clone() };
        Ok(reserve.into_iter().chain([Step::Announce(Box::new(status))]).collect())
    }

    /// Too much is missing by a look from before the lock was ours: a new one is on its way.
    pub(super) fn lags_by_an_old_look(&mut self, since: Tick) -> bool {
        let Some(cluster) = self.cluster().cloned() else { return false };
        let old = self.server.as_ref().is_some_and(|server| server.row.is_some() && server.looked_at < since);
        let lags = old && !is_failover_by_hand(&cluster) && self.excess_lag(&cluster, self.my_position()).is_some();
        if lags {
            self.look();
        }
        lags
    }

    /// A promotion that did not happen: the lock goes to somebody else.
    pub(super) fn promotion_failed(&mut self, op: &Op) {
        self.role = super::state::Role::Replica;
        if op.failed_in_script() {
            self.no_race_until = self.now.boot + self.settings.ttl;
        } else if op.took_part_in_promotion() && !op.refused {
            // Whether it took effect is unknown: what may have become writable is closed first.
            let steps = self.closing_steps(false).into_iter().chain([Step::Release]);
            self.begin_op(Op::new(Kind::Close, "the promotion failed", steps));
            return;
        }
        self.begin_op(Op::new(Kind::Close, "the promotion was refused", [Step::Retract, Step::Release]));
    }
}
