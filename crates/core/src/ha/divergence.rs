//! Is our WAL part of the leader's (ha-rules 13)?

mod model;
mod rewind;

use std::time::Duration;

use model::Model;

use super::flight::{Purpose, SHORT};
use super::machine::Ha;
use super::note::NoteLevel;
use super::server::{Control, ControlState, DataDir};
use super::timer::Timer;
use super::{Act, Decision, Lane, Lineage, Outcome, Yield};
use crate::view::HistoryEntry;
use crate::{History, Lsn, MemberName, Tick, Timeline};

/// What is known about our WAL and the leader's.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Divergence {
    state: State,
    /// What the leader said, until it has been judged.
    pub theirs: Option<Lineage>,
    ours: Option<Local>,
    /// Ours was compared as the running server told of it, which may be a timeline behind; its directory was not read.
    told: bool,
    /// The history of our own timeline, read from `pg_wal`.
    our_history: Option<History>,
    /// From where on our log is given up, and to where that has been said.
    parted: Option<(Lsn, Lsn)>,
    /// pg_rewind said that there was nothing to do for it.
    left_as_it_was: bool,
    /// Nothing but a rewind or a copy makes the data directory whole.
    must: bool,
    /// When a running standby was last seen to have nothing to compare.
    fine_at: Tick,
    /// The leader was seen before its promotion was over.
    leader_not_ready: bool,
    /// Why this member will not stream again by itself.
    hopeless: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// No reason to doubt.
    #[default]
    Fine,
    /// To be compared with the leader.
    Check,
    Need,
    /// Rewound; the next start shows whether it helped.
    Rewound,
    /// pg_rewind failed and cannot succeed.
    Failed,
    /// Our timeline has the leader's number and is another branch: streaming would corrupt it.
    Twin,
}

/// Where our own WAL ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Local {
    pub timeline: Timeline,
    pub end: Lsn,
    pub was: Was,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Was {
    Standby,
    /// Shut down cleanly: `end` is the end of the shutdown checkpoint record.
    CleanPrimary,
    CrashedPrimary,
}

/// How long an undecided comparison holds a start back before the server is started without it: it cannot
/// become writable, and PostgreSQL itself refuses WAL that does not fit.
const UNDECIDED_MAX: u32 = 12;
/// The same beside a remote primary: a standby cluster is there for the day on which that is gone.
const UNDECIDED_MAX_REMOTE: u32 = 3;
/// The first pause before a comparison that brought nothing is tried again; it doubles up to the second.
const COMPARE_AGAIN: Duration = Duration::from_millis(250);
const COMPARE_PAUSE_MAX: Duration = Duration::from_secs(10);
/// How long a running standby may not stream before its WAL is compared with the leader's once more.
pub(super) const NOT_STREAMING: Duration = Duration::from_secs(10);

impl Divergence {
    /// Something happened after which our WAL may not be part of the leader's any more.
    pub fn suspect(&mut self) {
        if !matches!(self.state, State::Need | State::Failed | State::Twin) {
            self.state = State::Check;
            self.theirs = None;
            self.ours = None;
            self.our_history = None;
        }
    }

    pub fn must_rewind(&mut self) {
        self.state = State::Need;
        self.must = true;
    }

    /// Whether our WAL is known, or feared, not to be part of the leader's.
    pub fn is_doubted(&self) -> bool {
        match self.state {
            State::Fine | State::Rewound => self.must,
            State::Check | State::Need | State::Failed | State::Twin => true,
        }
    }

    pub fn hopeless(&self) -> Option<&str> {
        self.hopeless.as_deref()
    }

    pub fn must(&self) -> bool {
        self.must
    }

    pub fn rewind_ended(&mut self, changed: bool) {
        self.left_as_it_was = !changed;
    }

    fn rewound(&mut self) {
        *self = Divergence { state: State::Rewound, ..Divergence::default() };
    }

    fn compare_anew(&mut self) {
        *self = Divergence { state: State::Check, fine_at: self.fine_at, ..Divergence::default() };
    }

    /// pg_rewind has left WAL in place that is on no other member's branch, as far as is known. A directory that an earlier
    /// pg_rewind had begun on may have been whole already.
    fn is_left_apart(&self) -> bool {
        self.left_as_it_was && !self.must && self.parted.is_none_or(|(at, end)| at < end)
    }
}

