//! What an agent may ask for, and what is refused.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use jogi_core::Tick;
use jogi_core::lease::{Custody, Refusal, Server};
use jogi_net::clock::boot_now;
use rustix::net::SocketFlags;
use rustix::process::Signal;

use super::answers::drop_writer;
use super::{Guard, MOST_CONNECTIONS, Postmaster};
use crate::fence;
use crate::guard::page::Acted;
use crate::guard::promote::{self, Promotion};
use crate::guard::server::{self, Launch};
use crate::guard::socket;
use crate::guard::wire::{Kind, Message, Reason, Role, Stop, Tag, Writer};
use crate::pidfd::{FileId, Process, Text};

impl Guard {
    /// Accepts and answers at most one message per connection, so that the next turn is never far.
    pub(super) fn serve(&mut self) {
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
}

/// A refusal, as it is sent.
#[derive(Clone, Copy)]
pub(super) struct No {
    pub(super) reason: Reason,
    pub(super) detail: u64,
    pub(super) detail2: u64,
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
