//! Who has ended: the postmaster, ours or adopted, and the child that asks for a promotion.

use std::sync::atomic::Ordering;
use std::time::Duration;

use jogi_core::Tick;
use jogi_core::lease::Server;
use rustix::process::{WaitOptions, WaitStatus};

use super::answers::{drop_writer, exit_fields};
use super::{Guard, Next, Postmaster};
use crate::guard::client::{Exit, ExitStatus};
use crate::guard::promote::Step;
use crate::guard::server::NOT_EXECUTED;
use crate::guard::wire::{Kind, Tag};
use crate::pidfd::ProcessId;

/// What a postmaster that has ended leaves behind and that is not attached to its shared memory (the log collector, which
/// writes the last lines) may take this long to end by itself.
const GRACE: Duration = Duration::from_secs(1);

impl Guard {
    /// Takes leave of every child that has ended, and notes when the postmaster has.
    pub(super) fn reap(&mut self, now: Tick) {
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

    pub(super) fn promote_step(&mut self, now: Tick, next: &mut Next) {
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
}
