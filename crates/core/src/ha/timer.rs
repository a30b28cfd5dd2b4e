//! Every deadline the core waits for, with its reason.

use std::collections::BTreeMap;

use crate::Tick;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Keeps the keeper's permission alive; its absence is how a stall shows.
    Heartbeat,
    /// The routine look, every `loop_wait`.
    Routine,
    /// Something is changing in our server: look soon.
    Look,
    /// A lane has rested after a failure.
    Again,
    /// Nobody could take the lock: race again.
    Race,
    /// The lease's soft deadline.
    Soft,
    /// A step of the running operation gives up.
    Step,
    /// Something failed and is tried again.
    Retry,
    /// A scheduled switchover or restart is due.
    Scheduled,
    /// The store may be silent, or a member is to be asked for its promise.
    Failsafe,
    /// A request has waited long enough for its answer.
    Request,
}

impl Timer {
    fn reason(self) -> &'static str {
        match self {
            Timer::Heartbeat => "heartbeat",
            Timer::Routine => "routine look",
            Timer::Look => "look at the changing server",
            Timer::Again => "ask again who did not answer",
            Timer::Race => "race again",
            Timer::Soft => "the lease runs out",
            Timer::Step => "a step of the operation gives up",
            Timer::Retry => "try again what failed",
            Timer::Scheduled => "a scheduled action is due",
            Timer::Failsafe => "ask for promises while the store is silent",
            Timer::Request => "a request has waited long enough",
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Timers(BTreeMap<Timer, Tick>);

impl Timers {
    pub fn set(&mut self, timer: Timer, at: Tick) {
        self.0.insert(timer, at);
    }

    pub fn set_earlier(&mut self, timer: Timer, at: Tick) {
        let earliest = self.0.get(&timer).map_or(at, |set| at.min(*set));
        self.0.insert(timer, earliest);
    }

    pub fn clear(&mut self, timer: Timer) {
        self.0.remove(&timer);
    }

    pub fn is_set(&self, timer: Timer) -> bool {
        self.0.contains_key(&timer)
    }

    /// Whether the timer's time has come; it is cleared then.
    pub fn fired(&mut self, timer: Timer, now: Tick) -> bool {
        let due = self.0.get(&timer).is_some_and(|at| *at <= now);
        if due {
            self.0.remove(&timer);
        }
        due
    }

    pub fn next(&self) -> Option<(Tick, &'static str)> {
        self.0.iter().map(|(timer, at)| (*at, timer.reason())).min_by_key(|(at, _)| *at)
    }
}
