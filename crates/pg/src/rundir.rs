//! The run directory beside a data directory: `<data_dir>.jogi/`.
//!
//! It guarantees three things that a data directory cannot say of itself:
//!
//! - one agent at a time: an exclusive lock, which the kernel drops when its holder dies;
//! - the guard is found again by the next agent: its socket lies here;
//! - a half-made data directory is known as such: whatever is about to change one (clone, rewind, rename, single-user
//!   recovery) writes an [`Intent`] first and clears it last. It is on disk before the change begins.
//!
//! The lock file is never removed: a process that waits for the old file's lock would get it while another one locks
//! the new file. The directory is never inside the data directory, whose contents others replace. Where
//! the place beside the data directory is not writable, it is `/run/jogi/<hash of the data directory's path>`.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use jogi_core::Wall;
use rustix::fs::FlockOperation;
use serde_json::{Value, json};

/// Where run directories go when the place beside the data directory is not writable.
const FALLBACK: &str = "/run/jogi";

/// The run directory of one data directory, locked by this process until dropped.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    data_dir: PathBuf,
    owner: User,
    _lock: File,
}

/// A user by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
}

/// What is about to change, or was changing, the data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    pub kind: IntentKind,
    pub since: Wall,
    /// For people and for whoever carries on: what exactly, from where.
    pub detail: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IntentKind {
    /// initdb or a custom bootstrap is filling an empty directory.
    Initdb,
    /// A copy of another server is being made.
    Clone,
    /// pg_rewind is changing it.
    Rewind,
    /// It is being moved aside.
    Rename,
    /// It is being removed.
    Remove,
    /// A single-user server is recovering it.
    SingleUser,
    /// Written by a version that knows more kinds than this one.
    Other(String),
}

/// Why the run directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    #[error(
        "another agent (pid {holder}) already manages the data directory {}: it holds the lock on {}; stop it first, or give this member a data directory of its own",
        .data_dir.display(), .lock.display()
    )]
    Locked { holder: String, data_dir: PathBuf, lock: PathBuf },
    #[error(
        "the run directory {} is not ours (it belongs to user {uid}, and must be a directory and no link); remove it after making sure that no agent uses it, or run as that user",
        .path.display()
    )]
    Foreign { path: PathBuf, uid: u32 },
    #[error(
        "no place for the run directory of {}: neither {} nor {} can be made ({cause}); make the parent of the data directory writable, or create /run/jogi for this user",
        .data_dir.display(), .beside.display(), .fallback.display()
    )]
    NoPlace { data_dir: PathBuf, beside: PathBuf, fallback: PathBuf, cause: io::Error },
    #[error("{what} {}: {cause}", .path.display())]
    Io { what: &'static str, path: PathBuf, cause: io::Error },
    #[error(
        "the record of an unfinished change, {}, cannot be understood ({cause}): the data directory may be half-made, so it is not used; look at it, and remove the file only when the data directory is whole",
        .path.display()
    )]
    BadIntent { path: PathBuf, cause: String },
}

impl RunDir {
    /// Makes the run directory of `data_dir` if need be and locks it for this process.
    ///
    /// The data directory itself need not exist yet; its parent must. When root manages another user's data
    /// directory, the run directory becomes that user's, and the guard runs as that user.
    pub fn lock(data_dir: &Path) -> Result<RunDir, RunDirError> {
        let data_dir = canonical(data_dir)?;
        let owner = owner_of(&data_dir)?;
        let path = make(&data_dir, owner)?;
        let lock = take_lock(&path, &data_dir, owner)?;
        Ok(RunDir { path, data_dir, owner, _lock: lock })
    }

    /// Where the run directory of `data_dir` is, if there is one. Takes no lock; for those who only look.
    pub fn find(data_dir: &Path) -> Result<Option<PathBuf>, RunDirError> {
        let data_dir = canonical(data_dir)?;
        Ok([beside(&data_dir), fallback(&data_dir)].into_iter().find(|path| path.is_dir()))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The data directory, without symbolic links.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Whose the data directory is: the user that PostgreSQL and the guard run as.
    pub fn owner(&self) -> User {
        self.owner
    }

    /// The unfinished change that a former agent left, if any.
    pub fn intent(&self) -> Result<Option<Intent>, RunDirError> {
        read_intent(&self.path)
    }

    /// Records `intent` on disk, in place of an earlier one. Returns when it would survive a power cut.
    pub fn write_intent(&self, intent: &Intent) -> Result<(), RunDirError> {
        let path = intent_path(&self.path);
        let fresh = self.path.join("intent.json.new");
        let text = format!("{}\n", intent.to_json());
        write_durably(&fresh, text.as_bytes()).map_err(io_error("cannot write", &fresh))?;
        std::fs::rename(&fresh, &path).map_err(io_error("cannot move into place", &path))?;
        sync_directory(&self.path)
    }

    /// Forgets the intent: the change is complete. Returns when that would survive a power cut.
    pub fn clear_intent(&self) -> Result<(), RunDirError> {
        let path = intent_path(&self.path);
        match std::fs::remove_file(&path) {
            Ok(()) => sync_directory(&self.path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(io_error("cannot remove", &path)(error)),
        }
    }
}

/// The guard's socket in a run directory.
pub fn socket_path(run_dir: &Path) -> PathBuf {
    run_dir.join("guard.sock")
}

/// Where the guard's own few lines go.
pub fn guard_log_path(run_dir: &Path) -> PathBuf {
    run_dir.join("guard.log")
}

fn intent_path(run_dir: &Path) -> PathBuf {
    run_dir.join("intent.json")
}

/// The unfinished change recorded in `run_dir`, if any. Takes no lock.
pub fn read_intent(run_dir: &Path) -> Result<Option<Intent>, RunDirError> {
    let path = intent_path(run_dir);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("cannot read", &path)(error)),
    };
    Intent::from_json(&text).map(Some).map_err(|cause| RunDirError::BadIntent { path, cause })
}

