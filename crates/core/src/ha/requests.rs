//! What REST, the control tool and signals ask for, and what they are answered (rest-api 8, 9, 10).

use std::time::Duration;

use super::flight::{Purpose, SHORT};
use super::machine::Ha;
use super::note::NoteLevel;
use super::op::{Kind, Op, Starting, Step};
use super::state::{Phase, Role};
use super::timer::Timer;
use super::{Act, Action, Intent, Lane, Mode, Outcome, Reply, Request, RequestId, Restart, When, Yield};
use crate::view::{Condition, Failover, Key, SyncMode, Write, Written};
use crate::{MemberName, Tick};

/// A request that waits for its answer.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    kind: Asked,
    until: Tick,
}

#[derive(Clone, Debug, PartialEq)]
enum Asked {
    /// Answered when another leader is in place.
    Switchover {
        manual: bool,
        from: Option<MemberName>,
        to: Option<MemberName>,
        scheduled: bool,
        written: bool,
    },
    Cancel,
    /// Answered by the operation that carries it out.
    Operation,
}

impl Ha {
    pub(super) fn request(&mut self, id: RequestId, request: Request) {
        match request {
            Request::Switchover { manual_failover, leader, candidate, scheduled_at } => {
                self.ask_switchover(id, manual_failover, leader, candidate, scheduled_at);
            }
            Request::CancelSwitchover => self.cancel_switchover(id),
            Request::Restart(restart) => self.ask_restart(id, restart),
            Request::CancelRestart => {
                let reply = match self.scheduled_restart.take() {
                    Some(_) => Reply::new(200, "scheduled restart deleted"),
                    None => Reply::new(404, "no restarts are scheduled"),
                };
                self.answer(id, reply);
            }
            Request::Reload => {
                self.followed = None;
                self.reload_asked = true;
                self.answer(id, Reply::new(202, "reload scheduled"));
            }
            Request::Reinitialize { force, from_leader } => self.ask_reinitialize(id, force, from_leader),
            Request::Shutdown => {
                self.shutting_down = true;
                if self.op.as_ref().is_some_and(|op| op.kind.gives_way()) {
                    self.cancel_op();
                }
                self.answer(id, Reply::new(202, "shutdown scheduled"));
            }
            Request::Failsafe { name, conn_url, api_url, slots, ttl } => {
                let reply = self.failsafe_ping(name, conn_url, api_url, slots, ttl);
                self.answer(id, reply);
            }
            Request::Wake => {
                self.load();
                self.answer(id, Reply::new(200, ""));
            }
        }
    }

    fn answer(&mut self, request: RequestId, reply: Reply) {
        self.requests.remove(&request);
        self.fire(Lane::Load, Act::Reply { request, reply }, SHORT, Purpose::Unattended);
    }

    pub(super) fn reply_to(&mut self, request: Option<RequestId>, reply: Reply) {
        if let Some(request) = request {
            self.answer(request, reply);
        }
    }

    fn wait_for_answer(&mut self, id: RequestId, kind: Asked, patience: Duration) {
        let until = self.now.boot + patience;
        self.requests.insert(id, Pending { kind, until });
        self.timers.set_earlier(Timer::Request, until);
    }

    pub(super) fn expire_requests(&mut self) {
        self.timers.fired(Timer::Request, self.now.boot);
        let now = self.now.boot;
        let late: Vec<(RequestId, Asked)> =
            self.requests.iter().filter(|(_, p)| p.until <= now).map(|(id, p)| (*id, p.kind.clone())).collect();
        for (id, kind) in late {
            let text = match kind {
                Asked::Switchover { manual: true, .. } => "Failover status unknown",
                Asked::Switchover { manual: false, .. } => "Switchover status unknown",
                Asked::Cancel | Asked::Operation => "status unknown",
            };
            self.answer(id, Reply::new(503, text));
        }
        if let Some(next) = self.requests.values().map(|p| p.until).min() {
            self.timers.set(Timer::Request, next);
        }
    }

    // ---- switchover and failover

