//! Nobody holds the lock: may I take it? (ha-rules 3)

use std::collections::BTreeSet;
use std::time::Duration;

use super::healthiest::{Electorate, Standing, Verdict, healthiest};
use super::machine::Ha;
use super::peers::{Answers, RoundFor};
use super::server::{ControlState, DataDir};
use super::timer::Timer;
use super::{Decision, PeerStatus};
use crate::view::{Cluster, Member, SyncMode, SyncState};
use crate::{Lsn, MemberName, Tick, Timeline, Weakness};

/// How long answers of other members are believed in a race.
const ANSWERS_VALID: Duration = Duration::from_secs(1);
/// The pause before a member that may not lead looks at the race again.
const RACE_AGAIN: Duration = Duration::from_secs(1);

impl Ha {
    /// Section 3: race, or go on following.
    pub(super) fn unlocked(&mut self) -> Decision {
        let verdict = self.may_i_lead();
        if let (Verdict::Not(why), Some(leader), false) =
            (&verdict, self.failsafe_leader_name().cloned(), self.may_write())
        {
            self.timers.set_earlier(Timer::Race, self.now.boot + RACE_AGAIN);
            let decision = self.follow(&leader);
            return Decision { because: why.clone().into(), ..decision };
        }
        match verdict {
            Verdict::Take(because) => self.take_lock(because),
            Verdict::Asking(what) => Decision::new("no action", "nobody holds the leader lock").waiting(what),
            Verdict::Not(because) => {
                self.timers.set_earlier(Timer::Race, self.now.boot + RACE_AGAIN);
                if self.is_writable() && !self.paused() {
                    return self.close("nobody holds the leader lock and this member may not take it", false);
                }
                Decision::new("following a different leader because i am not the healthiest node", because)
                    .waiting("a new leader")
            }
        }
    }

    fn may_i_lead(&mut self) -> Verdict {
        let Some(cluster) = self.cluster().cloned() else { return Verdict::Asking("the store") };
        if self.watchdog_failed() && !self.paused() {
            return Verdict::Not("the watchdog is required and cannot be used".into());
        }
        if self.now.boot < self.no_race_until {
            return Verdict::Not("pre_promote failed here a moment ago".into());
        }
        if let Some(verdict) = self.failsafe_restrains(&cluster) {
            return verdict;
        }
        let Some(row) = self.row().cloned() else { return Verdict::Asking("an answer of our own server") };
        if !row.in_recovery {
            return self.may_keep_leading(&cluster, row.timeline);
        }
        let manual = self.standing_request().is_some();
        if self.paused() && !manual {
            return Verdict::Not("the cluster is paused".into());
        }
        if self.local.tags.nofailover() {
            return Verdict::Not("this member is tagged nofailover".into());
        }
        if self.system_identifier() != cluster.system_identifier() && cluster.initialize.is_some() {
            return Verdict::Not("the store names another system identifier".into());
        }
        if let Some(verdict) = manual.then(|| self.asked_to_fail_over(&cluster)).flatten() {
            return verdict;
        }
        if self.is_no_successor(&cluster, false) {
            return Verdict::Not("synchronous mode is on and this member is not a legal successor".into());
        }
        match self.waits_for_the_paused() {
            Some(because) => Verdict::Not(because),
            None => self.am_i_healthiest(&cluster),
        }
    }

    /// Successors are named in the `sync` key; with quorum commit the votes decide, except for a `switchover`.
    fn is_no_successor(&self, cluster: &Cluster, switchover: bool) -> bool {
        let Some(sync) = self.sync_active(cluster) else { return false };
        let by_votes = self.sync_mode(cluster) == SyncMode::Quorum && !switchover;
        !by_votes && !sync.names(self.me())
    }

    fn sync_mode(&self, cluster: &Cluster) -> SyncMode {
        let settings = self.settings_of(cluster);
        if settings.is_sync() { settings.sync_mode } else { SyncMode::Off }
    }

