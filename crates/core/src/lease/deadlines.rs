//! From the sending of one renewal to the deadlines of the server that it covers.
//!
//! The store counts a lease from when it processed the renewal, which is never before it was sent: all is
//! counted here from `sent`, so the holder always believes less than the store grants. The margin of
//! 1 % and 0.2 s is for clocks that run at different speeds and for the time it takes to kill the last process.

use std::time::Duration;

use crate::Tick;

/// The smallest ttl that is worked with; what is configured below is raised to it with a warning.
pub const TTL_FLOOR: Duration = Duration::from_secs(2);

/// What the clocks of holder and store may disagree by, beside 1 % of the ttl.
const MARGIN: Duration = Duration::from_millis(200);

/// The longest time that a fast shutdown gets before everything is killed.
const LONGEST_SHUTDOWN: Duration = Duration::from_secs(1);

/// Until when one renewal of the leader lease covers a writable server. `soft < hard`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deadlines {
    /// Until then the lock is ours whatever the store or the network does. Equal to `hard`.
    pub valid_until: Tick,
    /// From then on the server is shut down: clients gone, walsenders drained.
    pub soft: Tick,
    /// From then on everything is killed.
    pub hard: Tick,
}

impl Deadlines {
    /// The deadlines of a renewal for `ttl` that was sent at `sent`. A ttl below [`TTL_FLOOR`] counts as the floor.
    ///
    /// `hard = sent + 0.99·ttl − 0.2 s`, `soft = hard − min(ttl/8, 1 s)`.
    pub fn new(sent: Tick, ttl: Duration) -> Deadlines {
        let ttl = ttl.max(TTL_FLOOR);
        let hard = sent + ttl * 99 / 100 - MARGIN;
        let soft = hard - (ttl / 8).min(LONGEST_SHUTDOWN);
        Deadlines { valid_until: hard, soft, hard }
    }
}

/// How long after one renewal the next one is due: a quarter of the ttl.
pub fn renewal_period(ttl: Duration) -> Duration {
    ttl.max(TTL_FLOOR) / 4
}

/// How long one try of a renewal may take before the next one starts: a fifth of the ttl.
pub fn try_timeout(ttl: Duration) -> Duration {
    ttl.max(TTL_FLOOR) / 5
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn deadlines_by_ttl() {
        // ttl, then soft and hard as milliseconds after the renewal was sent
        let table = [
            (ms(500), 1_530, 1_780),
            (ms(2_000), 1_530, 1_780),
            (ms(5_000), 4_125, 4_750),
            (ms(8_000), 6_720, 7_720),
            (ms(30_000), 28_500, 29_500),
            (ms(300_000), 295_800, 296_800),
        ];
        let sent = Tick::ZERO + ms(77_000);
        for (ttl, soft, hard) in table {
            let deadlines = Deadlines::new(sent, ttl);
            assert_eq!(deadlines.soft.since(sent), ms(soft), "soft of ttl {ttl:?}");
            assert_eq!(deadlines.hard.since(sent), ms(hard), "hard of ttl {ttl:?}");
            assert_eq!(deadlines.valid_until, deadlines.hard, "valid_until of ttl {ttl:?}");
        }
    }

    #[test]
    fn two_missed_renewals_fit_before_soft() {
        for ttl in [ms(2_000), ms(5_000), ms(30_000)] {
            let soft = Deadlines::new(Tick::ZERO, ttl).soft;
            assert!(renewal_period(ttl) + 2 * try_timeout(ttl) < soft.since(Tick::ZERO), "ttl {ttl:?}");
        }
    }

    #[test]
    fn hard_is_before_the_stores_expiry() {
        for seconds in 2..400 {
            let ttl = Duration::from_secs(seconds);
            let deadlines = Deadlines::new(Tick::ZERO, ttl);
            assert!(deadlines.hard < Tick::ZERO + ttl);
            assert!(deadlines.soft < deadlines.hard);
        }
    }

    #[test]
    fn cadence_by_ttl() {
        for (ttl, renewal, one_try) in
            [(1_000, 500, 400), (2_000, 500, 400), (5_000, 1_250, 1_000), (30_000, 7_500, 6_000)]
        {
            assert_eq!(renewal_period(ms(ttl)), ms(renewal));
            assert_eq!(try_timeout(ms(ttl)), ms(one_try));
        }
    }
}
