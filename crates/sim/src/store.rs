//! A store like etcd: one linearizable history of revisions, leases, compare-and-swap.
//!
//! Pure: it is told the true time with each request. What a network or an overloaded server makes of requests and
//! answers (delays, losses, an applied write whose answer is lost) is the world's, except for [`Health`], which says
//! how the servers themselves behave.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jogi_core::MemberName;
use jogi_core::view::{Cluster, Condition, Expect, Key, KeyValue, Leader, Revision, Session, Settings, Write, Written};

use smol_str::ToSmolStr;

use crate::clock::Moment;
use crate::rng::Rng;

/// etcd removes an expired lease up to so much late (measured: 0 to 0.5 s).
const EXPIRY_LATE_MS: u64 = 500;

/// What a client may ask. One request is one linearizable step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    Load,
    OpenSession { ttl: Duration },
    Beat { session: Session, read_leader: bool },
    CloseSession { session: Session },
    Acquire { session: Session, name: MemberName, expect: Expect },
    Reattach { session: Session, name: MemberName, created: Revision },
    Release { name: MemberName, created: Revision, status: Option<String> },
    Write(Write),
}

impl Request {
    /// Whether it can change anything; reads are not counted as writes.
    pub fn writes(&self) -> bool {
        match self {
            Request::Load | Request::Beat { .. } => false,
            Request::OpenSession { .. }
            | Request::CloseSession { .. }
            | Request::Acquire { .. }
            | Request::Reattach { .. }
            | Request::Release { .. }
            | Request::Write(_) => true,
        }
    }
}

/// What the store answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Loaded(Arc<Cluster>),
    Opened(Session),
    /// The lease was extended; the leader key as the same step saw it.
    Extended {
        leader: Option<Leader>,
    },
    Closed,
    Acquired {
        created: Revision,
        revision: Revision,
    },
    Released(bool),
    Wrote(Written),
    Conflict,
    SessionGone,
    /// An error of the server; whether something was applied is unknown to the caller.
    Error(String),
}

/// How the store's servers are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    #[default]
    Well,
    /// Requests vanish.
    Down,
    /// Every request is answered with this error and nothing is applied.
    Failing(String),
    /// Writes are applied, and then the answer is this error.
    AppliesAndFails(String),
}

#[derive(Clone, Debug)]
struct Entry {
    value: String,
    created: u64,
    modified: u64,
    lease: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    ttl: Duration,
    /// When the store will remove it and its keys.
    ends: Moment,
}

/// The store's contents.
#[derive(Clone, Debug, Default)]
pub struct Store {
    revision: u64,
    last_lease: u64,
    keys: BTreeMap<Key, Entry>,
    leases: BTreeMap<u64, Lease>,
    pub health: Health,
    /// The view of the current revision, shared by all who read it.
    view: Arc<Cluster>,
    settings: Settings,
    /// Requests that could have changed something, and all requests, since the beginning.
    pub writes: u64,
    pub requests: u64,
}

impl Store {
    pub fn revision(&self) -> u64 {
        self.revision
    }

    pub fn view(&self) -> Arc<Cluster> {
        self.view.clone()
    }

    /// The same, to look at and not to keep.
    pub fn shown(&self) -> &Cluster {
        &self.view
    }

    /// What the `config` key says.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The value of a key as it truly is.
    pub fn value(&self, key: &Key) -> Option<&str> {
        self.keys.get(key).map(|e| e.value.as_str())
    }

    /// Who truly holds the leader key.
    pub fn leader(&self) -> Option<&str> {
        self.value(&Key::Leader)
    }

    /// The revision of the last change of a key; 0 when it is not there.
    pub fn changed(&self, key: &Key) -> u64 {
        self.keys.get(key).map_or(0, |e| e.modified)
    }

    /// The next moment at which a lease ends.
    pub fn next_expiry(&self) -> Option<Moment> {
        self.leases.values().map(|l| l.ends).min()
    }

    /// Removes what has expired; true when a key went.
    pub fn expire(&mut self, now: Moment) -> bool {
        let ended: Vec<u64> = self.leases.iter().filter(|(_, l)| l.ends <= now).map(|(id, _)| *id).collect();
        let mut changed = false;
        for id in ended {
            changed |= self.end_lease(id);
        }
        changed
    }

    /// The store elects a new leader of its own: every lease begins again in full.
    pub fn change_leader(&mut self, now: Moment) {
        for lease in self.leases.values_mut() {
            lease.ends = lease.ends.max(now + lease.ttl);
        }
    }

