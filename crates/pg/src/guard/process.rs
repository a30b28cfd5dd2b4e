//! The guard's process: one loop over a handful of descriptors and one timer.
//!
//! Each turn looks at the page and the clock first and answers commands last, so that no amount of commands puts off a
//! deadline. Everything it needs is made before the first turn: afterwards it neither allocates nor touches a file on a
//! disk while a server lives (the promote file is created by a child, the one line of log is written when all is over).

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jogi_core::lease::{Custody, Lease, Refusal, Server, Verdict};
use jogi_core::{Tick, Weakness};
use jogi_net::clock::boot_now;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::net::SocketFlags;
use rustix::process::{Signal, WaitOptions, WaitStatus};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

use super::client::{Exit, ExitStatus};
use super::page::{Acted, GuardOnPage, Page};
use super::promote::{self, Promotion, Step};
use super::server::{self, Launch, NOT_EXECUTED, Strings};
use super::wire::{Kind, MAX_MESSAGE, Message, Reason, Role, Stop, Tag, Writer};
use super::{memory, socket};
use crate::pidfd::{FileId, Process, ProcessId, Text, stat};
use crate::{fence, weaken};

/// How many may be connected at once: an agent, its successor, and somebody who looks.
const MOST_CONNECTIONS: usize = 6;

/// Without server and agent it ends after this.
const LONELY: Duration = Duration::from_secs(60);

/// Between `soft` and `hard`: how often what was stopped by a signal is continued, so that it can end.
const THAW_EVERY: Duration = Duration::from_millis(100);

/// How often the process is asked for where there is no pidfd, and how often the killed are counted.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// What a postmaster that has ended leaves behind and that is not attached to its shared memory (the log collector, which
/// writes the last lines) may take this long to end by itself.
const GRACE: Duration = Duration::from_secs(1);

/// While armed it looks at the page at least this often, whatever it was told.
const BELT: Duration = Duration::from_secs(1);

/// How long to wait for a former guard, which ends, to let go of its lock.
const LOCK_WAIT: Duration = Duration::from_secs(2);

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

struct Options {
    run_dir: PathBuf,
    data_dir: PathBuf,
    lonely: Duration,
}