    /// The synchronous state, while it decides who may lead.
    pub(super) fn sync_active<'a>(&self, cluster: &'a Cluster) -> Option<&'a SyncState> {
        let off = self.sync_mode(cluster) == SyncMode::Off || self.weaken.has(Weakness::IgnoreSync);
        (!off && cluster.sync.leader.is_some()).then_some(&cluster.sync)
    }

    /// Who is asked in a race: all, or those that the `sync` key names.
    fn race_names(&self, cluster: &Cluster, but: Option<&MemberName>) -> BTreeSet<MemberName> {
        let sync = self.sync_active(cluster);
        let quorum = self.sync_mode(cluster) == SyncMode::Quorum;
        self.peer_names(|m| {
            let named = sync.is_none_or(|s| s.names(&m.name));
            let voter = quorum && sync.is_some_and(|s| s.names(&m.name));
            named && (!m.data.tags().nofailover() || voter) && but != Some(&m.name)
        })
    }

    /// A running primary without a lock (one that was just taken over, or bootstrapped).
    fn may_keep_leading(&self, cluster: &Cluster, timeline: Option<Timeline>) -> Verdict {
        let mine = self.system_identifier();
        if cluster.system_identifier().is_some_and(|id| Some(id) != mine) {
            return Verdict::Not("the store names another system identifier".into());
        }
        if self.is_no_successor(cluster, false) {
            return Verdict::Not("synchronous mode is on and this member is not a legal successor".into());
        }
        // What was announced counts too: a leader may have died before it could publish its history.
        match (timeline, cluster.timeline().max(cluster.status.opened)) {
            (Some(mine), Some(theirs)) if mine < theirs => {
                Verdict::Not(format!("the cluster has gone on to timeline {theirs}, this server is on {mine}"))
            }
            (_, _) => Verdict::Take("this server runs as primary and nobody else leads".into()),
        }
    }

    fn am_i_healthiest(&mut self, cluster: &Cluster) -> Verdict {
        let names = self.race_names(cluster, None);
        // Both questions at once: ourselves and the others.
        let answers = self.race_answers(&names);
        let Some(me) = self.fresh_standing() else { return Verdict::Asking("a look at our own server") };
        if let Some(lag) = self.excess_lag(cluster, me.position) {
            return Verdict::Not(format!("My wal position exceeds maximum replication lag ({lag} bytes)"));
        }
        if self.settings.check_timeline && !self.is_standby_cluster() {
            match (me.timeline, cluster.timeline()) {
                (None, _) => return Verdict::Not("the timeline of this server is unknown".into()),
                (Some(mine), Some(theirs)) if mine < theirs => {
                    return Verdict::Not(format!(
                        "My timeline {mine} is older than last known cluster timeline {theirs}"
                    ));
                }
                (Some(_), _) => {}
            }
        }
        let lag = cluster.status.optime.ahead_of(me.position);
        match self.compare_with(me, answers, cluster) {
            verdict if self.weaken.has(Weakness::LsnBeforeLineage) => verdict,
            Verdict::Take(_) if self.still_receives() => Verdict::Not("WAL still comes: the primary lives".into()),
            Verdict::Take(_) if self.may_lack_what_is_coming(cluster, lag) => self.wait_for_the_starting(lag),
            // Whatever is missing here the remote primary has.
            verdict @ Verdict::Take(_) if self.is_standby_cluster() => verdict,
            Verdict::Take(because) => self.on_latest_timeline(me, because),
            other @ (Verdict::Not(_) | Verdict::Asking(_)) => other,
        }
    }

    /// Somebody wrote more than this member has, and a member is there whose server cannot say yet what it has: for at
    /// most `ttl` it is waited for. So it is after an orderly end of all: whoever led last has the rest and comes up as
    /// the others do. A dead primary's agent does not say that its server is coming up: it gives way.
    fn may_lack_what_is_coming(&self, cluster: &Cluster, lag: u64) -> bool {
        let starting = self.round.as_ref().is_some_and(|round| round.starting().is_some());
        let since = self.racing_since();
        let asynchronous = self.sync_active(cluster).is_none();
        asynchronous && lag > 0 && starting && self.now.boot.since(since) < self.settings.ttl
    }

    /// WAL has come within a `loop_wait`: whoever wrote it may have lost the store alone, and be back in a moment. It is
    /// waited for as long as the configuration says (`primary_race_backoff`). In a standby cluster WAL always comes.
    fn still_receives(&mut self) -> bool {
        let (Some(since), limit) = (self.unlocked_since, self.settings.primary_race_backoff) else { return false };
        let (over, quiet) = (since + limit, self.grew_at + self.settings.loop_wait);
        let waits = self.now.boot < over && self.now.boot < quiet && !self.is_standby_cluster();
        if waits {
            self.timers.set_earlier(Timer::Race, over.min(quiet));
            self.look_in(RACE_AGAIN);
        }
        waits
    }

    /// Since when this member could have taken the lock: its server is up, and the lock is free. After a long pause,
    /// or when all come up again, the others may be as late as this one.
    fn racing_since(&self) -> Tick {
        self.unlocked_since.unwrap_or_default().max(self.changed_at)
    }

    fn wait_for_the_starting(&mut self, lag: u64) -> Verdict {
        let name = self.round.take().and_then(|round| round.starting().map(ToString::to_string)).unwrap_or_default();
        Verdict::Not(format!("{lag} bytes of WAL that were written are missing here, and {name}'s server is starting"))
    }

    /// A member that never saw the newest timeline lets `ttl` pass: somebody who did may still come.
    fn on_latest_timeline(&mut self, me: Standing, because: String) -> Verdict {
        let (Some(mine), Some(known)) = (me.timeline, self.known_timeline()) else { return Verdict::Take(because) };
        let since = self.racing_since();
        if mine >= known {
            return Verdict::Take(because);
        }
        if self.now.boot.since(since) < self.settings.ttl {
            self.timers.set_earlier(Timer::Race, since + self.settings.ttl);
            return Verdict::Not(format!("this server is on timeline {mine} and the cluster has been on {known}"));
        }
        Verdict::Take(format!(
            "{because}, and no member of timeline {known} has come back: what was written on it after timeline {mine} \
             is left behind"
        ))
    }

    /// The newest timeline that anybody is known to have opened.
    pub(super) fn known_timeline(&self) -> Option<Timeline> {
        let views = [self.old_view.as_ref(), self.cluster()];
        let members = views.into_iter().flatten().flat_map(|c| c.members.values().filter_map(|m| m.data.timeline()));
        let announced = self.cluster().and_then(|c| c.status.opened);
        members.chain(self.cluster().and_then(|c| c.timeline())).chain(announced).max()
    }

    /// The members' answers since the lock became free.
    fn race_answers(&mut self, names: &BTreeSet<MemberName>) -> Option<Answers> {
        let since = self.unlocked_since.unwrap_or_default();
        if self.round.as_ref().is_some_and(|round| round.began < since) {
            self.round = None;
        }
        self.polled(RoundFor::Race, names, ANSWERS_VALID)
    }

    fn compare_with(&mut self, me: Standing, answers: Option<Answers>, cluster: &Cluster) -> Verdict {
        let Some(mut answers) = answers else { return Verdict::Asking("the answers of the other members") };
        if self.weaken.has(Weakness::LsnBeforeLineage) {
            answers.values_mut().flatten().for_each(|peer| peer.timeline = None);
        }
        let former = self.old_view.as_ref().and_then(|v| v.leader.as_ref()).map(|l| l.name.clone());
        let former = self.sync_active(cluster).map_or(former, |sync| sync.leader.clone());
        healthiest(me, &answers, former.as_ref(), self.electorate(cluster))
    }

    fn electorate<'a>(&'a self, cluster: &'a Cluster) -> Option<Electorate<'a>> {
        let quorum = self.sync_mode(cluster) == SyncMode::Quorum;
        self.sync_active(cluster).map(|sync| Electorate { me: self.me(), sync, quorum })
    }

    /// Our own position, looked at after the lock became free.
    fn fresh_standing(&mut self) -> Option<Standing> {
        let since = self.unlocked_since.unwrap_or_default();
        let server = self.server.clone()?;
        if server.looked_at < since {
            self.look();
            return None;
        }
        let row = server.row.as_ref()?;
        let priority = self.local.tags.failover_priority();
        Some(Standing { position: row.position(), timeline: row.timeline, priority })
    }

    /// Section 3.3: nobody leads and a request stands. `None`: undecided, the ordinary rules apply.
    fn asked_to_fail_over(&mut self, cluster: &Cluster) -> Option<Verdict> {
        let request = self.standing_request()?.clone();
        if request.is_switchover() && self.is_no_successor(cluster, true) {
            return Some(Verdict::Not("synchronous mode is on and this member is not a legal successor".into()));
        }
        if request.is_switchover()
            && let Some(verdict) = self.lacks_too_much(cluster)
        {
            return Some(verdict);
        }
        if let Some(candidate) = &request.member {
            if candidate == self.me() {
                return Some(Verdict::Take("a switchover or failover names this member".into()));
            }
            if self.paused() {
                return Some(Verdict::Not(format!("a failover to {candidate} is asked for in pause")));
            }
            if self.is_no_successor(cluster, false) {
                return Some(Verdict::Not(format!(
                    "{candidate} is asked to lead, and this member is not a legal successor"
                )));
            }
            let names = BTreeSet::from([candidate.clone()]);
            let known = self.peers().contains_key(candidate);
            if known {
                match self.polled(RoundFor::Switchover, &names, ANSWERS_VALID) {
                    None => return Some(Verdict::Asking("the answer of the candidate")),
                    Some(answers) => {
                        let able = answers.values().flatten().any(|p| !p.tags.nofailover() && !p.watchdog_failed);
                        let waited = self.unlocked_since.is_some_and(|t| self.now.boot.since(t) > self.settings.ttl);
                        if able && !waited {
                            return Some(Verdict::Not(format!("{candidate} is asked to lead and able to")));
                        }
                    }
                }
            }
        } else if self.paused() {
            return Some(Verdict::Not("in pause a failover needs a candidate".into()));
        }
        if request.leader.as_ref() == Some(self.me()) {
            return Some(self.take_back(cluster));
        }
        let former = request.leader.clone();
        let names = self.race_names(cluster, former.as_ref());
        let answers = self.race_answers(&names);
        match self.fresh_standing() {
            Some(me) => Some(self.compare_with(me, answers, cluster)),
            None => Some(Verdict::Asking("a look at our own server")),
        }
    }

    /// Who asks for a switchover has not chosen to lose anything. The leader that was asked may have ended in another
    /// way than by handing over, and then nobody has made sure that its last record is here. A look counts as long as
    /// nothing is missing by it: the position only grows.
    fn lacks_too_much(&mut self, cluster: &Cluster) -> Option<Verdict> {
        self.excess_lag(cluster, self.my_position())?;
        let Some(me) = self.fresh_standing() else { return Some(Verdict::Asking("a look at our own server")) };
        let lag = self.excess_lag(cluster, me.position)?;
        Some(Verdict::Not(format!("My wal position exceeds maximum replication lag ({lag} bytes)")))
    }

    /// What `position` lacks of what the last leader had, when that is more than may be lost.
    pub(super) fn excess_lag(&self, cluster: &Cluster, position: Lsn) -> Option<u64> {
        let lag = cluster.status.optime.ahead_of(position);
        (lag > self.settings.maximum_lag_on_failover && !self.weaken.has(Weakness::IgnoreLag)).then_some(lag)
    }

    /// I led and was asked to hand over: lead again only when nobody else can.
    fn take_back(&mut self, cluster: &Cluster) -> Verdict {
        let names = self.race_names(cluster, None);
        let Some(answers) = self.race_answers(&names) else {
            return Verdict::Asking("the answers of the other members");
        };
        let waited = self.unlocked_since.is_some_and(|t| self.now.boot.since(t) > self.settings.ttl);
        let others = answers.values().flatten().any(|p| self.may_lead(p));
        if others && !waited {
            return Verdict::Not("this member was asked to hand over and others can lead".into());
        }
        let Some(me) = self.fresh_standing() else { return Verdict::Asking("a look at our own server") };
        healthiest(me, &answers, None, self.electorate(cluster))
    }

    /// Whether an answering member could lead at all.
    pub(super) fn may_lead(&self, peer: &PeerStatus) -> bool {
        peer.in_recovery && !peer.tags.nofailover() && !peer.watchdog_failed && peer.state == "running"
    }

    /// Members that may take over from us, by their member keys (ha-rules 8.3).
    pub(super) fn heirs(&self) -> BTreeSet<MemberName> {
        let candidate = self.standing_request().and_then(|r| r.member.clone());
        let manual = self.standing_request().is_some_and(|r| !r.is_switchover());
        let sync = self.cluster().and_then(|c| self.sync_active(c).cloned()).filter(|_| !manual);
        let named = self.cluster().filter(|_| self.settings.failsafe_mode).and_then(|c| c.failsafe.as_ref());
        let named = named.filter(|named| !named.is_empty());
        let in_topology = |m: &Member| named.is_none_or(|named| named.contains_key(&m.name));
        let legal = |m: &Member| sync.as_ref().is_none_or(|s| s.is_standby(&m.name));
        let wanted = |m: &Member| candidate.as_ref().is_none_or(|c| *c == m.name);
        self.peer_names(|m| !m.data.tags().nofailover() && legal(m) && wanted(m) && in_topology(m))
    }

    /// How many of the heirs have to have everything: one, and with quorum commit as many as elect it.
    pub(super) fn heirs_needed(&self) -> usize {
        let Some(cluster) = self.cluster() else { return 1 };
        let named = self.standing_request().is_some_and(|r| r.member.is_some());
        let quorum = self.sync_mode(cluster) == SyncMode::Quorum && !named;
        let votes = self.sync_active(cluster).filter(|_| quorum).map_or(0, |sync| sync.quorum);
        1 + usize::try_from(votes).unwrap_or(usize::MAX - 1)
    }

    /// It said so itself: sessions can write. A stopped postmaster changes nothing about that.
    pub(super) fn is_writable(&self) -> bool {
        self.is_running() && self.row().is_some_and(|row| !row.in_recovery)
    }

    /// It is writable, or it runs without an answer and was a primary: it may be writable, or become so.
    pub(super) fn may_write(&self) -> bool {
        let Some(server) = &self.server else { return false };
        if server.row.is_some() || !self.is_running() {
            return self.is_writable();
        }
        let control = match &server.data {
            DataDir::Present(control) => control,
            DataDir::Empty | DataDir::Unusable(_) | DataDir::Broken(_) => return self.role.is_primary(),
        };
        self.role.is_primary() || (control.state == ControlState::InProduction && !control.recovery_files)
    }
}

/// A person names who is to lead, and may choose to lose what that member lacks.
pub(super) fn is_failover_by_hand(cluster: &Cluster) -> bool {
    cluster.request().is_some_and(|r| r.scheduled_at.is_none() && !r.is_switchover())
}
