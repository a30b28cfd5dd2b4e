//! Nobody holds the lock: may I take it? (ha-rules 3)

use std::collections::BTreeSet;
use std::time::Duration;

use super::flight::{Purpose, SHORT};
use super::machine::Ha;
use super::note::NoteLevel;
use super::op::{Kind, Op, Step};
use super::peers::{Answers, RoundFor};
use super::rewind::Divergence;
use super::server::{ControlState, DataDir};
use super::timer::Timer;
use super::{Act, Cover, Decision, Generation, Lane, Outcome, PeerStatus, Script, Taken, Yield};
use crate::view::{Cluster, Condition, Expect, Member, Status, SyncMode, SyncState};
use crate::{Lsn, MemberName, Tick, Timeline, Weakness};

/// Whether this member may take the lock, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Take(String),
    Not(String),
    /// It cannot be said yet.
    Asking(&'static str),
}

/// Where this member stands in a race.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub position: Lsn,
    pub timeline: Option<Timeline>,
    pub priority: i64,
}

/// How long answers of other members are believed in a race.
const ANSWERS_VALID: Duration = Duration::from_secs(1);
/// The pause before a member that may not lead looks at the race again.
const RACE_AGAIN: Duration = Duration::from_secs(1);

/// What the synchronous modes add to a race (ha-rules 3.1 and 3.2).
#[derive(Clone, Copy, Debug)]
pub(super) struct Electorate<'a> {
    pub me: &'a MemberName,
    pub sync: &'a SyncState,
    pub quorum: bool,
}

/// The healthiest check (ha-rules 3.2): nobody alive is a primary or has more; with quorum commit enough members say
/// that they have no more. A member on an older timeline has less, whatever its position: positions of different
/// branches do not compare (fault-scenarios F5).
pub(super) fn healthiest(
    me: Standing,
    answers: &Answers,
    former_leader: Option<&MemberName>,
    electorate: Option<Electorate<'_>>,
) -> Verdict {
    let quorum = electorate.filter(|e| e.quorum).map(|e| (e.me, e.sync));
    // Our own word is one of those that are needed, when we are one of them.
    let mut votes = i64::from(quorum.is_some_and(|(me, sync)| sync.names(me))) - 1;
    let mut ahead = false;
    for (name, peer) in answers.iter().filter_map(|(n, a)| Some((n, a.as_ref()?))) {
        let votes_here = quorum.is_some_and(|(_, sync)| sync.names(name));
        if (peer.tags.nofailover() && !votes_here) || peer.watchdog_failed {
            continue;
        }
        if !peer.in_recovery {
            return Verdict::Not(format!("Primary ({name}) is still alive"));
        }
        match lineage_order(peer, me) {
            // It may have what nobody was told of; whoever may succeed has the rest.
            std::cmp::Ordering::Greater if electorate.is_some_and(|e| e.sync.leader.as_ref() == Some(name)) => {
                ahead = true;
                continue;
            }
            std::cmp::Ordering::Greater => {
                return Verdict::Not(format!("Wal position of {name} is ahead of my wal position"));
            }
            std::cmp::Ordering::Equal => {
                let priority = peer.tags.failover_priority();
                let former = former_leader == Some(name);
                let counts = quorum.is_none() || votes_here;
                if peer.position.is_valid() && priority > me.priority && !former && counts {
                    return Verdict::Not(format!(
                        "{name} has equally tolerable WAL position and priority {priority}, while this node has \
                         priority {}",
                        me.priority
                    ));
                }
            }
            std::cmp::Ordering::Less => {}
        }
        votes += i64::from(votes_here && peer.position.is_valid());
    }
    match quorum {
        Some((name, sync)) => elected(votes, sync, !ahead && sync.leader.as_ref() == Some(name)),
        None => Verdict::Take("nobody that may lead has more WAL".into()),
    }
}

/// Quorum commit: enough members have no more than we do, or we are who led last and nobody has more.
fn elected(votes: i64, sync: &SyncState, led_last: bool) -> Verdict {
    if votes >= i64::from(sync.quorum) {
        return Verdict::Take(format!("{votes} other members have no more WAL, {} are enough", sync.quorum));
    }
    if led_last {
        return Verdict::Take("this member led last and nobody has more WAL".into());
    }
    Verdict::Not(format!(
        "{} other members have to say that they have no more WAL, and {} do: an acknowledged commit could be missing \
         here",
        sync.quorum,
        votes.max(0)
    ))
}