    fn end_lease(&mut self, id: u64) -> bool {
        self.leases.remove(&id);
        let keys: Vec<Key> = self.keys.iter().filter(|(_, e)| e.lease == Some(id)).map(|(k, _)| k.clone()).collect();
        self.remove(&keys);
        !keys.is_empty()
    }

    /// One request at true time `now`. `None`: no answer will ever come.
    pub fn serve(&mut self, request: Request, now: Moment, rng: &mut Rng) -> Option<Answer> {
        self.requests += 1;
        self.writes += u64::from(request.writes());
        match self.health.clone() {
            Health::Well => Some(self.apply(request, now, rng)),
            Health::Down => None,
            Health::Failing(error) => Some(Answer::Error(error)),
            Health::AppliesAndFails(error) => {
                self.apply(request, now, rng);
                Some(Answer::Error(error))
            }
        }
    }

    fn apply(&mut self, request: Request, now: Moment, rng: &mut Rng) -> Answer {
        self.expire(now);
        match request {
            Request::Load => Answer::Loaded(self.view()),
            Request::OpenSession { ttl } => {
                self.last_lease += 1;
                let ends = now + ttl + rng.millis(0, EXPIRY_LATE_MS);
                self.leases.insert(self.last_lease, Lease { ttl, ends });
                Answer::Opened(session(self.last_lease))
            }
            Request::Beat { session, read_leader } => self.beat(&session, read_leader, now, rng),
            Request::CloseSession { session } => {
                if let Some(id) = self.lease(&session) {
                    self.end_lease(id);
                }
                Answer::Closed
            }
            Request::Acquire { session, name, expect } => self.acquire(&session, &name, &expect),
            Request::Reattach { session, name, created } => self.reattach(&session, &name, &created),
            Request::Release { name, created, status } => self.release(&name, &created, status),
            Request::Write(write) => self.write(write),
        }
    }

    fn lease(&self, session: &Session) -> Option<u64> {
        let id = session.0.parse().ok()?;
        self.leases.contains_key(&id).then_some(id)
    }

    fn beat(&mut self, session: &Session, read_leader: bool, now: Moment, rng: &mut Rng) -> Answer {
        let Some(lease) = self.lease(session).and_then(|id| self.leases.get_mut(&id)) else {
            return Answer::SessionGone;
        };
        lease.ends = now + lease.ttl + rng.millis(0, EXPIRY_LATE_MS);
        Answer::Extended { leader: if read_leader { self.leader_key() } else { None } }
    }

    fn leader_key(&self) -> Option<Leader> {
        let entry = self.keys.get(&Key::Leader)?;
        Some(Leader {
            name: entry.value.as_str().into(),
            session: entry.lease.map(self::session),
            created: text(entry.created),
            revision: text(entry.modified),
        })
    }

    fn acquire(&mut self, session: &Session, name: &MemberName, expect: &Expect) -> Answer {
        let conditions = [
            (Key::Leader, &expect.leader),
            (Key::Sync, &expect.sync),
            (Key::Failover, &expect.failover),
            (Key::Initialize, &expect.initialize),
        ];
        if !conditions.iter().all(|(key, condition)| self.holds(key, condition)) {
            return self.already(session, name);
        }
        let Some(lease) = self.lease(session) else { return Answer::SessionGone };
        let revision = self.change(&Key::Leader, Some(name.to_string()), Some(lease));
        let created = self.keys.get(&Key::Leader).map_or(revision, |e| e.created);
        Answer::Acquired { created: text(created), revision: text(revision) }
    }

    fn reattach(&mut self, session: &Session, name: &MemberName, created: &Revision) -> Answer {
        if !self.is_incarnation(created) || self.leader() != Some(name.as_str()) {
            return self.already(session, name);
        }
        let Some(lease) = self.lease(session) else { return Answer::SessionGone };
        let revision = self.change(&Key::Leader, Some(name.to_string()), Some(lease));
        Answer::Acquired { created: created.clone(), revision: text(revision) }
    }

    /// A try that comes second: a key that is the asker's on the asker's lease is the lock, by whichever try it came
    /// there.
    fn already(&self, session: &Session, name: &MemberName) -> Answer {
        match self.keys.get(&Key::Leader) {
            Some(entry) if entry.value == name.as_str() && entry.lease.map(self::session).as_ref() == Some(session) => {
                Answer::Acquired { created: text(entry.created), revision: text(entry.modified) }
            }
            Some(_) | None => Answer::Conflict,
        }
    }

    fn release(&mut self, name: &MemberName, created: &Revision, status: Option<String>) -> Answer {
        if !self.is_incarnation(created) || self.leader() != Some(name.as_str()) {
            return Answer::Released(false);
        }
        let revision = self.change(&Key::Leader, None, None);
        if status.is_some() {
            self.change_at(revision, &Key::Status, status, None);
        }
        Answer::Released(true)
    }

