//! Somebody else holds the lock (ha-rules 5).

use std::sync::Arc;

use super::basis::Basis;
use super::machine::Ha;
use super::op::{Kind, Op, Step};
use super::state::{Followed, Role};
use super::{Decision, Mode, Setup, Upstream};
use crate::MemberName;

impl Ha {
    pub(super) fn follow(&mut self, leader: &MemberName) -> Decision {
        if self.is_writable() {
            if self.paused() || self.weaken.has(crate::Weakness::KeepUnleased) {
                self.role = Role::Primary;
                return Decision::new("no action", "in pause a primary without the lock is left alone");
            }
            return self.close(&format!("{leader} holds the leader lock"), false);
        }
        if let Some(decision) = self.divergence_turn() {
            return decision;
        }
        let because = format!("{leader} holds the leader lock");
        if let Some(decision) = self.keep_following(&because) {
            return decision;
        }
        let kind = if self.is_standby_cluster() { "a standby leader" } else { "a leader" };
        let state = format!("no action. I am ({}), a secondary, and following {kind} ({leader})", self.me());
        match self.divergence.hopeless() {
            Some(why) => Decision::new(state, why.to_owned()).waiting("a person"),
            None => Decision::new(state, because),
        }
    }

    /// Turns the running standby to whom it has to follow, where it does not yet.
    pub(super) fn keep_following(&mut self, because: &str) -> Option<Decision> {
        self.find_upstream();
        if self.followed != self.upstream_made.1 {
            let Some(followed) = self.upstream_made.1.clone() else {
                let because = "whom to follow is not known";
                return Some(Decision::new("no action", because).waiting("a view of the store"));
            };
            if self.now.boot < self.failures.retry_at {
                let because = "following failed a moment ago";
                return Some(Decision::new("no action", because).waiting("the next try"));
            }
            return Some(self.follow_anew(followed, because));
        }
        let seen_since = self.server.as_ref().is_some_and(|s| s.looked_at > self.resumed_at);
        let stands = self.row().is_some_and(|row| row.replay_paused && row.server_version >= 140_000);
        if stands && seen_since && !self.paused() {
            self.resumed_at = self.now.boot;
            self.issue(
                super::Lane::Sql,
                super::Act::ResumeReplay,
                super::flight::SHORT,
                super::flight::Purpose::Unattended,
            );
        }
        None
    }

    fn follow_anew(&mut self, followed: Followed, because: &str) -> Decision {
        let mode = Mode::Standby { upstream: followed.upstream };
        self.begin_op(Op::new(Kind::Follow, because, [Step::Configure(mode), Step::Apply]));
        Decision::new("no action", because.to_owned()).waiting("the new configuration")
    }

    /// What the files of the server are about to say. Whoever leads when it is started, it follows what stands there.
    pub(super) fn will_follow(&mut self, mode: &Mode) {
        let Mode::Standby { upstream } = mode else { return };
        if self.followed.as_ref().is_none_or(|f| f.upstream != *upstream) {
            self.divergence.suspect();
        }
        let (upstream, feedback) = (upstream.clone(), self.needs_feedback(mode));
        self.followed = Some(Followed { upstream, dynamic: self.dynamic_saved.clone(), feedback });
    }

    /// Keeps at hand what is to be followed. A promised leader counts as well as the view, and goes with time.
    fn find_upstream(&mut self) {
        // The lock of a standby cluster counts before the view shows it.
        let promised = self.failsafe_leader_name().is_some() || self.is_standby_cluster();
        let made = self.upstream_made.0.as_ref().is_some_and(|basis| basis.stands_but_for_positions(self));
        if promised || !made || self.upstream_made.1.as_ref().is_none_or(|f| f.dynamic != self.dynamic_saved) {
            self.upstream_made = ((!promised).then(|| Basis::now(self)), Some(self.to_follow()));
        }
    }

    pub(super) fn to_follow(&self) -> Followed {
        let upstream = self.upstream();
        let feedback = self.needs_feedback(&Mode::Standby { upstream: None });
        Followed { upstream, dynamic: self.dynamic_saved.clone(), feedback }
    }

    /// Whom this member streams from: `replicatefrom` when that member exists, else the leader; never itself.
    pub(super) fn upstream(&self) -> Option<Upstream> {
        if self.local.tags.nostream() {
            return None;
        }
        if self.follows_remote() {
            return self.remote();
        }
        let cluster = self.cluster()?;
        let preferred = self.local.tags.replicatefrom().map(MemberName::from).filter(|n| n != self.me());
        let preferred = preferred.filter(|n| cluster.members.get(n).is_some_and(|m| m.data.address().is_some()));
        let leader = cluster.leader.as_ref().map(|l| &l.name).or_else(|| self.failsafe_leader_name());
        let name = preferred.or_else(|| leader.cloned())?;
        if name == *self.me() {
            return None;
        }
        self.upstream_of(&name)
    }

    pub(super) fn upstream_of(&self, name: &MemberName) -> Option<Upstream> {
        let member = self.cluster()?.members.get(name).and_then(|m| m.data.address());
        let promised = || self.failsafe_leader().filter(|_| self.failsafe_leader_name() == Some(name));
        // Its member key went with a session, and is written again later than the lock: who streams from it goes on.
        let kept = self.followed.as_ref().and_then(|followed| followed.upstream.as_ref());
        let kept = kept.filter(|upstream| upstream.member.as_ref() == Some(name)).map(|u| (u.host.clone(), u.port));
        let (host, port) = member.or_else(|| promised().and_then(|data| data.address())).or(kept)?;
        let slot = self.settings.use_slots.then(|| self.me().slot());
        Some(Upstream { member: Some(name.clone()), host, port, others: Vec::new(), slot })
    }

    pub(super) fn setup(&self, mode: Mode) -> Setup {
        let synchronous_standby_names = self.names_for(&mode);
        let feedback = self.needs_feedback(&mode);
        Setup { mode, dynamic: Arc::clone(&self.dynamic), synchronous_standby_names, feedback }
    }
}
