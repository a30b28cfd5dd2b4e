//! The guard's process: one loop over a handful of descriptors and one timer.
//!
//! Each turn looks at the page and the clock first and answers commands last, so that no amount of commands puts off a
//! deadline. Everything it needs is made before the first turn: afterwards it neither allocates nor touches a file on a
//! disk while a server lives (the promote file is created by a child, the one line of log is written when all is over).

mod answers;
mod children;
mod commands;
mod ending;
mod prepare;

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jogi_core::lease::{Custody, Lease, Server, Verdict};
use jogi_core::{Tick, Weakness};
use jogi_net::clock::boot_now;
use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec};

use super::client::Exit;
use super::page::{GuardOnPage, Page};
use super::promote::Promotion;
use super::server::Strings;
use crate::pidfd::{FileId, Process};
use crate::weaken;
use prepare::Options;

/// How many may be connected at once: an agent, its successor, and somebody who looks.
const MOST_CONNECTIONS: usize = 6;

/// How often the process is asked for where there is no pidfd, and how often the killed are counted.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// While armed it looks at the page at least this often, whatever it was told.
const BELT: Duration = Duration::from_secs(1);

static STARTED: AtomicBool = AtomicBool::new(false);

/// Whether the guard is past its preparations, after which it allocates nothing: what tests check.
#[doc(hidden)]
pub fn has_started() -> bool {
    STARTED.load(Ordering::Relaxed)
}

/// Runs the guard; called first in `main` with `argv[1] == "guard"`.
pub fn main() -> ! {
    // Read once, before anything may not allocate any more.
    let _ = weaken::asked();
    let code = match Options::from_arguments(std::env::args_os().skip(2)).and_then(Guard::prepare) {
        Ok(mut guard) => guard.run(),
        Err(cause) => {
            eprintln!("jogi guard: {cause}");
            1
        }
    };
    std::process::exit(code)
}

/// The postmaster in our charge.
struct Postmaster {
    process: Process,
    /// Ours to reap; otherwise adopted.
    child: bool,
}

struct Guard {
    data_dir: CString,
    /// In this order: what a server started as standby has at least one of.
    signal_files: [CString; 3],
    promote_file: CString,
    pid_file: CString,
    lonely: Duration,
    oom_score: Option<i32>,
    locked_bytes: u64,

    page: Page,
    page_fd: OwnedFd,
    doorbell: OwnedFd,
    listener: OwnedFd,
    signals: OwnedFd,
    timer: OwnedFd,
    _lock: OwnedFd,
    connections: [Option<OwnedFd>; MOST_CONNECTIONS],
    message: Box<[u8]>,
    strings: Box<Strings>,

    /// The page's lease as it was last read whole.
    lease: Lease,
    custody: Custody,
    postmaster: Option<Postmaster>,
    /// Whose shared memory must be deserted before all is fenced.
    creator: i32,
    data: Option<FileId>,
    promotion: Option<Promotion>,
    /// When the stopped are continued next, while a shutdown of ours runs.
    thaw: Option<Tick>,
    /// The postmaster has ended: until when the rest of it may end by itself.
    grace: Option<Tick>,
    section: GuardOnPage,
    last_exit: Option<Exit>,
    last_busy: Tick,
    rehearsing: bool,
    quitting: bool,
}

impl Guard {
    fn run(&mut self) -> i32 {
        STARTED.store(true, Ordering::Relaxed);
        loop {
            let now = boot_now();
            let next = self.turn(now);
            if self.quitting || self.is_lonely(now) {
                return 0;
            }
            self.wait(next);
            self.serve();
        }
    }

    /// One look at everything that time and processes may have changed; answers when to look again.
    fn turn(&mut self, now: Tick) -> Option<Tick> {
        if let Some(found) = self.page.lease() {
            self.lease = found.lease;
        }
        self.reap(now);
        let mut next = Next(None);
        let holds = self.rehearsing || !weaken::asked().has(Weakness::NoDeadlines);
        let verdict = if holds { self.custody.look(&self.lease, now) } else { Verdict::Rest };
        match verdict {
            Verdict::Rest => {}
            Verdict::Wait(until) => next.at(until),
            Verdict::FastShutdown => {
                self.shut_down(now);
                next.at(now);
            }
            Verdict::KillAll => {
                self.kill(now);
                next.at(now + LOOK_AGAIN);
            }
        }
        self.see_off(now, &mut next);
        self.thaw(now, &mut next);
        self.promote_step(now, &mut next);
        if self.postmaster.as_ref().is_some_and(|server| !server.child && server.process.pidfd().is_none()) {
            next.at(now + LOOK_AGAIN);
        }
        if self.lease.armed {
            next.at(now + BELT);
        }
        if self.custody.server() == Server::None && self.connections.iter().all(Option::is_none) {
            next.at(self.last_busy + self.lonely);
        } else {
            self.last_busy = now;
        }
        next.0
    }

    fn is_lonely(&self, now: Tick) -> bool {
        self.custody.server() == Server::None
            && !self.custody.is_ending()
            && self.connections.iter().all(Option::is_none)
            && now.since(self.last_busy) >= self.lonely
    }

    /// Sleeps until `next` or until something happens.
    fn wait(&self, next: Option<Tick>) {
        let mut value = Timespec { tv_sec: 0, tv_nsec: 0 };
        if let Some(at) = next {
            // All zeroes would mean "never".
            let at = at.0.max(1);
            value.tv_sec = i64::try_from(at / 1_000_000_000).unwrap_or(i64::MAX);
            value.tv_nsec = i64::try_from(at % 1_000_000_000).unwrap_or(0);
        }
        let alarm = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        if rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &alarm).is_err() {
            return;
        }
        let mut fds = [libc::pollfd { fd: -1, events: libc::POLLIN, revents: 0 }; 6 + MOST_CONNECTIONS];
        let fixed = [
            Some(self.timer.as_raw_fd()),
            Some(self.signals.as_raw_fd()),
            Some(self.doorbell.as_raw_fd()),
            Some(self.listener.as_raw_fd()),
            self.adopted_pidfd(),
            self.promotion.as_ref().and_then(Promotion::startup_pidfd).map(|fd| fd.as_raw_fd()),
        ];
        let connections = self.connections.iter().map(|connection| connection.as_ref().map(AsRawFd::as_raw_fd));
        for (slot, fd) in fds.iter_mut().zip(fixed.into_iter().chain(connections)) {
            slot.fd = fd.unwrap_or(-1);
        }
        // SAFETY: the array is ours and its length is given. An interrupted or failed wait is a turn too early.
        unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, -1) };
        // What has woken us is taken note of by reading it; the turn looks at everything anyway.
        let mut buffer = [0_u8; 1024];
        let _ = rustix::io::read(&self.timer, &mut buffer);
        let _ = rustix::io::read(&self.doorbell, &mut buffer);
        let _ = rustix::io::read(&self.signals, &mut buffer);
    }

    fn adopted_pidfd(&self) -> Option<RawFd> {
        let adopted = self.postmaster.as_ref().filter(|server| !server.child)?;
        adopted.process.pidfd().map(|fd| fd.as_raw_fd())
    }
}

/// The earliest of several moments.
struct Next(Option<Tick>);

impl Next {
    fn at(&mut self, at: Tick) {
        self.0 = Some(self.0.map_or(at, |before| before.min(at)));
    }
}
