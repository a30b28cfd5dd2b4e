//! An operation is over, has failed, or is void: what it leaves behind, and what the asker is told.

use std::time::Duration;

use super::super::flight::{Purpose, SHORT};
use super::super::machine::Ha;
use super::super::note::NoteLevel;
use super::super::state::{Phase, Role};
use super::super::timer::Timer;
use super::super::{Act, Intent, Lane, Reply};
use super::{Kind, Op, Step};

impl Ha {
    pub(super) fn op_voided(&mut self, op: Op) {
        self.sync.leaving = None;
        self.forget_reservation(op.kind);
        self.note(NoteLevel::Warning, format!("{} is given up: the leader lock is lost", op.kind.word()));
        self.reply_to(op.request, Reply::new(503, format!("{} failed", op.kind.word())));
        self.phase = Phase::AsSeen;
        self.look();
    }

    pub(super) fn op_over(&mut self, op: Op) {
        self.sync.leaving = None;
        self.timers.clear(Timer::Step);
        match op.kind {
            Kind::Promote => {
                self.armed = self.lease.lock.as_ref().map(|l| l.generation);
                self.succeeded();
                self.warn_of_unready_slots();
                self.server_changed(|server| {
                    if let Some(row) = &mut server.row {
                        row.in_recovery = false;
                        row.flushed = row.replayed.max(row.received);
                        row.timeline = None;
                        row.receiver = None;
                    }
                });
                self.role = Role::Primary;
                self.phase = Phase::AsSeen;
                self.divergence = Default::default();
                self.followed = None;
                self.look();
            }
            Kind::Start | Kind::Restart | Kind::CopySlots | Kind::Follow => {
                self.failures.start = 0;
                self.first_start_done = true;
                self.phase = Phase::AsSeen;
                self.look();
            }
            Kind::Rewind => {
                self.rewind_over();
                self.look();
            }
            Kind::Clone => {
                self.failures.clone = 0;
                self.divergence = Default::default();
                self.copies.look_again();
                self.phase = Phase::AsSeen;
                self.look();
            }
            Kind::Bootstrap => {
                self.phase = Phase::AsSeen;
                self.first_start_done = true;
                self.load();
                self.look();
            }
            Kind::CleanUp => {
                self.found.intent = None;
                self.look();
            }
            Kind::Reinitialize => {
                self.divergence = Default::default();
                self.phase = Phase::AsSeen;
                self.look();
            }
            Kind::Close | Kind::HandOver | Kind::DemoteCluster | Kind::Bequeath => {
                self.phase = Phase::AsSeen;
                self.look();
            }
            Kind::Shutdown => {}
        }
        self.reply_to(op.request, op.kind.good_news());
    }

    pub(super) fn op_failed(&mut self, op: Op, why: &str) {
        self.sync.leaving = None;
        self.forget_reservation(op.kind);
        self.timers.clear(Timer::Step);
        self.note(NoteLevel::Error, format!("{} failed: {why}", op.kind.word()));
        self.reply_to(op.request, op.kind.bad_news(why));
        self.look();
        match op.kind {
            Kind::Start | Kind::Restart | Kind::CopySlots => {
                self.phase = if op.kind.restarts() { Phase::RestartFailed } else { Phase::StartFailed };
                self.failures.start += 1;
                // A history file that came after the comparison may forbid it: "requested timeline is not a child of this
                // server's history". Only a rewind or a copy helps then.
                self.divergence.suspect();
                self.pause_after(self.failures.start);
            }
            Kind::Clone | Kind::CleanUp => {
                self.phase = Phase::AsSeen;
                self.failures.clone += 1;
                self.pause_after(self.failures.clone);
                if op.kind == Kind::Clone {
                    self.found.intent = Some(Intent::Clone);
                }
            }
            // It is done; a second one would begin on what the first has left.
            Kind::Rewind if op.was_at(|s| *s == Step::Settle) && op.is_past(|s| matches!(s, Step::Rewind(_))) => {
                self.rewind_over();
                let because = "pg_rewind is done and the note of intent is still there";
                self.begin_op(Op::new(Kind::CleanUp, because, [Step::Settle, Step::Look]));
            }
            Kind::Rewind => self.rewind_failed(why, op.was_at(|step| matches!(step, Step::Rewind(_)))),
            Kind::Promote => self.promotion_failed(&op),
            Kind::HandOver => self.hand_over_failed(why),
            Kind::Bootstrap => self.bootstrap_failed(op.initialize, why),
            Kind::Follow => {
                self.followed = None;
                self.configured = None;
                self.pause_after(1);
            }
            Kind::Reinitialize => {
                self.phase = Phase::AsSeen;
                if op.is_past(|step| matches!(step, Step::Intend(_))) {
                    self.found.intent = Some(Intent::PutAside);
                }
                self.pause_after(1);
            }
            Kind::Close | Kind::DemoteCluster | Kind::Bequeath => {
                self.phase = Phase::AsSeen;
                self.pause_after(1);
            }
            Kind::Shutdown => {
                self.exited = true;
                let why = format!("the shutdown was not clean: {why}");
                self.fire(Lane::Server, Act::Exit { code: 1, why }, SHORT, Purpose::Unattended);
            }
        }
    }

    /// A promotion that did not happen has left notes of the timelines that are taken. A receiver asks for no history file
    /// where such a note lies, and never follows that timeline: they go with the next configuration as a standby.
    fn forget_reservation(&mut self, kind: Kind) {
        if kind == Kind::Promote {
            self.followed = None;
        }
    }

    /// Growing pauses between tries of the same thing: 0.5 s, doubled up to 30 s.
    pub(in crate::ha) fn pause_after(&mut self, failures: u32) {
        let pause = Duration::from_millis(500) * 2u32.pow(failures.saturating_sub(1).min(6));
        self.failures.retry_at = self.now.boot + pause.min(Duration::from_secs(30));
        self.timers.set(Timer::Retry, self.failures.retry_at);
    }
}

impl Kind {
    fn good_news(self) -> Reply {
        match self {
            Kind::Restart => Reply::new(200, "restarted successfully"),
            Kind::Reinitialize => Reply::new(200, "reinitialize started"),
            other => Reply::new(200, format!("{} done", other.word())),
        }
    }

    fn bad_news(self, why: &str) -> Reply {
        match self {
            Kind::Restart if why.contains("in time") => Reply::new(503, "postgres is still starting"),
            Kind::Restart => Reply::new(503, "restart failed"),
            other => Reply::new(503, format!("{} failed: {why}", other.word())),
        }
    }
}
