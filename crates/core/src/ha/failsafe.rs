//! Failsafe mode (ha-rules 17): a leader that has lost the store stays primary while every other member of the
//! failsafe topology promises not to race.
//!
//! # What it guarantees
//!
//! - A promise is counted from before it was asked for and by the arithmetic of the lease ([`crate::lease::Deadlines`]);
//!   the member that gives it keeps it for `ttl` from when it heard the question, which is later. So the guard has
//!   closed the leader's server before the first of the others may race, exactly as with the store's lease.
//! - The leader counts the oldest of the newest promises: one member that falls silent stops the extension.
//! - Whoever may lead has been asked. The `failsafe` key is written under the lock only; a member that is not named in
//!   it may not lead; and the leader asks everybody whom the key names or may name (a write without an answer counts
//!   as done and as not done).
//! - A promise binds whatever the store shows and whatever the mode is by then. It ends by time, or when the member
//!   that it was given to says, asked after it was given, that it is not in failsafe mode.
//! - An agent that has just begun may have promised and not know it. It takes the lock only after `ttl`, or when every
//!   other member of the topology has said that it is not in failsafe mode.
//!
//! # What it leaves to others
//!
//! The deadlines and the lock as one unbroken lease: the keeper ([`crate::lease::keeper`]). The end of the server: the guard.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::machine::{Ha, NoteLevel, Purpose, SHORT};
use super::race::Verdict;
use super::timer::Timer;
use super::{Act, Cover, Generation, Lane, Lock, Outcome, Promises, Reply, Yield};
use crate::view::{Cluster, Condition, Expect, Key, Member, MemberData, Revision, Write};
use crate::{Lsn, MemberName, SlotName, Tick, Weakness};

/// Names and REST addresses.
type Topology = BTreeMap<MemberName, String>;

/// How long one question may take at most.
const LONGEST_ASK: Duration = Duration::from_secs(2);
/// The longest pause before a member that gave no promise is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// The pause before a member is asked again whether it is in failsafe mode.
const INQUIRE_AGAIN: Duration = Duration::from_secs(1);
/// How long a write that got no answer may still take effect in the store.
const LATE_AT_MOST: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, Default)]
pub(super) struct Failsafe {
    // What this member has promised.
    given: BTreeMap<MemberName, Promise>,
    /// This agent cannot have forgotten a promise: it found the guard of a leader at work.
    sure: bool,
    /// The mode was switched off at this moment, as far as this agent knows.
    off_since: Option<Tick>,
    /// Who said that it is not in failsafe mode, by when it was asked.
    cleared: BTreeMap<MemberName, Tick>,
    inquired: BTreeMap<MemberName, Tick>,

    // What this member counts on as the leader.
    known: Option<(Generation, Topology)>,
    /// Members whose keys are gone, and since when.
    vanished: BTreeMap<MemberName, Tick>,
    /// What writes of ours may have put into the key and no view has confirmed.
    floating: Topology,
    /// The last write, once the store has answered it.
    written: Option<Topology>,
    /// Until then a write without an answer may yet take effect.
    uncertain_until: Tick,
    episode: Option<Episode>,
    promises: Option<Promises>,
    /// The keeper counts on promises until it is seen to renew without them; the value is the renewal before.
    winding_down: Option<Tick>,
}

/// A promise not to race, given to a leader.
#[derive(Clone, Debug)]
struct Promise {
    given_at: Tick,
    until: Tick,
    conn_url: String,
    api_url: String,
    slots: BTreeMap<SlotName, Lsn>,
}

/// A time without the store.
#[derive(Clone, Debug)]
struct Episode {
    began: Tick,
    generation: Generation,
    /// By member: when the newest question that it said yes to was asked.
    promised: Topologized,
    tried: Topologized,
    /// It says that it leads itself.
    contradicted_by: Option<MemberName>,
}

type Topologized = BTreeMap<MemberName, Tick>;

impl Failsafe {
    /// The mode was switched off: who is outside the topology waits for those who have not heard of it.
    pub fn switched_off(&mut self, now: Tick) {
        self.off_since = Some(now);
    }

    /// The guard of an earlier agent of this member holds a lease: nothing was promised.
    pub fn found_leading(&mut self) {
        self.sure = true;
    }
}

