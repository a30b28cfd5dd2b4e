//! The end of a server: shut down at `soft`, killed at `hard`, and fenced when nothing of it is left.

use std::io;
use std::time::Duration;

use jogi_core::Tick;
use jogi_core::lease::{Server, Verdict};
use rustix::process::Signal;

use super::answers::drop_writer;
use super::{Guard, LOOK_AGAIN, Next};
use crate::fence;
use crate::guard::page::Acted;
use crate::guard::wire::{Kind, Tag};
use crate::pidfd::Text;

/// Between `soft` and `hard`: how often what was stopped by a signal is continued, so that it can end.
const THAW_EVERY: Duration = Duration::from_millis(100);

impl Guard {
    /// `soft` has passed: clients gone, walsenders drained.
    pub(super) fn shut_down(&mut self, now: Tick) {
        self.promotion = None;
        if self.postmaster.is_none() {
            return;
        }
        self.signal_postmaster(Signal::INT);
        self.thaw = Some(now + THAW_EVERY);
        self.acted(Acted::Shutdown, now);
    }

    /// Sends a signal that a stopped postmaster gets as well, before anything else that it does.
    pub(super) fn signal_postmaster(&self, signal: Signal) {
        if let Some(postmaster) = &self.postmaster {
            let _ = postmaster.process.signal(signal);
            let _ = postmaster.process.signal(Signal::CONT);
        }
    }

    /// Continues what is stopped while a shutdown of ours runs. The postmaster's signal to it came before.
    pub(super) fn thaw(&mut self, now: Tick, next: &mut Next) {
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
    pub(super) fn kill(&mut self, now: Tick) {
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
    pub(super) fn see_off(&mut self, now: Tick, next: &mut Next) {
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

    pub(super) fn acted(&mut self, what: Acted, now: Tick) {
        self.section.acted = what;
        self.section.acted_at = now;
        self.page.write_guard(&self.section);
        self.tell(Kind::Acted, |writer| {
            drop_writer(writer.number(Tag::Acted, u64::from(what.code())).number(Tag::ActedAt, now.0));
        });
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
