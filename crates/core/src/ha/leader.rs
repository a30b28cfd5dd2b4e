//! This member holds the lock (ha-rules 4, 8.2, 9.1).

use std::time::Duration;

use super::flight::{Purpose, SHORT};
use super::machine::Ha;
use super::note::NoteLevel;
use super::op::{Kind, Op, Step};
use super::peers::RoundFor;
use super::state::Role;
use super::timer::Timer;
use super::{Act, Decision, Lane, Reply};
use crate::view::{Condition, Failover, Key, Write};
use crate::{Lsn, Timeline};

/// A primary that has not completed a query for this long, or for `ttl` if that is longer, is hung
/// (fault-scenarios F9). Slow is not hung: one completed query starts the count again.
pub(super) const HUNG: Duration = Duration::from_secs(10);
/// How long an orderly hand-over waits for a member that has the last record.
const HEIR_WAIT: Duration = Duration::from_secs(5);
/// How old the members' answers may be on which a switchover is begun.
const ANSWERS_VALID: Duration = Duration::from_secs(1);

/// Where a dead primary's WAL ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LastEnd {
    pub timeline: Timeline,
    pub end: Lsn,
}

impl Ha {
    pub(super) fn lead(&mut self) -> Decision {
        if self.lock().is_none() {
            // Past soft: `unleased_primary` closes a writable server; a standby just waits for news of the lease.
            return Decision::new("no action", "the lease is running out").waiting("the lease keeper");
        }
        if let Some(why) = self.contradicted() {
            if self.may_write() {
                return self.close(&why, false);
            }
            self.release_lock();
            return Decision::new("no action", why).waiting("the release of the leader lock");
        }
        if self.is_standby_cluster() {
            return self.lead_standby_cluster();
        }
        let writable = self.is_writable();
        if self.paused() && !writable {
            return self.lead_in_pause();
        }
        let silent = self.without_store_now();
        if !silent && let Some(decision) = self.requested() {
            return decision;
        }
        if !writable {
            return self.promote("this member holds the leader lock");
        }
        self.role = Role::Primary;
        if let Some(decision) = self.unwatched_primary() {
            return decision;
        }
        if self.leads_on_promises() {
            let state = "continue to run as a leader because failsafe mode is enabled and all members are accessible";
            return Decision::new(state, "the store is silent and every other member lets this one lead on");
        }
        if silent {
            let state = format!("no action. I am ({}), the leader with the lock", self.me());
            return Decision::new(state, "the store is silent").waiting("the promises of the other members");
        }
        let state = format!("no action. I am ({}), the leader with the lock", self.me());
        Decision::new(state, "this member holds the leader lock and is the primary")
    }

    fn lead_in_pause(&mut self) -> Decision {
        let named = self.standing_request().and_then(|r| r.member.as_ref()) == Some(self.me());
        if named {
            return self.promote("a failover in pause names this member");
        }
        self.release_lock();
        Decision::new("no action", "in pause a member that is no primary gives the lock up").waiting("the store")
    }

    pub(super) fn release_lock(&mut self) {
        let act = Act::Release { status: None };
        self.issue(Lane::Lock, act, self.settings.ttl.min(SHORT), Purpose::ReleaseStale);
    }

    /// Whatever is being done and whatever the server answers: it may wake up.
    pub(super) fn keep_armed(&mut self) {
        if self.lock().is_some() && self.may_write() && !self.promoting() {
            self.arm();
        }
    }

    /// The guard must hold a deadline for the lock under which the server is writable; in pause it must not.
    fn arm(&mut self) {
        let wanted = if self.paused() { None } else { self.lock().map(|l| l.generation) };
        if self.armed != wanted {
            self.issue(Lane::Arm, Act::Arm { armed: wanted }, SHORT, Purpose::Arm(wanted));
        }
    }