impl Intent {
    fn to_json(&self) -> Value {
        json!({ "kind": self.kind.as_str(), "since": self.since.0, "detail": self.detail })
    }

    fn from_json(text: &str) -> Result<Intent, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let kind = value["kind"].as_str().ok_or("no kind")?;
        Ok(Intent {
            kind: IntentKind::from_name(kind),
            since: Wall(value["since"].as_i64().unwrap_or(0)),
            detail: value["detail"].as_str().unwrap_or_default().to_owned(),
        })
    }
}

impl IntentKind {
    pub fn as_str(&self) -> &str {
        match self {
            IntentKind::Initdb => "initdb",
            IntentKind::Clone => "clone",
            IntentKind::Rewind => "rewind",
            IntentKind::Rename => "rename",
            IntentKind::Remove => "remove",
            IntentKind::SingleUser => "single-user",
            IntentKind::Other(name) => name,
        }
    }

    fn from_name(name: &str) -> IntentKind {
        match name {
            "initdb" => IntentKind::Initdb,
            "clone" => IntentKind::Clone,
            "rewind" => IntentKind::Rewind,
            "rename" => IntentKind::Rename,
            "remove" => IntentKind::Remove,
            "single-user" => IntentKind::SingleUser,
            other => IntentKind::Other(other.to_owned()),
        }
    }
}

fn io_error<'p>(what: &'static str, path: &'p Path) -> impl FnOnce(io::Error) -> RunDirError + 'p {
    move |cause| RunDirError::Io { what, path: path.to_owned(), cause }
}

/// `data_dir` without symbolic links; its last component may not exist yet.
fn canonical(data_dir: &Path) -> Result<PathBuf, RunDirError> {
    match data_dir.canonicalize() {
        Ok(path) => Ok(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => canonical_parent(data_dir),
        Err(error) => Err(io_error("cannot find the data directory", data_dir)(error)),
    }
}

fn canonical_parent(data_dir: &Path) -> Result<PathBuf, RunDirError> {
    let parent = data_dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = data_dir
        .file_name()
        .ok_or_else(|| io_error("cannot use as data directory", data_dir)(io::ErrorKind::InvalidInput.into()))?;
    let parent = parent.canonicalize().map_err(io_error("cannot find the parent of the data directory", parent))?;
    Ok(parent.join(name))
}

fn beside(data_dir: &Path) -> PathBuf {
    let mut name = data_dir.as_os_str().to_owned();
    name.push(".jogi");
    name.into()
}

fn fallback(data_dir: &Path) -> PathBuf {
    Path::new(FALLBACK).join(format!("{:016x}", fnv1a(data_dir.as_os_str().as_encoded_bytes())))
}

/// FNV-1a, 64 bits: the same in every version and on every host.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Ourselves, or the data directory's owner (its parent's while it does not exist) when we are root.
fn owner_of(data_dir: &Path) -> Result<User, RunDirError> {
    let own = User { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() };
    if own.uid != 0 {
        return Ok(own);
    }
    let existing = if data_dir.exists() { data_dir } else { data_dir.parent().unwrap_or(data_dir) };
    let found = existing.metadata().map_err(io_error("cannot look at", existing))?;
    Ok(User { uid: found.uid(), gid: found.gid() })
}

fn make(data_dir: &Path, owner: User) -> Result<PathBuf, RunDirError> {
    let (beside, fallback) = (beside(data_dir), fallback(data_dir));
    for path in [&beside, &fallback] {
        if path.symlink_metadata().is_ok() {
            return adopt_existing(path, owner).map(|()| path.clone());
        }
    }
    let create = |path: &Path| DirBuilder::new().mode(0o700).create(path);
    let path = match create(&beside) {
        Ok(()) => beside,
        Err(_) => match create(&fallback) {
            Ok(()) => fallback,
            Err(cause) => return Err(RunDirError::NoPlace { data_dir: data_dir.to_owned(), beside, fallback, cause }),
        },
    };
    give_to(&path, owner)?;
    Ok(path)
}

fn adopt_existing(path: &Path, owner: User) -> Result<(), RunDirError> {
    let found = path.symlink_metadata().map_err(io_error("cannot look at", path))?;
    let given_to_nobody_yet = found.uid() == 0 && rustix::process::geteuid().is_root();
    if found.is_dir() && given_to_nobody_yet {
        give_to(path, owner)?;
    } else if !found.is_dir() || found.uid() != owner.uid {
        return Err(RunDirError::Foreign { path: path.to_owned(), uid: found.uid() });
    }
    if found.permissions().mode() & 0o077 != 0 {
        let private = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(path, private).map_err(io_error("cannot make private", path))?;
    }
    Ok(())
}

fn give_to(path: &Path, owner: User) -> Result<(), RunDirError> {
    if rustix::process::geteuid().as_raw() == owner.uid {
        return Ok(());
    }
    std::os::unix::fs::lchown(path, Some(owner.uid), Some(owner.gid)).map_err(io_error("cannot hand over", path))
}

fn take_lock(run_dir: &Path, data_dir: &Path, owner: User) -> Result<File, RunDirError> {
    let path = run_dir.join("agent.lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&path)
        .map_err(io_error("cannot open", &path))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let holder = if holder.trim().is_empty() { "unknown" } else { holder.trim() }.to_owned();
            return Err(RunDirError::Locked { holder, data_dir: data_dir.to_owned(), lock: path });
        }
        Err(error) => return Err(io_error("cannot lock", &path)(error.into())),
    }
    give_to(&path, owner)?;
    write_holder(&mut file).map_err(io_error("cannot write", &path))?;
    Ok(file)
}

