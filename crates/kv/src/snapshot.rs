//! The whole state as bytes: magic, version, length, checksum, then protobuf. What does not match is refused as a whole.

use std::collections::BTreeSet;

use bytes::{Buf, BufMut, Bytes};
use prost::Message;

use crate::history::{Content, History, Place, Version};
use crate::lease::{Lease, Leases};
use crate::store::Store;

const MAGIC: &[u8; 8] = b"JOGIKV\r\n";
const VERSION: u32 = 1;
const HEAD: usize = MAGIC.len() + 4 + 8 + 4;

/// Bytes that are no snapshot of a version that we know, or not whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    #[error("it does not begin as a snapshot of jogi's store")]
    Foreign,
    #[error(
        "it is of version {0}, and this program reads version {VERSION}: use the version that wrote it or a newer one"
    )]
    Version(u32),
    #[error("it should have {expected} bytes and has {found}")]
    Length { expected: u64, found: u64 },
    #[error("its checksum is {found:08x} and should be {expected:08x}: it is damaged")]
    Checksum { expected: u32, found: u32 },
    #[error("its content makes no sense: {0}")]
    Content(String),
}

#[derive(Clone, PartialEq, Message)]
struct State {
    #[prost(int64, tag = "1")]
    revision: i64,
    #[prost(int64, tag = "2")]
    compacted: i64,
    #[prost(uint64, tag = "3")]
    clock: u64,
    #[prost(message, repeated, tag = "4")]
    keys: Vec<Key>,
    #[prost(message, repeated, tag = "5")]
    leases: Vec<LeaseState>,
}

#[derive(Clone, PartialEq, Message)]
struct Key {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(message, repeated, tag = "2")]
    versions: Vec<KeyVersion>,
}

#[derive(Clone, PartialEq, Message)]
struct KeyVersion {
    #[prost(int64, tag = "1")]
    main: i64,
    #[prost(int64, tag = "2")]
    sub: i64,
    #[prost(bool, tag = "3")]
    deleted: bool,
    #[prost(bytes = "bytes", tag = "4")]
    value: Bytes,
    #[prost(int64, tag = "5")]
    created: i64,
    #[prost(int64, tag = "6")]
    version: i64,
    #[prost(int64, tag = "7")]
    lease: i64,
}

#[derive(Clone, PartialEq, Message)]
struct LeaseState {
    #[prost(int64, tag = "1")]
    id: i64,
    #[prost(int64, tag = "2")]
    ttl: i64,
    #[prost(uint64, tag = "3")]
    deadline: u64,
}

impl Store {
    pub fn snapshot(&self) -> Vec<u8> {
        let keys = self
            .history
            .keys()
            .map(|(key, versions)| Key { key: key.clone(), versions: versions.iter().map(encode_version).collect() });
        let leases =
            self.leases.all.iter().map(|(id, lease)| LeaseState { id: *id, ttl: lease.ttl, deadline: lease.deadline });
        let state = State {
            revision: self.revision,
            compacted: self.compacted,
            clock: self.clock,
            keys: keys.collect(),
            leases: leases.collect(),
        };
        let body = state.encode_to_vec();
        let mut bytes = Vec::with_capacity(HEAD + body.len());
        bytes.extend_from_slice(MAGIC);
        bytes.put_u32(VERSION);
        bytes.put_u64(body.len() as u64);
        bytes.put_u32(crc32fast::hash(&body));
        bytes.extend_from_slice(&body);
        bytes
    }

    pub fn restore(mut bytes: &[u8]) -> Result<Store, SnapshotError> {
        if bytes.len() < HEAD || !bytes.starts_with(MAGIC) {
            return Err(SnapshotError::Foreign);
        }
        bytes.advance(MAGIC.len());
        let version = bytes.get_u32();
        if version != VERSION {
            return Err(SnapshotError::Version(version));
        }
        let (expected, found) = (bytes.get_u64(), bytes.len() as u64 - 4);
        if expected != found {
            return Err(SnapshotError::Length { expected, found });
        }
        let (expected, found) = (bytes.get_u32(), crc32fast::hash(bytes));
        if expected != found {
            return Err(SnapshotError::Checksum { expected, found });
        }
        State::decode(bytes).map_err(|e| SnapshotError::Content(e.to_string())).map(store_of)
    }
}

fn encode_version(version: &Version) -> KeyVersion {
    let Place { main, sub } = version.place;
    match &version.content {
        None => KeyVersion { main, sub, deleted: true, ..KeyVersion::default() },
        Some(Content { value, created, version, lease }) => KeyVersion {
            main,
            sub,
            deleted: false,
            value: value.clone(),
            created: *created,
            version: *version,
            lease: *lease,
        },
    }
}

fn store_of(state: State) -> Store {
    let mut leases = Leases::default();
    for LeaseState { id, ttl, deadline } in state.leases {
        leases.all.insert(id, Lease { ttl, deadline, keys: BTreeSet::new() });
    }
    let mut history = History::default();
    for Key { key, versions } in state.keys {
        for KeyVersion { main, sub, deleted, value, created, version, lease } in versions {
            let content = (!deleted).then_some(Content { value, created, version, lease });
            history.push(&key, Version { place: Place { main, sub }, content });
        }
        let lease = history.newest(&key).map_or(0, |kv| kv.lease);
        leases.move_key(&key, 0, lease);
    }
    Store { history, leases, revision: state.revision, compacted: state.compacted, clock: state.clock }
}
