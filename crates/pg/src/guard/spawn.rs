//! Finding the guard of a run directory, or starting one.
//!
//! The guard must outlive the agent: it gets a session of its own and no file of the agent's. systemd kills a whole
//! control group by default, which no session escapes: the unit needs `KillMode=process`.

use std::ffi::CString;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use jogi_net::clock::boot_now;
use tokio::sync::mpsc;

use super::client::{Client, Event};
use super::socket::{self, Connection};
use crate::rundir::{RunDir, User, guard_log_path, socket_path};

/// How long to wait before trying again to reach a guard that is starting.
const TRY_AGAIN: Duration = Duration::from_millis(5);

/// At this size the guard's log is begun anew: it holds a handful of lines per fence.
const LONGEST_LOG: u64 = 1024 * 1024;

/// Why there is no guard.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    #[error("cannot start the guard {}: {cause}", .exe.display())]
    Spawn { exe: PathBuf, cause: io::Error },
    #[error("the guard ended as soon as it was started ({status}); its last words in {}: {last_words}", .log.display())]
    Ended { status: String, log: PathBuf, last_words: String },
    #[error("cannot reach the guard at {} within {} ms: {cause}", .socket.display(), .waited.as_millis())]
    Unreachable { socket: PathBuf, waited: Duration, cause: io::Error },
    #[error("cannot prepare {}: {cause}", .path.display())]
    Prepare { path: PathBuf, cause: io::Error },
}

impl Client {
    /// Attaches to the guard of `run_dir`, or starts `exe guard` and attaches to that. The receiver must be read: its
    /// last event says that this guard is gone or lost. Must be called within a tokio runtime.
    ///
    /// A guard that is found stays, with the server that it holds, whatever its version is.
    pub async fn attach_or_spawn(
        run_dir: &RunDir,
        exe: &Path,
        deadline: Duration,
    ) -> Result<(Client, mpsc::Receiver<Event>), AttachError> {
        let prepare = |cause| AttachError::Prepare { path: socket_path(run_dir.path()), cause };
        match attach(run_dir.path(), deadline).await {
            Ok(connection) => return Client::new(connection).map_err(prepare),
            Err(error) if nobody_listens(&error) => {}
            Err(cause) => return Err(unreachable_guard(run_dir.path(), deadline, cause)),
        }
        let connection = spawn_and_attach(run_dir, exe, deadline).await?;
        Client::new(connection).map_err(prepare)
    }

    /// Attaches to a guard that runs; for those who only look. `None` when there is none.
    pub async fn attach(
        run_dir: &Path,
        deadline: Duration,
    ) -> Result<Option<(Client, mpsc::Receiver<Event>)>, AttachError> {
        match attach(run_dir, deadline).await {
            Ok(connection) => Client::new(connection)
                .map(Some)
                .map_err(|cause| AttachError::Prepare { path: socket_path(run_dir), cause }),
            Err(error) if nobody_listens(&error) => Ok(None),
            Err(cause) => Err(unreachable_guard(run_dir, deadline, cause)),
        }
    }
}

fn unreachable_guard(run_dir: &Path, waited: Duration, cause: io::Error) -> AttachError {
    AttachError::Unreachable { socket: socket_path(run_dir), waited, cause }
}

fn nobody_listens(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset)
}

