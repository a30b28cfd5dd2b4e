//! The order of the rules (ha-rules 2): which situation is this, and whose rules apply.

use std::time::Duration;

use super::flight::{Purpose, SHORT};
use super::machine::Ha;
use super::note::NoteLevel;
use super::op::{Kind, Op, Step, UNLIMITED};
use super::server::{Accepting, ControlState, DataDir, Process};
use super::state::{Phase, Role};
use super::timer::Timer;
use super::{Act, Aside, Decision, Intent, Lane, Server, Stop};
use crate::Weakness;

/// How long a fast shutdown may take for which no lease is known.
const UNKNOWN_STOP: Duration = Duration::from_secs(1);
/// How long a writable server may look for its lease: after a start or a bootstrap, and after a lost lock.
const UNKNOWN_GRACE: Duration = Duration::from_secs(2);
const LOST_GRACE: Duration = Duration::from_millis(300);

impl Ha {
    /// One decision on everything that is known. Issues effects and begins operations.
    pub(super) fn cycle(&mut self) -> Decision {
        if self.shutting_down {
            return self.shut_down();
        }
        let Some(server) = self.server.clone() else {
            self.look();
            return Decision::new("starting", "nothing is known yet").waiting("a look at our own server");
        };
        if let Some(decision) = self.unleased_primary() {
            return decision;
        }
        if self.fresh_after.is_some() || self.view.is_none() {
            return self.leftovers(&server).unwrap_or_else(|| self.without_store());
        }
        if let Some(decision) = self.stale_lock() {
            return decision;
        }
        if let Some(decision) = self.promised_away() {
            return decision;
        }
        if let Some(intent) = self.found.intent.clone().filter(|_| !self.weaken.has(Weakness::StartHalfCopies)) {
            return self.interrupted(intent);
        }
        let unreadable = match &server.data {
            DataDir::Unusable(why) | DataDir::Broken(why) => Some(why.clone()),
            DataDir::Empty => Some("the data directory is empty".to_owned()),
            DataDir::Present(_) => None,
        };
        if let Some(why) = unreadable {
            if server.process.is_running() {
                return self.unreadable_beneath(&server, why);
            }
            return match &server.data {
                DataDir::Unusable(why) => self.unusable(why.clone()),
                DataDir::Broken(why) => self.broken(why.clone()),
                DataDir::Empty | DataDir::Present(_) => self.empty(),
            };
        }
        if let Some(decision) = self.identity() {
            return decision;
        }
        match server.process {
            Process::Stopped | Process::Leftovers => self.stopped(),
            Process::Running { accepting: Accepting::Yes, .. } if server.row.is_some() => {
                self.shut().unwrap_or_else(|| self.running())
            }
            Process::Running { .. } => self.not_answering(),
        }
    }

    /// A lock that came late, after a promise not to lead.
    fn promised_away(&mut self) -> Option<Decision> {
        if self.lease.lock.is_none() || self.may_write() {
            return None;
        }
        let leader = self.failsafe_leader_name()?.clone();
        self.release_lock();
        let because = format!("{leader} leads in failsafe mode, and this member has promised not to");
        Some(Decision::new("no action", because).waiting("the release of the leader lock"))
    }

    fn running(&mut self) -> Decision {
        if !self.first_start_done {
            self.first_start_done = true;
            self.callback(super::Action::OnStart);
        }
        if self.lease.lock.is_some() {
            return self.lead();
        }
        self.leads_no_standby_cluster();
        let leader = self.cluster().and_then(|c| c.leader.as_ref()).map(|leader| leader.name.clone());
        match leader {
            Some(leader) if leader != *self.me() => self.follow(&leader),
            Some(_) => Decision::new("no action", "the store still shows our own lock").waiting("a newer view"),
            None => self.unlocked(),
        }
    }