// ---- the leader

impl Ha {
    /// What the keeper may count on beside the store's lease.
    pub fn promises(&self) -> Option<Promises> {
        self.failsafe.promises
    }

    /// Asks for promises while the store is silent, and takes the lock again when its key is gone. Runs on every
    /// turn, whatever else is being done.
    pub(super) fn failsafe_turn(&mut self) {
        self.learn_topology();
        let Some(lock) = self.lease.lock.clone() else { return self.end_of_episode(None) };
        if lock.cover != Cover::Promises && self.now.boot < self.silence_begins(&lock) {
            if self.settings.failsafe_mode {
                self.timers.set(Timer::Failsafe, self.silence_begins(&lock));
            }
            return self.end_of_episode(Some(lock.renewed));
        }
        if lock.cover == Cover::Promises {
            self.retake();
        }
        let leads = self.may_write() || self.role.is_primary();
        if self.lock().is_none() || self.paused() || !self.settings.failsafe_mode || !leads {
            return;
        }
        let Some(topology) = self.topology(&lock) else { return };
        self.ask_for_promises(&lock, &topology);
        self.count_promises(&lock, &topology);
    }

    /// The store is silent when the second try of a renewal has not been answered either.
    fn silence_begins(&self, lock: &Lock) -> Tick {
        lock.renewed + self.settings.ttl / 2
    }

    /// `renewed`: the renewal that ended it; without a lock there is nothing to wind down.
    fn end_of_episode(&mut self, renewed: Option<Tick>) {
        self.failsafe.episode = None;
        let counted = self.failsafe.promises.take().is_some();
        match renewed {
            None => self.failsafe.winding_down = None,
            Some(renewed) if counted => self.failsafe.winding_down = Some(renewed),
            Some(_) => {}
        }
        if let (Some(before), Some(lock)) = (self.failsafe.winding_down, &self.lease.lock)
            && lock.cover == Cover::Lease
            && lock.renewed > before
        {
            self.failsafe.winding_down = None;
        }
    }

    /// What the key says, from a view in which this very lock is in the store: nobody else has written it since.
    fn learn_topology(&mut self) {
        let (Some(lock), Some(seen)) = (&self.lease.lock, &self.view) else { return };
        let ours = seen.cluster.leader.as_ref().is_some_and(|l| l.name == self.local.name && l.created == lock.created);
        if !ours {
            return;
        }
        let named = seen.cluster.failsafe.clone().unwrap_or_default();
        let shown = self.failsafe.written.as_ref() == Some(&named);
        self.failsafe.known = Some((lock.generation, named));
        let writing = self.inflight.values().any(|f| f.purpose == Purpose::Topology);
        if self.failsafe.floating.is_empty() || writing || self.now.boot < self.failsafe.uncertain_until {
            return;
        }
        // A watch may lag behind our own write: its view counts only when it shows that write.
        if shown || (seen.linearizable && seen.read_at >= self.failsafe.uncertain_until) {
            self.failsafe.floating.clear();
        } else if self.failsafe.written.is_none() {
            self.load();
        }
    }

    /// Everybody but us whom the key names or may name. `None`: it does not name us, or is not known.
    fn topology(&self, lock: &Lock) -> Option<Topology> {
        let (generation, known) = self.failsafe.known.as_ref()?;
        if *generation != lock.generation || !known.contains_key(self.me()) {
            return None;
        }
        let mut all = known.clone();
        all.extend(self.failsafe.floating.clone());
        all.remove(self.me());
        Some(all)
    }

    /// The `failsafe` key: every member with an API, and ourselves (dcs-layout 2.10).
    pub(super) fn publish_topology(&mut self) {
        let (Some(lock), Some(seen)) = (self.lease.lock.clone(), self.view.clone()) else { return };
        if !self.settings.failsafe_mode || lock.cover == Cover::Promises {
            return;
        }
        let wanted = self.wanted_topology(&seen.cluster);
        let written = self.published.failsafe.as_ref().is_some_and(|(topology, at)| {
            *topology == wanted && (seen.read_at <= *at || self.now.boot.since(*at) < SHORT)
        });
        if written || seen.cluster.failsafe.as_ref() == Some(&wanted) {
            return;
        }
        let text: serde_json::Map<String, Value> =
            wanted.iter().map(|(name, url)| (name.0.clone(), Value::from(url.as_str()))).collect();
        let text = crate::view::compact(&Value::Object(text));
        let write = Write::put(Key::Failsafe, text).while_leader(&lock.created);
        if self.issue(Lane::Store, Act::Write(write), SHORT, Purpose::Topology).is_some() {
            self.published.failsafe = Some((wanted.clone(), self.now.boot));
            self.failsafe.floating.extend(wanted);
            self.failsafe.written = None;
        }
    }