    fn ask_switchover(
        &mut self,
        id: RequestId,
        manual: bool,
        leader: Option<String>,
        candidate: Option<String>,
        scheduled_at: Option<When>,
    ) {
        let scheduled = scheduled_at.is_some();
        match self.judge_switchover(manual, leader.as_deref(), candidate.as_deref(), scheduled_at.as_ref()) {
            Err(reply) => self.answer(id, reply),
            Ok(()) => {
                let failover = Failover {
                    leader: leader.map(MemberName::from).filter(|_| !manual),
                    member: candidate.map(MemberName::from),
                    scheduled_at: scheduled_at.map(|w| w.text),
                };
                let text = failover.to_text();
                let from = self.cluster().and_then(|c| c.leader.as_ref()).map(|l| l.name.clone());
                let asked = Asked::Switchover { manual, from, to: failover.member, scheduled, written: false };
                let patience = self.settings.loop_wait.max(Duration::from_secs(10)) * 2;
                self.wait_for_answer(id, asked, patience);
                let act = Act::Write(Write::put(Key::Failover, text));
                self.issue(Lane::Request(id), act, self.settings.ttl.min(SHORT), Purpose::FailoverRequest(id));
            }
        }
    }

    /// The table of rest-api 8, in its order.
    fn judge_switchover(
        &self,
        manual: bool,
        leader: Option<&str>,
        candidate: Option<&str>,
        scheduled_at: Option<&When>,
    ) -> Result<(), Reply> {
        let refuse = |status, text: &str| Err(Reply::new(status, text));
        let action = if manual { "failover" } else { "switchover" };
        if manual && candidate.is_none() {
            return refuse(400, "Failover could be performed only to a specific candidate");
        }
        if !manual && leader.is_none() {
            return refuse(400, "Switchover could be performed only from a specific leader");
        }
        if let Some(when) = scheduled_at {
            if manual {
                return refuse(400, "Failover can't be scheduled");
            }
            if self.paused() {
                return refuse(400, "Can't schedule switchover in the paused state");
            }
            if when.at < self.now.wall {
                return refuse(422, "Cannot schedule switchover in the past");
            }
        }
        if !manual && self.paused() && candidate.is_none() {
            return refuse(400, "Switchover is possible only to a specific candidate in a paused state");
        }
        if leader.is_some() && leader == candidate {
            return refuse(400, "Switchover target and source are the same");
        }
        if scheduled_at.is_some() {
            return Ok(());
        }
        let Some(cluster) = self.cluster() else { return refuse(503, "failed to read the cluster from DCS") };
        let current = cluster.leader.as_ref().map(|l| l.name.as_str());
        if leader.is_some() && leader != current {
            return refuse(412, "leader name does not match");
        }
        let priority_sync = self.settings.sync_mode == SyncMode::Priority && self.settings.is_sync();
        if let Some(candidate) = candidate {
            let candidate = MemberName::from(candidate);
            if !manual && priority_sync && !cluster.sync.is_standby(&candidate) {
                return refuse(412, "candidate name does not match with sync_standby");
            }
            if !cluster.members.contains_key(&candidate) {
                return refuse(412, "candidate does not exists");
            }
        } else if priority_sync && cluster.sync.standbys.is_empty() {
            return refuse(412, &format!("{action} is not possible: can not find sync_standby"));
        }
        let able = |name: &MemberName, m: &crate::view::Member| {
            Some(name.as_str()) != current
                && candidate.is_none_or(|c| c == name.as_str())
                && m.data.api_url().is_some()
                && !m.data.tags().nofailover()
        };
        if !cluster.members.keys().any(|name| Some(name.as_str()) != current) {
            return refuse(412, &format!("{action} is not possible: cluster does not have members except leader"));
        }
        if !cluster.members.iter().any(|(name, m)| able(name, m)) {
            return refuse(412, &format!("{action} is not possible: no good candidates have been found"));
        }
        Ok(())
    }

    pub(super) fn failover_written(&mut self, id: RequestId, outcome: Outcome) {
        let Some(pending) = self.requests.get_mut(&id) else { return };
        let Asked::Switchover { scheduled, written, .. } = &mut pending.kind else { return };
        match outcome {
            Ok(Yield::Wrote(Written::Done { .. })) if *scheduled => {
                self.answer(id, Reply::new(202, "Switchover scheduled"));
            }
            Ok(Yield::Wrote(Written::Done { .. })) => {
                *written = true;
                // The watch brings the request sooner, as a rule.
                self.load();
            }
            Ok(_) | Err(_) => self.answer(id, Reply::new(503, "failed to write failover key into DCS")),
        }
    }

