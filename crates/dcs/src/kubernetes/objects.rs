//! How a cluster's keys lie in Kubernetes objects: which object holds which key, and the annotations that are the
//! key's value (Patroni's layout, byte for byte).
//!
//! Several keys share an object, so an object's resourceVersion says nothing of one of them. A key's revision is
//! made of what the key says; the resourceVersion only guards the write that follows the comparison.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use jogi_core::view::{Key, Revision};
use serde_json::{Map, Value, json};

/// An object's part of the name behind the cluster's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Part {
    Leader,
    Config,
    Failover,
    Sync,
}

pub(super) const PARTS: [Part; 4] = [Part::Leader, Part::Config, Part::Failover, Part::Sync];

/// The annotations of the leader object that are the lock (dcs-layout 12.2).
pub(super) const LEADER: &str = "leader";
pub(super) const TTL: &str = "ttl";
pub(super) const RENEWED: &str = "renewTime";
pub(super) const ACQUIRED: &str = "acquireTime";
pub(super) const TRANSITIONS: &str = "transitions";
/// Ours: the session that the lock is held on, and the renewal that it was written with. A renewal by anybody who
/// does not know of it makes it void.
pub(super) const LOCK: &str = "jogi-lock";
/// The member's data, on its pod.
pub(super) const STATUS: &str = "status";

/// Changes of annotations; `None` removes one.
pub(super) type Annotations = BTreeMap<String, Option<String>>;

/// An object as the API server shows it. Only metadata, and what subsets are made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Object {
    pub name: String,
    pub version: String,
    pub uid: String,
    pub annotations: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    /// Endpoints.
    pub subsets: Value,
    /// Pods.
    pub ip: Option<String>,
    pub node: Option<String>,
    pub hostname: Option<String>,
}

impl Object {
    /// `None`: not an object with a name.
    pub(super) fn parse(value: &Value) -> Option<Object> {
        let metadata = value.get("metadata")?;
        let text = |field: &str| metadata.get(field).and_then(Value::as_str).map(str::to_owned);
        let texts = |field: &str| -> BTreeMap<String, String> {
            let map = metadata.get(field).and_then(Value::as_object);
            map.into_iter().flatten().filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect()
        };
        let inner = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        Some(Object {
            name: text("name")?,
            version: text("resourceVersion").unwrap_or_default(),
            uid: text("uid").unwrap_or_default(),
            annotations: texts("annotations"),
            labels: texts("labels"),
            subsets: value.get("subsets").cloned().unwrap_or(Value::Null),
            ip: inner("/status/podIP"),
            node: inner("/spec/nodeName"),
            hostname: inner("/spec/hostname"),
        })
    }

    pub(super) fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.get(name).map(String::as_str)
    }

    /// Whether the annotations already say this.
    pub(super) fn says(&self, wanted: &Annotations) -> bool {
        wanted.iter().all(|(name, value)| self.annotation(name) == value.as_deref())
    }
}

/// The newer of two resourceVersions. They are opaque by the letter and etcd's revisions in fact; Patroni and
/// client-go compare them as numbers, too.
pub(super) fn at_least(version: &str, other: &str) -> bool {
    match (version.parse::<u64>(), other.parse::<u64>()) {
        (Ok(version), Ok(other)) => version >= other,
        (Err(_), _) | (_, Err(_)) => true,
    }
}

/// Where a key that is no pod lies.
pub(super) fn part_of(key: &Key) -> Option<Part> {
    match key {
        Key::Leader | Key::Status | Key::Failsafe | Key::LegacyOptime => Some(Part::Leader),
        Key::Initialize | Key::Config | Key::History => Some(Part::Config),
        Key::Failover => Some(Part::Failover),
        Key::Sync => Some(Part::Sync),
        Key::Member(_) => None,
    }
}

/// The key's value as the object holds it, in the form in which the other stores have it.
pub(super) fn value_of(key: &Key, object: &Object) -> Option<String> {
    let text = |name: &str| object.annotation(name).map(str::to_owned);
    match key {
        Key::Initialize => text("initialize"),
        Key::Config => text("config"),
        Key::History => text("history"),
        Key::Failsafe => text("failsafe"),
        Key::Member(_) => text(STATUS),
        Key::Leader => text(LEADER).filter(|name| !name.is_empty()),
        Key::LegacyOptime => None,
        Key::Status => status_of(object),
        Key::Failover => Some(object_of(object, &["leader", "member", "scheduled_at"])),
        Key::Sync => sync_of(object),
    }
}