    /// A member whose key has just gone stays for one `ttl`: after an outage all sessions may have ended, and a
    /// topology without the others would leave nobody who may lead when this member dies.
    fn wanted_topology(&mut self, cluster: &Cluster) -> Topology {
        let url = |m: &Member| Some((m.name.clone(), m.data.api_url()?.to_owned()));
        let mut wanted: Topology = cluster.members.values().filter_map(url).collect();
        wanted.entry(self.me().clone()).or_insert_with(|| self.local.api_url.clone());
        let (now, ttl) = (self.now.boot, self.settings.ttl);
        let named = cluster.failsafe.clone().unwrap_or_default();
        self.failsafe.vanished.retain(|name, _| named.contains_key(name) && !wanted.contains_key(name));
        for (name, url) in named {
            if wanted.contains_key(&name) {
                continue;
            }
            let since = *self.failsafe.vanished.entry(name.clone()).or_insert(now);
            if now.since(since) < ttl {
                wanted.insert(name, url);
            }
        }
        wanted
    }

    pub(super) fn topology_written(&mut self, outcome: &Outcome) {
        if matches!(outcome, Ok(Yield::Wrote(crate::view::Written::Done { .. }))) {
            self.failsafe.written = self.published.failsafe.as_ref().map(|(topology, _)| topology.clone());
        } else {
            self.published.failsafe = None;
            self.failsafe.uncertain_until = self.now.boot + LATE_AT_MOST;
        }
    }

    fn ask_for_promises(&mut self, lock: &Lock, topology: &Topology) {
        let (now, ttl) = (self.now.boot, self.settings.ttl);
        if self.failsafe.episode.as_ref().is_none_or(|e| e.generation != lock.generation) {
            self.note(NoteLevel::Warning, "the store is silent: asking every other member to let this one lead on");
            self.failsafe.episode = Some(Episode {
                began: now,
                generation: lock.generation,
                promised: BTreeMap::new(),
                tried: BTreeMap::new(),
                contradicted_by: None,
            });
        }
        let body = self.failsafe_body();
        for (member, api_url) in topology {
            let lane = Lane::Peer(member.clone());
            let due = self.failsafe.episode.as_ref().map_or(now, |e| e.due(member, ttl));
            if self.lanes.contains_key(&lane) {
                continue;
            }
            if now < due {
                self.timers.set_earlier(Timer::Failsafe, due);
                continue;
            }
            let act = Act::AskFailsafe { member: member.clone(), api_url: api_url.clone(), body: body.clone() };
            let purpose = Purpose::AskPromise { member: member.clone(), sent: now };
            if self.issue(lane, act, LONGEST_ASK.min(ttl / 5), purpose).is_some()
                && let Some(episode) = &mut self.failsafe.episode
            {
                episode.tried.insert(member.clone(), now);
            }
        }
    }

    /// As Patroni asks, and for how long a yes is counted on: the other may have another `ttl` by now.
    fn failsafe_body(&mut self) -> Value {
        let row = self.row().cloned();
        let slots = row.and_then(|row| self.status_slots(&row).0).unwrap_or_default();
        let slots: serde_json::Map<String, Value> = slots.into_iter().map(|(n, lsn)| (n.0, lsn.0.into())).collect();
        let ttl = u64::try_from(self.settings.ttl.as_millis()).unwrap_or(u64::MAX);
        json!({
            "name": self.local.name.as_str(),
            "conn_url": self.local.conn_url,
            "api_url": self.local.api_url,
            "slots": slots,
            "jogi": {"ttl_ms": ttl},
        })
    }