/// Whether a rewind is needed (ha-rules 13.3). The bare number of a timeline proves nothing: what counts is
/// where the leader's history left ours.
pub(super) fn diverged(ours: Local, theirs: &Lineage) -> Option<bool> {
    let their_timeline = theirs.timeline?;
    if ours.timeline > their_timeline {
        return Some(true);
    }
    if ours.timeline == their_timeline {
        return Some(false);
    }
    let Some(left_at) = theirs.history.left(ours.timeline) else { return Some(true) };
    Some(match ours.was {
        Was::Standby | Was::CrashedPrimary => ours.end > left_at,
        Was::CleanPrimary => ours.end != left_at,
    })
}

impl Ha {
    /// Compares, rewinds or copies as far as needed. `None`: nothing stands in the way of streaming.
    pub(super) fn divergence_turn(&mut self) -> Option<Decision> {
        if matches!(self.divergence.state, State::Fine | State::Rewound) && self.strays() {
            self.divergence.compare_anew();
        }
        match self.divergence.state {
            State::Fine | State::Rewound | State::Failed => None,
            State::Twin => {
                self.divergence.hopeless.clone().map(|why| Decision::new("no action", why).waiting("a person"))
            }
            State::Check => self.compare(),
            State::Need => self.rewind(),
        }
    }

    /// A running standby that has not streamed for a while from where it should: on another timeline than the leader's,
    /// or, as a standby leader, at all.
    fn strays(&mut self) -> bool {
        let Some(leader) = self.cluster().and_then(|c| c.leader.as_ref()).map(|l| l.name.clone()) else { return false };
        let theirs = self.cluster().and_then(|c| c.members.get(&leader)?.data.timeline());
        let ours = self.row().filter(|row| row.in_recovery).and_then(|row| row.timeline);
        let apart = match leader == *self.me() {
            true => ours.is_some() && self.model().is_some() && !self.streams_from_remote(),
            false => ours.is_some() && theirs.is_some() && ours != theirs && !self.streams_from(&leader),
        };
        if !apart {
            self.divergence.fine_at = self.now.boot;
            return false;
        }
        let since = self.now.boot.since(self.divergence.fine_at);
        if since < NOT_STREAMING {
            self.timers.set_earlier(Timer::Retry, self.divergence.fine_at + NOT_STREAMING);
            return false;
        }
        self.divergence.fine_at = self.now.boot;
        true
    }