fn status_of(object: &Object) -> Option<String> {
    let mut status = Map::new();
    status.insert("optime".into(), number(object.annotation("optime")?));
    for name in ["slots", "retain_slots", "jogi"] {
        if let Some(value) = object.annotation(name).and_then(|text| serde_json::from_str(text).ok()) {
            status.insert(name.into(), value);
        }
    }
    Some(Value::Object(status).to_string())
}

fn sync_of(object: &Object) -> Option<String> {
    let leader = object.annotation("leader").filter(|leader| !leader.is_empty())?;
    let quorum = object.annotation("quorum").map_or(json!(0), number);
    let sync = json!({"leader": leader, "quorum": quorum, "sync_standby": object.annotation("sync_standby")});
    Some(sync.to_string())
}

fn object_of(object: &Object, fields: &[&str]) -> String {
    let present = fields.iter().filter_map(|field| Some(((*field).to_owned(), object.annotation(field)?.into())));
    Value::Object(present.collect()).to_string()
}

fn number(text: &str) -> Value {
    text.trim().parse::<i64>().map_or_else(|_| text.into(), Value::from)
}

/// The annotations that give the key this value; `None` removes the key.
pub(super) fn annotations_for(key: &Key, value: Option<&str>) -> Annotations {
    let one = |name: &str| Annotations::from([(name.to_owned(), value.map(str::to_owned))]);
    match key {
        Key::Initialize => one("initialize"),
        Key::Config => one("config"),
        Key::History => one("history"),
        // Patroni writes no empty map.
        Key::Failsafe => Annotations::from([("failsafe".into(), value.filter(|v| *v != "{}").map(str::to_owned))]),
        Key::LegacyOptime => one("optime"),
        Key::Leader => one(LEADER),
        Key::Member(_) => one(STATUS),
        Key::Status => status_annotations(value),
        Key::Failover => fields(value, &["leader", "member", "scheduled_at"]),
        Key::Sync => fields(value, &["leader", "quorum", "sync_standby"]),
    }
}

fn parsed(value: Option<&str>) -> Value {
    value.and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null)
}

fn fields(value: Option<&str>, names: &[&str]) -> Annotations {
    let value = parsed(value);
    // Without a leader there is no synchronous state, and Patroni then leaves no annotation at all.
    let disabled = names.contains(&"quorum") && value.get("leader").is_none_or(Value::is_null);
    let text = |name: &&str| value.get(*name).filter(|_| !disabled).and_then(plain);
    names.iter().map(|name| ((*name).to_owned(), text(name))).collect()
}

fn status_annotations(value: Option<&str>) -> Annotations {
    let value = parsed(value);
    let optime = match &value {
        Value::Object(status) => status.get("optime").and_then(plain),
        other => plain(other),
    };
    let inner = |name: &str| value.get(name).filter(|inner| !inner.is_null());
    Annotations::from([
        ("optime".into(), optime),
        ("slots".into(), inner("slots").map(Value::to_string)),
        ("retain_slots".into(), inner("retain_slots").map(spaced)),
        ("jogi".into(), inner("jogi").map(Value::to_string)),
    ])
}

/// Patroni writes this one list with Python's default separators.
fn spaced(list: &Value) -> String {
    match list.as_array() {
        Some(items) => format!("[{}]", items.iter().map(Value::to_string).collect::<Vec<_>>().join(", ")),
        None => list.to_string(),
    }
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Some(value.to_string()),
    }
}

/// A revision that is the same for the same words.
pub(super) fn revision(words: &[&str]) -> Revision {
    let mut hasher = DefaultHasher::new();
    words.hash(&mut hasher);
    Revision(format!("{:016x}", hasher.finish()).into())
}

/// The revision of a key in its object; `None`: there is no such key.
pub(super) fn revision_of(key: &Key, object: &Object) -> Option<Revision> {
    let value = value_of(key, object)?;
    Some(match key {
        Key::Leader => {
            let lock = Lock::of(object)?;
            revision(&[&lock.name, &lock.acquired, &lock.transitions, lock.session.as_deref().unwrap_or("")])
        }
        Key::Initialize
        | Key::Config
        | Key::Status
        | Key::LegacyOptime
        | Key::Member(_)
        | Key::Failover
        | Key::Sync
        | Key::History
        | Key::Failsafe => revision(&[&value]),
    })
}