    /// A new leader answers those who asked for one; a request that vanished without one has failed.
    pub(super) fn switchover_progress(&mut self) {
        let Some(cluster) = self.cluster().cloned() else { return };
        let leader = cluster.leader.as_ref().map(|l| l.name.clone());
        let stands = cluster.request().is_some();
        let mut answers = Vec::new();
        for (id, pending) in &self.requests {
            let Asked::Switchover { manual, from, to, scheduled: false, written: true } = &pending.kind else {
                continue;
            };
            match &leader {
                Some(new) if Some(new) != from.as_ref() => answers.push((*id, success(*manual, new, to.as_ref()))),
                // The view may be older than our write: only a request that was seen can vanish.
                Some(_) if !stands && self.seen_request => {
                    let text = if *manual { "Failover failed" } else { "Switchover failed" };
                    answers.push((*id, Reply::new(503, text)));
                }
                Some(_) | None => {}
            }
        }
        self.seen_request = stands;
        for (id, reply) in answers {
            self.answer(id, reply);
        }
    }

    pub(super) fn reply_switchover(&mut self, reply: Reply) {
        let waiting: Vec<RequestId> = self
            .requests
            .iter()
            .filter(|(_, p)| matches!(p.kind, Asked::Switchover { scheduled: false, .. }))
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            self.answer(id, reply.clone());
        }
    }

    fn cancel_switchover(&mut self, id: RequestId) {
        let failover = self.cluster().and_then(|c| c.failover.clone());
        match failover.filter(|f| f.value.is_request() && f.value.scheduled_at.is_some()) {
            None => self.answer(id, Reply::new(404, "no switchover is scheduled")),
            Some(failover) => {
                self.wait_for_answer(id, Asked::Cancel, SHORT * 3);
                let write = Write::put(Key::Failover, "{}").when(Condition::Unchanged(failover.revision));
                self.issue(Lane::Request(id), Act::Write(write), SHORT, Purpose::FailoverCancel(id));
            }
        }
    }

    pub(super) fn failover_cancelled(&mut self, id: RequestId, outcome: Outcome) {
        let reply = match outcome {
            Ok(Yield::Wrote(Written::Done { .. })) => Reply::new(200, "scheduled switchover deleted"),
            Ok(_) => Reply::new(409, "the request has changed meanwhile"),
            Err(_) => Reply::new(503, "failed to write failover key into DCS"),
        };
        self.answer(id, reply);
    }

    // ---- restart and reinitialise

    fn ask_restart(&mut self, id: RequestId, restart: Restart) {
        if restart.schedule.is_some() {
            return self.schedule_restart(id, restart);
        }
        if let Some(op) = &self.op {
            let text = format!("{} already in progress", op.kind.word());
            return self.answer(id, Reply::new(503, text));
        }
        if !self.restart_applies(&restart) {
            return self.answer(id, Reply::new(503, "restart conditions are not satisfied"));
        }
        if self.found.intent.is_some() || self.divergence.must() || !self.has_data() {
            return self.answer(id, Reply::new(503, "restart failed: the data directory is not whole"));
        }
        self.wait_for_answer(id, Asked::Operation, Duration::from_secs(24 * 3600));
        self.restart(Some(id), &restart, "a restart is asked for");
    }

    fn schedule_restart(&mut self, id: RequestId, restart: Restart) {
        let reply = if self.paused() {
            Reply::new(500, "Can't schedule restart in the paused state")
        } else if self.scheduled_restart.is_some() {
            Reply::new(409, "Another restart is already scheduled")
        } else {
            let postmaster_start = self.row().map(|row| row.postmaster_start);
            self.scheduled_restart = Some(Restart { postmaster_start, ..restart });
            Reply::new(202, "Restart scheduled")
        };
        self.answer(id, reply);
    }

    fn restart_applies(&self, restart: &Restart) -> bool {
        let role = restart.role.as_deref().is_none_or(|r| r == self.role.for_callback());
        let version = restart.older_than.is_none_or(|v| self.row().is_some_and(|row| row.server_version < v));
        let pending = !restart.only_pending || self.row().is_some_and(|row| !row.pending_restart.is_empty());
        role && version && pending
    }

    fn restart(&mut self, request: Option<RequestId>, restart: &Restart, because: &str) {
        let primary = self.is_writable();
        let (mode, starting) = if primary {
            (Mode::Primary, Starting::Primary)
        } else {
            (Mode::Standby { upstream: self.upstream() }, Starting::Standby)
        };
        let limit = restart.timeout.map_or(self.settings.primary_start_timeout, Duration::from_secs);
        let wait = if limit.is_zero() { self.start_wait() } else { limit };
        let mut steps = self.leaving_steps();
        steps.extend(self.stopping_steps(true));
        steps.extend([
            Step::Configure(mode),
            Step::Launch(starting),
            Step::Accept(wait),
            Step::Callback(Action::OnRestart),
        ]);
        self.begin_op(Op::new(Kind::Restart, because, steps).for_request(request));
    }

    /// A scheduled restart whose time has come (ha-rules 19.2).
    pub(super) fn scheduled_restart_turn(&mut self) {
        let Some(restart) = self.scheduled_restart.clone() else { return };
        let Some(when) = &restart.schedule else { return };
        let started = self.row().map(|row| row.postmaster_start);
        if let (Some(meant), Some(found)) = (restart.postmaster_start, started)
            && meant != found
        {
            self.note(NoteLevel::Info, "the scheduled restart is dropped: the server was restarted meanwhile");
            self.scheduled_restart = None;
            return;
        }
        match self.due(&when.text) {
            super::leader::Due::Later(wait) => self.timers.set_earlier(Timer::Scheduled, self.now.boot + wait),
            super::leader::Due::Never(why) => {
                self.note(NoteLevel::Warning, format!("the scheduled restart is dropped: {why}"));
                self.scheduled_restart = None;
            }
            super::leader::Due::Now if self.op.is_some() || !self.is_running() => {}
            super::leader::Due::Now => {
                self.scheduled_restart = None;
                if self.restart_applies(&restart) {
                    self.restart(None, &restart, "a scheduled restart is due");
                }
            }
        }
    }

    /// Synchronous modes: `leader` has the lock and has opened nothing yet. Should it never get there, what was acknowledged
    /// before it may be here alone.
    fn may_succeed_before(&self, leader: &MemberName) -> bool {
        let succession = self.cluster().filter(|_| self.settings.is_sync()).map(|cluster| &cluster.sync);
        succession
            .is_some_and(|sync| sync.leader.is_some() && sync.leader.as_ref() != Some(leader) && sync.names(self.me()))
    }

    fn ask_reinitialize(&mut self, id: RequestId, force: bool, from_leader: bool) {
        let leader = self.cluster().and_then(|c| c.leader.as_ref()).map(|l| l.name.clone());
        let refusal = match leader {
            None => Some("Cluster has no leader, can not reinitialize".to_owned()),
            Some(name) if name == *self.me() => Some("I am the leader, can not reinitialize".to_owned()),
            Some(name) if self.may_succeed_before(&name) => Some(format!(
                "{name} has not taken the synchronous state over, and this member may have commits that no other has, can \
                 not reinitialize"
            )),
            Some(_) => match &self.op {
                Some(op) if !force || !op.kind.gives_way() => Some(format!("{} already in progress", op.kind.word())),
                Some(_) | None => None,
            },
        };
        if let Some(text) = refusal {
            return self.answer(id, Reply::new(503, text));
        }
        self.answer(id, Reply::new(200, "reinitialize started"));
        self.cancel_op();
        self.clone_from_leader = from_leader;
        self.phase = Phase::CreatingReplica;
        self.followed = None;
        self.role = if self.role == Role::Uninitialized { Role::Uninitialized } else { Role::Replica };
        let aside = Step::PutAside(self.worth());
        let mut steps = self.leaving_steps();
        steps.extend(self.closing_steps(false));
        steps.extend([Step::Intend(Intent::PutAside), aside, Step::Settle, Step::Look]);
        self.begin_op(Op::new(Kind::Reinitialize, "reinitialize is asked for", steps));
    }
}

impl Kind {
    /// Whether an operation may be left for a request that matters more: what it had begun is either harmless
    /// or written down as an intent.
    fn gives_way(self) -> bool {
        match self {
            Kind::Start | Kind::Follow | Kind::Clone | Kind::Rewind | Kind::CleanUp => true,
            Kind::Bootstrap
            | Kind::Restart
            | Kind::CopySlots
            | Kind::Close
            | Kind::HandOver
            | Kind::DemoteCluster
            | Kind::Bequeath
            | Kind::Promote
            | Kind::Reinitialize
            | Kind::Shutdown => false,
        }
    }
}

fn success(manual: bool, new: &MemberName, wanted: Option<&MemberName>) -> Reply {
    let text = match wanted {
        Some(wanted) if wanted != new && manual => format!("Failed over to \"{new}\" instead of \"{wanted}\""),
        Some(wanted) if wanted != new => format!("Switched over to \"{new}\" instead of \"{wanted}\""),
        Some(_) | None if manual => format!("Successfully failed over to \"{new}\""),
        Some(_) | None => format!("Successfully switched over to \"{new}\""),
    };
    Reply::new(200, text)
}