    fn compare(&mut self) -> Option<Decision> {
        let model = self.model()?;
        let leader = self.cluster()?.leader.as_ref()?.name.clone();
        if self.streams_from(&leader) || self.streams_from_remote() {
            self.divergence.state = State::Fine;
            return None;
        }
        let running = self.is_running();
        let name = &model.name;
        let because = format!("whether our WAL is part of {name}'s is not known");
        // A running standby goes on; a stopped server waits for the answer.
        let held =
            |waiting: &'static str| (!running).then(|| Decision::new("no action", because.clone()).waiting(waiting));
        let undecided_max = if model.member.is_some() { UNDECIDED_MAX } else { UNDECIDED_MAX_REMOTE };
        if self.failures.compare >= undecided_max && !self.divergence.must {
            if !running {
                self.note(NoteLevel::Warning, format!("{because}; starting all the same, read-only"));
            }
            self.divergence.state = State::Fine;
            self.failures.compare = 0;
            return None;
        }
        let leads = |member: &MemberName| {
            let member = self.cluster().and_then(|c| c.members.get(member));
            member.is_some_and(|m| matches!(m.data.role(), "primary" | "standby_leader"))
        };
        if !model.member.as_ref().is_none_or(leads) {
            // Its member key says when its promotion is over, and wakes us; a leader that never gets there must not
            // hold us for ever.
            if self.now.boot >= self.failures.compare_at {
                self.compare_again();
            }
            self.divergence.leader_not_ready = true;
            return held("the end of the leader's promotion");
        }
        if std::mem::take(&mut self.divergence.leader_not_ready) {
            self.failures.compare = 0;
            self.failures.compare_at = Tick::ZERO;
        }
        if self.now.boot < self.failures.compare_at {
            return held("the next comparison");
        }
        let Some(ours) = self.local_end() else { return held("the end of our own WAL") };
        let Some(theirs) = self.divergence.theirs.take() else {
            let upstream = model.upstream?;
            self.issue(Lane::Load, Act::Compare { upstream }, SHORT, Purpose::Compare);
            return held("the leader's timeline and history");
        };
        if let Some(why) = self.is_foreign_system(&model, &theirs) {
            self.note(NoteLevel::Error, why.clone());
            self.divergence.state = State::Failed;
            self.divergence.hopeless = Some(why);
            return None;
        }
        let needs_ours = theirs.timeline == Some(ours.timeline) || theirs.history.left(ours.timeline).is_none();
        if needs_ours && ours.timeline.0 > 1 && self.divergence.our_history.is_none() {
            self.divergence.theirs = Some(theirs);
            let timeline = ours.timeline;
            self.issue(Lane::Archive, Act::ReadHistory { timeline }, SHORT, Purpose::OurHistory);
            return held("the history of our own timeline");
        }
        if self.is_twin(&model, ours, &theirs) {
            let given_up = self.given_up(ours, &theirs);
            return Some(self.twin(&model, ours, &given_up));
        }
        // The leader of a standby cluster that follows an archive is in recovery for good.
        let settled = theirs.in_recovery != Some(true) || model.member.is_some() && self.is_standby_cluster();
        match diverged(ours, &theirs).filter(|_| settled) {
            None => {
                self.compare_again();
                held("the end of the leader's recovery")
            }
            // pg_rewind would take it for a server on its former timeline.
            Some(true) if model.member.is_none() && theirs.checkpointed < theirs.timeline => {
                self.compare_again();
                held("the remote primary's checkpoint after its promotion")
            }
            Some(false) => {
                self.divergence.state = State::Fine;
                self.failures.compare = 0;
                None
            }
            Some(true) => {
                self.failures.compare = 0;
                let text = format!(
                    "our WAL (timeline {}, up to {}) is not part of {name}'s (timeline {}): {}",
                    ours.timeline,
                    ours.end,
                    theirs.timeline.map_or(0, |t| t.0),
                    self.given_up(ours, &theirs),
                );
                self.note(NoteLevel::Warning, text);
                self.divergence.told = running;
                self.divergence.state = State::Need;
                self.rewind()
            }
        }
    }

    /// What of our WAL is on no other member's branch, in words: it is said before anything is discarded.
    fn given_up(&mut self, ours: Local, theirs: &Lineage) -> String {
        let none = History::default();
        let our_history = self.divergence.our_history.as_ref().unwrap_or(&none);
        let left_at = theirs.history.left(ours.timeline).filter(|_| our_history.0.is_empty());
        let newest = theirs.timeline.unwrap_or(Timeline(0));
        // Two branches of one number, opened at one point.
        let opened_at = || our_history.0.last().map(|s| s.switched_at).filter(|_| newest == ours.timeline);
        let parts = || our_history.parts(ours.timeline, &theirs.history, newest);
        let Some(at) = left_at.or_else(parts).or_else(opened_at) else {
            return "where the two part is not known, so all of ours may be given up".to_owned();
        };
        let at = at.min(ours.end);
        self.divergence.parted = Some((at, ours.end));
        format!("{} bytes of it ({at} to {}) are given up", ours.end.ahead_of(at), ours.end)
    }

    /// An earlier run was interrupted in pg_rewind. Somebody else may have started the server since, and nobody knows what
    /// it wrote then.
    fn say_that_all_may_go(&mut self) {
        if self.divergence.must && self.divergence.parted.is_none() {
            self.divergence.parted = Some((Lsn::INVALID, Lsn(u64::MAX)));
            let text =
                "an earlier pg_rewind did not finish: what it discards is not known, so all of ours may be given up";
            self.note(NoteLevel::Warning, text);
        }
    }

