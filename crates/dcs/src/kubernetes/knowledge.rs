//! What is known of the cluster's objects, and whose lock it is by our own clock.
//!
//! Kubernetes expires nothing. The holder writes a time into the leader object with every renewal, and every
//! observer counts from when it saw that change, by its own clock, for as long as the object's ttl says (Patroni does
//! the same). An observer that was asleep or cut off may so believe a lock to be free that is held: that is why taking
//! it compares the resourceVersion of just the object that was judged.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jogi_core::Tick;
use jogi_core::view::{Cluster, Key, KeyValue, Revision, Session};
use tokio::sync::watch as signal;
use tracing::warn;

use super::objects::{Lock, Object, PARTS, Part, at_least, part_of, revision_of, value_of};

/// Names of the objects of one cluster.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub cluster: String,
    pub endpoints: bool,
}

impl Names {
    pub(super) fn of(&self, part: Part) -> String {
        let suffix = match part {
            // The Endpoints of the primary's service are the lock.
            Part::Leader if self.endpoints => return self.cluster.clone(),
            Part::Leader => "leader",
            Part::Config => "config",
            Part::Failover => "failover",
            Part::Sync => "sync",
        };
        format!("{}-{suffix}", self.cluster)
    }
}

/// One list of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum List {
    Pods,
    Objects,
}

pub(super) struct Knowledge {
    pub names: Names,
    /// The ttl of a lock that names none.
    default_ttl: Duration,
    inner: Mutex<Inner>,
    /// Rung at every change.
    changed: signal::Sender<u64>,
}

#[derive(Default)]
struct Inner {
    pods: Collection,
    objects: Collection,
    observed: Option<Observed>,
    /// The session on which this process wrote a member's key last.
    member_session: Option<(String, Session)>,
}

#[derive(Default)]
struct Collection {
    objects: BTreeMap<String, Object>,
    /// The versions at which names went, so that a slow answer brings none back.
    gone: BTreeMap<String, String>,
    listed: Option<String>,
}

/// What the lock's holder said last, and when we saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Observed {
    pub lock: Lock,
    pub since: Tick,
    pub ttl: Duration,
}

impl Observed {
    pub(super) fn expires(&self) -> Tick {
        self.since + self.ttl
    }

    /// Patroni's rule: valid up to and including the last moment.
    pub(super) fn stands(&self, now: Tick) -> bool {
        now <= self.expires()
    }
}

impl Collection {
    /// Whether it was news.
    fn put(&mut self, object: Object) -> bool {
        let older = |version: &String| version != &object.version && at_least(version, &object.version);
        let known = self.objects.get(&object.name);
        if known.is_some_and(|known| known.version == object.version || older(&known.version))
            || self.gone.get(&object.name).is_some_and(older)
        {
            return false;
        }
        self.gone.remove(&object.name);
        self.objects.insert(object.name.clone(), object);
        true
    }

    fn remove(&mut self, name: &str, version: &str) -> bool {
        if self.objects.get(name).is_some_and(|known| !at_least(version, &known.version)) {
            return false;
        }
        self.gone.insert(name.to_owned(), version.to_owned());
        self.objects.remove(name).is_some()
    }

    fn replace(&mut self, objects: Vec<Object>, version: &str) -> bool {
        let names: Vec<String> = objects.iter().map(|object| object.name.clone()).collect();
        let absent: Vec<String> = self.objects.keys().filter(|name| !names.contains(name)).cloned().collect();
        let mut news = self.listed.is_none();
        for name in absent {
            news |= self.remove(&name, version);
        }
        for object in objects {
            news |= self.put(object);
        }
        self.listed = Some(version.to_owned());
        news
    }
}

