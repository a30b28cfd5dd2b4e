//! The guard's children: the postmaster, and the little one that writes the promote file.
//!
//! Between fork and exec only system calls are made. What the guard has for itself (blocked signals, its score with
//! the out-of-memory killer) the postmaster does not inherit.

use std::ffi::{CStr, c_char, c_int};
use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::ptr;
use std::sync::atomic::Ordering;

use jogi_core::Weakness;
use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;

use super::memory;
use super::page::Page;
use super::wire::{Message, Tag};
use crate::pidfd::Text;

/// How many arguments, and how many variables of the environment, a start may have.
const MOST_STRINGS: usize = 1024;

/// Exit code of a child that could not become the program it was to be; the reason is in the page.
pub(super) const NOT_EXECUTED: i32 = 127;

/// Arguments and environment in the form that the system takes, made once and used again.
pub(super) struct Strings {
    arguments: Box<[*const c_char; MOST_STRINGS]>,
    environment: Box<[*const c_char; MOST_STRINGS]>,
    /// `PG_GRANDPARENT_PID=…`, or empty.
    grandparent: Text<48>,
}

/// Everything that the postmaster is started with. Points into the message.
pub(super) struct Launch<'m> {
    pub(super) program: &'m CStr,
    pub(super) log: &'m OwnedFd,
    pub(super) data_dir: &'m CStr,
    pub(super) oom_score: Option<i32>,
}

impl Strings {
    pub(super) fn new() -> Strings {
        Strings {
            arguments: Box::new([ptr::null(); MOST_STRINGS]),
            environment: Box::new([ptr::null(); MOST_STRINGS]),
            grandparent: Text::new(),
        }
    }

    /// Points into `message`, which must stay in place until the fork. `false`: too many, or not terminated.
    ///
    /// `stale` is the number in a postmaster.pid that a dead server left. A new one refuses to start when any process has
    /// that number today, be it another program or a zombie that nobody reaps; PG_GRANDPARENT_PID tells it that this one is
    /// no server (src/backend/utils/init/miscinit.c, CreateLockFile). It checks the shared memory all the same.
    pub(super) fn take(&mut self, message: &Message<'_>, stale: Option<i32>) -> bool {
        let Some(_) = point(&mut self.arguments[..], message, Tag::Argument) else { return false };
        let Some(count) = point(&mut self.environment[..], message, Tag::Environment) else { return false };
        let Some(pid) = stale else { return true };
        self.grandparent = Text::new();
        let _ = write!(self.grandparent, "PG_GRANDPARENT_PID={pid}\0");
        let [slot, end, ..] = &mut self.environment[count..] else { return false };
        *slot = self.grandparent.as_bytes().as_ptr().cast();
        *end = ptr::null();
        true
    }
}

/// The number in the first line of the postmaster.pid at `path`.
pub(super) fn number_in(path: &CStr) -> Option<i32> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut buffer = [0; 32];
    let read = rustix::io::read(&file, &mut buffer).ok()?;
    let line = buffer[..read].split(|byte| *byte == b'\n').next()?;
    let number: i32 = str::from_utf8(line).ok()?.trim().parse().ok()?;
    number.checked_abs().filter(|number| *number > 0)
}

/// Answers how many there are.
fn point(pointers: &mut [*const c_char], message: &Message<'_>, tag: Tag) -> Option<usize> {
    let mut count = 0;
    for bytes in message.all(tag) {
        *pointers.get_mut(count)? = CStr::from_bytes_with_nul(bytes).ok()?.as_ptr();
        count += 1;
    }
    *pointers.get_mut(count)? = ptr::null();
    Some(count)
}

/// Starts the postmaster; answers its number. It is in the data directory, in a session of its own, before it becomes
/// PostgreSQL, and gets SIGQUIT when we die.
pub(super) fn launch(launch: &Launch<'_>, strings: &Strings, page: &Page) -> io::Result<i32> {
    let nothing = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let guard = rustix::process::getpid();
    page.exec_errno().store(0, Ordering::SeqCst);
    fork(|| {
        let errno = match prepare(launch, &nothing, guard) {
            // SAFETY: both arrays end with a null pointer, their strings are terminated and lie in memory of ours.
            Ok(()) => unsafe {
                libc::execve(launch.program.as_ptr(), strings.arguments.as_ptr(), strings.environment.as_ptr());
                *libc::__errno_location()
            },
            Err(error) => error.raw_os_error(),
        };
        page.exec_errno().store(errno, Ordering::SeqCst);
        NOT_EXECUTED
    })
}

fn prepare(launch: &Launch<'_>, nothing: &OwnedFd, guard: rustix::process::Pid) -> rustix::io::Result<()> {
    rustix::process::setsid()?;
    rustix::process::chdir(launch.data_dir)?;
    if let Some(score) = launch.oom_score {
        memory::set_oom_score(score);
    }
    for (from, to) in [(nothing, 0), (launch.log, 1), (launch.log, 2)] {
        // SAFETY: dup2 onto a standard descriptor of this child.
        if unsafe { libc::dup2(from.as_raw_fd(), to) } < 0 {
            return Err(rustix::io::Errno::BADF);
        }
    }
    default_signals();
    if !crate::weaken::asked().has(Weakness::NoParentDeathSignal) {
        rustix::process::set_parent_process_death_signal(Some(Signal::QUIT))?;
    }
    // Did the guard die before that took effect? Then nobody would ever end this server.
    if rustix::process::getppid() != Some(guard) {
        return Err(rustix::io::Errno::SRCH);
    }
    Ok(())
}

/// As a program expects them: nothing ignored, nothing blocked.
fn default_signals() {
    // SAFETY: plain system calls on values of our own; failures (SIGKILL, SIGSTOP) change nothing.
    unsafe {
        for signal in 1..=libc::SIGRTMAX() {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
}

/// Creates an empty file in a child, because the disk may hang and the guard may not. Its exit code is the error number.
pub(super) fn create_in_child(path: &CStr) -> io::Result<i32> {
    fork(|| {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR) {
            Ok(_) => 0,
            Err(error) => error.raw_os_error(),
        }
    })
}

/// A child that stands in `directory` and does nothing, for the rehearsal.
pub(super) fn dummy(directory: &CStr) -> io::Result<i32> {
    fork(|| {
        let _ = rustix::process::setsid();
        if rustix::process::chdir(directory).is_err() {
            return 1;
        }
        loop {
            // SAFETY: waits for a signal.
            unsafe { libc::pause() };
        }
    })
}

/// Forks; the child does `work`, which makes system calls only, and ends with its answer.
fn fork(work: impl FnOnce() -> c_int) -> io::Result<i32> {
    // SAFETY: this process has one thread, so the child's memory is consistent; it never returns from here.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let code = work();
            // SAFETY: ends the child without running anything of the parent's.
            unsafe { libc::_exit(code) }
        }
        pid => Ok(pid),
    }
}