impl Options {
    fn from_arguments(mut arguments: impl Iterator<Item = OsString>) -> Result<Options, String> {
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
    fn prepare(options: Options) -> Result<Guard, String> {
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

    /// `soft` has passed: clients gone, walsenders drained.
    fn shut_down(&mut self, now: Tick) {
        self.promotion = None;
        if self.postmaster.is_none() {
            return;
        }
        self.signal_postmaster(Signal::INT);
        self.thaw = Some(now + THAW_EVERY);
        self.acted(Acted::Shutdown, now);
    }

    /// Sends a signal that a stopped postmaster gets as well, before anything else that it does.
    fn signal_postmaster(&self, signal: Signal) {
        if let Some(postmaster) = &self.postmaster {
            let _ = postmaster.process.signal(signal);
            let _ = postmaster.process.signal(Signal::CONT);
        }
    }

    /// Continues what is stopped while a shutdown of ours runs. The postmaster's signal to it came before.
    fn thaw(&mut self, now: Tick, next: &mut Next) {
        let Some(due) = self.thaw else { return };
        let Some(data) = self.data.filter(|_| self.postmaster.is_some()) else {
            self.thaw = None;
            return;
        };
        if now < due {
            return next.at(due);
        }
        let _ = fence::each_process(data, |process, stat| {
            if stat.state == b'T' {
                let _ = process.signal(Signal::CONT);
            }
        });
        self.thaw = Some(now + THAW_EVERY);
        next.at(now + THAW_EVERY);
    }

    /// The postmaster first, so that there are no new backends, then everything; called until nothing is left.
    fn kill(&mut self, now: Tick) {
        self.promotion = None;
        self.thaw = None;
        if let Some(postmaster) = &self.postmaster {
            let _ = postmaster.process.signal(Signal::KILL);
            if self.section.acted != Acted::Killed {
                self.acted(Acted::Killed, now);
            }
        }
        let Some(data) = self.data else { return self.custody.is(Server::None) };
        let left = fence::kill_processes(data);
        self.reap(now);
        if matches!(left, Ok(0)) && self.is_deserted() && self.postmaster.is_none() {
            self.fenced();
        }
    }

    /// Nobody is attached to the server's shared memory, so nobody can write.
    fn is_deserted(&self) -> bool {
        self.creator == 0 || fence::shm_attached_of(self.creator).is_ok_and(|attached| attached == 0)
    }

    /// The postmaster has ended by itself. Whoever could still write is killed at once; the others get a moment.
    fn see_off(&mut self, now: Tick, next: &mut Next) {
        let Some(until) = self.grace else { return };
        if self.custody.look(&self.lease, now) == Verdict::KillAll {
            self.grace = None;
            return next.at(now);
        }
        let mut left = 0;
        let looked = self.data.map(|data| fence::each_process(data, |_, _| left += 1));
        let deserted = self.is_deserted();
        if matches!(looked, Some(Ok(()))) && left == 0 && deserted {
            self.grace = None;
            return self.fenced();
        }
        if deserted && now < until {
            return next.at(now + LOOK_AGAIN);
        }
        self.grace = None;
        self.custody.condemn();
        next.at(now);
    }

    fn fenced(&mut self) {
        self.custody.is(Server::None);
        self.creator = 0;
        self.grace = None;
        self.tell(Kind::Fenced, drop_writer);
        if self.section.acted != Acted::Nothing && !self.rehearsing {
            say(self.section.acted, self.section.acted_at, self.section.guard.pid);
        }
    }

    fn acted(&mut self, what: Acted, now: Tick) {
        self.section.acted = what;
        self.section.acted_at = now;
        self.page.write_guard(&self.section);
        self.tell(Kind::Acted, |writer| {
            drop_writer(writer.number(Tag::Acted, u64::from(what.code())).number(Tag::ActedAt, now.0));
        });
    }

    /// Takes leave of every child that has ended, and notes when the postmaster has.
    fn reap(&mut self, now: Tick) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            self.reaped(pid.as_raw_nonzero().get(), status, now);
        }
        let adopted_ended = |server: &Postmaster| !server.child && !server.process.is_running();
        if self.postmaster.as_ref().is_some_and(adopted_ended) {
            self.postmaster_ended(ExitStatus::Unknown, now);
        }
    }

    fn reaped(&mut self, pid: i32, status: WaitStatus, now: Tick) {
        if self.postmaster.as_ref().is_some_and(|server| server.process.pid() == pid) {
            return self.postmaster_ended(self.how_it_ended(status), now);
        }
        let Some(promotion) = self.promotion.as_mut().filter(|promotion| promotion.waits_for(pid)) else { return };
        match status.exit_status() {
            Some(0) => promotion.file_is_there(now),
            failed => self.promote_failed(failed.unwrap_or(libc::EINTR)),
        }
    }

    fn how_it_ended(&self, status: WaitStatus) -> ExitStatus {
        let errno = self.page.exec_errno().load(Ordering::SeqCst);
        match (status.terminating_signal(), status.exit_status()) {
            (Some(signal), _) => ExitStatus::Signal(signal),
            (None, Some(NOT_EXECUTED)) if errno != 0 => ExitStatus::NotExecuted { errno },
            (None, Some(code)) => ExitStatus::Code(code),
            (None, None) => ExitStatus::Unknown,
        }
    }

    fn postmaster_ended(&mut self, how: ExitStatus, now: Tick) {
        let Some(ended) = self.postmaster.take() else { return };
        let exit = Exit { pid: ended.process.pid(), how };
        self.last_exit = Some(exit);
        self.promotion = None;
        self.section.postmaster = ProcessId::default();
        self.page.write_guard(&self.section);
        self.tell(Kind::Exited, |writer| drop_writer(exit_fields(writer, exit)));
        self.grace = Some(now + GRACE);
    }