    /// A server that is writable without a lease is closed at once (fault-scenarios F16), except in pause,
    /// or when it is the only one of a cluster that has no leader: then it takes the lock first.
    fn unleased_primary(&mut self) -> Option<Decision> {
        let let_be = self.paused() || self.weaken.has(Weakness::KeepUnleased);
        if !self.may_write() || let_be || self.lock().is_some() {
            self.unleased_since = None;
            return None;
        }
        if self.lease.lock.is_some() {
            return Some(self.close("the lease has run out", true));
        }
        let leader = self.cluster().and_then(|c| c.leader.as_ref()).map(|l| l.name.clone());
        if let Some(name) = leader.filter(|name| name != self.me()) {
            return Some(self.close(&format!("{name} holds the leader lock and this server is writable"), false));
        }
        // Nobody's, or ours by name: it may take the lock, or have it taken over, within one patience that no age
        // of the view extends.
        let since = *self.unleased_since.get_or_insert(self.now.boot);
        let patience = match (&self.lease.lost, self.found.armed) {
            (Some(_), _) => LOST_GRACE,
            (None, Some(_)) => self.settings.ttl,
            (None, None) => UNKNOWN_GRACE,
        };
        if self.now.boot.since(since) >= patience {
            self.unleased_since = None;
            return Some(self.close("this server is writable and no lease says that it may be", true));
        }
        self.timers.set_earlier(Timer::Retry, since + patience);
        if self.fresh_after.is_none() && self.view.is_some() {
            return None;
        }
        self.load();
        let because = "this server is writable and no lease is known yet";
        Some(Decision::new("no action", because).waiting("the store"))
    }

    /// Processes whose postmaster is gone, perhaps stopped ones that no guard watches any more. One of them may still
    /// commit when it goes on, whatever the store would say: nobody has to be asked before they end.
    fn leftovers(&mut self, server: &Server) -> Option<Decision> {
        let let_be = self.paused() || self.weaken.has(Weakness::KeepUnleased);
        if server.process != Process::Leftovers || let_be {
            return None;
        }
        let because = "processes are left of a server whose postmaster is gone";
        self.begin_op(Op::new(Kind::Close, because, [Step::Fence, Step::Look]));
        Some(Decision::new("no action", because).waiting("the last process of the data directory"))
    }

    fn without_store(&mut self) -> Decision {
        self.load();
        self.timers.set_earlier(Timer::Retry, self.now.boot + self.settings.loop_wait.min(Duration::from_secs(1)));
        let because = self.store_error.clone().unwrap_or_else(|| "the store has not been read yet".into());
        Decision::new("DCS is not accessible", because).waiting("an answer of the store")
    }

    /// The store says that we lead, and the keeper does not hold it: an earlier run's key, or a lost one.
    fn stale_lock(&mut self) -> Option<Decision> {
        if self.lease.lock.is_some() || !self.cluster()?.is_leader(self.me()) {
            return None;
        }
        let seen = self.view.clone()?;
        let leader = seen.cluster.leader.clone()?;
        if self.found.armed.is_some() && self.lease.lost.is_none() {
            // The keeper is finding out whether the lease of an earlier agent stands.
            let adopting = self.now.boot.since(self.began_at) < self.settings.ttl;
            if adopting {
                let because = "an earlier agent's lease is being taken over";
                return Some(Decision::new("no action", because).waiting("the lease keeper"));
            }
            self.found.armed = None;
        }
        if let Some(decision) = self.read_only_without_store() {
            return Some(decision);
        }
        if self.handed_over_at.is_some_and(|at| seen.read_at < at) || !seen.linearizable {
            self.load();
            self.timers.set_earlier(Timer::Retry, self.now.boot + Duration::from_millis(200));
            let because = "the store still shows a lock of ours";
            return Some(Decision::new("no action", because).waiting("a newer view"));
        }
        if self.is_writable() {
            let expect = crate::view::Expect {
                leader: crate::view::Condition::Unchanged(leader.revision.clone()),
                ..crate::view::Expect::free()
            };
            self.issue(Lane::Lock, Act::Acquire { expect }, self.settings.ttl.min(SHORT), Purpose::Acquire);
            let because = "the leader key carries our name and our server is the primary";
            return Some(Decision::new("taking over our own leader lock", because).waiting("the store's answer"));
        }
        let read_only = self.row().is_some_and(|row| row.in_recovery);
        let gone = self.server.as_ref().is_some_and(|s| s.process == Process::Stopped);
        if !read_only && !gone {
            // What is left of it may still commit.
            return Some(self.close("the leader key carries our name and our server does not answer", false));
        }
        let act = Act::ReleaseStale { created: leader.created, status: None };
        if self.issue(Lane::Lock, act, self.settings.ttl.min(SHORT), Purpose::ReleaseStale).is_some() {
            self.load();
        }
        self.timers.set_earlier(Timer::Retry, self.now.boot + Duration::from_millis(500));
        let because = "the leader key carries our name and our server is no primary";
        Some(Decision::new("releasing a leader lock of an earlier run", because).waiting("the store's answer"))
    }

