//! The data directory: a lock against a second store, who we are, the newest snapshot, the log.
//!
//! A directory that holds something else is refused, and nothing in it is touched. A log without an identity is refused
//! too: a part of a store that was copied or lost must not pass for a new one.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use bytes::{Buf, BufMut};
use jogi_kv::snapshot::SnapshotError;
use jogi_kv::{Command, Store};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::log::{Entry, Log, LogError};

const IDENTITY: &str = "identity.json";
const LOCK: &str = "lock";
const SNAPSHOT: &str = "snapshot";
const NEW_SUFFIX: &str = "new";
/// Index and term before the state.
const SNAPSHOT_HEAD: usize = 16;

/// Who a store is. It never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Of the directory's format.
    pub version: u32,
    pub cluster_id: u64,
    pub member_id: u64,
    pub name: String,
}

const FORMAT: u32 = 1;

/// An opened data directory.
#[derive(Debug)]
pub struct Data {
    dir: PathBuf,
    pub identity: Identity,
    pub log: Log,
    _lock: File,
}

/// The state at the end of the log, and of which term its last entry is.
#[derive(Debug)]
pub struct State {
    pub store: Store,
    pub term: u64,
    pub snapshot_index: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum DataError {
    #[error("the data directory {} cannot be used: {what}: {cause}", path.display())]
    Io { what: &'static str, path: PathBuf, cause: std::io::Error },
    #[error("another store runs on {}", .0.display())]
    InUse(PathBuf),
    #[error("{} is no data directory of jogi's store: it holds {found:?}. Give an empty one", path.display())]
    Foreign { path: PathBuf, found: String },
    #[error("{} has a log or a snapshot but no {IDENTITY}: it is only a part of a store. Bring the file back, or give an \
             empty directory to begin anew", .0.display())]
    NoIdentity(PathBuf),
    #[error("{} makes no sense: {what}", path.display())]
    BadIdentity { path: PathBuf, what: String },
    #[error("the snapshot {} cannot be used: {cause}. {REPAIR}", path.display())]
    Snapshot { path: PathBuf, cause: SnapshotError },
    #[error("the log cannot be used: {0}. {REPAIR}")]
    Log(LogError),
    #[error("entry {index} of the log cannot be read: {cause}. {REPAIR}")]
    Entry { index: u64, cause: jogi_kv::Refused },
}

impl From<LogError> for DataError {
    fn from(error: LogError) -> DataError {
        DataError::Log(error)
    }
}

const REPAIR: &str = "Nothing was changed. Bring back the directory from a copy, or begin anew with an empty one and let \
                      the herd's members write their keys again";

impl DataError {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> DataError {
        let path = path.to_owned();
        move |cause| DataError::Io { what, path, cause }
    }
}

impl Data {
    /// Opens it, or makes it when it is empty, and reads all that is there.
    pub fn open(dir: &Path, name: &str) -> Result<(Data, State), DataError> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(DataError::io("making it", dir))?;
        is_ours(dir)?;
        let lock = lock(dir)?;
        let identity = match read_identity(dir)? {
            Some(identity) => identity,
            None => begin(dir, name)?,
        };
        let (mut state, index) = read_snapshot(dir)?;
        let (log, entries) = Log::open(dir, index)?;
        for Entry { index, term, data } in entries {
            let command = Command::decode(&data).map_err(|cause| DataError::Entry { index, cause })?;
            // What was refused then is refused now.
            let _ = state.store.apply(&command);
            state.term = term;
        }
        Ok((Data { dir: dir.to_owned(), identity, log, _lock: lock }, state))
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Writes the state as of `index`; when it returns, a start would begin with it.
pub fn write_snapshot(dir: &Path, store: &Store, index: u64, term: u64) -> Result<(), DataError> {
    let mut bytes = Vec::new();
    bytes.put_u64(index);
    bytes.put_u64(term);
    let check = crc32fast::hash(&bytes);
    bytes.put_u32(check);
    bytes.extend_from_slice(&store.snapshot());
    replace(dir, SNAPSHOT, &bytes)
}

fn read_snapshot(dir: &Path) -> Result<(State, u64), DataError> {
    let path = dir.join(SNAPSHOT);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Ok((State { store: Store::default(), term: 1, snapshot_index: 0 }, 0));
        }
        Err(e) => return Err(DataError::io("reading", &path)(e)),
    };
    let refused = |cause| DataError::Snapshot { path: path.clone(), cause };
    let (head, rest) = bytes.split_at_checked(SNAPSHOT_HEAD).ok_or_else(|| refused(SnapshotError::Foreign))?;
    let (mut check, state) = rest.split_at_checked(4).ok_or_else(|| refused(SnapshotError::Foreign))?;
    let (expected, found) = (check.get_u32(), crc32fast::hash(head));
    if expected != found {
        return Err(refused(SnapshotError::Checksum { expected, found }));
    }
    let mut head = head;
    let (index, term) = (head.get_u64(), head.get_u64());
    let store = Store::restore(state).map_err(refused)?;
    Ok((State { store, term, snapshot_index: index }, index))
}

/// Only our files, and at least the identity among them; or nothing.
fn is_ours(dir: &Path) -> Result<(), DataError> {
    let mut has_data = false;
    for item in std::fs::read_dir(dir).map_err(DataError::io("reading it", dir))? {
        let name = item.map_err(DataError::io("reading it", dir))?.file_name();
        let name = name.to_string_lossy();
        let data = name.ends_with(".log") || name == SNAPSHOT;
        let ours = data || name == IDENTITY || name == LOCK || name.ends_with(NEW_SUFFIX) || name == "lost+found";
        if !ours {
            return Err(DataError::Foreign { path: dir.to_owned(), found: name.into_owned() });
        }
        has_data |= data;
    }
    if has_data && !dir.join(IDENTITY).exists() {
        return Err(DataError::NoIdentity(dir.to_owned()));
    }
    Ok(())
}

fn lock(dir: &Path) -> Result<File, DataError> {
    let path = dir.join(LOCK);
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(DataError::io("making the lock", &path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(DataError::InUse(dir.to_owned())),
        Err(errno) => Err(DataError::io("locking", &path)(errno.into())),
    }
}

fn read_identity(dir: &Path) -> Result<Option<Identity>, DataError> {
    let path = dir.join(IDENTITY);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(DataError::io("reading", &path)(e)),
    };
    let identity: Identity = serde_json::from_slice(&text)
        .map_err(|e| DataError::BadIdentity { path: path.clone(), what: e.to_string() })?;
    if identity.version != FORMAT {
        let what = format!("it is of format {}, and this program knows format {FORMAT}", identity.version);
        return Err(DataError::BadIdentity { path, what });
    }
    Ok(Some(identity))
}

fn begin(dir: &Path, name: &str) -> Result<Identity, DataError> {
    // etcd's ids are never zero either: that means none.
    let id = || jogi_net::random_u64().max(1);
    let identity = Identity { version: FORMAT, cluster_id: id(), member_id: id(), name: name.to_owned() };
    let text = serde_json::to_vec(&identity).expect("plain fields");
    replace(dir, IDENTITY, &text)?;
    Ok(identity)
}

/// The old file or the new one is there, whatever happens.
fn replace(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), DataError> {
    let (path, new) = (dir.join(name), dir.join(format!("{name}.{NEW_SUFFIX}")));
    let mut file = File::create(&new).map_err(DataError::io("making", &new))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(DataError::io("writing", &new))?;
    std::fs::rename(&new, &path).map_err(DataError::io("renaming", &new))?;
    crate::log::sync_dir(dir)?;
    Ok(())
}