/// The lock as the leader object tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lock {
    pub name: String,
    pub acquired: String,
    pub transitions: String,
    pub ttl: String,
    pub renewed: String,
    /// The holder's session, if it is one of ours.
    pub session: Option<String>,
}

impl Lock {
    /// `None`: nobody's.
    pub(super) fn of(object: &Object) -> Option<Lock> {
        let text = |name: &str| object.annotation(name).unwrap_or_default().to_owned();
        let name = text(LEADER);
        if name.is_empty() {
            return None;
        }
        let renewed = text(RENEWED);
        let ours = object.annotation(LOCK).and_then(|text| text.split_once('@'));
        let session = ours.filter(|(_, with)| *with == renewed).map(|(session, _)| session.to_owned());
        Some(Lock { name, acquired: text(ACQUIRED), transitions: text(TRANSITIONS), ttl: text(TTL), renewed, session })
    }

    /// This holding's name: another holder has another count, and so has the same one after a release.
    pub(super) fn created(&self) -> Revision {
        Revision(format!("{}/{}", self.acquired, self.transitions).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(annotations: &Annotations) -> Object {
        let present = annotations.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
        Object { annotations: present.collect(), ..Object::default() }
    }

    #[test]
    fn every_key_survives_its_object() {
        for (key, text) in [
            (Key::Initialize, "7612345678901234567"),
            (Key::Initialize, ""),
            (Key::Config, r#"{"ttl":30}"#),
            (Key::History, r#"[[1,2,"x"]]"#),
            (Key::Failsafe, r#"{"a":"http://a:8008/patroni"}"#),
            (Key::Status, r#"{"optime":67406904,"slots":{"b":1},"retain_slots":["b","c"],"jogi":{"timeline":3}}"#),
            (Key::Failover, r#"{"leader":"a","member":"b","scheduled_at":"2026-11-22T23:00:00+00:00"}"#),
            (Key::Failover, "{}"),
            (Key::Sync, r#"{"leader":"a","quorum":1,"sync_standby":"b,c"}"#),
            (Key::Sync, r#"{"leader":"a","quorum":0,"sync_standby":null}"#),
        ] {
            let written = object(&annotations_for(&key, Some(text)));
            assert_eq!(value_of(&key, &written).as_deref(), Some(text), "{key:?}");
        }
    }

    #[test]
    fn values_are_patronis_texts() {
        let status =
            annotations_for(&Key::Status, Some(r#"{"optime":5,"slots":{"a":1,"b":2},"retain_slots":["a","b"]}"#));
        assert_eq!(status["optime"].as_deref(), Some("5"));
        assert_eq!(status["slots"].as_deref(), Some(r#"{"a":1,"b":2}"#));
        assert_eq!(status["retain_slots"].as_deref(), Some(r#"["a", "b"]"#));
        assert_eq!(annotations_for(&Key::Status, Some(r#"{"optime":5}"#))["slots"], None);
        let off = annotations_for(&Key::Sync, Some(r#"{"leader":null,"quorum":0,"sync_standby":null}"#));
        assert!(off.values().all(Option::is_none), "{off:?}");
        assert_eq!(value_of(&Key::Sync, &object(&off)), None);
    }

    #[test]
    fn a_lock_is_known_by_its_holding_and_not_by_its_renewals() {
        let at = |renewed: &str, holder: &str| {
            let set = [(LEADER, holder), (ACQUIRED, "t1"), (TRANSITIONS, "4"), (RENEWED, renewed), (LOCK, "30-ab@t5")];
            object(&set.iter().map(|(k, v)| ((*k).to_owned(), Some((*v).to_owned()))).collect())
        };
        let lock = Lock::of(&at("t5", "a")).expect("held");
        assert_eq!((lock.session.as_deref(), lock.created().0.as_str()), (Some("30-ab"), "t1/4"));
        assert_eq!(Lock::of(&at("t6", "a")).expect("held").session, None, "somebody else has renewed it");
        assert_eq!(Lock::of(&at("t5", "")), None);
    }

    #[test]
    fn versions_are_ordered_as_numbers() {
        assert!(at_least("10", "9") && at_least("9", "9") && !at_least("9", "10") && at_least("x", "10"));
    }
}