fn lineage_order(peer: &PeerStatus, me: Standing) -> std::cmp::Ordering {
    let timelines = match (peer.timeline, me.timeline) {
        (Some(theirs), Some(mine)) => theirs.cmp(&mine),
        (Some(_), None) | (None, Some(_)) | (None, None) => std::cmp::Ordering::Equal,
    };
    timelines.then(peer.position.cmp(&me.position))
}

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
    fn excess_lag(&self, cluster: &Cluster, position: Lsn) -> Option<u64> {
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

    fn take_lock(&mut self, because: String) -> Decision {
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
fn is_failover_by_hand(cluster: &Cluster) -> bool {
    cluster.request().is_some_and(|r| r.scheduled_at.is_none() && !r.is_switchover())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::Tags;
    use serde_json::json;

    fn peer(timeline: u32, position: u64, tags: serde_json::Value) -> Option<PeerStatus> {
        Some(PeerStatus {
            in_recovery: true,
            position: Lsn(position),
            timeline: Some(Timeline(timeline)),
            tags: Tags(tags.as_object().cloned().unwrap_or_default()),
            watchdog_failed: false,
            state: "running".into(),
        })
    }

    #[test]
    fn lineage_comes_before_position() {
        let me = Standing { position: Lsn(100), timeline: Some(Timeline(2)), priority: 1 };
        let primary = peer(2, 1, json!({})).map(|p| PeerStatus { in_recovery: false, ..p });
        for (what, answer, takes) in [
            ("silent", None, true),
            ("behind", peer(2, 99, json!({})), true),
            ("equal", peer(2, 100, json!({})), true),
            ("ahead", peer(2, 101, json!({})), false),
            ("ahead on a dead branch", peer(1, 500, json!({})), true),
            ("behind on a newer branch", peer(3, 1, json!({})), false),
            ("ahead but nofailover", peer(2, 500, json!({"nofailover": true})), true),
            ("equal with higher priority", peer(2, 100, json!({"failover_priority": 2})), false),
            ("a live primary", primary, false),
        ] {
            let answers = Answers::from([("b".into(), answer)]);
            let verdict = healthiest(me, &answers, None, None);
            assert_eq!(matches!(verdict, Verdict::Take(_)), takes, "{what}: {verdict:?}");
        }
    }

    #[test]
    fn with_quorum_commit_votes_decide() {
        let me = Standing { position: Lsn(100), timeline: Some(Timeline(2)), priority: 1 };
        let key = |quorum: u32, standbys: &[&str]| SyncState {
            leader: Some("a".into()),
            quorum,
            standbys: standbys.iter().map(|n| MemberName::from(*n)).collect(),
            revision: None,
        };
        let (same, less, more) = (peer(2, 100, json!({})), peer(2, 90, json!({})), peer(2, 101, json!({})));
        let hidden = peer(2, 90, json!({"nofailover": true}));
        for (what, name, sync, answers, takes) in [
            ("a vote is enough", "b", key(1, &["b", "c"]), vec![("c", less.clone())], true),
            ("nobody votes", "b", key(1, &["b", "c"]), vec![("c", None)], false),
            ("no vote is needed", "b", key(0, &["b"]), vec![], true),
            ("strangers do not vote", "b", key(1, &["b", "c"]), vec![("d", less.clone())], false),
            ("an outsider needs one more", "d", key(1, &["b", "c"]), vec![("c", less.clone())], false),
            ("and can have it", "d", key(1, &["b", "c"]), vec![("b", same.clone()), ("c", less.clone())], true),
            ("a voter has more", "b", key(1, &["b", "c"]), vec![("c", more.clone())], false),
            ("the former leader has more", "b", key(1, &["b", "c"]), vec![("a", more), ("c", less.clone())], true),
            ("the former leader votes", "b", key(1, &["b", "c"]), vec![("a", same)], true),
            ("who may not lead votes", "b", key(1, &["b", "c"]), vec![("c", hidden)], true),
            ("who led last needs no votes", "a", key(1, &["b", "c"]), vec![("c", None)], true),
        ] {
            let answers: Answers = answers.into_iter().map(|(n, a)| (MemberName::from(n), a)).collect();
            let name = MemberName::from(name);
            let verdict = healthiest(me, &answers, None, Some(Electorate { me: &name, sync: &sync, quorum: true }));
            assert_eq!(matches!(verdict, Verdict::Take(_)), takes, "{what}: {verdict:?}");
        }
    }

    #[test]
    fn in_priority_mode_the_former_leader_may_have_more() {
        let me = Standing { position: Lsn(100), timeline: Some(Timeline(2)), priority: 1 };
        let sync = SyncState { leader: Some("a".into()), standbys: vec!["b".into()], ..SyncState::default() };
        let name = MemberName::from("b");
        for (peer_name, takes) in [("a", true), ("c", false)] {
            let answers = Answers::from([(peer_name.into(), peer(2, 101, json!({})))]);
            let verdict = healthiest(me, &answers, None, Some(Electorate { me: &name, sync: &sync, quorum: false }));
            assert_eq!(matches!(verdict, Verdict::Take(_)), takes, "{peer_name}: {verdict:?}");
        }
    }
}