    fn promote_step(&mut self, now: Tick, next: &mut Next) {
        let (Some(promotion), Some(postmaster)) = (&mut self.promotion, &self.postmaster) else { return };
        let generation = promotion.generation;
        match promotion.step(&postmaster.process, now) {
            Step::GoesOn { next: Some(at) } => next.at(at),
            Step::GoesOn { next: None } => {}
            Step::GivenUp => self.promotion = None,
            Step::Ended => {
                self.promotion = None;
                self.tell(Kind::Promoted, |writer| drop_writer(writer.number(Tag::Generation, generation)));
            }
        }
    }

    fn promote_failed(&mut self, errno: i32) {
        self.promotion = None;
        self.custody.is(Server::Standby);
        let errno = u64::try_from(errno).unwrap_or(0);
        self.tell(Kind::PromoteFailed, |writer| drop_writer(writer.number(Tag::Detail, errno)));
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

    /// Accepts and answers at most one message per connection, so that the next turn is never far.
    fn serve(&mut self) {
        if let Ok(connection) = rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            self.greet(connection);
        }
        for index in 0..MOST_CONNECTIONS {
            if let Some(connection) = self.connections[index].take() {
                self.hear(index, connection);
            }
        }
    }

    fn greet(&mut self, connection: OwnedFd) {
        let Some(index) = self.connections.iter().position(Option::is_none) else { return };
        if !socket::may_command(connection.as_fd()) {
            return;
        }
        let mut hello = Text::<256>::new();
        let writer = Writer::begin(&mut hello, Kind::Hello, 0)
            .number(Tag::GuardPid, u64::try_from(self.section.guard.pid).unwrap_or(0))
            .number(Tag::GuardStarted, self.section.guard.started)
            .bytes(Tag::Version, env!("CARGO_PKG_VERSION").as_bytes());
        drop_writer(writer);
        let fds = [self.page_fd.as_fd(), self.doorbell.as_fd()];
        if socket::send_with_fds(connection.as_fd(), hello.as_bytes(), &fds).is_ok() {
            self.connections[index] = Some(connection);
        }
    }

