//! The guard's socket: datagrams in order, with file descriptors, and the peer's user known.
//!
//! A socket's path may be 107 bytes at most, a data directory's path may not care: the socket is reached through the
//! open run directory (`/proc/self/fd/N/guard.sock`), whatever that is called.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

use super::page::Page;
use super::wire::{Kind, MAX_MESSAGE, Message, Tag};
use crate::pidfd::ProcessId;

const NAME: &str = "guard.sock";

/// A connection whose greeting has been read.
pub(super) struct Connection {
    pub(super) socket: OwnedFd,
    pub(super) page: Page,
    pub(super) guard: ProcessId,
    pub(super) version: String,
    pub(super) protocol: u16,
}

/// Makes the guard's socket in `run_dir`, in place of a dead guard's. The caller holds the guard's lock.
pub(super) fn listen(run_dir: &Path) -> io::Result<OwnedFd> {
    let directory = open_directory(run_dir)?;
    match rustix::fs::unlinkat(&directory, NAME, rustix::fs::AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let socket = new_socket()?;
    rustix::net::bind(&socket, &address(&directory)?)?;
    rustix::net::listen(&socket, 8)?;
    Ok(socket)
}

/// Connects to the guard of `run_dir` and reads its greeting, which must come within `deadline`. Blocks.
/// `NotFound` or `ConnectionRefused`: there is no guard.
pub(super) fn connect(run_dir: &Path, deadline: Duration) -> io::Result<Connection> {
    let directory = open_directory(run_dir)?;
    let socket = new_socket()?;
    rustix::net::connect(&socket, &address(&directory)?)?;
    // A start with its environment is one datagram: the buffer must take it whole.
    let _ = rustix::net::sockopt::set_socket_send_buffer_size(&socket, 2 * MAX_MESSAGE);
    let timeout = Timespec { tv_sec: deadline.as_secs() as i64, tv_nsec: i64::from(deadline.subsec_nanos()) };
    let mut fds = [PollFd::new(&socket, PollFlags::IN)];
    if rustix::event::poll(&mut fds, Some(&timeout))? == 0 {
        return Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the guard accepted no connection in time (is it stopped?)",
        ));
    }
    greet(socket)
}

fn greet(socket: OwnedFd) -> io::Result<Connection> {
    let mut buffer = [0; 1024];
    let (length, fds) = receive_with_fds(socket.as_fd(), &mut buffer)?;
    if length == 0 {
        return Err(io::Error::new(io::ErrorKind::ConnectionReset, "the guard ended, or has too many connections"));
    }
    let unreadable = || io::Error::new(io::ErrorKind::InvalidData, "the guard's greeting cannot be understood");
    let message = Message::parse(&buffer[..length]).filter(|m| m.kind == Some(Kind::Hello)).ok_or_else(unreadable)?;
    let [Some(memory), Some(doorbell)] = fds else { return Err(unreadable()) };
    let pid = message.pid(Tag::GuardPid).ok_or_else(unreadable)?;
    Ok(Connection {
        socket,
        page: Page::open(memory, doorbell)?,
        guard: ProcessId { pid, started: message.number_or_0(Tag::GuardStarted) },
        version: String::from_utf8_lossy(message.bytes(Tag::Version).unwrap_or_default()).into_owned(),
        protocol: message.protocol,
    })
}

fn open_directory(run_dir: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(run_dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

fn new_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

fn address(directory: &OwnedFd) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new(format!("/proc/self/fd/{}/{NAME}", directory.as_raw_fd()))?)
}

/// Sends one message, with a file descriptor if given. `WouldBlock` when the peer does not read.
pub(super) fn send(socket: BorrowedFd<'_>, message: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    match fd {
        Some(fd) => send_with_fds(socket, message, &[fd]),
        None => send_with_fds(socket, message, &[]),
    }
}

/// Sends one message with file descriptors.
pub(super) fn send_with_fds(socket: BorrowedFd<'_>, message: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    loop {
        match rustix::net::sendmsg(socket, &[IoSlice::new(message)], &mut control, flags) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Receives one message; 0 bytes when the peer has closed.
pub(super) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    receive_with_fds(socket, buffer).map(|(length, _)| length)
}

/// Receives one message and up to two file descriptors. A message that does not fit is `InvalidData`.
pub(super) fn receive_with_fds(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, [Option<OwnedFd>; 2])> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = loop {
        match rustix::net::recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, flags) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    let mut fds = [None, None];
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            for (slot, fd) in fds.iter_mut().zip(rights) {
                *slot = Some(fd);
            }
        }
    }
    if received.flags.contains(rustix::net::ReturnFlags::TRUNC) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok((received.bytes, fds))
}

/// Whether the peer may command the guard: root, or the guard's own user.
pub(super) fn may_command(socket: BorrowedFd<'_>) -> bool {
    rustix::net::sockopt::socket_peercred(socket)
        .is_ok_and(|peer| peer.uid.is_root() || peer.uid == rustix::process::geteuid())
}
