//! The server does not run (ha-rules 9).

use std::time::Duration;

use super::machine::Ha;
use super::op::{Kind, Op, Starting, Step};
use super::server::{DataDir, Process};
use super::state::{Phase, Role};
use super::{Decision, Mode};
use crate::view::Leader;

/// How long a member that handed the lock over waits to see who took it.
const SUCCESSOR_WAIT: Duration = Duration::from_secs(5);

impl Ha {
    pub(super) fn stopped(&mut self) -> Decision {
        if self.paused() {
            self.role_when_stopped();
            self.phase = Phase::AsSeen;
            if self.lease.lock.is_some() {
                self.release_lock();
            }
            return Decision::new("no action", "in pause a stopped server is not started").waiting("the end of pause");
        }
        if self.now.boot < self.failures.retry_at {
            let because = "the last try to bring the server up failed";
            return Decision::new("start failed", because).waiting("the next try");
        }
        if self.lease.lock.is_some() {
            return self.stopped_with_lock();
        }
        let leader = self.cluster().and_then(|c| c.leader.clone());
        match leader {
            Some(leader) if leader.name != *self.me() => self.rejoin(&leader),
            Some(_) => Decision::new("no action", "the store still shows our own lock").waiting("a newer view"),
            None => self.start_unlocked(),
        }
    }

    fn stopped_with_lock(&mut self) -> Decision {
        if self.lock().is_none() {
            return Decision::new("no action", "the lease is running out").waiting("the lease keeper");
        }
        if self.is_standby_cluster() {
            return self.stopped_standby_leader();
        }
        if self.divergence.must() {
            self.release_lock();
            return Decision::new("no action", "the data directory is half rewound").waiting("another leader");
        }
        let state = self.control_state();
        let crashed = self.died_as_primary || self.phase == Phase::Crashed && self.role.is_primary();
        if !crashed || self.is_left_in_recovery() {
            if self.role == Role::Demoted && self.takeover_possible() == Some(true) {
                self.release_lock();
                let because = "this server was closed, and another member can lead at once";
                return Decision::new("no action", because).waiting("the release of the leader lock");
            }
            return self.start_standby("this member holds the lock and its server does not run");
        }
        if self.settings.primary_start_timeout.is_zero() {
            match self.takeover_possible() {
                None => {
                    let because = "PostgreSQL died and primary_start_timeout is 0";
                    return Decision::new("no action", because).waiting("the answers of the other members");
                }
                Some(true) => {
                    return self.bequeath("PostgreSQL died and primary_start_timeout is 0", false);
                }
                Some(false) => {}
            }
        }
        if self.failures.start > 0 {
            match self.takeover_possible() {
                None => {
                    let because = "PostgreSQL died and does not start again";
                    return Decision::new("no action", because).waiting("the answers of the other members");
                }
                Some(true) => return self.bequeath("PostgreSQL died and does not start again", false),
                Some(false) => {}
            }
        }
        let because = format!("PostgreSQL died ({})", state.map_or("state unknown".into(), |s| format!("{s:?}")));
        self.start_primary(&because)
    }

    /// A promotion can be over without a primary: a crash inside the server begins recovery anew, and the promotion is
    /// forgotten. Started as a primary it would come up writable on its old timeline, beside what others wrote there.
    pub(super) fn is_left_in_recovery(&self) -> bool {
        self.control().is_some_and(|control| control.recovery_files)
    }

    fn start_primary(&mut self, because: &str) -> Decision {
        self.last_end = None;
        let wait = match self.settings.primary_start_timeout {
            zero if zero.is_zero() => self.start_wait(),
            limit => limit,
        };
        let steps = self.watchdog_step_first().into_iter().chain([
            Step::Fence,
            Step::Configure(Mode::Primary),
            Step::Launch(Starting::Primary),
            Step::Accept(wait),
            Step::Callback(super::Action::OnStart),
        ]);
        self.begin_op(Op::new(Kind::Start, because, steps));
        Decision::new("starting as primary", because.to_owned())
    }

    pub(super) fn start_standby(&mut self, because: &str) -> Decision {
        self.last_end = None;
        let mode = Mode::Standby { upstream: self.upstream() };
        self.followed = Some(self.to_follow());
        let role_changed = self.role == Role::Demoted;
        let mut steps =
            vec![Step::Fence, Step::Configure(mode), Step::Launch(Starting::Standby), Step::Accept(self.start_wait())];
        let action = if role_changed { super::Action::OnRoleChange } else { super::Action::OnStart };
        steps.push(Step::Callback(action));
        self.begin_op(Op::new(Kind::Start, because, steps));
        Decision::new("starting as a secondary", because.to_owned())
    }

    /// Somebody leads: come back as a standby, after making sure that our WAL is part of theirs.
    fn rejoin(&mut self, leader: &Leader) -> Decision {
        self.role_when_stopped();
        if let Some(decision) = self.divergence_turn() {
            return decision;
        }
        self.start_standby(&format!("{} holds the leader lock", leader.name))
    }

    /// Nobody leads: come up read-only and race.
    fn start_unlocked(&mut self) -> Decision {
        self.role_when_stopped();
        if let Some(at) = self.handed_over_at
            && self.now.boot.since(at) < SUCCESSOR_WAIT
        {
            self.timers.set_earlier(super::timer::Timer::Retry, at + SUCCESSOR_WAIT);
            return Decision::new("no action", "the leader lock was handed over").waiting("its new holder");
        }
        if self.divergence.must() {
            return Decision::new("no action", "the data directory is half rewound").waiting("a leader to rewind from");
        }
        self.start_standby("nobody holds the leader lock and a stopped server cannot race")
    }

    /// The store has been silent for so long that its last word does not count: the server comes up again, to be read from,
    /// and follows nobody until the store says who leads (ha-rules 17.1). Those who reach the store are not to wait for
    /// what it has: it has no say in their race, no more than while it was closed.
    pub(super) fn read_only_without_store(&mut self) -> Option<Decision> {
        let server = self.server.as_ref()?;
        let whole =
            matches!(server.data, DataDir::Present(_)) && self.found.intent.is_none() && !self.divergence.must();
        let rests = server.process == Process::Stopped && self.now.boot >= self.failures.retry_at && !self.paused();
        if self.current_cluster().is_some() || !whole || !rests {
            return None;
        }
        self.role_when_stopped();
        self.aside = true;
        Some(self.start_standby("the store does not answer: this server can be read from until it says who leads"))
    }

    pub(super) fn role_when_stopped(&mut self) {
        if self.role.is_primary() {
            self.role = Role::Demoted;
            // It ended by itself, or the guard ended it: what it wrote last may be nobody else's.
            self.divergence.suspect();
        }
    }
}
