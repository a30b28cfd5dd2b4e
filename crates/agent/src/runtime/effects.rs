//! The effects under way: which lane each one holds, and until when it may take.
//!
//! Every effect that was begun ends here in exactly one `Done`. One that passes its deadline is reported as
//! stuck, once, and as freed when its work has really ended.

use std::collections::BTreeMap;
use std::time::Duration;

use jogi_core::Tick;
use jogi_core::ha::{Act, Effect, EffectId, Event, Failure, Lane, Outcome};
use jogi_pg::programs::{Cancel, Canceller, cancel_pair};

/// Work ends itself this much before its deadline (at most a tenth of it), so that what merely takes too long ends
/// as a failure with a reason, and only what cannot be ended is reported as stuck.
const OWN_END: Duration = Duration::from_millis(20);

/// The effects of one run of the core that have begun and not ended.
#[derive(Debug, Default)]
pub(super) struct Effects {
    under_way: BTreeMap<EffectId, UnderWay>,
}

#[derive(Debug)]
struct UnderWay {
    lane: Lane,
    name: &'static str,
    /// When it is reported as stuck; `None` once it has been.
    deadline: Option<Tick>,
    canceller: Canceller,
    ends_with_the_agent: bool,
}

/// What a piece of work is given: how long it may take, and an ear for the request to end early.
pub(super) struct Begun {
    pub limit: Duration,
    pub cancel: Cancel,
}

impl Effects {
    /// Notes that an effect begins.
    ///
    /// # Panics
    ///
    /// When its lane is taken: two effects of one lane at once may ruin a data directory, so a core that asks for
    /// it has to end.
    pub(super) fn begin(&mut self, effect: &Effect, now: Tick) -> Begun {
        if works_on_the_server(&effect.lane) && is_exclusive(&effect.act) {
            let held = self.under_way.iter().find(|(_, other)| other.lane == effect.lane && other.is_exclusive());
            assert!(
                held.is_none(),
                "{} was begun in the lane {:?} while {held:?} holds it",
                effect.act.name(),
                effect.lane
            );
        }
        let (canceller, cancel) = cancel_pair();
        let under_way = UnderWay {
            lane: effect.lane.clone(),
            name: effect.act.name(),
            deadline: Some(now + effect.deadline),
            canceller,
            ends_with_the_agent: ends_with_the_agent(&effect.act),
        };
        self.under_way.insert(effect.id, under_way);
        Begun { limit: effect.deadline - OWN_END.min(effect.deadline / 10), cancel }
    }

    /// What the core is to be told of work that has ended.
    pub(super) fn ended(&mut self, id: EffectId, outcome: Outcome) -> Option<Event> {
        let ended = self.under_way.remove(&id)?;
        if ended.deadline.is_some() {
            return Some(Event::Done { id, outcome });
        }
        tracing::info!("'{}', which had been stuck, has ended", ended.name);
        Some(Event::Freed { id })
    }

    /// The next deadline of what is under way.
    pub(super) fn next_deadline(&self) -> Option<Tick> {
        self.under_way.values().filter_map(|effect| effect.deadline).min()
    }

    /// What the core is to be told of effects whose deadline has passed.
    pub(super) fn overdue(&mut self, now: Tick) -> Vec<Event> {
        let mut events = Vec::new();
        for (id, effect) in &mut self.under_way {
            if effect.deadline.take_if(|deadline| *deadline <= now).is_some() {
                tracing::warn!("'{}' has not ended within its time and is stuck", effect.name);
                events.push(Event::Done { id: *id, outcome: Err(Failure::Stuck) });
            }
        }
        events
    }

    /// Asks an effect to end early; it still ends in its own `Done`.
    pub(super) fn cancel(&self, id: EffectId) {
        if let Some(effect) = self.under_way.get(&id) {
            effect.canceller.cancel();
        }
    }