fn write_holder(file: &mut File) -> io::Result<()> {
    file.rewind()?;
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())
}

fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_directory(path: &Path) -> Result<(), RunDirError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(io_error("cannot sync", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let path = std::env::temp_dir().join(format!("jogi-rundir-{name}-{}", std::process::id()));
            std::fs::create_dir_all(path.join("data")).expect("a temporary directory");
            Scratch(path)
        }

        fn data(&self) -> PathBuf {
            self.0.join("data")
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_second_agent_is_told_who_the_first_one_is() {
        let scratch = Scratch::new("lock");
        let first = RunDir::lock(&scratch.data()).expect("free");
        let mode = first.path().metadata().expect("made").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let message = RunDir::lock(&scratch.data()).expect_err("taken").to_string();
        assert!(message.contains(&format!("pid {}", std::process::id())), "{message}");
        drop(first);
        RunDir::lock(&scratch.data()).expect("free again");
    }

    #[test]
    fn a_link_to_the_data_directory_leads_to_the_same_lock() {
        let scratch = Scratch::new("link");
        let link = scratch.0.join("link");
        std::os::unix::fs::symlink(scratch.data(), &link).expect("a link");
        let _first = RunDir::lock(&scratch.data()).expect("free");
        assert!(matches!(RunDir::lock(&link), Err(RunDirError::Locked { .. })));
    }

    #[test]
    fn a_data_directory_may_be_missing_but_its_parent_may_not() {
        let scratch = Scratch::new("missing");
        RunDir::lock(&scratch.0.join("later")).expect("the parent is there");
        assert!(RunDir::lock(&scratch.0.join("no/where")).is_err());
    }

    #[test]
    fn an_intent_is_read_back_until_it_is_cleared() {
        let scratch = Scratch::new("intent");
        let run_dir = RunDir::lock(&scratch.data()).expect("free");
        assert_eq!(run_dir.intent().expect("readable"), None);
        for kind in [IntentKind::Clone, IntentKind::SingleUser, IntentKind::Other("teleport".into())] {
            let intent = Intent { kind, since: Wall(17), detail: "from pg2 \"x\"".into() };
            run_dir.write_intent(&intent).expect("writable");
            assert_eq!(run_dir.intent().expect("readable"), Some(intent));
        }
        run_dir.clear_intent().expect("writable");
        run_dir.clear_intent().expect("clearing twice is fine");
        assert_eq!(run_dir.intent().expect("readable"), None);
    }

    #[test]
    fn an_intent_that_cannot_be_read_is_not_no_intent() {
        let scratch = Scratch::new("garbled");
        let run_dir = RunDir::lock(&scratch.data()).expect("free");
        std::fs::write(intent_path(run_dir.path()), "{\"kind\":").expect("writable");
        assert!(matches!(run_dir.intent(), Err(RunDirError::BadIntent { .. })));
    }

    #[test]
    fn a_loose_directory_is_made_private_and_a_link_is_refused() {
        let scratch = Scratch::new("loose");
        let path = beside(&scratch.data());
        DirBuilder::new().mode(0o755).create(&path).expect("made");
        RunDir::lock(&scratch.data()).expect("ours");
        assert_eq!(path.metadata().expect("there").permissions().mode() & 0o777, 0o700);
        std::fs::remove_dir_all(&path).expect("ours");
        std::os::unix::fs::symlink("/tmp", &path).expect("a link");
        assert!(matches!(RunDir::lock(&scratch.data()), Err(RunDirError::Foreign { .. })));
    }
}
