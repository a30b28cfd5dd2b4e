//! A promotion under way: asked for once, then the server is kept awake until recovery has ended.
//!
//! PostgreSQL is asked by a file and SIGUSR1 to the postmaster, which passes SIGUSR2 to the startup process. That process
//! can miss the wake-up between two waits for WAL and sleep out `wal_retrieve_retry_interval`: one promotion in
//! five took 5 s. Both signals are harmless when repeated (src/backend/postmaster/startup.c: a flag and a latch), so they
//! are repeated until the startup process is gone, which is when recovery has ended.
//!
//! SIGUSR2 means something else to other processes (a walsender ends, the checkpointer shuts down): it goes only to a child
//! of the postmaster whose title is the startup process's in every detail.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use jogi_core::Tick;
use rustix::process::Signal;

use crate::pidfd::{self, Process};

/// How long a promoting server may sleep at most.
const WAKE_EVERY: Duration = Duration::from_millis(15);

/// After so many looks without a startup process it is taken as gone: it ended before it was ever seen.
const LOOKS: u32 = 10;

/// How long to go on waking. Recovery that has not ended by then is replaying much WAL, not asleep.
const WAKE_FOR: Duration = Duration::from_secs(60);

pub(super) struct Promotion {
    pub(super) generation: u64,
    phase: Phase,
}

enum Phase {
    /// A child creates the promote file.
    Asking {
        child: i32,
    },
    Waking {
        startup: Option<Process>,
        looks: u32,
        next: Tick,
        until: Tick,
    },
}

/// What became of the promotion in one step.
pub(super) enum Step {
    GoesOn {
        next: Option<Tick>,
    },
    /// Recovery has ended.
    Ended,
    /// It has not ended, but waking does not help any more.
    GivenUp,
}

/// The startup process among the children of a postmaster.
enum Found {
    Nothing,
    Startup(Process),
    /// Two look like it, so neither is touched.
    Several,
}

impl Promotion {
    pub(super) fn asked(generation: u64, child: i32) -> Promotion {
        Promotion { generation, phase: Phase::Asking { child } }
    }

    /// Whether `child` is the one that creates the promote file.
    pub(super) fn waits_for(&self, child: i32) -> bool {
        matches!(self.phase, Phase::Asking { child: own } if own == child)
    }

    /// The promote file is there: begin to wake.
    pub(super) fn file_is_there(&mut self, now: Tick) {
        self.phase = Phase::Waking { startup: None, looks: 0, next: now, until: now + WAKE_FOR };
    }

    pub(super) fn startup_pidfd(&self) -> Option<BorrowedFd<'_>> {
        match &self.phase {
            Phase::Waking { startup: Some(startup), .. } => startup.pidfd(),
            Phase::Waking { startup: None, .. } | Phase::Asking { .. } => None,
        }
    }

    pub(super) fn step(&mut self, postmaster: &Process, now: Tick) -> Step {
        let Phase::Waking { startup, looks, next, until } = &mut self.phase else { return Step::GoesOn { next: None } };
        if startup.as_ref().is_some_and(|startup| !startup.is_running()) || *looks == LOOKS {
            return Step::Ended;
        }
        if now < *next {
            return Step::GoesOn { next: Some(*next) };
        }
        if now >= *until {
            return Step::GivenUp;
        }
        let _ = postmaster.signal(Signal::USR1);
        match startup {
            Some(startup) => drop(startup.signal(Signal::USR2)),
            None => match find_startup(postmaster.pid()) {
                Found::Startup(process) => *startup = Some(process),
                Found::Nothing => *looks += 1,
                Found::Several => {}
            },
        }
        *next = now + WAKE_EVERY;
        Step::GoesOn { next: Some(*next) }
    }
}

/// Whether the server is in recovery: it has a startup process.
pub(super) fn recovers(postmaster: &Process) -> bool {
    matches!(find_startup(postmaster.pid()), Found::Startup(_))
}

fn find_startup(postmaster: i32) -> Found {
    let mut found = Found::Nothing;
    let looked = pidfd::each_pid(|pid| {
        if let Some(process) = startup_process(pid, postmaster) {
            found = match found {
                Found::Nothing => Found::Startup(process),
                Found::Startup(_) | Found::Several => Found::Several,
            };
        }
    });
    if looked.is_err() { Found::Several } else { found }
}

fn startup_process(pid: i32, postmaster: i32) -> Option<Process> {
    if pidfd::stat(pid).ok()?.parent != postmaster {
        return None;
    }
    // The handle first, then the checks: they speak of the process that will get the signal.
    let process = Process::open(pid).ok()?;
    let mut buffer = [0; 512];
    let is_startup =
        pidfd::stat(pid).ok()?.parent == postmaster && is_startup_title(pidfd::title(pid, &mut buffer).ok()?);
    Some(process).filter(|_| is_startup)
}

/// `postgres: [cluster_name: ]startup[ recovering 00000001…]`. A client's process has its user's name at that place
/// and more words after it.
fn is_startup_title(title: &[u8]) -> bool {
    pidfd::activities(title).any(is_startup_activity)
}

fn is_startup_activity(text: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(text) else { return false };
    let mut words = text.split_ascii_whitespace();
    // Until PostgreSQL 12: "startup process   recovering …".
    if words.next() != Some("startup") {
        return false;
    }
    let segment = |word: &str| word.len() == 24 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut words = words.skip_while(|word| *word == "process");
    match (words.next(), words.next(), words.next(), words.next()) {
        (None, None, None, None) => true,
        (Some("recovering"), Some(file), rest, None) => segment(file) && matches!(rest, None | Some("waiting")),
        (Some("waiting"), Some("for"), Some(file), None) => segment(file),
        (Some("waiting"), None, None, None) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_startup_process_is_taken_for_it() {
        let startups = [
            "postgres: startup",
            "postgres: startup recovering 000000010000000000000003",
            "postgres: startup recovering 000000010000000000000003 waiting",
            "postgres: startup waiting for 000000010000000000000003",
            "postgres: startup process   recovering 000000010000000000000003",
            "postgres: main: startup recovering 000000010000000000000003",
            "postgres: a: b: startup",
        ];
        let others = [
            "postgres: main: checkpointer",
            "postgres: startup: checkpointer",
            "postgres: main: walsender startup 10.0.0.1(5) streaming 0/3000060",
            "postgres: startup startup [local] idle",
            "postgres: startup postgres 127.0.0.1(4711) SELECT",
            "postgres: main: startup postgres [local] idle",
            "postgres: startup recovering 10.0.0.1(5) idle",
            "/usr/lib/postgresql/15/bin/postgres -D /data",
            "startup",
            "",
        ];
        for title in startups {
            assert!(is_startup_title(title.as_bytes()), "{title}");
        }
        for title in others {
            assert!(!is_startup_title(title.as_bytes()), "{title}");
        }
    }
}