impl Knowledge {
    pub(super) fn new(names: Names, default_ttl: Duration) -> Knowledge {
        Knowledge { names, default_ttl, inner: Mutex::default(), changed: signal::Sender::new(0) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn changes(&self) -> signal::Receiver<u64> {
        self.changed.subscribe()
    }

    fn ring(&self) {
        self.changed.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// The version of the last whole reading of a list; taken before a request is sent.
    pub(super) fn listed(&self, list: List) -> Option<String> {
        self.inner().list(list).listed.clone()
    }

    /// Takes over a whole reading that was sent when `known` was the last one. A quorum that answers from before that
    /// is a store put back from a backup: what was known of it is void.
    pub(super) fn replace(&self, list: List, objects: Vec<Object>, version: &str, known: Option<&str>, now: Tick) {
        let mut inner = self.inner();
        if let Some(known) = known.filter(|known| !at_least(version, known)) {
            warn!(list = ?list, version, known, "the API server has gone back in time: going on with what it says now");
            *inner.list(list) = Collection::default();
        }
        if inner.list(list).replace(objects, version) {
            self.observe(&mut inner, now);
            drop(inner);
            self.ring();
        }
    }

    /// Takes over one object, from the watch or an answer.
    pub(super) fn put(&self, list: List, object: Object, now: Tick) {
        let mut inner = self.inner();
        if inner.list(list).put(object) {
            self.observe(&mut inner, now);
            drop(inner);
            self.ring();
        }
    }

    pub(super) fn remove(&self, list: List, name: &str, version: &str, now: Tick) {
        let mut inner = self.inner();
        if inner.list(list).remove(name, version) {
            self.observe(&mut inner, now);
            drop(inner);
            self.ring();
        }
    }

    fn observe(&self, inner: &mut Inner, now: Tick) {
        let lock = inner.objects.objects.get(&self.names.of(Part::Leader)).and_then(Lock::of);
        if inner.observed.as_ref().map(|observed| &observed.lock) == lock.as_ref() {
            return;
        }
        inner.observed = lock.map(|lock| {
            let ttl = lock.ttl.parse().map_or(self.default_ttl, Duration::from_secs);
            Observed { lock, since: now, ttl }
        });
    }

    /// The lock as observed, standing or not.
    pub(super) fn observed(&self) -> Option<Observed> {
        self.inner().observed.clone()
    }

    pub(super) fn object(&self, part: Part) -> Option<Object> {
        self.inner().objects.objects.get(&self.names.of(part)).cloned()
    }

    pub(super) fn pod(&self, name: &str) -> Option<Object> {
        self.inner().pods.objects.get(name).cloned()
    }

    /// The session a member key was written on.
    pub(super) fn member_written(&self, name: &str, session: Option<&Session>) {
        self.inner().member_session = session.map(|session| (name.to_owned(), session.clone()));
        self.ring();
    }

    /// Whether this process has written its member.
    pub(super) fn wrote_member(&self) -> bool {
        self.inner().member_session.is_some()
    }

    /// Keys are not on it any more.
    pub(super) fn session_ended(&self, session: &Session) {
        let mut inner = self.inner();
        if inner.member_session.as_ref().is_some_and(|(_, on)| on == session) {
            inner.member_session = None;
        }
        drop(inner);
        self.ring();
    }

    /// The key's revision now; a lock that has run out is no key.
    pub(super) fn revision(&self, key: &Key, now: Tick) -> Option<Revision> {
        let inner = self.inner();
        if *key == Key::Leader && !inner.observed.as_ref()?.stands(now) {
            return None;
        }
        let object = match (key, part_of(key)) {
            (Key::Member(name), _) => inner.pods.objects.get(name.as_str()),
            (_, Some(part)) => inner.objects.objects.get(&self.names.of(part)),
            (_, None) => None,
        };
        revision_of(key, object?)
    }

    /// The whole cluster as it is at `now`.
    pub(super) fn view(&self, now: Tick) -> Arc<Cluster> {
        let inner = self.inner();
        let mut keys = Vec::new();
        for part in PARTS {
            if let Some(object) = inner.objects.objects.get(&self.names.of(part)) {
                let here =
                    [Key::Initialize, Key::Config, Key::History, Key::Status, Key::Failsafe, Key::Failover, Key::Sync];
                keys.extend(here.iter().filter(|key| part_of(key) == Some(part)).filter_map(|key| entry(key, object)));
            }
        }
        let leader = inner.objects.objects.get(&self.names.of(Part::Leader));
        if let (Some(observed), Some(object)) = (inner.observed.as_ref().filter(|o| o.stands(now)), leader) {
            keys.extend(entry(&Key::Leader, object).map(|kv| KeyValue {
                created: observed.lock.created(),
                session: Some(session_of(&observed.lock)),
                ..kv
            }));
        }
        for pod in inner.pods.objects.values() {
            let session = inner.member_session.as_ref().filter(|(name, _)| *name == pod.name).map(|(_, s)| s.clone());
            let member = entry(&Key::Member(pod.name.as_str().into()), pod);
            keys.extend(member.map(|kv| KeyValue { session, ..kv }));
        }
        Arc::new(Cluster::from_keys(keys))
    }
}

/// The session of a lock: ours by its name, anybody else's by the holding's.
pub(super) fn session_of(lock: &Lock) -> Session {
    match &lock.session {
        Some(session) => Session(session.as_str().into()),
        None => Session(format!("{}@{}", lock.name, lock.acquired).into()),
    }
}

fn entry(key: &Key, object: &Object) -> Option<KeyValue> {
    let revision = revision_of(key, object)?;
    let value = value_of(key, object)?;
    Some(KeyValue { path: key.path(), value, created: revision.clone(), revision, session: None })
}

impl Inner {
    fn list(&mut self, list: List) -> &mut Collection {
        match list {
            List::Pods => &mut self.pods,
            List::Objects => &mut self.objects,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::objects::{ACQUIRED, LEADER, RENEWED, TTL};
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn knowledge() -> Knowledge {
        Knowledge::new(Names { cluster: "demo".into(), endpoints: false }, SECOND * 30)
    }

    fn leader(version: &str, renewed: &str, ttl: &str) -> Object {
        let annotations = [(LEADER, "a"), (ACQUIRED, "t0"), (RENEWED, renewed), (TTL, ttl), ("optime", version)];
        Object {
            name: "demo-leader".into(),
            version: version.into(),
            annotations: annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            ..Object::default()
        }
    }

    fn holder(knowledge: &Knowledge, now: Tick) -> Option<String> {
        knowledge.view(now).leader.as_ref().map(|l| l.name.to_string())
    }

    #[test]
    fn a_lock_stands_for_its_own_ttl_from_when_it_was_seen_to_be_renewed() {
        let t0 = Tick::ZERO + SECOND * 1000;
        let knowledge = knowledge();
        knowledge.put(List::Objects, leader("10", "2001-01-01", "5"), t0);
        assert_eq!(holder(&knowledge, t0 + SECOND * 5).as_deref(), Some("a"), "the holder's clock does not matter");
        assert_eq!(holder(&knowledge, t0 + SECOND * 5 + Duration::from_millis(1)), None);
        knowledge.put(List::Objects, leader("11", "2001-01-01", "5"), t0 + SECOND * 4);
        assert_eq!(holder(&knowledge, t0 + SECOND * 6), None, "a position is no renewal");
        knowledge.put(List::Objects, leader("12", "2001-01-02", "5"), t0 + SECOND * 6);
        assert_eq!(holder(&knowledge, t0 + SECOND * 11).as_deref(), Some("a"));
        knowledge.put(List::Objects, leader("13", "2001-01-03", "no number"), t0 + SECOND * 7);
        assert_eq!(holder(&knowledge, t0 + SECOND * 37).as_deref(), Some("a"), "without a ttl it is our own");
    }

    #[test]
    fn objects_only_go_forward_and_do_not_come_back() {
        let t0 = Tick::ZERO + SECOND * 1000;
        let knowledge = knowledge();
        knowledge.put(List::Objects, leader("10", "x", "5"), t0);
        knowledge.put(List::Objects, leader("9", "y", "5"), t0);
        assert_eq!(knowledge.observed().expect("there").lock.renewed, "x");
        knowledge.remove(List::Objects, "demo-leader", "12", t0);
        knowledge.put(List::Objects, leader("11", "z", "5"), t0);
        assert_eq!(knowledge.object(Part::Leader), None, "a slow answer brings nothing back");
        knowledge.put(List::Objects, leader("13", "z", "5"), t0);
        assert!(knowledge.object(Part::Leader).is_some());
    }

    #[test]
    fn a_store_put_back_from_a_backup_is_believed() {
        let t0 = Tick::ZERO + SECOND * 1000;
        let knowledge = knowledge();
        knowledge.replace(List::Objects, vec![leader("90", "x", "5")], "100", None, t0);
        let known = knowledge.listed(List::Objects);
        knowledge.replace(List::Objects, vec![leader("40", "y", "5")], "50", known.as_deref(), t0);
        assert_eq!(knowledge.observed().expect("there").lock.renewed, "y");
        knowledge.replace(List::Objects, vec![leader("30", "z", "5")], "45", None, t0);
        assert_eq!(knowledge.observed().expect("there").lock.renewed, "y", "an answer overtaken by another");
    }
}
