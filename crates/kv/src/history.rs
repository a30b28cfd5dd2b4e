//! Every version of every key since the last compaction.
//!
//! A key's versions stand in the order of their revisions; a deletion is a version too. What happened at which revision
//! is kept beside them for watches.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::keys::KeyRange;
use crate::rpc::{Event, EventType, KeyValue};

/// Bytes that a version costs besides its key and value; what the store's size counts.
const VERSION_OVERHEAD: u64 = 160;

/// Where a change stands: the revision, and its place among the changes of that revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub main: i64,
    pub sub: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub place: Place,
    /// `None`: deleted.
    pub content: Option<Content>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub value: Bytes,
    pub created: i64,
    pub version: i64,
    pub lease: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct History {
    keys: BTreeMap<Bytes, Vec<Version>>,
    changes: BTreeMap<Place, Bytes>,
    bytes: u64,
}

impl Version {
    fn key_value(&self, key: &Bytes) -> Option<KeyValue> {
        let content = self.content.as_ref()?;
        Some(KeyValue {
            key: key.clone(),
            value: content.value.clone(),
            create_revision: content.created,
            mod_revision: self.place.main,
            version: content.version,
            lease: content.lease,
        })
    }
}

impl History {
    /// About what it takes in memory.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn keys(&self) -> impl Iterator<Item = (&Bytes, &[Version])> {
        self.keys.iter().map(|(key, versions)| (key, versions.as_slice()))
    }

    /// A key as it is now.
    pub fn newest(&self, key: &Bytes) -> Option<KeyValue> {
        self.keys.get(key)?.last()?.key_value(key)
    }

    /// A key as it was when `revision` had been made.
    pub fn at(&self, key: &Bytes, revision: i64) -> Option<KeyValue> {
        version_at(self.keys.get(key)?, revision)?.key_value(key)
    }

    /// The keys of a range that were there at `revision`, in their order.
    pub fn range<'a>(&'a self, range: &'a KeyRange, revision: i64) -> impl Iterator<Item = KeyValue> + 'a {
        let keys = range.bounds().map(|bounds| self.keys.range::<Bytes, _>(bounds));
        keys.into_iter().flatten().filter_map(move |(key, versions)| version_at(versions, revision)?.key_value(key))
    }

    pub fn push(&mut self, key: &Bytes, version: Version) {
        self.bytes += cost(key, &version);
        self.changes.insert(version.place, key.clone());
        self.keys.entry(key.clone()).or_default().push(version);
    }

    /// What happened to keys of `range` in the revisions `from..=to`, in order, each with what it replaced when asked.
    pub fn events<'a>(
        &'a self,
        range: &'a KeyRange,
        from: i64,
        to: i64,
        with_previous: bool,
    ) -> impl Iterator<Item = (Place, Event)> + 'a {
        let first = Place { main: from, sub: 0 };
        let changes = (from <= to).then(|| self.changes.range(first..Place { main: to + 1, sub: 0 }));
        let ours = changes.into_iter().flatten().filter(|(_, key)| range.contains(key));
        ours.filter_map(move |(place, key)| Some((*place, self.event(key, *place, with_previous)?)))
    }

    fn event(&self, key: &Bytes, place: Place, with_previous: bool) -> Option<Event> {
        let versions = self.keys.get(key)?;
        let at = versions.binary_search_by_key(&place, |version| version.place).ok()?;
        let put = versions[at].key_value(key);
        let kind = if put.is_some() { EventType::Put } else { EventType::Delete };
        let deleted = || KeyValue { key: key.clone(), mod_revision: place.main, ..KeyValue::default() };
        let prev_kv = if with_previous { self.at(key, place.main - 1) } else { None };
        Some(Event { kind: kind as i32, kv: Some(put.unwrap_or_else(deleted)), prev_kv })
    }

    /// Forgets what a reader at `revision` or later cannot see.
    pub fn compact(&mut self, revision: i64) {
        let (changes, bytes) = (&mut self.changes, &mut self.bytes);
        self.keys.retain(|key, versions| {
            let seen = versions.partition_point(|version| version.place.main <= revision);
            let keep_last = seen > 0 && versions[seen - 1].content.is_some();
            let forgotten = if keep_last { seen - 1 } else { seen };
            for version in versions.drain(..forgotten) {
                *bytes = bytes.saturating_sub(cost(key, &version));
                changes.remove(&version.place);
            }
            !versions.is_empty()
        });
    }
}

fn version_at(versions: &[Version], revision: i64) -> Option<&Version> {
    let seen = versions.partition_point(|version| version.place.main <= revision);
    seen.checked_sub(1).map(|last| &versions[last])
}

fn cost(key: &Bytes, version: &Version) -> u64 {
    let value = version.content.as_ref().map_or(0, |content| content.value.len());
    (key.len() + value) as u64 + VERSION_OVERHEAD
}
