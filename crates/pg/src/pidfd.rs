//! One process, named so that a signal can never reach another one that got its number.
//!
//! A number alone is reused. A [`Process`] holds a pidfd where the kernel gives one (Linux 5.3, not under every
//! seccomp profile), else the start time beside the number, compared before each signal. Nothing here allocates:
//! the guard uses it after its start, and `/proc` is read into buffers on the stack.

use std::fmt::Write as _;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir, StatxFlags};
use rustix::process::{Pid, PidfdFlags, Signal};

/// A file by device and inode: stays the same through renames and symbolic links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    device: (u32, u32),
    inode: u64,
}

/// Which process: its number and when it started, in clock ticks since boot (`/proc/PID/stat`, field 22).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessId {
    pub pid: i32,
    pub started: u64,
}

/// A process that can be signalled and watched.
#[derive(Debug)]
pub struct Process {
    id: ProcessId,
    fd: Option<OwnedFd>,
}

/// What is used of `/proc/PID/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// `R`, `S`, `D`, `T` (stopped by a signal), `Z` …
    pub state: u8,
    pub parent: i32,
    pub session: i32,
    /// The controlling terminal; 0 for none.
    pub terminal: i32,
    /// Clock ticks since boot.
    pub started: u64,
}

impl Process {
    /// Takes hold of the running process that has the number `pid` now. Error `NotFound` when there is none.
    pub fn open(pid: i32) -> io::Result<Process> {
        let process = Process::child(pid)?;
        if !process.is_running() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(process)
    }

    /// Takes hold of a child that has not been reaped, whether or not it still runs.
    pub fn child(pid: i32) -> io::Result<Process> {
        let raw = Pid::from_raw(pid).filter(|_| pid > 0).ok_or(io::ErrorKind::InvalidInput)?;
        let fd = match rustix::process::pidfd_open(raw, PidfdFlags::empty()) {
            Ok(fd) => Some(fd),
            Err(rustix::io::Errno::SRCH) => return Err(io::ErrorKind::NotFound.into()),
            Err(_) => None,
        };
        Ok(Process { id: ProcessId { pid, started: stat(pid)?.started }, fd })
    }

    pub fn id(&self) -> ProcessId {
        self.id
    }

    pub fn pid(&self) -> i32 {
        self.id.pid
    }

    /// Becomes readable when the process has ended. `None`: the kernel gives no pidfd, ask [`is_running`](Self::is_running).
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd)
    }

    /// Sends `signal` to this very process. Error `NotFound` when it has ended and been reaped.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let sent = match &self.fd {
            Some(fd) => rustix::process::pidfd_send_signal(fd, signal),
            None => {
                if !self.is_same() {
                    return Err(io::ErrorKind::NotFound.into());
                }
                let pid = Pid::from_raw(self.id.pid).ok_or(io::ErrorKind::InvalidInput)?;
                rustix::process::kill_process(pid, signal)
            }
        };
        match sent {
            Err(rustix::io::Errno::SRCH) => Err(io::ErrorKind::NotFound.into()),
            other => Ok(other?),
        }
    }

    /// Whether it has not ended; a zombie has.
    pub fn is_running(&self) -> bool {
        stat(self.id.pid).is_ok_and(|stat| stat.started == self.id.started && !matches!(stat.state, b'Z' | b'X'))
    }

    fn is_same(&self) -> bool {
        stat(self.id.pid).is_ok_and(|stat| stat.started == self.id.started)
    }
}

