//! What "fenced" means: nothing can write to a data directory any more.
//!
//! A postmaster that is gone proves little: its backends go on committing for seconds after it was killed. A data
//! directory is fenced when
//!
//! - no process has it as its working directory (every process of a server has, and what it starts inherits it), and
//! - the shared memory segment that the server's processes are attached to is gone or has nobody attached.
//!
//! A process on a terminal that is not PostgreSQL (a person's shell that stands in the data directory) does not
//! count. Zombies hold neither a directory nor memory.

use std::io;
use std::path::Path;
use std::time::Duration;

use jogi_core::{Tick, Weakness};
use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;

use crate::pidfd::{self, FileId, Process, Stat};
use crate::pidfile::{PostmasterPid, Segment};
use jogi_net::clock::boot_now;

/// How long to wait before looking again whether the killed are gone.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// One process of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerProcess {
    pub pid: i32,
    pub stat: Stat,
}

/// What keeps a data directory from being fenced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remains {
    /// Processes that have it as their working directory.
    pub pids: Vec<i32>,
    /// How many are attached to its shared memory.
    pub attached: u64,
}

impl Remains {
    pub fn is_fenced(&self) -> bool {
        self.pids.is_empty() && self.attached == 0
    }
}

/// Calls `visit` with every process of the server in `data_dir` except ourselves. Does not allocate.
pub fn each_process(data_dir: FileId, mut visit: impl FnMut(&Process, &Stat)) -> io::Result<()> {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    pidfd::each_pid(|pid| {
        if pid == own || FileId::working_directory(pid).ok() != Some(data_dir) {
            return;
        }
        // The handle is taken first and the directory read again: between the two the number cannot change hands unseen.
        let (Ok(process), Ok(stat)) = (Process::open(pid), pidfd::stat(pid)) else { return };
        if FileId::working_directory(pid).ok() == Some(data_dir) && counts(pid, &stat) {
            visit(&process, &stat);
        }
    })
}

fn counts(pid: i32, stat: &Stat) -> bool {
    stat.terminal == 0 || is_postgres(pid)
}

fn is_postgres(pid: i32) -> bool {
    let mut buffer = [0; 64];
    let Ok(name) = pidfd::read_proc(pid, "comm", &mut buffer) else { return false };
    matches!(name.trim_ascii_end(), b"postgres" | b"postmaster" | b"edb-postgres")
}

/// Every process of the server in `data_dir`.
pub fn processes_of(data_dir: &Path) -> io::Result<Vec<ServerProcess>> {
    let mut found = Vec::new();
    each_process(FileId::of(data_dir)?, |process, stat| {
        found.push(ServerProcess { pid: process.pid(), stat: *stat });
    })?;
    Ok(found)
}

/// How many processes are attached to `segment`; 0 when it is gone, or its number is another program's by now.
pub fn shm_attached(segment: Segment) -> u64 {
    // SAFETY: all zeroes is a value of this plain C structure.
    let mut state: libc::shmid_ds = unsafe { std::mem::zeroed() };
    // SAFETY: IPC_STAT writes one shmid_ds to the pointer, which is valid for that.
    let answer = unsafe { libc::shmctl(segment.id, libc::IPC_STAT, &raw mut state) };
    // A segment that we may not look at belongs to another user, so it is not this server's.
    if answer == -1 || state.shm_perm.__key != segment.key { 0 } else { state.shm_nattch }
}

/// How many processes are attached to segments that `creator` (a postmaster) made, whether or not it still lives. Reads
/// the system's list, no file of the server's, and allocates nothing.
pub(crate) fn shm_attached_of(creator: i32) -> io::Result<u64> {
    if by_postmaster_alone() {
        return Ok(0);
    }
    let list = rustix::fs::open(c"/proc/sysvipc/shm", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let own_user = rustix::process::geteuid().as_raw();
    let mut attached = 0;
    pidfd::each_line(&list, |line| attached += attached_if_ours(line, creator, own_user).unwrap_or(0))?;
    Ok(attached)
}

/// Columns: key, shmid, perms, size, creator, last, attached, user … The heading has no numbers.
fn attached_if_ours(line: &[u8], creator: i32, user: u32) -> Option<u64> {
    let mut columns = str::from_utf8(line).ok()?.split_ascii_whitespace().skip(4);
    let made_by: i32 = columns.next()?.parse().ok()?;
    let attached = columns.nth(1)?.parse().ok()?;
    let owner: u32 = columns.next()?.parse().ok()?;
    (made_by == creator && owner == user).then_some(attached)
}

/// What still stands between `data_dir` and being fenced. A directory that does not exist is fenced.
pub fn remains(data_dir: &Path) -> io::Result<Remains> {
    let id = match FileId::of(data_dir) {
        Ok(id) => id,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Remains::default()),
        Err(error) => return Err(error),
    };
    let mut pids = Vec::new();
    each_process(id, |process, _| pids.push(process.pid()))?;
    let file = PostmasterPid::read(data_dir)?;
    if by_postmaster_alone() {
        pids.retain(|pid| file.as_ref().is_some_and(|file| file.pid == *pid));
        return Ok(Remains { pids, attached: 0 });
    }
    let segment = file.and_then(|file| file.segment);
    Ok(Remains { pids, attached: segment.map_or(0, shm_attached) })
}

