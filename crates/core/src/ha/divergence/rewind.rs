//! Making our data directory a copy or a descendant of the leader's again: pg_rewind, and a copy where it cannot do it.

use super::super::machine::Ha;
use super::super::note::NoteLevel;
use super::super::op::{Kind, Op, Step};
use super::super::server::{Control, ControlState, DataDir};
use super::super::{Aside, Decision, Intent};
use super::State;
use super::model::Model;
use crate::MemberName;

impl Ha {
    pub(super) fn rewind(&mut self) -> Option<Decision> {
        let model = self.model()?;
        if self.now.boot < self.failures.retry_at {
            return Some(Decision::new("no action", "pg_rewind failed").waiting("the next try"));
        }
        if self.server.as_ref().is_some_and(|server| server.looked_at < self.changed_at) {
            self.look();
            return Some(
                Decision::new("no action", "a change of the data directory may have taken effect")
                    .waiting("a look at it"),
            );
        }
        let Some(control) = self.control() else { return Some(Decision::new("no action", "no data directory")) };
        self.say_that_all_may_go();
        let able = control.wal_log_hints || control.checksums;
        let wanted = self.local.uses_rewind(&self.settings);
        if wanted && able {
            return Some(self.begin_rewind(model, &control));
        }
        if self.may_copy_anew() {
            return Some(self.copy_anew("the timelines have diverged and pg_rewind cannot be used"));
        }
        let why = if wanted { "neither wal_log_hints nor data checksums are on" } else { "use_pg_rewind is off" };
        let text = format!(
            "our WAL is not part of {}'s and pg_rewind cannot help: {why}. Reinitialize this member, or set \
             remove_data_directory_on_diverged_timelines",
            model.name
        );
        self.note(NoteLevel::Error, text.clone());
        self.divergence.state = State::Failed;
        self.divergence.hopeless = Some(text);
        None
    }

    fn begin_rewind(&mut self, model: Model, control: &Control) -> Decision {
        let name = &model.name;
        let because = format!("our WAL is not part of {name}'s");
        let leads = |m: &crate::view::Member| match m.data.role() {
            "primary" => m.data.checkpoint_after_promote_done(),
            role => role == "standby_leader",
        };
        let ready = |member: &MemberName| {
            let member = self.cluster().and_then(|c| c.members.get(member));
            member.is_some_and(|m| leads(m) && m.data.is_running())
        };
        let source = model.upstream.filter(|_| model.member.as_ref().is_none_or(ready));
        let Some(source) = source else {
            return Decision::new("no action", because).waiting("the leader's checkpoint after its promotion");
        };
        let mut steps = self.stopping_steps(false);
        steps.extend(self.is_running().then_some(Step::EndOfWal));
        // A running standby that is stopped leaves a clean state; a crashed server must recover first.
        let crashed = !self.is_running()
            && (control.state.is_crashed_primary() || control.state == ControlState::InArchiveRecovery);
        // pg_rewind begins to change anything only after a clean state: a crashed one was not begun on.
        if crashed && !control.backup_label {
            steps.extend([Step::Intend(Intent::SingleUser), Step::SingleUser, Step::Settle]);
        }
        steps.extend([
            Step::ArchivePending,
            Step::Intend(Intent::Rewind),
            Step::Rewind(source),
            Step::Settle,
            Step::Look,
        ]);
        self.begin_op(Op::new(Kind::Rewind, because.clone(), steps));
        Decision::new(format!("running pg_rewind from {name}"), because)
    }

    /// pg_rewind has ended well. It goes by the numbers of timelines and by where control files say that the logs end,
    /// and may find nothing to do where we know better (a leader promoted a moment ago, up to PostgreSQL 15): a server with
    /// records that the leader does not have would never stream. One that only ended early has nothing to lose, and its
    /// start shows who was right.
    pub(in crate::ha) fn rewind_over(&mut self) {
        if self.divergence.is_left_apart() {
            let why = "it says that no rewind is required, and our WAL is not part of the leader's";
            self.note(NoteLevel::Warning, format!("pg_rewind has not helped: {why}"));
            // Where it was the running server that told so, its directory is to show who was right.
            return if self.divergence.told { self.divergence.compare_anew() } else { self.rewind_failed(why, false) };
        }
        self.failures.rewind = 0;
        self.divergence.rewound();
    }

    /// `begun`: pg_rewind itself ran, and may have left anything.
    pub(in crate::ha) fn rewind_failed(&mut self, why: &str, begun: bool) {
        const TRIES: u32 = 5;
        self.failures.rewind += 1;
        if begun {
            self.divergence.must_rewind();
            // Whether it took effect is unknown: what was seen of the directory before does not count.
            self.server_changed(|_| {});
        }
        if self.failures.rewind < TRIES {
            self.pause_after(self.failures.rewind);
            return;
        }
        if self.local.removes_on_rewind_failure(&self.settings) {
            self.copy_anew(&format!("pg_rewind failed: {why}"));
            return;
        }
        self.note(
            NoteLevel::Error,
            format!(
                "pg_rewind has failed {} times: {why}. Reinitialize this member, or set \
                 remove_data_directory_on_rewind_failure",
                self.failures.rewind
            ),
        );
        self.pause_after(8);
    }

    /// Put the data aside; the empty directory is filled by the next turn.
    pub(in crate::ha) fn copy_anew(&mut self, because: &str) -> Decision {
        let mut steps = self.closing_steps(false);
        steps.extend(self.is_running().then_some(Step::EndOfWal));
        let aside = Step::PutAside(Aside::Diverged);
        steps.extend([Step::Intend(Intent::PutAside), aside, Step::Settle, Step::Look]);
        self.followed = None;
        self.begin_op(Op::new(Kind::Reinitialize, because, steps));
        Decision::new("reinitializing", because.to_owned())
    }

    pub(in crate::ha) fn control(&self) -> Option<Control> {
        match &self.server.as_ref()?.data {
            DataDir::Present(control) => Some(control.clone()),
            DataDir::Empty | DataDir::Unusable(_) | DataDir::Broken(_) => None,
        }
    }
}