    /// A request for a switchover or failover (ha-rules 8.2).
    pub(super) fn requested(&mut self) -> Option<Decision> {
        let failover = self.cluster()?.failover.clone()?;
        let request = failover.value.clone();
        if !request.is_request() || self.published.failover_cleared.as_ref() == Some(&failover.revision) {
            return None;
        }
        if self.paused() && !self.is_writable() && !self.leads_standby_cluster() {
            return None;
        }
        if let Some(at) = &request.scheduled_at {
            match self.due(at) {
                Due::Now => {}
                Due::Later(wait) => {
                    self.timers.set(Timer::Scheduled, self.now.boot + wait);
                    return None;
                }
                Due::Never(why) => return self.refuse(&failover.revision, why),
            }
        }
        if self.carried_out(&request) {
            return None;
        }
        if request.member.is_none() && self.paused() {
            return self.refuse(&failover.revision, "in pause it needs a candidate".into());
        }
        self.hand_over(&failover.revision, &request)
    }

    /// The request is what made this member the leader, or it cannot be about the present leader.
    pub(super) fn carried_out(&self, request: &Failover) -> bool {
        request.leader.as_ref().is_some_and(|l| l != self.me()) || request.member.as_ref() == Some(self.me())
    }

    fn hand_over(&mut self, revision: &crate::view::Revision, request: &Failover) -> Option<Decision> {
        if !self.is_writable() && !self.leads_standby_cluster() {
            return None;
        }
        let heirs = self.heirs();
        if heirs.is_empty() {
            let why = match &request.member {
                Some(member) => format!("{member} is no member that may lead"),
                None => "no other member may lead".into(),
            };
            return self.refuse(revision, why);
        }
        let because = match &request.member {
            Some(member) => format!("a switchover to {member} is asked for"),
            None => "a switchover is asked for".into(),
        };
        let Some(answers) = self.polled(RoundFor::Switchover, &heirs, ANSWERS_VALID) else {
            return Some(Decision::new("switchover", because).waiting("the answers of the candidates"));
        };
        let end = self.my_position();
        let lag_allowed = self.settings.maximum_lag_on_failover;
        let ours = self.row().and_then(|row| row.timeline);
        let same_branch = |p: &super::PeerStatus| p.timeline.is_none() || ours.is_none() || p.timeline == ours;
        let near = |p: &super::PeerStatus| end.ahead_of(p.position) <= lag_allowed && same_branch(p);
        let able = answers.values().flatten().filter(|p| self.may_lead(p) && near(p)).count();
        if able < self.heirs_needed() {
            return self.refuse(revision, "no candidate answers, may lead and has received enough WAL".into());
        }
        if !self.is_writable() {
            return Some(self.hand_over_standby(because, request));
        }
        let mut steps = self.stopping_steps(true);
        steps.extend([
            Step::Heir { within: HEIR_WAIT, required: true },
            Step::Role(Role::Demoted),
            Step::Release,
            Step::Callback(super::Action::OnStop),
        ]);
        if self.weaken.has(crate::Weakness::ReleaseBeforeStop) {
            steps.insert(0, Step::Release);
        }
        self.divergence.suspect();
        self.followed = None;
        self.begin_op(Op::new(Kind::HandOver, because.clone(), steps));
        Some(Decision::new("demoting self", because))
    }

    /// Clears a request that cannot be carried out, and says why.
    fn refuse(&mut self, revision: &crate::view::Revision, why: String) -> Option<Decision> {
        let write = Write::put(Key::Failover, "{}").when(Condition::Unchanged(revision.clone()));
        if self.issue(Lane::Store, Act::Write(write), SHORT, Purpose::ClearFailover).is_some() {
            self.note(NoteLevel::Warning, format!("the request for a switchover or failover is cleared: {why}"));
            self.published.failover_cleared = Some(revision.clone());
        }
        None
    }

    /// The old primary stopped for a hand-over, and nobody may take over: lead on.
    pub(super) fn hand_over_failed(&mut self, why: &str) {
        if let Some(failover) = self.cluster().and_then(|c| c.failover.clone()) {
            self.refuse(&failover.revision, format!("{why}; this member leads on"));
        }
        self.reply_switchover(Reply::new(503, "Switchover failed"));
        if self.is_standby_cluster() || self.lock().is_none() && !self.paused() {
            return;
        }
        let wait = self.settings.primary_start_timeout.max(self.start_wait());
        let steps = [
            Step::Fence,
            Step::Configure(super::Mode::Primary),
            Step::Launch(super::op::Starting::Primary),
            Step::Accept(wait),
        ];
        self.begin_op(Op::new(Kind::Start, "a hand-over failed and this member still holds the lock", steps));
    }