    pub(super) fn promise_answered(&mut self, member: MemberName, sent: Tick, outcome: Outcome) {
        let Some(episode) = self.failsafe.episode.as_mut().filter(|e| sent >= e.began) else { return };
        let why = match outcome {
            Ok(Yield::Answered(answer)) if answer.get("accepted").and_then(Value::as_bool) == Some(true) => {
                let newest = episode.promised.entry(member).or_insert(sent);
                *newest = sent.max(*newest);
                return;
            }
            Ok(Yield::Answered(answer)) => {
                let status = answer.get("status").and_then(Value::as_u64).unwrap_or_default();
                if status == 500 {
                    episode.contradicted_by = Some(member.clone());
                }
                format!("it answers with {status}")
            }
            Ok(_) => "its answer makes no sense".to_owned(),
            Err(failure) => failure.to_string(),
        };
        self.note(NoteLevel::Warning, format!("{member} does not let this member lead on without the store: {why}"));
    }

    /// The oldest of the newest promises counts; a topology of ourselves alone counts as all promised.
    fn count_promises(&mut self, lock: &Lock, topology: &Topology) {
        let (now, ttl) = (self.now.boot, self.settings.ttl);
        let Some(episode) = &self.failsafe.episode else { return };
        let mut given: Vec<Option<Tick>> = topology.keys().map(|m| episode.promised.get(m).copied()).collect();
        given.sort_by(|a, b| b.cmp(a));
        let counted = match (given.last(), self.weaken.has(Weakness::FailsafeMajority)) {
            (None, _) => Some(now),
            (Some(_), true) => given.get((given.len() + 1) / 2 - 1).copied().flatten(),
            (Some(oldest), false) => *oldest,
        };
        let Some(sent) = counted else { return };
        let before = self.failsafe.promises.filter(|p| p.generation == lock.generation);
        let next = before.map(|p| p.sent + ttl / 4);
        if given.is_empty()
            && let Some(next) = next.filter(|next| now < *next)
        {
            return self.timers.set_earlier(Timer::Failsafe, next);
        }
        if before.is_none_or(|p| p.sent < sent) {
            self.failsafe.promises = Some(Promises { generation: lock.generation, sent, ttl });
        }
    }

    /// The store answers and the key is gone: nobody else may take it yet.
    fn retake(&mut self) {
        let Some(seen) = self.view.clone() else { return };
        let leader = match &seen.cluster.leader {
            Some(leader) if leader.name != *self.me() => return,
            Some(leader) => Condition::Unchanged(leader.revision.clone()),
            None => Condition::Absent,
        };
        let as_read = |revision: Option<&Revision>| Condition::as_read(revision);
        let expect = Expect {
            leader,
            sync: as_read(seen.cluster.sync.revision.as_ref()),
            failover: as_read(seen.cluster.failover.as_ref().map(|f| &f.revision)),
            initialize: as_read(seen.cluster.initialize.as_ref().map(|i| &i.revision)),
        };
        self.issue(Lane::Lock, Act::Acquire { expect }, self.settings.ttl.min(SHORT), Purpose::Acquire);
    }

    /// Who leads instead of us although we hold the lock, by the members' promises at most.
    pub(super) fn contradicted(&self) -> Option<String> {
        let by = self.failsafe.episode.as_ref().and_then(|e| e.contradicted_by.as_ref());
        if let Some(member) = by {
            return Some(format!("{member} answers that it leads"));
        }
        let alone = self.lease.lock.as_ref().is_some_and(|lock| lock.cover == Cover::Promises);
        let other = self.cluster().and_then(|c| c.leader.as_ref()).filter(|l| alone && l.name != *self.me())?;
        Some(format!("{} holds the leader lock", other.name))
    }

    /// The store is silent, and everybody lets us lead on.
    pub(super) fn leads_on_promises(&self) -> bool {
        self.failsafe.episode.is_some() && self.failsafe.promises.is_some()
    }

    pub(super) fn without_store_now(&self) -> bool {
        self.failsafe.episode.is_some()
    }
}

impl Episode {
    /// When the member is to be asked next.
    fn due(&self, member: &MemberName, ttl: Duration) -> Tick {
        match (self.tried.get(member), self.promised.get(member)) {
            (None, _) => Tick::ZERO,
            (Some(tried), Some(promised)) if tried == promised => *tried + ttl / 4,
            (Some(tried), _) => *tried + ASK_AGAIN.min(ttl / 10),
        }
    }
}