async fn attach(run_dir: &Path, deadline: Duration) -> io::Result<Connection> {
    let run_dir = run_dir.to_owned();
    let connecting = tokio::task::spawn_blocking(move || socket::connect(&run_dir, deadline));
    match tokio::time::timeout(deadline + Duration::from_secs(1), connecting).await {
        Ok(Ok(connected)) => connected,
        Ok(Err(panicked)) => Err(io::Error::other(panicked)),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

async fn spawn_and_attach(run_dir: &RunDir, exe: &Path, deadline: Duration) -> Result<Connection, AttachError> {
    let until = boot_now() + deadline;
    let mut child =
        command(run_dir, exe)?.spawn().map_err(|cause| AttachError::Spawn { exe: exe.to_owned(), cause })?;
    loop {
        let left = until.since(boot_now());
        match attach(run_dir.path(), left).await {
            Ok(connection) => return Ok(connection),
            Err(error) if !nobody_listens(&error) || left.is_zero() => {
                return Err(unreachable_guard(run_dir.path(), deadline, error));
            }
            Err(_) => {}
        }
        if let Ok(Some(status)) = child.try_wait() {
            let log = guard_log_path(run_dir.path());
            let last_words = last_line(&log);
            return Err(AttachError::Ended { status: status.to_string(), log, last_words });
        }
        tokio::time::sleep(TRY_AGAIN).await;
    }
}

/// Not killed when dropped: the runtime only reaps it.
fn command(run_dir: &RunDir, exe: &Path) -> Result<tokio::process::Command, AttachError> {
    let log_path = guard_log_path(run_dir.path());
    let log = open_log(&log_path).map_err(|cause| AttachError::Prepare { path: log_path.clone(), cause })?;
    let stdout = log.try_clone().map_err(|cause| AttachError::Prepare { path: log_path.clone(), cause })?;
    let user = identity(run_dir.owner()).map_err(|cause| AttachError::Prepare { path: log_path, cause })?;
    let mut command = std::process::Command::new(exe);
    command.arg("guard").arg("--run-dir").arg(run_dir.path()).arg("--data-dir").arg(run_dir.data_dir());
    command.current_dir("/").stdin(Stdio::null()).stdout(stdout).stderr(log).env_clear();
    crate::weaken::pass_on(&mut command);
    use std::os::unix::process::CommandExt as _;
    // SAFETY: only system calls on values made before the fork: nothing allocates or locks.
    unsafe { command.pre_exec(move || become_session_of(user.as_ref())) };
    Ok(command.into())
}

fn open_log(path: &Path) -> io::Result<std::fs::File> {
    let begin_anew = path.metadata().is_ok_and(|found| found.len() > LONGEST_LOG);
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let log = options.open(path)?;
    if begin_anew {
        log.set_len(0)?;
    }
    Ok(log)
}

/// Who the guard is to be, with every group of that user (a TLS key may be readable by one of them).
struct Identity {
    user: User,
    groups: Vec<libc::gid_t>,
}

/// `None`: as we are.
fn identity(user: User) -> io::Result<Option<Identity>> {
    if rustix::process::geteuid().as_raw() == user.uid {
        return Ok(None);
    }
    let name = user_name(user.uid)?;
    let mut groups = vec![0; 256];
    let mut count = 256;
    // SAFETY: `name` is terminated, `groups` has room for `count` entries, which the call never exceeds.
    let answer = unsafe { libc::getgrouplist(name.as_ptr(), user.gid, groups.as_mut_ptr(), &raw mut count) };
    if answer < 0 {
        return Err(io::Error::other(format!("user {} is in more than 256 groups", user.uid)));
    }
    groups.truncate(usize::try_from(count).unwrap_or(0));
    Ok(Some(Identity { user, groups }))
}

fn user_name(uid: u32) -> io::Result<CString> {
    let mut buffer = vec![0; 16 * 1024];
    // SAFETY: all zeroes is a value of this plain C structure.
    let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
    let mut found = std::ptr::null_mut();
    // SAFETY: every pointer is valid for the call, and the buffer's length is given.
    let answer = unsafe { libc::getpwuid_r(uid, &raw mut entry, buffer.as_mut_ptr(), buffer.len(), &raw mut found) };
    if answer != 0 || found.is_null() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("user {uid}, the owner of the data directory, has no entry in the user database"),
        ));
    }
    // SAFETY: the call succeeded: pw_name is a terminated string in `buffer`.
    Ok(unsafe { std::ffi::CStr::from_ptr(entry.pw_name) }.to_owned())
}

fn become_session_of(identity: Option<&Identity>) -> io::Result<()> {
    rustix::process::setsid()?;
    let Some(Identity { user, groups }) = identity else { return Ok(()) };
    // SAFETY: plain system calls; the groups were made before the fork.
    let failed = unsafe {
        libc::setgroups(groups.len(), groups.as_ptr()) != 0
            || libc::setgid(user.gid) != 0
            || libc::setuid(user.uid) != 0
    };
    if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn last_line(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().last().unwrap_or("none").to_owned()
}