    // ---- a primary that died or hangs

    /// Whether somebody may take over (`None`: being asked).
    pub(super) fn takeover_possible(&mut self) -> Option<bool> {
        let heirs = self.heirs();
        if heirs.is_empty() {
            return Some(false);
        }
        let answers = self.polled(RoundFor::Takeover, &heirs, ANSWERS_VALID)?;
        let published = self.cluster().map(|c| c.status.optime).unwrap_or_default();
        let limit = self.settings.maximum_lag_on_failover;
        let able = answers.values().flatten().filter(|p| self.may_lead(p) && published.ahead_of(p.position) <= limit);
        Some(able.count() >= self.heirs_needed())
    }

    pub(super) fn hung(&mut self, silent: Duration) -> Decision {
        let because = format!("the server has not completed a query on a fresh connection for {} s", silent.as_secs());
        match self.takeover_possible() {
            None => Decision::new("no action", because).waiting("the answers of the other members"),
            Some(false) => Decision::new("no action", because).waiting("a member that may take over"),
            Some(true) => self.bequeath(&because, true),
        }
    }

    /// Nobody waits for this server: it is fenced, the end of its WAL is made known, others race at once.
    pub(super) fn bequeath(&mut self, because: &str, running: bool) -> Decision {
        let mut steps = Vec::new();
        if running {
            steps.push(Step::Stop(super::Stop::Immediate, Duration::from_millis(200)));
        }
        steps.extend([Step::Fence, Step::EndOfWal, Step::Role(Role::Demoted), Step::Release]);
        self.divergence.suspect();
        self.followed = None;
        self.last_end = None;
        self.begin_op(Op::new(Kind::Bequeath, because, steps));
        Decision::new("demoting self because PostgreSQL does not run", because.to_owned())
    }

    /// The walk through a dead primary's WAL has ended: say what nobody else has received.
    pub(super) fn last_words(&mut self, timeline: Timeline, end: Lsn, complete: bool) {
        self.last_end = Some(LastEnd { timeline, end });
        let received = self.round_positions().into_iter().max().unwrap_or_default();
        let text = match end.ahead_of(received) {
            0 => format!("the WAL of this server ends at {end}, all of it received by a member that may lead"),
            bytes => format!(
                "the WAL of this server ends at {end}; {bytes} bytes ({received} to {end}) had not been received by \
                 any member that answered{}",
                if complete { "" } else { ", and more may follow" }
            ),
        };
        let level = if end > received { NoteLevel::Warning } else { NoteLevel::Info };
        self.note(level, text);
    }

    // ---- time

    /// The request that stands at this moment: an immediate one, or one whose time has come. A leader that goes for
    /// another reason before that is succeeded by whoever may. Clocks may differ by `loop_wait`.
    pub(super) fn standing_request(&self) -> Option<&Failover> {
        let request = self.cluster()?.request()?;
        let Some(text) = &request.scheduled_at else { return Some(request) };
        let at = super::schedule::parse(text).filter(|_| !self.paused())?;
        let early = i64::try_from(self.settings.loop_wait.as_micros()).unwrap_or(i64::MAX);
        (at.0 - self.now.wall.0 <= early).then_some(request)
    }

    /// Whether a schedule is due (ha-rules 8.2).
    pub(super) fn due(&self, text: &str) -> Due {
        let Some(at) = super::schedule::parse(text) else {
            return Due::Never("its time cannot be read, or has no time zone".into());
        };
        if self.paused() {
            return Due::Later(self.settings.loop_wait);
        }
        let now = self.now.wall.0;
        let late = i64::try_from(self.settings.loop_wait.as_micros()).unwrap_or(i64::MAX) * 3 / 2;
        match at.0 - now {
            ahead if ahead > 0 => {
                Due::Later(Duration::from_micros(ahead.unsigned_abs()).min(Duration::from_secs(3600)))
            }
            behind if -behind > late => Due::Never("its time has passed".into()),
            _ => Due::Now,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Now,
    Later(Duration),
    Never(String),
}
