//! What happened to this member's cluster, as this member saw, decided and did it: a record to tell an incident by when
//! it is over.
//!
//! Every note and every change of the decision is a moment, and so is every change of who leads and of whether our own
//! server can be written to: by those an incident begins and ends.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::machine::Ha;
use crate::{MemberName, Wall};

/// One line of the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// By this member's clock.
    pub at: Wall,
    pub kind: MomentKind,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MomentKind {
    /// The store names no leader any more.
    LeaderGone,
    /// The store names a leader, or another one.
    LeaderSeen,
    /// Our server could be written to and cannot any more.
    WritesEnded,
    WritesBegan,
    Decided,
    Noted,
}

/// A bound on the moments that wait to be put down: the first ones tell how it began.
const MOMENTS_MAX: usize = 256;

/// What the last moments told, so that only changes are put down.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    leader: Option<MemberName>,
    writable: bool,
    state: Cow<'static, str>,
    because: Cow<'static, str>,
}

impl Ha {
    /// The next moment for the record.
    pub fn poll_moment(&mut self) -> Option<Moment> {
        self.moments.pop_front()
    }

    pub(super) fn remember(&mut self, kind: MomentKind, text: impl Into<String>) {
        if self.moments.len() < MOMENTS_MAX {
            self.moments.push_back(Moment { at: self.now.wall, kind, text: text.into() });
        }
    }

    /// At the end of a turn: what has become otherwise.
    pub(super) fn remember_changes(&mut self) {
        self.remember_leader();
        self.remember_writability();
        if self.told.state != self.decision.state || self.told.because != self.decision.because {
            self.told.state.clone_from(&self.decision.state);
            self.told.because.clone_from(&self.decision.because);
            self.remember(MomentKind::Decided, self.decision.to_string());
        }
    }

    fn remember_leader(&mut self) {
        let Some(cluster) = self.cluster() else { return };
        let leader = cluster.leader.as_ref().map(|leader| leader.name.clone());
        if leader == self.told.leader {
            return;
        }
        let before = std::mem::replace(&mut self.told.leader, leader.clone());
        match (leader, before) {
            (Some(leader), _) => self.remember(MomentKind::LeaderSeen, leader.as_str()),
            (None, Some(before)) => self.remember(MomentKind::LeaderGone, before.as_str()),
            (None, None) => {}
        }
    }

    fn remember_writability(&mut self) {
        let writable = self.is_writable();
        if writable == self.told.writable {
            return;
        }
        self.told.writable = writable;
        match self.row().filter(|_| writable) {
            Some(row) => {
                let timeline = row.timeline.map(|timeline| format!(" on timeline {timeline}")).unwrap_or_default();
                let text = format!("the server can be written to{timeline}, from {}", row.position());
                self.remember(MomentKind::WritesBegan, text);
            }
            None => self.remember(MomentKind::WritesEnded, "the server cannot be written to any more"),
        }
    }
}
