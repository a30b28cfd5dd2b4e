//! What is made before the first turn: the arguments, the descriptors, and one walk along the kill path.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jogi_core::Tick;
use jogi_core::lease::{Custody, Lease, Server};
use jogi_net::clock::boot_now;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::time::{TimerfdClockId, TimerfdFlags};

use super::{Guard, LOOK_AGAIN, MOST_CONNECTIONS, Postmaster};
use crate::guard::page::{Acted, GuardOnPage, Page};
use crate::guard::server::{self, Strings};
use crate::guard::wire::MAX_MESSAGE;
use crate::guard::{memory, socket};
use crate::pidfd::{FileId, Process, ProcessId, stat};

/// Without server and agent it ends after this.
const LONELY: Duration = Duration::from_secs(60);

/// How long to wait for a former guard, which ends, to let go of its lock.
const LOCK_WAIT: Duration = Duration::from_secs(2);

pub(super) struct Options {
    run_dir: PathBuf,
    data_dir: PathBuf,
    lonely: Duration,
}

impl Options {
    pub(super) fn from_arguments(mut arguments: impl Iterator<Item = OsString>) -> Result<Options, String> {
        let (mut run_dir, mut data_dir, mut lonely) = (None, None, LONELY);
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{} needs a value", name.display()))?;
            match name.to_str() {
                Some("--run-dir") => run_dir = Some(PathBuf::from(value)),
                Some("--data-dir") => data_dir = Some(PathBuf::from(value)),
                Some("--lonely-ms") => {
                    let number = value.to_str().and_then(|text| text.parse().ok());
                    lonely = Duration::from_millis(number.ok_or("--lonely-ms needs a number")?);
                }
                _ => return Err(format!("unknown argument {}", name.display())),
            }
        }
        let usage =
            "usage: jogi guard --run-dir DIR --data-dir DIR (the agent starts it; there is no need to do so by hand)";
        Ok(Options { run_dir: run_dir.ok_or(usage)?, data_dir: data_dir.ok_or(usage)?, lonely })
    }
}

impl Guard {
    pub(super) fn prepare(options: Options) -> Result<Guard, String> {
        let context = |what: &'static str| move |error: io::Error| format!("cannot {what}: {error}");
        let signals = take_signals().map_err(context("take over signals"))?;
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .map_err(|error| context("become the reaper of orphans")(error.into()))?;
        let lock = take_lock(&options.run_dir)?;
        let (page_fd, doorbell, page) = Page::create().map_err(context("make the shared page"))?;
        let listener = socket::listen(&options.run_dir).map_err(context("make the socket in the run directory"))?;
        let timer =
            rustix::time::timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)
                .map_err(|error| context("make a timer")(error.into()))?;
        let now = boot_now();
        let own = rustix::process::getpid().as_raw_nonzero().get();
        let started = stat(own).map_err(context("read /proc"))?.started;
        let mut guard = Guard {
            signal_files: ["standby.signal", "recovery.signal", "recovery.conf"]
                .map(|name| c_path(&options.data_dir.join(name))),
            promote_file: c_path(&options.data_dir.join("promote")),
            pid_file: c_path(&options.data_dir.join("postmaster.pid")),
            data_dir: c_path(&options.data_dir),
            lonely: options.lonely,
            oom_score: None,
            locked_bytes: 0,
            page,
            page_fd,
            doorbell,
            listener,
            signals,
            timer,
            _lock: lock,
            connections: [const { None }; MOST_CONNECTIONS],
            message: vec![0; MAX_MESSAGE].into_boxed_slice(),
            strings: Box::new(Strings::new()),
            lease: Lease::default(),
            custody: Custody::default(),
            postmaster: None,
            creator: 0,
            data: None,
            promotion: None,
            thaw: None,
            grace: None,
            section: GuardOnPage { guard: ProcessId { pid: own, started }, ..GuardOnPage::default() },
            last_exit: None,
            last_busy: now,
            rehearsing: true,
            quitting: false,
        };
        guard.page.write_guard(&guard.section);
        memory::forget_start();
        guard.rehearse(&c_path(&options.run_dir)).map_err(context("kill a child of its own in the rehearsal"))?;
        guard.oom_score = memory::avoid_oom_killer();
        guard.locked_bytes = memory::lock_resident(&guard.page);
        Ok(guard)
    }

    /// Walks the kill path once on a child, so that its pages are in memory when it matters.
    fn rehearse(&mut self, directory: &CString) -> io::Result<()> {
        let child = server::dummy(directory)?;
        let process = Process::child(child)?;
        let here = FileId::of(directory.as_c_str())?;
        while FileId::working_directory(child).ok() != Some(here) && process.is_running() {
            std::hint::spin_loop();
        }
        self.data = Some(here);
        self.creator = child;
        self.postmaster = Some(Postmaster { process, child: true });
        self.custody.is(Server::Primary { generation: None });
        self.custody.condemn();
        while self.custody.server() != Server::None {
            let next = self.turn(boot_now());
            self.wait(next);
        }
        self.rehearsing = false;
        self.data = None;
        self.last_exit = None;
        self.section.acted = Acted::Nothing;
        self.section.acted_at = Tick::ZERO;
        self.page.write_guard(&self.section);
        Ok(())
    }
}

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("a path from the command line holds no NUL")
}

/// Takes every signal that can be taken as a message: a process group's SIGTERM or a terminal's SIGHUP does not end the guard.
/// What means a defect of its own (SIGSEGV …) still ends it, and with it the postmaster.
fn take_signals() -> io::Result<OwnedFd> {
    use std::os::fd::FromRawFd as _;
    // SAFETY: plain calls on a set of our own; the new descriptor is owned by nobody else.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut set);
        for fatal in
            [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGABRT, libc::SIGSYS, libc::SIGTRAP]
        {
            libc::sigdelset(&raw mut set, fatal);
        }
        if libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}

/// One guard per run directory. A record lock: children that are forked do not hold it with us.
fn take_lock(run_dir: &Path) -> Result<OwnedFd, String> {
    let path = run_dir.join("guard.lock");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|error| format!("cannot open {}: {error}", path.display()))?;
    let until = boot_now() + LOCK_WAIT;
    loop {
        match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(_) if boot_now() < until => std::thread::sleep(LOOK_AGAIN),
            Err(error) => {
                return Err(format!(
                    "another guard holds {}, and does not answer at its socket: {error}",
                    path.display()
                ));
            }
        }
    }
}