    /// A server that was running when it was compared may have received more until it was stopped.
    pub(super) fn more_given_up(&mut self, end: Lsn) {
        let Some((at, said)) = self.divergence.parted.filter(|(_, said)| *said < end) else { return };
        let bytes = end.ahead_of(at);
        let text = format!("our WAL went on from {said} to {end}: {bytes} bytes of it ({at} to {end}) are given up");
        self.note(NoteLevel::Warning, text);
        self.divergence.parted = Some((at, end));
    }

    /// Two timelines of one number that are not one branch: their histories differ, or we opened ours and the
    /// cluster knows another member to have opened that number.
    fn is_twin(&self, model: &Model, ours: Local, theirs: &Lineage) -> bool {
        if theirs.timeline != Some(ours.timeline) || ours.timeline.0 <= 1 {
            return false;
        }
        let switches = |h: &History| h.0.iter().map(|s| (s.parent, s.switched_at)).collect::<Vec<_>>();
        let our_history = self.divergence.our_history.as_ref();
        if our_history.is_some_and(|h| !h.0.is_empty() && switches(h) != switches(&theirs.history)) {
            return true;
        }
        if model.member.is_none() {
            // Who opened what over there is not written down here.
            return false;
        }
        let entries = self.cluster().and_then(|c| c.history.as_ref()).map(|h| h.value.0.as_slice()).unwrap_or_default();
        let opened = opener(entries, ours.timeline, theirs.timeline);
        let opened_by_us = matches!(ours.was, Was::CleanPrimary | Was::CrashedPrimary);
        opened_by_us && opened.is_some_and(|name| name != self.me().as_str())
    }

    /// pg_rewind takes equal numbers for one branch: only a new copy helps.
    fn twin(&mut self, model: &Model, ours: Local, given_up: &str) -> Decision {
        let (number, name) = (ours.timeline, &model.name);
        let text = format!("our timeline {number} and {name}'s are two branches of one number: {given_up}");
        self.note(NoteLevel::Warning, text.clone());
        if self.may_copy_anew() {
            return self.copy_anew(&text);
        }
        let text = format!("{text}, which pg_rewind cannot tell apart: reinitialize this member");
        self.note(NoteLevel::Error, text.clone());
        self.divergence.state = State::Twin;
        self.divergence.hopeless = Some(text.clone());
        Decision::new("no action", text).waiting("a person")
    }

    pub(super) fn our_history_read(&mut self, outcome: Outcome) {
        match outcome {
            Ok(Yield::Lineage(lineage)) => self.divergence.our_history = Some(lineage.history),
            // Without it only the openers can be compared.
            Ok(_) | Err(_) => self.divergence.our_history = Some(History::default()),
        }
    }

    pub(super) fn compare_again(&mut self) {
        let pause = COMPARE_AGAIN * 2u32.pow(self.failures.compare.min(6));
        self.failures.compare += 1;
        self.failures.compare_at = self.now.boot + pause.min(COMPARE_PAUSE_MAX);
        self.timers.set(Timer::Retry, self.failures.compare_at);
    }

    pub(super) fn compared(&mut self, outcome: Outcome) {
        match outcome {
            Ok(Yield::Lineage(lineage)) => self.divergence.theirs = Some(lineage),
            Ok(_) => self.compare_again(),
            Err(failure) => {
                if self.failures.compare == 0 {
                    let text = format!("the leader's timeline and history could not be read: {failure}");
                    self.note(NoteLevel::Warning, text);
                }
                self.compare_again();
            }
        }
    }

    /// PostgreSQL itself has checked the history of a server that streams.
    fn streams_from(&self, leader: &crate::MemberName) -> bool {
        let address = self.cluster().and_then(|c| c.members.get(leader)).and_then(|m| m.data.address());
        let receiver = self.row().and_then(|row| row.receiver.as_ref());
        let timelines =
            self.row().and_then(|r| r.timeline) == self.cluster().and_then(|c| c.members.get(leader)?.data.timeline());
        match (address, receiver) {
            (Some((host, port)), Some(receiver)) => {
                receiver.status == "streaming" && receiver.host == host && receiver.port == Some(port) && timelines
            }
            _ => false,
        }
    }