    fn write(&mut self, write: Write) -> Answer {
        let leads = write.only_while_leader.as_ref().is_none_or(|created| self.is_incarnation(created));
        if !leads || !self.holds(&write.key, &write.condition) {
            return Answer::Wrote(Written::Conflict);
        }
        // Conditions first, as etcd does: only what would be written is looked at for its lease.
        let lease = write.session.as_ref().map(|session| self.lease(session));
        let Some(lease) = lease.map_or(Some(None), |found| found.map(Some)) else {
            return Answer::Wrote(Written::SessionGone);
        };
        let revision = self.change(&write.key, write.value, lease);
        Answer::Wrote(Written::Done { revision: text(revision) })
    }

    fn is_incarnation(&self, created: &Revision) -> bool {
        self.keys.get(&Key::Leader).is_some_and(|e| text(e.created) == *created)
    }

    fn holds(&self, key: &Key, condition: &Condition) -> bool {
        let entry = self.keys.get(key);
        match condition {
            Condition::Always => true,
            Condition::Absent => entry.is_none(),
            Condition::Unchanged(revision) => entry.is_some_and(|e| text(e.modified) == *revision),
        }
    }

    /// Puts or deletes one key as an operator would, past every condition.
    pub fn force(&mut self, key: &Key, value: Option<String>) {
        self.change(key, value, None);
    }

    /// Every key is gone; leases stay.
    pub fn wipe(&mut self) {
        self.remove(&self.keys.keys().cloned().collect::<Vec<Key>>());
    }

    /// Removes keys in one transaction: all of them or none have a new revision.
    fn remove(&mut self, keys: &[Key]) {
        self.revision += u64::from(!keys.is_empty());
        for key in keys {
            self.change_at(self.revision, key, None, None);
        }
    }

    /// One change in a transaction of its own. To delete what is not there is none.
    fn change(&mut self, key: &Key, value: Option<String>, lease: Option<u64>) -> u64 {
        self.revision += u64::from(value.is_some() || self.keys.contains_key(key));
        self.change_at(self.revision, key, value, lease);
        self.revision
    }

    fn change_at(&mut self, revision: u64, key: &Key, value: Option<String>, lease: Option<u64>) {
        match (value, self.keys.get_mut(key)) {
            (None, _) => _ = self.keys.remove(key),
            (Some(value), Some(entry)) => *entry = Entry { value, created: entry.created, modified: revision, lease },
            (Some(value), None) => {
                self.keys.insert(key.clone(), Entry { value, created: revision, modified: revision, lease });
            }
        }
        self.renew_view(key);
    }

    /// Reads the one key that has changed into the view: reading them all at every change would be most of the
    /// simulator's work.
    fn renew_view(&mut self, key: &Key) {
        let read: &[&Key] = match key {
            // Which of the two counts depends on the other.
            Key::Status | Key::LegacyOptime => &[&Key::Status, &Key::LegacyOptime],
            Key::Initialize
            | Key::Config
            | Key::Leader
            | Key::Member(_)
            | Key::Failover
            | Key::Sync
            | Key::History
            | Key::Failsafe => &[key],
        };
        let one = Cluster::from_keys(read.iter().filter_map(|key| self.key_value(key)));
        let view = Arc::make_mut(&mut self.view);
        match key {
            Key::Initialize => view.initialize = one.initialize,
            Key::Config => {
                self.settings = one.settings().unwrap_or_default();
                view.config = one.config;
            }
            Key::Leader => view.leader = one.leader,
            Key::Status | Key::LegacyOptime => view.status = one.status,
            Key::Failover => view.failover = one.failover,
            Key::Sync => view.sync = one.sync,
            Key::History => view.history = one.history,
            Key::Failsafe => view.failsafe = one.failsafe,
            Key::Member(name) => {
                view.members.remove(name);
                view.members.extend(one.members);
            }
        }
    }

    fn key_value(&self, key: &Key) -> Option<KeyValue> {
        let entry = self.keys.get(key)?;
        Some(KeyValue {
            path: key.path(),
            value: entry.value.clone(),
            revision: text(entry.modified),
            created: text(entry.created),
            session: entry.lease.map(session),
        })
    }
}

fn text(revision: u64) -> Revision {
    Revision(revision.to_smolstr())
}