/// Whether nothing can write to `data_dir` any more.
pub fn is_fenced(data_dir: &Path) -> io::Result<bool> {
    Ok(remains(data_dir)?.is_fenced())
}

/// Kills the server in `data_dir`: its postmaster first (no new backends), then everything, again and again until
/// nothing is left or `deadline` (a boot time) has passed. Blocks. Answers with what is left: a process in
/// uninterruptible sleep dies only when the kernel lets it.
pub fn kill_all(data_dir: &Path, deadline: Tick) -> io::Result<Remains> {
    if let Some(file) = PostmasterPid::read(data_dir)?
        && let Some(postmaster) = file.process(data_dir)?
    {
        gone_is_fine(postmaster.signal(Signal::KILL))?;
    }
    loop {
        let left = remains(data_dir)?;
        if left.is_fenced() || boot_now() >= deadline {
            return Ok(left);
        }
        kill_processes(FileId::of(data_dir)?)?;
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// The weakness that tests take: the end of the postmaster counts as the end of the server.
fn by_postmaster_alone() -> bool {
    crate::weaken::asked().has(Weakness::FenceByPostmaster)
}

/// Sends SIGKILL to every process of the server once; answers how many there were. Does not allocate. An error is
/// reported after every process has been tried.
pub(crate) fn kill_processes(data_dir: FileId) -> io::Result<u32> {
    if by_postmaster_alone() {
        return Ok(0);
    }
    let mut count = 0;
    let mut failed = Ok(());
    each_process(data_dir, |process, _| {
        count += 1;
        if let Err(error) = gone_is_fine(process.signal(Signal::KILL)) {
            failed = Err(error);
        }
    })?;
    failed.map(|()| count)
}

fn gone_is_fine(sent: io::Result<()>) -> io::Result<()> {
    match sent {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sleeper(std::process::Child);

    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn sleeper(directory: &Path) -> Sleeper {
        use std::os::unix::process::CommandExt as _;
        let mut command = std::process::Command::new("sleep");
        command.arg("600").current_dir(directory);
        // SAFETY: setsid is async-signal-safe.
        unsafe { command.pre_exec(|| rustix::process::setsid().map(drop).map_err(Into::into)) };
        Sleeper(command.spawn().expect("sleep starts"))
    }

    fn directory(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("jogi-fence-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary directory");
        path
    }

    #[test]
    fn a_process_in_the_directory_keeps_it_from_being_fenced() {
        let path = directory("alive");
        assert!(is_fenced(&path).expect("readable"));
        let child = sleeper(&path);
        let pid = i32::try_from(child.0.id()).expect("a pid");
        assert_eq!(remains(&path).expect("readable").pids, [pid]);
        let mut child = child;
        let waiter = std::thread::spawn(move || child.0.wait());
        let left = kill_all(&path, boot_now() + Duration::from_secs(10)).expect("ours to kill");
        assert!(left.is_fenced());
        waiter.join().expect("no panic").expect("reaped");
        std::fs::remove_dir_all(&path).expect("ours");
    }

    #[test]
    fn a_stopped_process_is_killed_too() {
        let path = directory("stopped");
        let child = sleeper(&path);
        let process = Process::open(i32::try_from(child.0.id()).expect("a pid")).expect("it runs");
        process.signal(Signal::STOP).expect("ours");
        let left = kill_all(&path, boot_now() + Duration::from_secs(10)).expect("ours to kill");
        assert!(left.is_fenced());
        drop(child);
        std::fs::remove_dir_all(&path).expect("ours");
    }

    #[test]
    fn a_missing_directory_is_fenced() {
        assert!(is_fenced(Path::new("/nonexistent/data")).expect("no error"));
    }

    #[test]
    fn attachment_is_counted_only_under_the_right_key() {
        // SAFETY: plain System V calls on a segment of our own; the pointer is never read.
        unsafe {
            let key = 0x6a6f_6769;
            let id = libc::shmget(key, 4096, libc::IPC_CREAT | 0o600);
            assert!(id >= 0);
            assert_eq!(shm_attached(Segment { key, id }), 0);
            let memory = libc::shmat(id, std::ptr::null(), 0);
            assert_eq!(shm_attached(Segment { key, id }), 1);
            assert_eq!(shm_attached(Segment { key: 1, id }), 0);
            let own = rustix::process::getpid().as_raw_nonzero().get();
            assert_eq!(shm_attached_of(own).expect("listed"), 1);
            assert_eq!(shm_attached_of(1).expect("listed"), 0);
            libc::shmdt(memory);
            libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut());
            assert_eq!(shm_attached(Segment { key, id }), 0);
        }
    }
}