    /// Where our WAL ends; found out by walking it when a primary crashed.
    fn local_end(&mut self) -> Option<Local> {
        if let Some(ours) = self.divergence.ours {
            return Some(ours);
        }
        if let Some(row) = self.row() {
            return Some(Local { timeline: row.timeline?, end: row.position(), was: Was::Standby });
        }
        let server = self.server.clone()?;
        let DataDir::Present(control) = &server.data else { return None };
        match end_by_control(control) {
            Some(ours) => Some(ours),
            None => {
                self.issue(Lane::Server, Act::FindEndOfWal, SHORT * 20, Purpose::LocalEnd);
                None
            }
        }
    }

    pub(super) fn local_end_found(&mut self, outcome: Outcome) {
        match outcome {
            Ok(Yield::EndOfWal { timeline, end, .. }) => {
                let primary = self.control_state().is_some_and(ControlState::is_crashed_primary);
                let was = if primary { Was::CrashedPrimary } else { Was::Standby };
                self.divergence.ours = Some(Local { timeline, end, was });
            }
            Ok(_) => {}
            Err(failure) => {
                if self.failures.compare == 0 {
                    let text = format!("the end of our own WAL could not be found: {failure}");
                    self.note(NoteLevel::Warning, text);
                }
                self.compare_again();
            }
        }
    }
}

/// Who opened `timeline`, by the published history: each entry opened the timeline that the next one left, the last
/// one the newest. Numbers may be skipped.
fn opener(entries: &[HistoryEntry], timeline: Timeline, newest: Option<Timeline>) -> Option<&str> {
    let left_next = entries.iter().skip(1).map(|e| Some(e.parent)).chain([newest]);
    let (entry, _) = entries.iter().zip(left_next).find(|(_, opened)| *opened == Some(timeline))?;
    entry.new_leader.as_deref()
}

/// Where the WAL of a stopped server ends, when its control file says so.
fn end_by_control(control: &Control) -> Option<Local> {
    match control.state {
        ControlState::ShutDown => Some(Local {
            timeline: control.timeline,
            end: control.shutdown_end.unwrap_or(control.checkpoint),
            was: Was::CleanPrimary,
        }),
        // A standby replays all that it has received, which may be more than it had to reach.
        ControlState::ShutDownInRecovery
        | ControlState::InArchiveRecovery
        | ControlState::StartingUp
        | ControlState::ShuttingDown
        | ControlState::InCrashRecovery
        | ControlState::InProduction => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::History;

    #[test]
    fn the_opener_of_a_timeline_is_found_though_numbers_are_skipped() {
        let key = crate::view::HistoryKey::parse(r#"[[1,9,"x","t","b"],[3,12,"x","t","c"]]"#).expect("an array");
        for (timeline, who) in [(3, Some("b")), (5, Some("c")), (2, None), (4, None)] {
            assert_eq!(opener(&key.0, Timeline(timeline), Some(Timeline(5))), who, "{timeline}");
        }
    }

    #[test]
    fn what_counts_is_where_the_history_left_ours() {
        let theirs = Lineage {
            timeline: Some(Timeline(3)),
            history: History::parse("1\t0/100\tx\n2\t0/200\tx\n"),
            ..Lineage::default()
        };
        let local = |timeline, end, was| Local { timeline: Timeline(timeline), end: Lsn(end), was };
        for (ours, expected) in [
            (local(2, 0x1ff, Was::Standby), Some(false)),
            (local(2, 0x200, Was::Standby), Some(false)),
            (local(2, 0x201, Was::Standby), Some(true)),
            (local(2, 0x200, Was::CleanPrimary), Some(false)),
            (local(2, 0x1f0, Was::CleanPrimary), Some(true)),
            (local(1, 0x90, Was::CrashedPrimary), Some(false)),
            (local(1, 0x101, Was::CrashedPrimary), Some(true)),
            (local(4, 0x10, Was::Standby), Some(true)),
            (local(3, 0x900, Was::Standby), Some(false)),
        ] {
            assert_eq!(diverged(ours, &theirs), expected, "{ours:?}");
        }
        let unknown = Lineage::default();
        assert_eq!(diverged(local(1, 1, Was::Standby), &unknown), None);
        let foreign = Lineage { timeline: Some(Timeline(3)), ..Lineage::default() };
        assert_eq!(diverged(local(2, 1, Was::Standby), &foreign), Some(true), "a history that never was on ours");
    }
}