impl FileId {
    /// The file at `path`, following links, without asking a network file system again.
    pub fn of(path: impl rustix::path::Arg + Copy) -> io::Result<FileId> {
        match rustix::fs::statx(CWD, path, AtFlags::STATX_DONT_SYNC, StatxFlags::INO) {
            Ok(found) => Ok(FileId { device: (found.stx_dev_major, found.stx_dev_minor), inode: found.stx_ino }),
            Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => {
                let found = rustix::fs::stat(path)?;
                let device = (rustix::fs::major(found.st_dev), rustix::fs::minor(found.st_dev));
                Ok(FileId { device, inode: found.st_ino })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The working directory of `pid`. Fails for zombies, kernel threads and other users' processes.
    pub fn working_directory(pid: i32) -> io::Result<FileId> {
        FileId::of(proc_path(pid, "cwd").as_c_str()?)
    }

    /// The program that `pid` runs.
    pub fn program(pid: i32) -> io::Result<FileId> {
        FileId::of(proc_path(pid, "exe").as_c_str()?)
    }
}

/// Reads `/proc/PID/stat`.
pub fn stat(pid: i32) -> io::Result<Stat> {
    let mut buffer = [0; 1024];
    let text = read_proc(pid, "stat", &mut buffer)?;
    parse_stat(text).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The command name may hold spaces and parentheses: fields are counted from the last closing one.
fn parse_stat(text: &[u8]) -> Option<Stat> {
    let end_of_name = text.iter().rposition(|byte| *byte == b')')?;
    let rest = str::from_utf8(text.get(end_of_name + 2..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    Some(Stat {
        state: *fields.next()?.as_bytes().first()?,
        parent: fields.next()?.parse().ok()?,
        session: fields.nth(1)?.parse().ok()?,
        terminal: fields.next()?.parse().ok()?,
        started: fields.nth(14)?.parse().ok()?,
    })
}

/// The title of `pid`, arguments separated by spaces, as far as it fits into `buffer`.
pub fn title(pid: i32, buffer: &mut [u8]) -> io::Result<&[u8]> {
    let length = read_proc(pid, "cmdline", buffer)?.len();
    let text = &mut buffer[..length];
    for byte in text.iter_mut().filter(|byte| **byte == 0) {
        *byte = b' ';
    }
    Ok(text.trim_ascii_end())
}

/// What the title of a server's process may say that it does: it follows `postgres: ` and the cluster's name, which may
/// hold ": " itself.
pub fn activities(title: &[u8]) -> impl Iterator<Item = &[u8]> {
    let after_name = |rest: &&'_ [u8]| rest.windows(2).position(|pair| pair == b": ").map(|at| at + 2);
    std::iter::successors(title.strip_prefix(b"postgres: "), move |rest| Some(&rest[after_name(rest)?..]))
}

/// Reads the beginning of `/proc/PID/NAME` into `buffer`.
pub fn read_proc<'b>(pid: i32, name: &str, buffer: &'b mut [u8]) -> io::Result<&'b [u8]> {
    let file = open_proc(pid, name)?;
    let mut length = 0;
    while length < buffer.len() {
        match rustix::io::read(&file, &mut buffer[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::SRCH) => return Err(io::ErrorKind::NotFound.into()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(&buffer[..length])
}

/// Opens `/proc/PID/NAME` for reading.
pub fn open_proc(pid: i32, name: &str) -> io::Result<OwnedFd> {
    let path = proc_path(pid, name);
    Ok(rustix::fs::open(path.as_c_str()?, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Calls `visit` with the number of every process there is.
pub fn each_pid(mut visit: impl FnMut(i32)) -> io::Result<()> {
    let proc = rustix::fs::open(c"/proc", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
    let mut entries = RawDir::new(proc, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let number = entry.file_name().to_str().ok().and_then(|name| name.parse().ok());
        if let Some(pid) = number.filter(|pid| *pid > 0) {
            visit(pid);
        }
    }
    Ok(())
}

/// Calls `visit` with every line of `file`, without its end. Of a line longer than 4 KB the first part is passed.
pub(crate) fn each_line(file: &OwnedFd, mut visit: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = [0; 4096];
    let mut filled = 0;
    let mut skipping = false;
    loop {
        let read = match rustix::io::read(file, &mut buffer[filled..]) {
            Err(rustix::io::Errno::INTR) => continue,
            read => read?,
        };
        if read == 0 {
            if filled > 0 && !skipping {
                visit(&buffer[..filled]);
            }
            return Ok(());
        }
        filled += read;
        let mut begin = 0;
        while let Some(length) = buffer[begin..filled].iter().position(|byte| *byte == b'\n') {
            if !std::mem::take(&mut skipping) {
                visit(&buffer[begin..begin + length]);
            }
            begin += length + 1;
        }
        if begin == 0 && filled == buffer.len() {
            if !std::mem::replace(&mut skipping, true) {
                visit(&buffer);
            }
            begin = filled;
        }
        buffer.copy_within(begin..filled, 0);
        filled -= begin;
    }
}

fn proc_path(pid: i32, name: &str) -> Text<64> {
    let mut path = Text::new();
    let _ = write!(path, "/proc/{pid}/{name}");
    path
}

/// Text of at most `N - 1` bytes on the stack; what does not fit is cut.
#[derive(Clone, Copy)]
pub(crate) struct Text<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Text<N> {
    pub(crate) fn new() -> Text<N> {
        Text { bytes: [0; N], length: 0 }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// With the terminating NUL. Fails on an inner one.
    pub(crate) fn as_c_str(&self) -> io::Result<&std::ffi::CStr> {
        std::ffi::CStr::from_bytes_with_nul(&self.bytes[..=self.length]).map_err(|_| io::ErrorKind::InvalidInput.into())
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let room = N - 1 - self.length;
        let taken = &bytes[..bytes.len().min(room)];
        self.bytes[self.length..self.length + taken.len()].copy_from_slice(taken);
        self.length += taken.len();
    }
}

impl<const N: usize> std::fmt::Write for Text<N> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_after_the_last_parenthesis() {
        let line = b"812 (a) b (x) T 77 812 800 34816 812 4194304 1 0 0 0 0 0 0 0 20 0 1 0 123456 0 0\n";
        assert_eq!(
            parse_stat(line),
            Some(Stat { state: b'T', parent: 77, session: 800, terminal: 34816, started: 123_456 })
        );
        assert_eq!(parse_stat(b"812 (a"), None);
        assert_eq!(parse_stat(b"812 (a) S 1"), None);
    }

    #[test]
    fn a_reaped_child_cannot_be_signalled() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().expect("sleep starts");
        let process = Process::open(i32::try_from(child.id()).expect("a pid")).expect("it runs");
        assert!(process.is_running());
        process.signal(Signal::KILL).expect("ours");
        child.wait().expect("ours");
        assert!(!process.is_running());
        assert_eq!(process.signal(Signal::KILL).expect_err("gone").kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn our_own_process_is_listed_with_its_directory() {
        let own = i32::try_from(std::process::id()).expect("a pid");
        let mut seen = false;
        each_pid(|pid| seen |= pid == own).expect("/proc is there");
        assert!(seen);
        let here = std::env::current_dir().expect("a directory");
        assert_eq!(FileId::working_directory(own).expect("ours"), FileId::of(here.as_path()).expect("it exists"));
    }

    #[test]
    fn lines_of_every_length_are_passed_once() {
        let long = "x".repeat(9000);
        let text = format!("a\n\n{long}\nb\nlast");
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let mut writer = std::fs::File::from(OwnedFd::from(writer));
        io::Write::write_all(&mut writer, text.as_bytes()).expect("fits into a pipe");
        drop(writer);
        let mut lines = Vec::new();
        each_line(&reader.into(), |line| lines.push(String::from_utf8_lossy(line).into_owned())).expect("readable");
        assert_eq!(lines, ["a", "", &long[..4096], "b", "last"].map(str::to_owned).to_vec());
    }

    #[test]
    fn text_is_cut_never_overflown() {
        let mut text = Text::<8>::new();
        let _ = write!(text, "{}", 123_456_789);
        assert_eq!(text.as_bytes(), b"1234567");
        assert_eq!(text.as_c_str().expect("no inner NUL").to_bytes(), b"1234567");
    }
}
