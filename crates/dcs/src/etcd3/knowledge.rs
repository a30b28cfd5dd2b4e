//! The newest history that was seen, and the keys as they stand in it.
//!
//! A server that is cut off from the others goes on answering what needs no quorum, from the past. So every
//! answer is compared with what was known when its request was sent: an older Raft term, an older
//! revision or another cluster's id mean that this server is not to be believed, and another one is asked
//! (Patroni has the same guard for the term). Only answers that a quorum stood behind teach: the term of a
//! lonely server that campaigns in vain runs ahead, and believing it would make the healthy ones look old.
//!
//! A store restored from a backup goes back for good. It is believed once no server has shown the
//! newer history for [`HOLD`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jogi_core::Tick;
use jogi_core::view::{Cluster, KeyValue, Revision, Session};
use tracing::warn;

use super::wire::{ChangeKind, Header, Kv, WatchedChange};

/// How long a newer history that nobody shows any more is held against an older one.
const HOLD: Duration = Duration::from_secs(30);

/// What an answer stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// A quorum stood behind it: linearizable reads, transactions.
    Quorum,
    /// One server's own state.
    Local,
    /// The leader's act, but the header is of the server that passed it on: only its term says something.
    Forwarded,
}

/// A point of a store's history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Point {
    cluster_id: u64,
    term: u64,
    revision: i64,
}

pub(super) struct Knowledge {
    prefix: String,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    newest: Point,
    confirmed: Tick,
    /// The keys below the prefix as of `as_of`.
    keys: BTreeMap<String, Entry>,
    as_of: i64,
    /// The newest change below the prefix that any answer has shown.
    changed: i64,
    cluster: Option<Arc<Cluster>>,
}

struct Entry {
    kv: KeyValue,
    mod_revision: i64,
}