// ---- the others

impl Ha {
    /// A leader that has lost the store asks for our promise (ha-rules 17.3).
    pub(super) fn failsafe_ping(
        &mut self,
        name: MemberName,
        conn_url: String,
        api_url: String,
        slots: BTreeMap<String, u64>,
        ttl: Option<Duration>,
    ) -> Reply {
        if !self.settings.failsafe_mode {
            return Reply::new(502, "failsafe mode is off");
        }
        if self.may_write() || self.lease.lock.is_some() {
            return Reply::new(500, "Running as a leader");
        }
        if self.server.is_none() {
            return Reply::new(503, "this member does not know its own server yet");
        }
        let racing = self.inflight.values().any(|f| f.purpose == Purpose::Acquire);
        if racing || self.promoting() {
            return Reply::new(503, "this member is about to lead");
        }
        let now = self.now.boot;
        let until = now + self.settings.ttl.max(ttl.unwrap_or_default());
        self.failsafe.given.retain(|_, promise| now < promise.until);
        let slots = slots.into_iter().map(|(slot, lsn)| (SlotName(slot), Lsn(lsn))).collect();
        if !self.failsafe.given.contains_key(&name) {
            self.note(NoteLevel::Warning, format!("{name} has lost the store and leads on in failsafe mode"));
        }
        self.failsafe.given.insert(name, Promise { given_at: now, until, conn_url, api_url, slots });
        Reply::new(200, "Accepted")
    }

    /// Whether this member takes part in failsafe mode now, or may: as a leader without the store, or by a promise.
    pub(super) fn failsafe_active(&self) -> bool {
        let promised = self.failsafe.given.values().any(|promise| self.now.boot < promise.until);
        promised || (self.settings.failsafe_mode && self.may_lead_without_store())
    }

    /// An agent that has just begun does not know what the guard of an earlier one counts on.
    fn may_lead_without_store(&self) -> bool {
        let failsafe = &self.failsafe;
        let beside = self.lease.lock.as_ref().is_some_and(|lock| lock.cover != Cover::Lease);
        let unknown = self.lease.lock.is_none() && (self.server.is_none() || self.may_write());
        beside || unknown || failsafe.episode.is_some() || failsafe.promises.is_some() || failsafe.winding_down.is_some()
    }

    /// The leader by a promise of ours that stands, with where its server is.
    pub(super) fn failsafe_leader(&self) -> Option<MemberData> {
        let (_, promise) = self.newest_promise()?;
        let data = [("conn_url", &promise.conn_url), ("api_url", &promise.api_url)];
        Some(MemberData(data.into_iter().map(|(key, url)| (key.to_owned(), url.as_str().into())).collect()))
    }

    pub(super) fn failsafe_leader_name(&self) -> Option<&MemberName> {
        self.newest_promise().map(|(name, _)| name)
    }

    /// Where the leader said that this slot is.
    pub(super) fn failsafe_slot_position(&self, slot: &SlotName) -> Option<Lsn> {
        self.newest_promise().and_then(|(_, promise)| promise.slots.get(slot).copied())
    }

    fn newest_promise(&self) -> Option<(&MemberName, &Promise)> {
        let stands = |(name, promise): &(&MemberName, &Promise)| self.stands(name, promise.given_at, promise.until);
        self.failsafe.given.iter().filter(stands).max_by_key(|(_, promise)| promise.given_at)
    }

    /// Whether what was promised to `name` still binds.
    fn stands(&self, name: &MemberName, since: Tick, until: Tick) -> bool {
        self.now.boot < until && self.failsafe.cleared.get(name).is_none_or(|asked| *asked < since)
    }

    /// This member may not lead, because the failsafe topology does not name it (ha-rules 3.1, step 8).
    pub(super) fn outside_topology(&self, cluster: &Cluster) -> Option<String> {
        let off = self.failsafe.off_since.unwrap_or(self.began_at);
        let lately = self.now.boot.since(off) < self.settings.ttl;
        let named = cluster.failsafe.as_ref().filter(|named| !named.is_empty())?;
        let outside = (self.settings.failsafe_mode || lately) && !named.contains_key(self.me());
        outside.then(|| "failsafe mode is on and the failsafe topology does not name this member".into())
    }

