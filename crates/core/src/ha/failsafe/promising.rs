//! A member that is asked for its promise: what it binds to, and how it finds out that it binds no more.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::super::flight::Purpose;
use super::super::healthiest::Verdict;
use super::super::machine::Ha;
use super::super::note::NoteLevel;
use super::super::timer::Timer;
use super::super::{Act, Cover, Lane, Outcome, Reply, Yield};
use super::Promise;
use crate::view::{Cluster, Member, MemberData, Revision};
use crate::{Lsn, MemberName, SlotName, Tick};

/// The pause before a member is asked again whether it is in failsafe mode.
const INQUIRE_AGAIN: Duration = Duration::from_secs(1);

impl Ha {
    /// A leader that has lost the store asks for our promise (ha-rules 17.3).
    pub(in crate::ha) fn failsafe_ping(
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
        let slots = slots.into_iter().map(|(slot, lsn)| (SlotName(slot.into()), Lsn(lsn))).collect();
        if !self.failsafe.given.contains_key(&name) {
            self.note(NoteLevel::Warning, format!("{name} has lost the store and leads on in failsafe mode"));
        }
        self.failsafe.given.insert(name, Promise { given_at: now, until, conn_url, api_url, slots });
        Reply::new(200, "Accepted")
    }

    /// Whether this member takes part in failsafe mode now, or may: as a leader without the store, or by a promise.
    pub(in crate::ha) fn failsafe_active(&self) -> bool {
        let promised = self.failsafe.given.values().any(|promise| self.now.boot < promise.until);
        promised || (self.settings.failsafe_mode && self.may_lead_without_store())
    }

    /// An agent that has just begun does not know what the guard of an earlier one counts on.
    fn may_lead_without_store(&self) -> bool {
        let failsafe = &self.failsafe;
        let beside = self.lease.lock.as_ref().is_some_and(|lock| lock.cover != Cover::Lease);
        let unknown = self.lease.lock.is_none() && (self.server.is_none() || self.may_write());
        beside
            || unknown
            || failsafe.episode.is_some()
            || failsafe.promises.is_some()
            || failsafe.winding_down.is_some()
    }

    /// The leader by a promise of ours that stands, with where its server is.
    pub(in crate::ha) fn failsafe_leader(&self) -> Option<MemberData> {
        let (_, promise) = self.newest_promise()?;
        let data = [("conn_url", &promise.conn_url), ("api_url", &promise.api_url)];
        let data = data.into_iter().map(|(key, url)| (key.to_owned(), url.as_str().into()));
        Some(data.collect::<serde_json::Map<_, _>>().into())
    }

    pub(in crate::ha) fn failsafe_leader_name(&self) -> Option<&MemberName> {
        self.newest_promise().map(|(name, _)| name)
    }

    /// Where the leader said that this slot is.
    pub(in crate::ha) fn failsafe_slot_position(&self, slot: &SlotName) -> Option<Lsn> {
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
    pub(in crate::ha) fn outside_topology(&self, cluster: &Cluster) -> Option<String> {
        let off = self.failsafe.off_since.unwrap_or(self.began_at);
        let lately = self.now.boot.since(off) < self.settings.ttl;
        let named = cluster.failsafe.as_ref().filter(|named| !named.is_empty())?;
        let outside = (self.settings.failsafe_mode || lately) && !named.contains_key(self.me());
        outside.then(|| "failsafe mode is on and the failsafe topology does not name this member".into())
    }

    /// Whether failsafe mode keeps this member from taking a free lock (ha-rules 17.4).
    pub(in crate::ha) fn failsafe_restrains(&mut self, cluster: &Cluster) -> Option<Verdict> {
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
    pub(in crate::ha) fn inquiry_answered(&mut self, member: MemberName, sent: Tick, outcome: Outcome) {
        let Ok(Yield::Answered(document)) = outcome else { return };
        let named = document.get("patroni").and_then(|p| p.get("name")).and_then(Value::as_str);
        let active = document.get("failsafe_mode_is_active").is_some_and(|v| crate::view::truth(v).unwrap_or(true));
        if named == Some(member.as_str()) && !active {
            self.failsafe.cleared.insert(member, sent);
        }
    }

    /// Members of the topology that other views do not know, for those who ask around.
    pub(in crate::ha) fn topology_peers(&self) -> BTreeMap<MemberName, Member> {
        let named = self.cluster().filter(|_| self.settings.failsafe_mode).and_then(|c| c.failsafe.clone());
        let member = |(name, url): (MemberName, String)| {
            let data = MemberData::from(serde_json::Map::from_iter([("api_url".to_owned(), Value::from(url))]));
            (name.clone(), Member { name, data, revision: Revision::default(), session: None })
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