impl Knowledge {
    pub(super) fn new(prefix: String) -> Knowledge {
        Knowledge { prefix, inner: Mutex::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The prefix of every key of the cluster.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// What is known now; taken before a request is sent.
    pub(super) fn newest(&self) -> Point {
        self.inner().newest
    }

    /// Judges an answer to a request that was sent when `known` was known.
    pub(super) fn judge(&self, known: Point, header: Header, standing: Standing, now: Tick) -> Result<(), String> {
        let Some(objection) = objection(known, header, standing) else {
            if standing == Standing::Quorum {
                self.inner().learn(header, now);
            }
            return Ok(());
        };
        let mut inner = self.inner();
        if now.since(inner.confirmed) < HOLD {
            return Err(objection);
        }
        warn!(reason = %objection, "the store's newer history has not been seen for {} s: going on with what it says now", HOLD.as_secs());
        *inner = Inner::default();
        inner.learn(header, now);
        Ok(())
    }

    /// A change below the prefix that the watch has to bring, too.
    pub(super) fn expect_change(&self, revision: i64) {
        let mut inner = self.inner();
        inner.changed = inner.changed.max(revision);
    }

    /// The newest change that the keys here do not show yet.
    pub(super) fn missing_change(&self) -> Option<i64> {
        let inner = self.inner();
        (inner.changed > inner.as_of).then_some(inner.changed)
    }

    /// Takes over a reading of all keys at `revision`, unless newer ones are here; returns the newest view.
    pub(super) fn replace(&self, kvs: Vec<Kv>, revision: i64) -> Arc<Cluster> {
        let mut inner = self.inner();
        if revision >= inner.as_of || inner.cluster.is_none() {
            inner.keys = kvs.into_iter().filter_map(|kv| self.entry(kv)).collect();
            inner.as_of = revision;
            inner.cluster = None;
        }
        inner.view()
    }

    /// Applies changes in their order; returns the newest view if there was one that is new.
    pub(super) fn apply(&self, changes: Vec<WatchedChange>) -> Option<Arc<Cluster>> {
        let mut inner = self.inner();
        let before = inner.as_of;
        let mut as_of = before;
        for change in changes {
            let revision = change.kv.mod_revision;
            if revision <= before {
                continue;
            }
            as_of = as_of.max(revision);
            match change.kind {
                ChangeKind::Put => inner.keys.extend(self.entry(change.kv)),
                ChangeKind::Delete => {
                    if let Some(path) = change.kv.key.strip_prefix(&self.prefix) {
                        inner.keys.remove(path);
                    }
                }
            }
        }
        if as_of == before {
            return None;
        }
        inner.as_of = as_of;
        inner.cluster = None;
        Some(inner.view())
    }

    /// Everything up to `revision` has been delivered; returns the view that still stands.
    pub(super) fn progressed(&self, revision: i64) -> Option<Arc<Cluster>> {
        let mut inner = self.inner();
        inner.as_of = inner.as_of.max(revision);
        inner.cluster.clone()
    }

    fn entry(&self, kv: Kv) -> Option<(String, Entry)> {
        let mod_revision = kv.mod_revision;
        let kv = key_value(&self.prefix, kv)?;
        Some((kv.path.clone(), Entry { kv, mod_revision }))
    }
}

impl Inner {
    fn learn(&mut self, header: Header, now: Tick) {
        let Header { cluster_id, revision, raft_term } = header;
        if cluster_id != self.newest.cluster_id {
            self.newest = Point { cluster_id, ..Point::default() };
        }
        self.newest.term = self.newest.term.max(raft_term);
        self.newest.revision = self.newest.revision.max(revision);
        self.confirmed = now;
    }

    fn view(&mut self) -> Arc<Cluster> {
        if let Some(cluster) = &self.cluster {
            return cluster.clone();
        }
        self.changed = self.keys.values().map(|e| e.mod_revision).fold(self.changed, i64::max);
        let cluster = Arc::new(Cluster::from_keys(self.keys.values().map(|e| e.kv.clone())));
        self.cluster = Some(cluster.clone());
        cluster
    }
}

fn objection(known: Point, header: Header, standing: Standing) -> Option<String> {
    if known == Point::default() || header.cluster_id == 0 {
        return None;
    }
    if header.cluster_id != known.cluster_id {
        return Some(format!(
            "this server belongs to another etcd cluster ({:x}) than the one seen before ({:x})",
            header.cluster_id, known.cluster_id
        ));
    }
    if header.raft_term < known.term {
        return Some(format!("this server is in Raft term {}, term {} has been seen", header.raft_term, known.term));
    }
    let revision_says = match standing {
        Standing::Quorum | Standing::Local => true,
        Standing::Forwarded => false,
    };
    (revision_says && header.revision < known.revision)
        .then(|| format!("this server is at revision {}, revision {} has been seen", header.revision, known.revision))
}

/// A key below the prefix as the view takes it.
fn key_value(prefix: &str, kv: Kv) -> Option<KeyValue> {
    Some(KeyValue {
        path: kv.key.strip_prefix(prefix)?.to_owned(),
        value: kv.value,
        revision: revision(kv.mod_revision),
        created: revision(kv.create_revision),
        session: session(kv.lease),
    })
}

pub(super) fn revision(number: i64) -> Revision {
    Revision(number.to_string().into())
}

/// Lease 0 is none.
pub(super) fn session(lease: i64) -> Option<Session> {
    (lease != 0).then(|| Session(lease.to_string().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn header(cluster_id: u64, raft_term: u64, revision: i64) -> Header {
        Header { cluster_id, revision, raft_term }
    }

    fn kv(path: &str, value: &str, mod_revision: i64) -> Kv {
        Kv { key: format!("/s/d/{path}"), value: value.into(), create_revision: 1, mod_revision, lease: 0 }
    }

    fn put(path: &str, value: &str, mod_revision: i64) -> WatchedChange {
        WatchedChange { kind: ChangeKind::Put, kv: kv(path, value, mod_revision) }
    }

    fn leader(cluster: &Cluster) -> Option<&str> {
        cluster.leader.as_ref().map(|l| l.name.as_str())
    }

    #[test]
    fn a_server_behind_the_known_history_is_not_believed() {
        let now = Tick::ZERO + SECOND * 1000;
        for (name, answer, standing, believed) in [
            ("the same", header(1, 5, 100), Standing::Local, true),
            ("newer", header(1, 6, 101), Standing::Quorum, true),
            ("an older term", header(1, 4, 100), Standing::Local, false),
            ("an older term passed on", header(1, 4, 100), Standing::Forwarded, false),
            ("an older revision", header(1, 5, 99), Standing::Local, false),
            ("an older revision of who only passed on", header(1, 5, 99), Standing::Forwarded, true),
            ("back in time", header(1, 5, 99), Standing::Quorum, false),
            ("another cluster", header(2, 9, 900), Standing::Quorum, false),
            ("no header", header(0, 0, 0), Standing::Local, true),
        ] {
            let knowledge = Knowledge::new("/s/d/".into());
            assert_eq!(knowledge.judge(Point::default(), header(1, 5, 100), Standing::Quorum, now), Ok(()));
            let verdict = knowledge.judge(knowledge.newest(), answer, standing, now + SECOND);
            assert_eq!(verdict.is_ok(), believed, "{name}: {verdict:?}");
        }
    }

    #[test]
    fn an_answer_overtaken_by_another_is_no_old_server() {
        let now = Tick::ZERO + SECOND * 1000;
        let knowledge = Knowledge::new("/s/d/".into());
        let sent_at = knowledge.newest();
        knowledge.judge(sent_at, header(1, 5, 100), Standing::Quorum, now).expect("new");
        knowledge.judge(sent_at, header(1, 5, 90), Standing::Quorum, now).expect("it was sent before");
    }

    #[test]
    fn a_lonely_server_teaches_nothing() {
        let now = Tick::ZERO + SECOND * 1000;
        let knowledge = Knowledge::new("/s/d/".into());
        knowledge.judge(Point::default(), header(1, 5, 100), Standing::Quorum, now).expect("new");
        knowledge.judge(knowledge.newest(), header(1, 50, 100), Standing::Local, now).expect("not older");
        knowledge.judge(knowledge.newest(), header(1, 5, 101), Standing::Quorum, now).expect("term 50 was not learned");
    }

    #[test]
    fn a_restored_store_is_believed_after_a_while() {
        let now = Tick::ZERO + SECOND * 1000;
        let knowledge = Knowledge::new("/s/d/".into());
        knowledge.judge(Point::default(), header(1, 5, 100), Standing::Quorum, now).expect("new");
        knowledge.replace(vec![kv("leader", "a", 90)], 100);
        let old = header(1, 2, 40);
        assert!(knowledge.judge(knowledge.newest(), old, Standing::Quorum, now + SECOND).is_err());
        assert!(knowledge.judge(knowledge.newest(), old, Standing::Quorum, now + HOLD - SECOND).is_err());
        knowledge.judge(knowledge.newest(), old, Standing::Quorum, now + HOLD).expect("nobody shows the other");
        let cluster = knowledge.replace(vec![kv("leader", "b", 30)], 40);
        assert_eq!(leader(&cluster), Some("b"));
    }

    #[test]
    fn views_only_go_forward() {
        let knowledge = Knowledge::new("/s/d/".into());
        let cluster = knowledge.replace(vec![kv("leader", "a", 5), kv("leader/x", "no", 5)], 10);
        assert_eq!(leader(&cluster), Some("a"));
        assert!(knowledge.apply(vec![put("leader", "old", 9)]).is_none(), "the watch repeats what was read");
        let cluster = knowledge.apply(vec![put("leader", "b", 12), put("sync", "{}", 12)]).expect("new");
        assert_eq!(leader(&cluster), Some("b"));
        assert_eq!(leader(&knowledge.replace(vec![], 11)), Some("b"), "a slow reading does not undo the watch");
        let gone = WatchedChange { kind: ChangeKind::Delete, kv: kv("leader", "", 13) };
        assert_eq!(leader(&knowledge.apply(vec![gone]).expect("new")), None);
    }

    #[test]
    fn a_change_known_from_elsewhere_is_missed_until_the_watch_brings_it() {
        let knowledge = Knowledge::new("/s/d/".into());
        knowledge.replace(vec![kv("leader", "a", 5)], 10);
        assert_eq!(knowledge.missing_change(), None);
        knowledge.expect_change(12);
        assert_eq!(knowledge.missing_change(), Some(12));
        knowledge.apply(vec![put("leader", "b", 12)]);
        assert_eq!(knowledge.missing_change(), None);
    }
}
