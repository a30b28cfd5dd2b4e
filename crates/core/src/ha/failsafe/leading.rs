//! A leader that has lost the store: it asks for promises, counts them, and takes its lock again.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::flight::{Purpose, SHORT};
use super::super::machine::Ha;
use super::super::note::NoteLevel;
use super::super::timer::Timer;
use super::super::{Act, Cover, Lane, Lock, Outcome, Promises, Yield};
use super::{Episode, Topology};
use crate::view::{Cluster, Condition, Expect, Key, Member, Revision, Write};
use crate::{MemberName, Tick, Weakness};

/// How long one question may take at most.
const LONGEST_ASK: Duration = Duration::from_secs(2);
/// The longest pause before a member that gave no promise is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// How long a write that got no answer may still take effect in the store.
const LATE_AT_MOST: Duration = Duration::from_secs(10);

impl Ha {
    /// What the keeper may count on beside the store's lease.
    pub fn promises(&self) -> Option<Promises> {
        self.failsafe.promises
    }

    /// Asks for promises while the store is silent, and takes the lock again when its key is gone. Runs on every
    /// turn, whatever else is being done.
    pub(in crate::ha) fn failsafe_turn(&mut self) {
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
    pub(in crate::ha) fn publish_topology(&mut self) {
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
            wanted.iter().map(|(name, url)| (name.to_string(), Value::from(url.as_str()))).collect();
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

    pub(in crate::ha) fn topology_written(&mut self, outcome: &Outcome) {
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
        let slots: serde_json::Map<String, Value> =
            slots.into_iter().map(|(n, lsn)| (n.to_string(), lsn.0.into())).collect();
        let ttl = u64::try_from(self.settings.ttl.as_millis()).unwrap_or(u64::MAX);
        json!({
            "name": self.local.name.as_str(),
            "conn_url": self.local.conn_url,
            "api_url": self.local.api_url,
            "slots": slots,
            "jogi": {"ttl_ms": ttl},
        })
    }

    pub(in crate::ha) fn promise_answered(&mut self, member: MemberName, sent: Tick, outcome: Outcome) {
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
            (Some(_), true) => given.get(given.len().div_ceil(2) - 1).copied().flatten(),
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
    pub(in crate::ha) fn contradicted(&self) -> Option<String> {
        let by = self.failsafe.episode.as_ref().and_then(|e| e.contradicted_by.as_ref());
        if let Some(member) = by {
            return Some(format!("{member} answers that it leads"));
        }
        let alone = self.lease.lock.as_ref().is_some_and(|lock| lock.cover == Cover::Promises);
        let other = self.cluster().and_then(|c| c.leader.as_ref()).filter(|l| alone && l.name != *self.me())?;
        Some(format!("{} holds the leader lock", other.name))
    }

    /// The store is silent, and everybody lets us lead on.
    pub(in crate::ha) fn leads_on_promises(&self) -> bool {
        self.failsafe.episode.is_some() && self.failsafe.promises.is_some()
    }

    pub(in crate::ha) fn without_store_now(&self) -> bool {
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
