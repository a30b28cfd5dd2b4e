//! The kernel watchdog beside the guard (ha-rules 18): the host is reset when nobody has said for a while that the lease
//! stands. It covers what the guard cannot: a host that stands still together with its guard and goes on later.

use std::time::Duration;

use crate::Tick;

/// Whether a primary has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WatchdogMode {
    Off,
    /// Where there is one.
    #[default]
    Automatic,
    /// Nobody is promoted without.
    Required,
}

/// The device's timeout in seconds. `Err`: it would run out between two renewals that Patroni's loop makes.
pub fn timeout(ttl: Duration, loop_wait: Duration, safety_margin: i64) -> Result<u32, String> {
    let (ttl, loop_wait) = (ttl.as_secs(), loop_wait.as_secs());
    let timeout = match u64::try_from(safety_margin) {
        Ok(margin) => ttl.saturating_sub(margin),
        Err(_) => ttl / 2,
    };
    if timeout == 0 || timeout < loop_wait {
        return Err(format!(
            "ttl {ttl} with watchdog.safety_margin {safety_margin} leaves the watchdog {timeout} s, less than loop_wait \
             ({loop_wait} s): make ttl longer or the margin smaller"
        ));
    }
    Ok(u32::try_from(timeout).unwrap_or(u32::MAX))
}

/// A ping lets the host live for another `timeout`. It is given only where the lease covers all of that.
pub fn may_ping(now: Tick, valid_until: Tick, timeout: Duration) -> bool {
    now + timeout <= valid_until
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn the_timeout_is_patronis() {
        for (ttl, loop_wait, margin, expected) in [
            (30, 10, 5, Some(25)),
            (30, 10, -1, Some(15)),
            (31, 10, -1, Some(15)),
            (20, 10, 10, Some(10)),
            (20, 10, 11, None),
            (5, 1, 5, None),
            (2, 1, -1, Some(1)),
        ] {
            let found = timeout(seconds(ttl), seconds(loop_wait), margin).ok();
            assert_eq!(found, expected, "ttl {ttl}, loop_wait {loop_wait}, margin {margin}");
        }
    }

    #[test]
    fn no_ping_outlives_the_lease() {
        let now = Tick::ZERO + seconds(100);
        assert!(may_ping(now, now + seconds(25), seconds(25)));
        assert!(!may_ping(now, now + seconds(24), seconds(25)));
        assert!(!may_ping(now, Tick::ZERO, seconds(25)));
    }
}