    /// An earlier agent began to change the data directory and did not finish.
    fn interrupted(&mut self, intent: Intent) -> Decision {
        if self.now.boot < self.failures.retry_at {
            return Decision::new("no action", "an interrupted change is being cleaned up").waiting("the next try");
        }
        let because = format!("an earlier run was interrupted in {}", intent.word());
        let steps = match intent {
            Intent::Bootstrap { initialize } => self.interrupted_bootstrap(initialize),
            Intent::Clone => self.put_aside(Aside::Old),
            // What it was to be put aside for is not known any more.
            Intent::PutAside => self.put_aside(Aside::Diverged),
            // pg_rewind may have left anything: only another rewind, or a copy, makes it whole.
            Intent::Rewind => {
                self.divergence.must_rewind();
                self.found.intent = None;
                return Decision::new("running pg_rewind", because).waiting("a leader to rewind from");
            }
            Intent::SingleUser => vec![Step::Settle],
        };
        self.begin_op(Op::new(Kind::CleanUp, because.clone(), steps));
        Decision::new("cleaning up", because)
    }

    fn put_aside(&self, aside: Aside) -> Vec<Step> {
        let mut steps = self.closing_steps(false);
        steps.extend([Step::PutAside(aside), Step::Settle]);
        steps
    }

    /// The server runs and its directory cannot be read. While it answers, that is no reason to end it.
    fn unreadable_beneath(&mut self, server: &super::Server, why: String) -> Decision {
        if server.row.is_none() {
            return self.not_answering();
        }
        self.look_in(Duration::from_secs(1));
        Decision::new("no action", format!("the server runs and its data directory cannot be read: {why}"))
            .waiting("a directory that can be read")
    }

    fn unusable(&mut self, why: String) -> Decision {
        self.give_up_lock();
        Decision::new("no action", why).waiting("a data directory that can be used")
    }

    fn broken(&mut self, why: String) -> Decision {
        self.give_up_lock();
        Decision::new(
            "no action",
            format!("{why}; nothing is changed or removed: repair it, or reinitialize this member"),
        )
        .waiting("a person")
    }

    fn give_up_lock(&mut self) {
        if self.lease.lock.is_some() {
            let act = Act::Release { status: None };
            self.issue(Lane::Lock, act, self.settings.ttl.min(SHORT), Purpose::ReleaseStale);
        }
    }

    /// The data directory must belong to this cluster (ha-rules 2, step 12).
    fn identity(&mut self) -> Option<Decision> {
        let cluster = self.cluster()?.clone();
        let mine = self.system_identifier()?.to_owned();
        match cluster.system_identifier() {
            Some(theirs) if theirs == mine => None,
            Some(theirs) if self.paused() => {
                self.give_up_lock();
                let because = format!("the system identifier of this server is {mine}, that of the cluster {theirs}");
                Some(Decision::new("no action", because).waiting("the end of pause"))
            }
            Some(theirs) => {
                let why = format!(
                    "the data directory belongs to another cluster: its system identifier is {mine}, that of \
                     '{}' is {theirs}; nothing was changed. Move the data directory away and start again to have \
                     this member copied from the leader",
                    self.local.scope
                );
                Some(self.exit(1, why))
            }
            None => self.unclaimed(&cluster, &mine),
        }
    }

