//! The cluster as one consistent reading of the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use smol_str::SmolStr;

use super::{Failover, HistoryKey, Member, MemberData, Settings, Status, SyncState};
use crate::{Lsn, MemberName, SlotName, Timeline};

/// A key's version as its store names it. Opaque: compared for equality, never ordered.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub SmolStr);

/// The lease or session that a key is bound to, as its store names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Session(pub SmolStr);

/// A value with the revision under which it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versioned<T> {
    pub value: T,
    pub revision: Revision,
}

/// The keys of one cluster, relative to `/NAMESPACE/SCOPE/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Initialize,
    Config,
    Leader,
    Status,
    LegacyOptime,
    Member(MemberName),
    Failover,
    Sync,
    History,
    Failsafe,
}

impl Key {
    /// The key's path below the cluster's base path.
    pub fn path(&self) -> String {
        match self {
            Key::Initialize => "initialize".into(),
            Key::Config => "config".into(),
            Key::Leader => "leader".into(),
            Key::Status => "status".into(),
            Key::LegacyOptime => "optime/leader".into(),
            Key::Member(name) => format!("members/{name}"),
            Key::Failover => "failover".into(),
            Key::Sync => "sync".into(),
            Key::History => "history".into(),
            Key::Failsafe => "failsafe".into(),
        }
    }

    /// The key of a relative path; `None` for keys that are nobody's business here.
    pub fn parse(path: &str) -> Option<Key> {
        Some(match path {
            "initialize" => Key::Initialize,
            "config" => Key::Config,
            "leader" => Key::Leader,
            "status" => Key::Status,
            "optime/leader" => Key::LegacyOptime,
            "failover" => Key::Failover,
            "sync" => Key::Sync,
            "history" => Key::History,
            "failsafe" => Key::Failsafe,
            _ => {
                let name = path.strip_prefix("members/")?;
                if name.is_empty() || name.contains('/') {
                    return None;
                }
                Key::Member(name.into())
            }
        })
    }
}

/// One key as a store delivers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// Path relative to the cluster's base path.
    pub path: String,
    pub value: String,
    /// Changes with every write (etcd: mod_revision).
    pub revision: Revision,
    /// Names this incarnation of the key: changes when it is deleted and created again (etcd: create_revision).
    pub created: Revision,
    pub session: Option<Session>,
}

/// Who holds the leader lock, and on which session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    pub name: MemberName,
    pub revision: Revision,
    pub created: Revision,
    pub session: Option<Session>,
}

/// One consistent reading of all keys of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    pub initialize: Option<Versioned<String>>,
    /// The dynamic configuration, when the key holds a JSON object.
    pub config: Option<Versioned<Arc<Value>>>,
    pub leader: Option<Leader>,
    pub status: Status,
    pub members: BTreeMap<MemberName, Member>,
    pub failover: Option<Versioned<Failover>>,
    pub sync: SyncState,
    pub history: Option<Versioned<HistoryKey>>,
    pub failsafe: Option<BTreeMap<MemberName, String>>,
}

fn revision<T>(value: Option<&Versioned<T>>) -> Option<&Revision> {
    value.map(|value| &value.revision)
}

/// Patroni's test for a system identifier: at least ten characters, all digits.
const SYSTEM_IDENTIFIER_MIN_DIGITS: usize = 10;

impl Cluster {
    /// Whether how far servers have come is all that `later` says differently, under the same leader.
    pub(crate) fn differs_in_positions(&self, later: &Cluster) -> bool {
        let same_member = |(then, now): (&Member, &Member)| {
            then.name == now.name && then.session == now.session && then.data.differs_in_positions(&now.data)
        };
        self.leader.is_some()
            && self.leader == later.leader
            && self.members.len() == later.members.len()
            && self.members.values().zip(later.members.values()).all(same_member)
            && self.initialize == later.initialize
            && revision(self.config.as_ref()) == revision(later.config.as_ref())
            && self.sync == later.sync
            && revision(self.failover.as_ref()) == revision(later.failover.as_ref())
            && revision(self.history.as_ref()) == revision(later.history.as_ref())
            && self.failsafe == later.failsafe
            && (self.status.opened, &self.status.retain_slots) == (later.status.opened, &later.status.retain_slots)
            && match (&self.status.slots, &later.status.slots) {
                (Some(then), Some(now)) => then.keys().eq(now.keys()),
                (None, None) => true,
                (None, Some(_)) | (Some(_), None) => false,
            }
    }

