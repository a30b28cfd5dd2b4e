//! Every deadline the core waits for, with its reason.

use crate::Tick;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// In the order of their numbers.
    const ALL: [Timer; 11] = [
        Timer::Heartbeat,
        Timer::Routine,
        Timer::Look,
        Timer::Again,
        Timer::Race,
        Timer::Soft,
        Timer::Step,
        Timer::Retry,
        Timer::Scheduled,
        Timer::Failsafe,
        Timer::Request,
    ];

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

const KINDS: usize = Timer::ALL.len();

#[derive(Clone, Debug, Default)]
pub(super) struct Timers([Option<Tick>; KINDS]);

impl Timers {
    pub fn set(&mut self, timer: Timer, at: Tick) {
        self.0[timer as usize] = Some(at);
    }

    pub fn set_earlier(&mut self, timer: Timer, at: Tick) {
        let earliest = self.0[timer as usize].map_or(at, |set| at.min(set));
        self.set(timer, earliest);
    }

    pub fn clear(&mut self, timer: Timer) {
        self.0[timer as usize] = None;
    }

    pub fn is_set(&self, timer: Timer) -> bool {
        self.0[timer as usize].is_some()
    }

    /// Whether the timer's time has come; it is cleared then.
    pub fn fired(&mut self, timer: Timer, now: Tick) -> bool {
        self.0[timer as usize].take_if(|at| *at <= now).is_some()
    }

    pub fn next(&self) -> Option<(Tick, &'static str)> {
        let mut first: Option<(Tick, Timer)> = None;
        for (timer, at) in Timer::ALL.into_iter().zip(self.0) {
            if let Some(at) = at
                && first.is_none_or(|(earliest, _)| at < earliest)
            {
                first = Some((at, timer));
            }
        }
        first.map(|(at, timer)| (at, timer.reason()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_timer_has_its_place_and_the_earliest_comes_first() {
        for (place, timer) in Timer::ALL.into_iter().enumerate() {
            assert_eq!(timer as usize, place);
        }
        let mut timers = Timers::default();
        timers.set(Timer::Look, Tick(9));
        timers.set_earlier(Timer::Look, Tick(7));
        timers.set_earlier(Timer::Look, Tick(8));
        timers.set(Timer::Retry, Tick(8));
        assert_eq!(timers.next(), Some((Tick(7), Timer::Look.reason())));
        assert!(!timers.fired(Timer::Look, Tick(6)) && timers.fired(Timer::Look, Tick(7)));
        assert!(!timers.is_set(Timer::Look));
        assert_eq!(timers.next(), Some((Tick(8), Timer::Retry.reason())));
    }
}