    /// Whether failsafe mode keeps this member from taking a free lock (ha-rules 17.4).
    pub(super) fn failsafe_restrains(&mut self, cluster: &Cluster) -> Option<Verdict> {
        if let Some(why) = self.outside_topology(cluster) {
            return Some(Verdict::Not(why));
        }
        let doubts = self.doubts(cluster);
        let until = doubts.values().map(|doubt| doubt.until).max()?;
        self.timers.set_earlier(Timer::Race, until);
        let waiting = self.inquire(&doubts);
        if waiting && self.may_write() {
            return Some(Verdict::Asking("an answer whether a leader without the store lives"));
        }
        let who: Vec<&str> = doubts.keys().map(MemberName::as_str).collect();
        Some(Verdict::Not(format!("{} may lead without the store in failsafe mode", who.join(" or "))))
    }

    /// Who may count on us, as far as nobody has cleared it up.
    fn doubts(&self, cluster: &Cluster) -> BTreeMap<MemberName, Doubt> {
        let mut doubts = BTreeMap::new();
        let forgotten = self.began_at + self.settings.ttl;
        if self.settings.failsafe_mode && !self.failsafe.sure && self.now.boot < forgotten {
            for (name, url) in cluster.failsafe.iter().flatten().filter(|(name, _)| *name != self.me()) {
                doubts.insert(name.clone(), Doubt { since: self.began_at, until: forgotten, api_url: url.clone() });
            }
        }
        for (name, promise) in &self.failsafe.given {
            let doubt = Doubt { since: promise.given_at, until: promise.until, api_url: promise.api_url.clone() };
            doubts.insert(name.clone(), doubt);
        }
        doubts.retain(|name, doubt| self.stands(name, doubt.since, doubt.until));
        doubts
    }

    /// Asks whom we may be bound to. `true` while answers are awaited.
    fn inquire(&mut self, doubts: &BTreeMap<MemberName, Doubt>) -> bool {
        let (now, limit) = (self.now.boot, Duration::from_secs(1).min(self.settings.ttl / 5));
        let mut waiting = false;
        for (member, doubt) in doubts {
            let lane = Lane::Peer(member.clone());
            let rests = self.failsafe.inquired.get(member).filter(|at| now.since(**at) < INQUIRE_AGAIN).copied();
            match rests {
                _ if self.lanes.contains_key(&lane) => waiting = true,
                Some(asked) => self.timers.set_earlier(Timer::Race, asked + INQUIRE_AGAIN),
                None => {
                    let act = Act::Ask { member: member.clone(), api_url: doubt.api_url.clone() };
                    let purpose = Purpose::Inquiry { member: member.clone(), sent: now };
                    waiting |= self.issue(lane, act, limit, purpose).is_some();
                    self.failsafe.inquired.insert(member.clone(), now);
                }
            }
        }
        waiting
    }

    /// The member's own status document, which names it.
    pub(super) fn inquiry_answered(&mut self, member: MemberName, sent: Tick, outcome: Outcome) {
        let Ok(Yield::Answered(document)) = outcome else { return };
        let named = document.get("patroni").and_then(|p| p.get("name")).and_then(Value::as_str);
        let active = document.get("failsafe_mode_is_active").is_some_and(|v| crate::view::truth(v).unwrap_or(true));
        if named == Some(member.as_str()) && !active {
            self.failsafe.cleared.insert(member, sent);
        }
    }

    /// Members of the topology that other views do not know, for those who ask around.
    pub(super) fn topology_peers(&self) -> BTreeMap<MemberName, Member> {
        let named = self.cluster().filter(|_| self.settings.failsafe_mode).and_then(|c| c.failsafe.clone());
        let member = |(name, url): (MemberName, String)| {
            let data = MemberData([("api_url".to_owned(), Value::from(url))].into_iter().collect());
            (name.clone(), Member { name, data, revision: Revision(String::new()), session: None })
        };
        named.unwrap_or_default().into_iter().map(member).collect()
    }
}

/// Somebody who may count on this member not to race.
struct Doubt {
    since: Tick,
    until: Tick,
    api_url: String,
}