    /// Builds the view from the keys below the cluster's base path, in any order.
    pub fn from_keys<I: IntoIterator<Item = KeyValue>>(keys: I) -> Cluster {
        let mut cluster = Cluster::default();
        let mut status = None;
        let mut legacy_optime = None;
        for kv in keys {
            let Some(key) = Key::parse(&kv.path) else { continue };
            let json = || serde_json::from_str::<Value>(&kv.value).ok();
            match key {
                Key::Initialize => cluster.initialize = Some(Versioned { value: kv.value, revision: kv.revision }),
                Key::Config => {
                    let value = json().filter(Value::is_object).map(Arc::new);
                    cluster.config = value.map(|value| Versioned { value, revision: kv.revision });
                }
                Key::Leader => {
                    if !kv.value.is_empty() {
                        cluster.leader = Some(Leader {
                            name: kv.value.into(),
                            revision: kv.revision,
                            created: kv.created,
                            session: kv.session,
                        });
                    }
                }
                Key::Status => status = Some(Status::parse(&kv.value)),
                Key::LegacyOptime => legacy_optime = kv.value.trim().parse().ok().map(Lsn),
                Key::Member(name) => {
                    let data = MemberData::parse(&kv.value);
                    let member = Member { name: name.clone(), data, revision: kv.revision, session: kv.session };
                    cluster.members.insert(name, member);
                }
                Key::Failover => {
                    let value = Failover::parse(&kv.value);
                    cluster.failover = Some(Versioned { value, revision: kv.revision });
                }
                Key::Sync => cluster.sync = SyncState::parse(&kv.value, Some(kv.revision)),
                Key::History => {
                    let value = HistoryKey::parse(&kv.value);
                    cluster.history = value.map(|value| Versioned { value, revision: kv.revision });
                }
                Key::Failsafe => cluster.failsafe = json().and_then(|v| failsafe(&v)),
            }
        }
        cluster.status =
            status.unwrap_or_else(|| Status { optime: legacy_optime.unwrap_or_default(), ..Status::default() });
        cluster
    }

    /// The member that holds the lock, if its key is there.
    pub fn leader_member(&self) -> Option<&Member> {
        self.members.get(&self.leader.as_ref()?.name)
    }

    pub fn is_leader(&self, name: &MemberName) -> bool {
        self.leader.as_ref().is_some_and(|l| l.name == *name)
    }

    /// The published system identifier, when the cluster has been bootstrapped.
    pub fn system_identifier(&self) -> Option<&str> {
        let value = self.initialize.as_ref()?.value.as_str();
        (value.len() >= SYSTEM_IDENTIFIER_MIN_DIGITS && value.bytes().all(|b| b.is_ascii_digit())).then_some(value)
    }

    /// The timeline that a new leader must have reached: the last published switch plus one, 1 for an
    /// empty history, `None` when unknown.
    pub fn timeline(&self) -> Option<Timeline> {
        self.history.as_ref().map(|h| h.value.timeline())
    }

    /// The request for a switchover or failover, when one stands.
    pub fn request(&self) -> Option<&Failover> {
        self.failover.as_ref().map(|f| &f.value).filter(|f| f.is_request())
    }

    pub fn settings(&self) -> Option<Settings> {
        self.config.as_ref().map(|c| Settings::from_value(&c.value))
    }

    /// The published position of a slot on the leader.
    pub fn slot_position(&self, slot: &SlotName) -> Option<Lsn> {
        self.status.slots.as_ref()?.get(slot).copied()
    }
}

fn failsafe(value: &Value) -> Option<BTreeMap<MemberName, String>> {
    let object = value.as_object()?;
    Some(object.iter().filter_map(|(k, v)| Some((k.as_str().into(), v.as_str()?.to_owned()))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kv(path: &str, value: &str) -> KeyValue {
        KeyValue {
            path: path.into(),
            value: value.into(),
            revision: Revision("5".into()),
            created: Revision("3".into()),
            session: None,
        }
    }

    #[test]
    fn foreign_keys_and_nonsense_are_no_error() {
        let cluster = Cluster::from_keys([
            kv("members/a", "not json"),
            kv("members/a/b", "{}"),
            kv("config", "[1]"),
            kv("sync", "{"),
            kv("status", "?"),
            kv("optime/leader", "9"),
            kv("else", "1"),
        ]);
        assert_eq!(cluster.members.len(), 1);
        assert_eq!(cluster.config, None);
        assert_eq!(cluster.status.optime, Lsn(0), "a status that cannot be read hides the legacy key, as in Patroni");
        assert!(cluster.sync.leader.is_none());
    }

    #[test]
    fn an_identity_is_ten_digits() {
        for (value, published) in [("7612345678901234567", true), ("", false), ("123", false), ("12345678901x", false)]
        {
            let cluster = Cluster::from_keys([kv("initialize", value)]);
            assert_eq!(cluster.system_identifier().is_some(), published, "{value:?}");
        }
    }
}