    fn hear(&mut self, index: usize, connection: OwnedFd) {
        // Taken out while it is used: a command needs the rest of the guard.
        let mut buffer = std::mem::take(&mut self.message);
        let received = socket::receive_with_fds(connection.as_fd(), &mut buffer);
        match received {
            Ok((0, _)) => {}
            Ok((length, [log, _])) => {
                self.connections[index] = Some(connection);
                self.obey(index, &buffer[..length], log);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.connections[index] = Some(connection),
            Err(_) => {}
        }
        self.message = buffer;
    }

    fn obey(&mut self, index: usize, bytes: &[u8], log: Option<OwnedFd>) {
        let Some(message) = Message::parse(bytes) else {
            self.connections[index] = None;
            return;
        };
        let now = boot_now();
        if let Some(found) = self.page.lease() {
            self.lease = found.lease;
        }
        let done = match message.kind {
            Some(Kind::Start) => self.start(&message, log, now),
            Some(Kind::Promote) => self.promote(&message, now),
            Some(Kind::Signal) => self.stop(&message),
            Some(Kind::Demoted) => self.demoted(),
            Some(Kind::Adopt) => self.adopt(&message, now),
            Some(Kind::Hold) => self.hold(&message, now),
            Some(Kind::Status) => return self.report(index, message.id),
            Some(Kind::Quit) => self.quit(),
            Some(
                Kind::Done
                | Kind::Refused
                | Kind::StatusIs
                | Kind::Hello
                | Kind::Exited
                | Kind::Promoted
                | Kind::Acted
                | Kind::Fenced
                | Kind::PromoteFailed,
            )
            | None => Err(No::because(Reason::Unknown)),
        };
        match done {
            Ok(()) => self.answer_done(index, message.id),
            Err(no) => self.answer_refused(index, message.id, no),
        }
    }

    fn start(&mut self, message: &Message<'_>, log: Option<OwnedFd>, now: Tick) -> Result<(), No> {
        self.nothing_runs()?;
        let server = self.wanted_server(message)?;
        match server {
            Server::Primary { generation: Some(generation) } => Custody::permit(&self.lease, generation, now)?,
            Server::Standby => self.is_set_up_as_standby()?,
            Server::Primary { generation: None } | Server::None => {}
        }
        let (Some(log), Some(program)) = (log, message.bytes(Tag::Program)) else {
            return Err(No::because(Reason::Malformed));
        };
        let program = std::ffi::CStr::from_bytes_with_nul(program).map_err(|_| No::because(Reason::Malformed))?;
        let data = FileId::of(self.data_dir.as_c_str())?;
        let mut left = 0;
        fence::each_process(data, |_, _| left += 1)?;
        if left > 0 {
            return Err(No { detail: left, ..No::because(Reason::NotFenced) });
        }
        if !self.strings.take(message, server::number_in(&self.pid_file)) {
            return Err(No::because(Reason::Malformed));
        }
        let launch = Launch { program, log: &log, data_dir: &self.data_dir, oom_score: self.oom_score };
        let pid = server::launch(&launch, &self.strings, &self.page)?;
        let process = Process::child(pid)?;
        self.take_charge(Postmaster { process, child: true }, server, data);
        Ok(())
    }

    fn nothing_runs(&self) -> Result<(), No> {
        if let Some(postmaster) = &self.postmaster {
            let pid = u64::try_from(postmaster.process.pid()).unwrap_or(0);
            return Err(No { detail: pid, ..No::because(Reason::AlreadyRunning) });
        }
        if self.custody.server() != Server::None || self.custody.is_ending() {
            return Err(No::because(Reason::Ending));
        }
        Ok(())
    }

    fn wanted_server(&self, message: &Message<'_>) -> Result<Server, No> {
        match message.number(Tag::StartAs).and_then(Role::from_code) {
            Some(Role::Standby) => Ok(Server::Standby),
            Some(Role::Primary) => Ok(Server::Primary { generation: Some(message.number_or_0(Tag::Generation)) }),
            Some(Role::Unleased) => Ok(Server::Primary { generation: None }),
            None => Err(No::because(Reason::Malformed)),
        }
    }

    /// A server without any of these files starts as primary, whatever was meant.
    fn is_set_up_as_standby(&self) -> Result<(), No> {
        let is_there = |path: &CString| rustix::fs::access(path.as_c_str(), rustix::fs::Access::EXISTS).is_ok();
        if self.signal_files.iter().any(is_there) { Ok(()) } else { Err(No::because(Reason::NotAStandby)) }
    }

    fn take_charge(&mut self, postmaster: Postmaster, server: Server, data: FileId) {
        let id = postmaster.process.id();
        self.creator = id.pid;
        self.postmaster = Some(postmaster);
        self.data = Some(data);
        self.custody.is(server);
        self.section.postmaster = id;
        self.section.acted = Acted::Nothing;
        self.section.acted_at = Tick::ZERO;
        self.page.write_guard(&self.section);
    }

    fn promote(&mut self, message: &Message<'_>, now: Tick) -> Result<(), No> {
        self.a_server_runs()?;
        let generation = message.number_or_0(Tag::Generation);
        if self.custody.server() != Server::Standby && !self.is_in_recovery_again(generation) {
            return Err(No::because(Reason::AlreadyPrimary));
        }
        Custody::permit(&self.lease, generation, now)?;
        let child = server::create_in_child(&self.promote_file)?;
        self.custody.is(Server::Primary { generation: Some(generation) });
        self.promotion = Some(Promotion::asked(generation, child));
        Ok(())
    }

    /// A promotion under this lock has come to nothing: a process of the server crashed meanwhile, and PostgreSQL has
    /// begun recovery anew and forgotten that it was asked.
    fn is_in_recovery_again(&self, generation: u64) -> bool {
        let ours = self.custody.server() == Server::Primary { generation: Some(generation) };
        ours && self.promotion.is_none() && self.postmaster.as_ref().is_some_and(|p| promote::recovers(&p.process))
    }

    fn a_server_runs(&self) -> Result<(), No> {
        if self.postmaster.is_none() {
            return Err(No::because(Reason::NotRunning));
        }
        if self.custody.is_ending() {
            return Err(No::because(Reason::Ending));
        }
        Ok(())
    }

    fn stop(&mut self, message: &Message<'_>) -> Result<(), No> {
        let stop = message.number(Tag::Signal).and_then(Stop::from_code).ok_or(No::because(Reason::Malformed))?;
        let signal = match stop {
            Stop::KillAll => return self.condemn(),
            Stop::Smart => Signal::TERM,
            Stop::Fast => Signal::INT,
            Stop::Immediate => Signal::QUIT,
        };
        if self.postmaster.is_none() {
            return Err(No::because(Reason::NotRunning));
        }
        self.signal_postmaster(signal);
        Ok(())
    }

    /// Also for what a former guard or a person has left in the data directory.
    fn condemn(&mut self) -> Result<(), No> {
        if self.postmaster.is_none() {
            self.data = Some(FileId::of(self.data_dir.as_c_str())?);
        }
        self.custody.condemn();
        Ok(())
    }

    fn demoted(&mut self) -> Result<(), No> {
        if self.postmaster.is_none() {
            return Err(No::because(Reason::NotRunning));
        }
        self.promotion = None;
        self.custody.is(Server::Standby);
        Ok(())
    }

    fn adopt(&mut self, message: &Message<'_>, now: Tick) -> Result<(), No> {
        self.nothing_runs()?;
        let server = self.wanted_server(message)?;
        let pid = message.pid(Tag::Pid).ok_or(No::because(Reason::Malformed))?;
        let data = FileId::of(self.data_dir.as_c_str())?;
        let process = Process::open(pid)?;
        if FileId::working_directory(pid).ok() != Some(data) {
            return Err(No::because(Reason::NotItsServer));
        }
        if let Server::Primary { generation: Some(generation) } = server {
            Custody::default().hold(&self.lease, generation, now)?;
        }
        self.take_charge(Postmaster { process, child: false }, server, data);
        Ok(())
    }

    fn hold(&mut self, message: &Message<'_>, now: Tick) -> Result<(), No> {
        self.a_server_runs()?;
        Ok(self.custody.hold(&self.lease, message.number_or_0(Tag::Generation), now)?)
    }

    fn quit(&mut self) -> Result<(), No> {
        self.nothing_runs()?;
        self.quitting = true;
        Ok(())
    }

    fn report(&mut self, index: usize, id: u32) {
        let mut text = Text::<1024>::new();
        let mut writer = Writer::begin(&mut text, Kind::StatusIs, id)
            .number(Tag::Armed, u64::from(self.lease.armed))
            .number(Tag::Ending, u64::from(self.custody.is_ending()))
            .number(Tag::Promoting, u64::from(self.promotion.is_some()))
            .number(Tag::Acted, u64::from(self.section.acted.code()))
            .number(Tag::ActedAt, self.section.acted_at.0)
            .number(Tag::LockedBytes, self.locked_bytes);
        writer = match self.custody.server() {
            Server::None => writer,
            Server::Standby => writer.number(Tag::Server, Role::Standby.code()),
            Server::Primary { generation: None } => writer.number(Tag::Server, Role::Unleased.code()),
            Server::Primary { generation: Some(generation) } => {
                writer.number(Tag::Server, Role::Primary.code()).number(Tag::Generation, generation)
            }
        };
        if let Some(postmaster) = &self.postmaster {
            writer = id_fields(writer, postmaster.process.id()).number(Tag::Adopted, u64::from(!postmaster.child));
        }
        if let Some(exit) = self.last_exit {
            writer = exit_fields(writer, exit);
        }
        drop_writer(writer);
        self.send(index, &text);
    }

    fn answer_done(&mut self, index: usize, id: u32) {
        let mut text = Text::<128>::new();
        let mut writer = Writer::begin(&mut text, Kind::Done, id);
        if let Some(postmaster) = &self.postmaster {
            writer = id_fields(writer, postmaster.process.id());
        }
        drop_writer(writer);
        self.send(index, &text);
    }

    fn answer_refused(&mut self, index: usize, id: u32, no: No) {
        let mut text = Text::<128>::new();
        let writer = Writer::begin(&mut text, Kind::Refused, id)
            .number(Tag::Reason, no.reason.code())
            .number(Tag::Detail, no.detail)
            .number(Tag::Detail2, no.detail2);
        drop_writer(writer);
        self.send(index, &text);
    }

    /// Tells everybody who is connected.
    fn tell(&mut self, kind: Kind, fields: impl FnOnce(Writer<'_, Text<256>>)) {
        let mut text = Text::<256>::new();
        fields(Writer::begin(&mut text, kind, 0));
        for index in 0..MOST_CONNECTIONS {
            self.send(index, &text);
        }
    }

    /// Who does not read is not waited for: the connection is closed, and its agent attaches again when it comes to itself.
    fn send<const N: usize>(&mut self, index: usize, text: &Text<N>) {
        let Some(connection) = &self.connections[index] else { return };
        if socket::send(connection.as_fd(), text.as_bytes(), None).is_err() {
            self.connections[index] = None;
        }
    }
}

/// Ends the borrow of the text that was written.
fn drop_writer<const N: usize>(_: Writer<'_, Text<N>>) {}

fn id_fields<const N: usize>(writer: Writer<'_, Text<N>>, id: ProcessId) -> Writer<'_, Text<N>> {
    writer.number(Tag::Pid, u64::try_from(id.pid).unwrap_or(0)).number(Tag::Started, id.started)
}

fn exit_fields<const N: usize>(writer: Writer<'_, Text<N>>, exit: Exit) -> Writer<'_, Text<N>> {
    let number = |number: i32| u64::try_from(number).unwrap_or(0);
    let writer = writer.number(Tag::Left, number(exit.pid));
    match exit.how {
        ExitStatus::Code(code) => writer.number(Tag::ExitCode, number(code)),
        ExitStatus::Signal(signal) => writer.number(Tag::ExitSignal, number(signal)),
        ExitStatus::NotExecuted { errno } => writer.number(Tag::ExecErrno, number(errno)),
        ExitStatus::Unknown => writer,
    }
}

/// The earliest of several moments.
struct Next(Option<Tick>);

impl Next {
    fn at(&mut self, at: Tick) {
        self.0 = Some(self.0.map_or(at, |before| before.min(at)));
    }
}

/// A refusal, as it is sent.
#[derive(Clone, Copy)]
struct No {
    reason: Reason,
    detail: u64,
    detail2: u64,
}

impl No {
    fn because(reason: Reason) -> No {
        No { reason, detail: 0, detail2: 0 }
    }
}

impl From<Refusal> for No {
    fn from(refusal: Refusal) -> No {
        match refusal {
            Refusal::NotArmed => No::because(Reason::NotArmed),
            Refusal::WrongGeneration { held, asked } => {
                No { reason: Reason::WrongGeneration, detail: held, detail2: asked }
            }
            Refusal::Expired { soft } => No { detail: soft.0, ..No::because(Reason::Expired) },
        }
    }
}

impl From<io::Error> for No {
    fn from(error: io::Error) -> No {
        let errno = match error.kind() {
            io::ErrorKind::NotFound => libc::ENOENT,
            _ => error.raw_os_error().unwrap_or(libc::EIO),
        };
        No { detail: u64::try_from(errno).unwrap_or(0), ..No::because(Reason::System) }
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

/// Writes one line for whoever reads the guard's log, after everything is over.
fn say(acted: Acted, at: Tick, guard: i32) {
    use std::fmt::Write as _;
    let what = match acted {
        Acted::Nothing => return,
        Acted::Shutdown => "the lease ran out: PostgreSQL was shut down (fast)",
        Acted::Killed => "PostgreSQL was killed: the lease ran out and it had not ended in time, or it was told so",
    };
    let (seconds, millis) = (at.0 / 1_000_000_000, at.0 / 1_000_000 % 1000);
    let mut line = Text::<256>::new();
    let _ = writeln!(line, "jogi guard [{guard}] {seconds}.{millis:03} s after boot: {what}; nothing of it is left");
    let _ = rustix::io::write(io::stderr(), line.as_bytes());
}