    /// No identity is published, and this member has data.
    fn unclaimed(&mut self, cluster: &crate::view::Cluster, mine: &str) -> Option<Decision> {
        if self.lease.lock.is_none() && cluster.leader.is_some() {
            return None;
        }
        if self.lease.lock.is_none()
            && self.row().is_some_and(|row| row.in_recovery)
            && !self.paused()
            && !self.first_start_done
        {
            let why = "the store knows no cluster identity and this server runs as a replica: start the agent of the \
                       primary first"
                .to_owned();
            return Some(self.exit(1, why));
        }
        if !self.published.initialize {
            let condition = crate::view::Condition::as_read(cluster.initialize.as_ref().map(|i| &i.revision));
            let write = crate::view::Write::put(crate::view::Key::Initialize, mine).when(condition);
            if self.issue(Lane::Store, Act::Write(write), SHORT, Purpose::Initialize).is_some() {
                self.published.initialize = true;
            }
        }
        let because = "the store knows no cluster identity and this member has data";
        Some(Decision::new("publishing the system identifier", because).waiting("the store"))
    }

    pub(super) fn system_identifier(&self) -> Option<&str> {
        match &self.server.as_ref()?.data {
            DataDir::Present(control) => Some(&control.system_identifier),
            DataDir::Empty | DataDir::Unusable(_) | DataDir::Broken(_) => self.row()?.system_identifier.as_deref(),
        }
    }

    /// No query was completed, on a fresh connection or on the kept one, for so long that nothing that waits for a query
    /// may wait any longer.
    pub(super) fn is_silent(&self) -> bool {
        let long_ago = |since| self.now.boot.since(since) >= self.patience();
        self.is_running() && (long_ago(self.answered_at) || self.shut_since.is_some_and(long_ago))
    }

    /// Not even that it is not ready, or stops, has it said for so long.
    pub(super) fn is_hung(&self) -> bool {
        self.is_silent() && !self.says_not_yet()
    }

    /// For how long a server may complete no query.
    pub(super) fn patience(&self) -> Duration {
        self.settings.ttl.max(super::leader::HUNG)
    }

    /// The postmaster lives and no query was completed: starting, stopping, slow, or hung.
    fn not_answering(&mut self) -> Decision {
        let silent = self.now.boot.since(self.answered_at);
        let accepting = match self.server.as_ref().map(|s| &s.process) {
            Some(Process::Running { accepting, .. }) => *accepting,
            _ => Accepting::NoAnswer,
        };
        let starting = accepting == Accepting::NotYet;
        self.look_in(if starting { Duration::from_millis(100) } else { Duration::from_secs(1) });
        if starting {
            self.phase = Phase::Starting;
            return self.starting(silent);
        }
        let hung = silent >= self.patience() && !self.weaken.has(Weakness::IgnoreHung);
        if self.lease.lock.is_some() && !self.paused() && hung {
            return self.hung(silent);
        }
        let because = format!("the server has not completed a query for {} s", silent.as_secs());
        Decision::new("no action", because).waiting("an answer of our own server")
    }

    /// Old sessions are served and no new one is: the postmaster hangs (fault-scenarios F9).
    fn shut(&mut self) -> Option<Decision> {
        let shut = self.now.boot.since(self.shut_since?);
        self.look_in(Duration::from_secs(1));
        let hung = shut >= self.patience() && !self.weaken.has(Weakness::IgnoreHung);
        if !hung || self.lock().is_none() || self.paused() || !self.is_writable() {
            return None;
        }
        Some(self.hung(shut))
    }

    fn starting(&mut self, silent: Duration) -> Decision {
        let limit = self.settings.primary_start_timeout;
        if self.lease.lock.is_some() && !self.paused() && silent >= limit && self.takeover_possible() == Some(true) {
            return self.bequeath("the server did not start in time", false);
        }
        if let Some(decision) = self.starts_in_vain(silent).or_else(|| self.recovers_in_vain(silent)) {
            return decision;
        }
        Decision::new("starting", "the server is not ready yet").waiting("the server to accept connections")
    }

