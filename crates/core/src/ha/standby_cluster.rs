//! A standby cluster: the holder of the lock follows a primary outside the herd, and the other members follow it
//! (ha-rules 15).
//!
//! The lock says who streams from outside. Nobody here is writable, so no guard is armed; a server that is writable all
//! the same, because the configuration has just made a standby cluster of this one, is closed in order under the lock,
//! and comes back below the remote primary. What our WAL has to be part of is the remote primary's, on every member.

use super::machine::Ha;
use super::op::{Kind, Op, Starting, Step};
use super::state::Role;
use super::{Action, Decision, Intent, Mode, Upstream};
use crate::SlotName;
use crate::view::Failover;

impl Ha {
    pub(super) fn is_standby_cluster(&self) -> bool {
        self.settings.standby_cluster.is_some()
    }

    /// Whether this member is, or is about to be, the one that follows the remote primary.
    pub(super) fn leads_standby_cluster(&self) -> bool {
        self.is_standby_cluster() && self.lease.lock.is_some()
    }

    /// The primary that a standby cluster follows. Without an address: an archive alone.
    pub(super) fn remote(&self) -> Option<Upstream> {
        let remote = self.settings.standby_cluster.as_ref()?;
        let mut addresses = remote.addresses().into_iter();
        let (host, port) = addresses.next().unwrap_or_default();
        let slot =
            remote.primary_slot_name.clone().filter(|_| self.settings.use_slots).map(|slot| SlotName(slot.into()));
        Some(Upstream { member: None, host, port, others: addresses.collect(), slot })
    }

    /// Whether this member is to stream from outside: it leads, or nobody does.
    pub(super) fn follows_remote(&self) -> bool {
        let unlocked = self.cluster().is_some_and(|c| c.leader.is_none()) && !self.paused();
        self.is_standby_cluster() && (self.lease.lock.is_some() || unlocked)
    }

    /// This member holds the lock of a standby cluster and its server answers.
    pub(super) fn lead_standby_cluster(&mut self) -> Decision {
        if !self.without_store_now()
            && let Some(decision) = self.requested()
        {
            return decision;
        }
        if self.is_writable() {
            self.role = Role::Primary;
            if self.paused() {
                let because = "in pause a primary is not made a standby leader";
                return Decision::new("no action", because).waiting("the end of pause");
            }
            return self.refused_remote().unwrap_or_else(|| self.demote_cluster());
        }
        if self.role != Role::StandbyLeader {
            self.role = Role::StandbyLeader;
            self.callback(Action::OnRoleChange);
        }
        if let Some(decision) = self.divergence_turn() {
            return decision;
        }
        let because = "this member holds the leader lock of a standby cluster";
        if let Some(decision) = self.keep_following(because) {
            return decision;
        }
        let state = format!("no action. I am ({}), the standby leader with the lock", self.me());
        match self.divergence.hopeless() {
            Some(why) => Decision::new(state, why.to_owned()).waiting("a person"),
            None => Decision::new(state, because),
        }
    }

    /// Another member leads the standby cluster now, or nobody does.
    pub(super) fn leads_no_standby_cluster(&mut self) {
        if self.role == Role::StandbyLeader {
            self.role = Role::Replica;
            self.callback(Action::OnRoleChange);
        }
    }

    /// The primary of what has become a standby cluster: closed in order, so that every standby has all of it, and what
    /// it archives last is there for whoever follows by the archive.
    fn demote_cluster(&mut self) -> Decision {
        let because = "the configuration makes this a standby cluster";
        let mut steps = self.stopping_steps(true);
        steps.extend([
            Step::Role(Role::Demoted),
            Step::ArchivePending,
            Step::ArchiveShutdown,
            Step::Callback(Action::OnStop),
        ]);
        self.divergence.suspect();
        self.followed = None;
        self.begin_op(Op::new(Kind::DemoteCluster, because, steps));
        Decision::new("demoting to a standby cluster", because)
    }

    /// A switchover of a standby cluster: nothing was written here, so the lock alone changes hands. What the next leader
    /// lacks the remote primary has.
    pub(super) fn hand_over_standby(&mut self, because: String, request: &Failover) -> Decision {
        let to = request.member.as_ref().map_or_else(String::new, |member| format!(" to {member}"));
        self.followed = None;
        let steps = [Step::Release, Step::Role(Role::Replica), Step::Callback(Action::OnRoleChange)];
        self.begin_op(Op::new(Kind::HandOver, because.clone(), steps));
        Decision::new(format!("handing the standby cluster over{to}"), because)
    }

    /// The standby leader's server does not run. It needs nobody's leave to be started; a member that can lead at once
    /// is given the lock where a start has failed, or where that is asked for.
    pub(super) fn stopped_standby_leader(&mut self) -> Decision {
        self.role_when_stopped();
        if self.failures.start > 0 || self.settings.primary_start_timeout.is_zero() {
            let because = "the standby leader's server does not run";
            match self.takeover_possible() {
                None => return Decision::new("no action", because).waiting("the answers of the other members"),
                Some(true) => {
                    self.role = Role::Demoted;
                    self.release_lock();
                    return Decision::new("no action", because).waiting("the release of the leader lock");
                }
                Some(false) => {}
            }
        }
        if let Some(decision) = self.divergence_turn() {
            return decision;
        }
        self.start_standby("this member holds the lock of a standby cluster and its server does not run")
    }

    /// The first member of a standby cluster is a copy of the remote primary.
    pub(super) fn bootstrap_standby(&mut self, remote: Upstream) -> Decision {
        let copied = Upstream { slot: None, ..remote.clone() };
        let from = if remote.streams() { remote.to_string() } else { "its archive".to_owned() };
        let because = format!("the store knows no cluster of this name; copying the remote primary from {from}");
        let steps = [
            Step::ClaimInitialize,
            Step::Intend(Intent::Bootstrap { initialize: None }),
            Step::Clone { source: Some(copied), basebackup_only: false },
            Step::Configure(Mode::Standby { upstream: Some(remote) }),
            Step::Launch(Starting::Standby),
            Step::Accept(self.start_wait()),
            Step::PublishConfig,
            Step::PublishInitialize,
            Step::Settle,
        ];
        self.begin_op(Op::new(Kind::Bootstrap, because.clone(), steps));
        Decision::new("trying to bootstrap a new standby leader", because)
    }

    /// The section has come, gone, or names another primary: what was known of our WAL beside it does not count.
    pub(super) fn another_remote(&mut self) {
        if !self.divergence.must() {
            self.divergence = Default::default();
        }
        self.divergence.suspect();
        self.followed = None;
        self.failures.compare = 0;
        self.failures.compare_at = crate::Tick::ZERO;
    }
}

/// The status and the `sync` key of a cluster that was a primary's.
impl Ha {
    pub(super) fn lead_standby_in_background(&mut self) {
        if self.row().is_some_and(|row| row.in_recovery) {
            self.forget_sync_key();
            self.publish_status();
        }
    }
}
