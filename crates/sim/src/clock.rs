//! Time: the world's true time, and what the clocks of each host make of it.
//!
//! Every host has a boot clock that may run at its own speed and starts at its own number, and a wall clock that
//! may be set. Rules that compare clocks of two hosts, or wait on the wall clock, show here.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use jogi_core::{Now, Tick, Wall};

/// True time: nanoseconds since the world began. No member can read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

impl Moment {
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;

    fn add(self, wait: Duration) -> Moment {
        Moment(self.0.saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Moment {
    type Output = Moment;

    fn sub(self, back: Duration) -> Moment {
        Moment(self.0.saturating_sub(u64::try_from(back.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Seconds with milliseconds, as in traces.
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1_000_000_000, self.0 / 1_000_000 % 1000)
    }
}

const MILLION: u128 = 1_000_000;

/// The clocks of one host.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// When the host booted, and what its boot clock showed then.
    booted_at: Moment,
    pub offset: u64,
    /// Speed in parts per million: 10 000 runs one percent fast.
    pub drift_ppm: i64,
    /// What the wall clock shows too much, in microseconds; an operator or NTP may set it.
    pub wall_error: i64,
}

/// 2026-01-01T00:00:00Z, where the worlds' wall clocks begin.
pub const EPOCH_MICROS: i64 = 1_767_225_600_000_000;

impl Clock {
    pub fn new(offset: u64, drift_ppm: i64) -> Clock {
        let drift_ppm = drift_ppm.clamp(-500_000, 500_000);
        Clock { booted_at: Moment(0), offset, drift_ppm, wall_error: 0 }
    }

    /// The host boots: its boot clock begins anew.
    pub fn reboot(&mut self, at: Moment) {
        self.booted_at = at;
        self.offset = 1_000_000_000;
    }

    /// From now on it runs at another speed; it does not jump.
    pub fn change_drift(&mut self, at: Moment, drift_ppm: i64) {
        self.offset = self.boot(at).0;
        self.booted_at = at;
        self.drift_ppm = drift_ppm.clamp(-500_000, 500_000);
    }

    fn speed(&self) -> u128 {
        (MILLION as i64 + self.drift_ppm) as u128
    }

    pub fn boot(&self, at: Moment) -> Tick {
        let passed = u128::from(at.0.saturating_sub(self.booted_at.0));
        Tick(self.offset + (passed * self.speed() / MILLION) as u64)
    }

    pub fn now(&self, at: Moment) -> Now {
        Now { boot: self.boot(at), wall: Wall(EPOCH_MICROS + (at.0 / 1000) as i64 + self.wall_error) }
    }

    /// The first true moment at which the boot clock shows `tick` or later.
    pub fn reaches(&self, tick: Tick) -> Moment {
        let passed = u128::from(tick.0.saturating_sub(self.offset));
        let wait = u64::try_from((passed * MILLION).div_ceil(self.speed())).unwrap_or(u64::MAX);
        Moment(self.booted_at.0.saturating_add(wait))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_reached_and_not_before() {
        for drift in [-10_000, 0, 37, 10_000] {
            let clock = Clock::new(12_345_678_901, drift);
            for nanos in [0, 1, 999, 5_000_000_000, 86_400_000_000_007] {
                let tick = Tick(clock.offset + nanos);
                let moment = clock.reaches(tick);
                assert!(clock.boot(moment) >= tick, "drift {drift}, {nanos}");
                assert!(moment == Moment(0) || clock.boot(moment - Duration::from_nanos(2)) < tick);
            }
        }
    }

    #[test]
    fn a_fast_clock_is_ahead_after_a_day() {
        let day = Moment(86_400_000_000_000);
        let fast = Clock::new(0, 10_000).boot(day).since(Clock::new(0, 0).boot(day));
        assert_eq!(fast, Duration::from_secs(864));
        assert_eq!(Clock::new(5_000_000_000, 0).now(Moment(0)).wall, Wall(EPOCH_MICROS));
    }
}
