//! Copies of the data directory that were put aside: what one is worth, and when it goes.
//!
//! A re-clone renames the data first, so that nothing is lost by a copy that cannot be made. Two hazards are on either
//! side of that: a disk that fills with copies nobody wants, and commits that are thrown away although no other member
//! has them. So the rules tell two kinds apart. Data of a standby that was part of the leader's history is *replaced*:
//! it goes once the new copy is seen to stream, or to lead. All else, a former primary's, a member's that diverged, or
//! data of which that cannot be said, is *diverged*: the newest of these is kept until the next one comes or the disk
//! needs the room.
//!
//! In pause nothing is removed: a person is at work.

use std::time::Duration;

use super::flight::Purpose;
use super::machine::Ha;
use super::note::NoteLevel;
use super::server::{ControlState, DataDir};
use super::{Act, Aside, Failure, Lane, Outcome};
use crate::{Tick, Timeline};

/// How many copies that may hold commits of their own are kept.
const KEEP_DIVERGED: usize = 1;
/// Large tables on a slow disk; past this the removal is reported as stuck and goes on.
const REMOVAL: Duration = Duration::from_secs(3600);
/// Pauses after a removal that failed: doubled from the first to the last.
const AGAIN_FIRST: Duration = Duration::from_secs(60);
const AGAIN_MAX: Duration = Duration::from_secs(3600);

/// Whether there may be copies to remove.
#[derive(Clone, Debug, Default)]
pub(super) struct Copies {
    /// Nothing has been put aside since it was last looked for. A starting agent does not know.
    looked: bool,
    failed: u32,
    again: Tick,
}

impl Copies {
    /// A new copy was made: what it replaced may go.
    pub fn look_again(&mut self) {
        *self = Copies::default();
    }
}

impl Ha {
    pub(super) fn copies_turn(&mut self) {
        if self.copies.looked || self.op.is_some() || self.paused() || self.shutting_down {
            return;
        }
        if self.now.boot < self.copies.again || !self.is_sound() {
            return;
        }
        let act = Act::RemoveCopies { keep_diverged: KEEP_DIVERGED };
        self.issue(Lane::Copies, act, REMOVAL, Purpose::Copies);
    }

    /// Our server is seen to do what it is there for: its data needs no predecessor.
    fn is_sound(&self) -> bool {
        let streams = self.row().is_some_and(|row| row.replication_state() == Some("streaming"));
        let follows = streams && !self.divergence.is_doubted();
        follows || (self.lock().is_some() && self.is_writable())
    }

    pub(super) fn copies_removed(&mut self, outcome: Outcome) {
        match outcome {
            Ok(_) => self.copies.looked = true,
            Err(Failure::Cancelled) => {}
            Err(failure) => {
                let pause = AGAIN_FIRST * 2u32.pow(self.copies.failed.min(6));
                self.copies.again = self.now.boot + pause.min(AGAIN_MAX);
                self.copies.failed += 1;
                let text = format!("copies of the data directory that are not needed are still there: {failure}");
                self.note(NoteLevel::Warning, text);
            }
        }
    }

    /// What our data is worth to somebody who looks for lost commits, as far as we know.
    pub(super) fn worth(&self) -> Aside {
        let Some(DataDir::Present(control)) = self.server.as_ref().map(|s| &s.data) else { return Aside::Diverged };
        let standby = match control.state {
            ControlState::ShutDownInRecovery | ControlState::InArchiveRecovery => true,
            ControlState::StartingUp
            | ControlState::ShutDown
            | ControlState::ShuttingDown
            | ControlState::InCrashRecovery
            | ControlState::InProduction => false,
        };
        let ours = self.row().and_then(|row| row.timeline).unwrap_or(control.timeline);
        let part_of_theirs = self.leaders_timeline() == Some(ours) && !self.divergence.is_doubted();
        if standby && part_of_theirs { Aside::Old } else { Aside::Diverged }
    }

    fn leaders_timeline(&self) -> Option<Timeline> {
        let cluster = self.cluster()?;
        cluster.members.get(&cluster.leader.as_ref()?.name)?.data.timeline()
    }
}