    // ---- closing

    /// Stop whatever may be writable here. `orderly`: the lease still covers a fast shutdown, in which streaming
    /// standbys get every acknowledged row; otherwise somebody else may already lead.
    pub(super) fn close(&mut self, because: &str, orderly: bool) -> Decision {
        let mut steps = self.closing_steps(orderly);
        steps.push(Step::Role(Role::Demoted));
        steps.push(Step::Callback(super::Action::OnStop));
        self.note(NoteLevel::Warning, format!("closing the server: {because}"));
        self.divergence.suspect();
        self.followed = None;
        self.begin_op(Op::new(Kind::Close, because, steps));
        Decision::new("demoting self because i do not hold the leader lock", because.to_owned())
    }

    pub(super) fn closing_steps(&self, orderly: bool) -> Vec<Step> {
        let stop = if orderly {
            // The guard bounds it, and so do we: at `hard` nothing is left.
            // What a lease that we do not know still covers is unknown: then it is short.
            let known = self.lease.lock.as_ref().map(|lock| lock.valid_until.since(self.now.boot));
            Step::Stop(Stop::Fast, known.unwrap_or(UNKNOWN_STOP))
        } else {
            Step::Stop(Stop::Immediate, Duration::from_millis(500))
        };
        let mut steps = Vec::new();
        if self.is_running() {
            steps.push(stop);
        }
        steps.extend([Step::Fence, Step::Look]);
        steps
    }

    /// An orderly end of the server: checkpoint, before_stop, fast shutdown.
    pub(super) fn stopping_steps(&self, checkpoint: bool) -> Vec<Step> {
        let mut steps = Vec::new();
        if !self.is_running() {
            return vec![Step::Fence, Step::Look];
        }
        if checkpoint && !self.is_silent() {
            steps.push(Step::Checkpoint);
        }
        if self.local.has_before_stop {
            steps.push(Step::Script(super::Script::BeforeStop));
        }
        let limit = self.settings.primary_stop_timeout;
        let patience = if self.settings.is_sync() && !limit.is_zero() { limit } else { UNLIMITED };
        steps.extend([Step::Stop(Stop::Fast, patience), Step::Fence, Step::Look]);
        steps
    }

    pub(super) fn exit(&mut self, code: i32, why: String) -> Decision {
        self.exited = true;
        self.note(NoteLevel::Error, why.clone());
        self.fire(Lane::Server, Act::Exit { code, why: why.clone() }, SHORT, Purpose::Unattended);
        Decision::new("exiting", why)
    }

    /// SIGTERM: hand over and end.
    fn shut_down(&mut self) -> Decision {
        if self.paused() {
            return self.exit(0, "asked to end; in pause the server and the leader key are left alone".into());
        }
        let leads = self.lease.lock.is_some();
        let mut steps = self.leaving_steps();
        steps.extend(self.stopping_steps(leads && self.is_writable()));
        if leads {
            let within = self.settings.ttl.min(Duration::from_secs(2));
            steps.extend([Step::Heir { within, required: false }, Step::Release]);
        }
        if self.role.is_primary() {
            steps.push(Step::Role(Role::Demoted));
        }
        steps.extend([Step::Member, Step::Exit(0, "asked to end".into())]);
        self.begin_op(Op::new(Kind::Shutdown, "asked to end", steps));
        Decision::new("shutting down", "asked to end")
    }

    pub(super) fn control_state(&self) -> Option<ControlState> {
        match &self.server.as_ref()?.data {
            DataDir::Present(control) => Some(control.state),
            DataDir::Empty | DataDir::Unusable(_) | DataDir::Broken(_) => None,
        }
    }
}

impl Intent {
    pub fn word(&self) -> &'static str {
        match self {
            Intent::Bootstrap { .. } => "the bootstrap of a new cluster",
            Intent::Clone => "a copy from another member",
            Intent::Rewind => "pg_rewind",
            Intent::SingleUser => "single-user crash recovery",
            Intent::PutAside => "putting the data directory aside",
        }
    }
}
