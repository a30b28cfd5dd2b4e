//! `postmaster.pid`: what a server wrote about itself, and whether that server is still there.
//!
//! A crash leaves the file behind and the number in it may be another program's today. A number counts as the
//! server's postmaster only when its working directory is the data directory; where that cannot be read (another
//! user's process), when it started within 3 s of the time in the file (as Patroni decides).
//! Lines as in PostgreSQL's src/include/utils/pidfile.h.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::pidfd::{FileId, Process, stat};
use jogi_net::clock::boot_now;

/// How far the start time in the file and the process's may lie apart.
const START_TOLERANCE: Duration = Duration::from_secs(3);

/// The System V segment that every process of a server is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub key: i32,
    pub id: i32,
}

/// The contents of `postmaster.pid`. Lines that a starting server has not written yet are `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostmasterPid {
    /// Negative in the file for a single-user server; here always positive, see `single_user`.
    pub pid: i32,
    pub single_user: bool,
    pub data_dir: Option<PathBuf>,
    /// Seconds since 1970 by the wall clock.
    pub started: Option<i64>,
    pub port: Option<u16>,
    pub socket_dir: Option<PathBuf>,
    pub listen_address: Option<String>,
    pub segment: Option<Segment>,
    /// `starting`, `stopping`, `ready`, `standby` (PostgreSQL 10 and later).
    pub status: Option<String>,
}

impl PostmasterPid {
    /// Reads the file in `data_dir`; `None` when there is none.
    pub fn read(data_dir: &Path) -> io::Result<Option<PostmasterPid>> {
        match std::fs::read_to_string(data_dir.join("postmaster.pid")) {
            Ok(text) => Ok(PostmasterPid::parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `None` when the first line is not a number: a file that is being written.
    pub fn parse(text: &str) -> Option<PostmasterPid> {
        let mut lines = text.lines().map(str::trim);
        let pid: i32 = lines.next()?.parse().ok().filter(|pid| *pid != 0)?;
        let mut next = || lines.next().filter(|line| !line.is_empty());
        Some(PostmasterPid {
            pid: pid.checked_abs()?,
            single_user: pid < 0,
            data_dir: next().map(PathBuf::from),
            started: next().and_then(|line| line.parse().ok()),
            port: next().and_then(|line| line.parse().ok()),
            socket_dir: next().map(PathBuf::from),
            listen_address: next().map(str::to_owned),
            segment: next().and_then(parse_segment),
            status: next().map(str::to_owned),
        })
    }

    /// The process that this file speaks of, if it still is there: a single-user server counts.
    pub fn process(&self, data_dir: &Path) -> io::Result<Option<Process>> {
        let process = match Process::open(self.pid) {
            Ok(process) => process,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let ours = match FileId::working_directory(self.pid) {
            Ok(directory) => directory == FileId::of(data_dir)?,
            Err(_) => self.started_with(self.pid),
        };
        Ok(Some(process).filter(|_| ours))
    }

    fn started_with(&self, pid: i32) -> bool {
        let (Some(written), Ok(stat)) = (self.started, stat(pid)) else { return false };
        let age = Duration::from_nanos(boot_now().0).saturating_sub(since_boot(stat.started));
        let Some(started) = SystemTime::now().checked_sub(age) else { return false };
        let Ok(written) = u64::try_from(written) else { return false };
        let written = UNIX_EPOCH + Duration::from_secs(written);
        let apart = started.duration_since(written).unwrap_or_else(|early| early.duration());
        apart <= START_TOLERANCE
    }
}

fn since_boot(clock_ticks: u64) -> Duration {
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_millis(clock_ticks.saturating_mul(1000) / per_second)
}

fn parse_segment(line: &str) -> Option<Segment> {
    let mut words = line.split_ascii_whitespace();
    let key: i64 = words.next()?.parse().ok()?;
    let id = words.next()?.parse().ok()?;
    // The key is printed unsigned ("%9lu"): a large one wraps to the negative key_t that it is.
    Some(Segment { key: key as i32, id })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "4711\n/data/pg\n1700000000\n5432\n/tmp\n127.0.0.1\n  5432001         7\nready   \n";

    #[test]
    fn a_whole_file() {
        let file = PostmasterPid::parse(WHOLE).expect("whole");
        assert_eq!(file.pid, 4711);
        assert!(!file.single_user);
        assert_eq!(file.data_dir.as_deref(), Some(Path::new("/data/pg")));
        assert_eq!(file.started, Some(1_700_000_000));
        assert_eq!(file.port, Some(5432));
        assert_eq!(file.segment, Some(Segment { key: 5_432_001, id: 7 }));
        assert_eq!(file.status.as_deref(), Some("ready"));
    }

    #[test]
    fn partial_and_odd_files() {
        assert_eq!(PostmasterPid::parse(""), None);
        assert_eq!(PostmasterPid::parse("x\n"), None);
        assert_eq!(PostmasterPid::parse("0\n"), None);
        let starting = PostmasterPid::parse("4711\n/data/pg\n1700000000\n5432\n").expect("starting");
        assert_eq!((starting.port, starting.segment), (Some(5432), None));
        let single = PostmasterPid::parse("-4711\n/data/pg\n").expect("single user");
        assert!(single.single_user);
        assert_eq!(single.pid, 4711);
        let no_socket = PostmasterPid::parse("1\n/d\n1\n5432\n\n*\n 1 2\n").expect("no socket directory");
        assert_eq!(no_socket.socket_dir, None);
        assert_eq!(no_socket.segment, Some(Segment { key: 1, id: 2 }));
    }

    #[test]
    fn a_number_reused_by_another_program_is_not_the_server() {
        let own = std::process::id();
        let file = PostmasterPid::parse(&format!("{own}\n/\n1\n")).expect("parses");
        assert!(file.process(Path::new("/proc")).expect("readable").is_none());
        let here = std::env::current_dir().expect("a directory");
        assert!(file.process(&here).expect("readable").is_some());
    }
}