    /// Asks every program that works on the data directory to end. `true` when there is something to wait for.
    pub(super) fn cancel_all(&self) -> bool {
        let programs = self.under_way.values().filter(|effect| effect.ends_with_the_agent);
        programs.map(|effect| effect.canceller.cancel()).count() > 0
    }
}

impl UnderWay {
    fn is_exclusive(&self) -> bool {
        !matches!(self.name, "callback" | "save-dynamic")
    }
}

/// The lanes in which an overlap may do harm. A question that the core has given up may still be under way when the
/// next one is asked.
fn works_on_the_server(lane: &Lane) -> bool {
    !lane.is_question() && !matches!(lane, Lane::Callback(_))
}

/// Callbacks replace one another, and small notes beside them need no lane.
fn is_exclusive(act: &Act) -> bool {
    !matches!(act, Act::Callback { .. } | Act::SaveDynamic { .. })
}

/// Whether the work must not go on after the agent has ended: it changes the data directory or copies of it. Callbacks and
/// scripts of the operator do not, and are left to finish.
fn ends_with_the_agent(act: &Act) -> bool {
    matches!(
        act,
        Act::Initdb
            | Act::Clone { .. }
            | Act::SingleUser
            | Act::Rewind { .. }
            | Act::ArchivePending
            | Act::ArchiveShutdown
            | Act::PostBootstrap
            | Act::RemoveCopies { .. }
    )
}

#[cfg(test)]
mod tests {
    use jogi_core::ha::Yield;

    use super::*;

    fn effect(id: u64, lane: Lane, act: Act, deadline_ms: u64) -> Effect {
        Effect { id: EffectId(id), lane, deadline: Duration::from_millis(deadline_ms), act }
    }

    fn at(ms: u64) -> Tick {
        Tick::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn work_in_time_is_done_and_nothing_more() {
        let mut effects = Effects::default();
        let begun = effects.begin(&effect(1, Lane::Look, Act::Look, 1000), at(0));
        assert_eq!(begun.limit, Duration::from_millis(980));
        assert_eq!(effects.next_deadline(), Some(at(1000)));
        assert!(matches!(effects.ended(EffectId(1), Ok(Yield::Done)), Some(Event::Done { outcome: Ok(_), .. })));
        assert!(effects.overdue(at(5000)).is_empty());
        assert!(effects.ended(EffectId(1), Ok(Yield::Done)).is_none());
    }

    #[test]
    fn stuck_work_is_reported_once_and_freed_when_it_ends() {
        let mut effects = Effects::default();
        effects.begin(&effect(1, Lane::Server, Act::Initdb, 100), at(0));
        assert!(effects.overdue(at(99)).is_empty());
        let overdue = effects.overdue(at(100));
        assert!(matches!(overdue.as_slice(), [Event::Done { outcome: Err(Failure::Stuck), .. }]));
        assert!(effects.overdue(at(200)).is_empty());
        assert_eq!(effects.next_deadline(), None);
        assert!(matches!(effects.ended(EffectId(1), Ok(Yield::Done)), Some(Event::Freed { .. })));
    }

    #[test]
    #[should_panic(expected = "holds it")]
    fn two_effects_of_one_lane_are_a_bug_that_ends_the_agent() {
        let mut effects = Effects::default();
        effects.begin(&effect(1, Lane::Server, Act::Initdb, 100), at(0));
        effects.begin(&effect(2, Lane::Server, Act::Reload, 100), at(1));
    }

    #[test]
    fn callbacks_share_their_lane() {
        let mut effects = Effects::default();
        let lane = Lane::Callback(jogi_core::ha::CallbackLane::Other);
        let callback = || Act::Callback { action: jogi_core::ha::Action::OnStart, role: "primary" };
        effects.begin(&effect(1, lane.clone(), callback(), 100), at(0));
        effects.begin(&effect(2, lane, callback(), 100), at(1));
        assert!(!effects.cancel_all(), "callbacks outlive the agent");
    }
}