fn session(lease: u64) -> Session {
    Session(lease.to_smolstr())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bench {
        store: Store,
        rng: Rng,
        now: Moment,
    }

    impl Bench {
        fn new() -> Bench {
            Bench { store: Store::default(), rng: Rng::new(1), now: Moment(0) }
        }

        fn ask(&mut self, request: Request) -> Answer {
            self.store.serve(request, self.now, &mut self.rng).expect("the store is up")
        }

        fn open(&mut self, ttl: u64) -> Session {
            match self.ask(Request::OpenSession { ttl: Duration::from_secs(ttl) }) {
                Answer::Opened(session) => session,
                other => panic!("{other:?}"),
            }
        }

        fn acquire(&mut self, session: &Session, name: &str) -> Answer {
            self.ask(Request::Acquire { session: session.clone(), name: name.into(), expect: Expect::free() })
        }
    }

    #[test]
    fn the_lock_is_one_members_until_its_lease_ends() {
        let mut bench = Bench::new();
        let (a, b) = (bench.open(5), bench.open(60));
        assert!(matches!(bench.acquire(&a, "a"), Answer::Acquired { .. }));
        assert_eq!(bench.acquire(&b, "b"), Answer::Conflict);
        bench.now = bench.now + Duration::from_secs(4);
        bench.ask(Request::Beat { session: a.clone(), read_leader: false });
        bench.now = bench.now + Duration::from_millis(4999);
        assert_eq!(bench.acquire(&b, "b"), Answer::Conflict);
        bench.now = bench.now + Duration::from_millis(501);
        assert!(matches!(bench.acquire(&b, "b"), Answer::Acquired { .. }));
        assert_eq!(bench.ask(Request::Beat { session: a, read_leader: true }), Answer::SessionGone);
    }

    #[test]
    fn a_release_names_the_incarnation() {
        let mut bench = Bench::new();
        let session = bench.open(30);
        let Answer::Acquired { created, .. } = bench.acquire(&session, "a") else { panic!("free") };
        let release = |created: &Revision| Request::Release {
            name: "a".into(),
            created: created.clone(),
            status: Some("9".into()),
        };
        assert_eq!(bench.ask(release(&created)), Answer::Released(true));
        assert_eq!(bench.store.value(&Key::Status), Some("9"));
        let Answer::Acquired { created: second, .. } = bench.acquire(&session, "a") else { panic!("free") };
        assert_ne!(second, created);
        assert_eq!(bench.ask(release(&created)), Answer::Released(false));
        assert_eq!(bench.store.leader(), Some("a"));
    }

    #[test]
    fn writes_keep_their_conditions() {
        let mut bench = Bench::new();
        let session = bench.open(30);
        let put = |condition| Request::Write(Write::put(Key::Sync, "{}").when(condition));
        let Answer::Wrote(Written::Done { revision }) = bench.ask(put(Condition::Absent)) else { panic!("absent") };
        assert_eq!(bench.ask(put(Condition::Absent)), Answer::Wrote(Written::Conflict));
        assert!(matches!(bench.ask(put(Condition::Unchanged(revision.clone()))), Answer::Wrote(Written::Done { .. })));
        assert_eq!(bench.ask(put(Condition::Unchanged(revision))), Answer::Wrote(Written::Conflict));
        let Answer::Acquired { created, .. } = bench.acquire(&session, "a") else { panic!("free") };
        let status = |created: &Revision| Request::Write(Write::put(Key::Status, "1").while_leader(created));
        assert!(matches!(bench.ask(status(&created)), Answer::Wrote(Written::Done { .. })));
        assert_eq!(bench.ask(status(&Revision("1".into()))), Answer::Wrote(Written::Conflict));
        let member = Write::put(Key::Member("a".into()), "{}").on_session(&Session("77".into()));
        assert_eq!(bench.ask(Request::Write(member)), Answer::Wrote(Written::SessionGone));
    }

    #[test]
    fn a_lost_answer_may_have_been_applied() {
        let mut bench = Bench::new();
        let session = bench.open(30);
        bench.store.health = Health::AppliesAndFails("etcdserver: request timed out".into());
        assert!(matches!(bench.acquire(&session, "a"), Answer::Error(_)));
        assert_eq!(bench.store.leader(), Some("a"));
        bench.store.health = Health::Down;
        assert_eq!(bench.store.serve(Request::Load, bench.now, &mut bench.rng), None);
    }

    #[test]
    fn a_change_of_the_stores_leader_restarts_leases() {
        let mut bench = Bench::new();
        let session = bench.open(5);
        bench.acquire(&session, "a");
        bench.now = bench.now + Duration::from_secs(4);
        bench.store.change_leader(bench.now);
        bench.now = bench.now + Duration::from_millis(4900);
        bench.store.expire(bench.now);
        assert_eq!(bench.store.leader(), Some("a"));
    }
}
