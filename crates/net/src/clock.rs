//! The two clocks of the core, read at the edge.
//!
//! std's and tokio's clocks are CLOCK_MONOTONIC, which stands still while the host is suspended: a lease in
//! the store runs on meanwhile. Whatever is compared with a lease comes from [`boot_now`].

use jogi_core::{Now, Tick, Wall};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// CLOCK_BOOTTIME: counts suspend, never steps.
pub fn boot_now() -> Tick {
    let t = clock_gettime(ClockId::Boottime);
    Tick((t.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(t.tv_nsec as u64))
}

/// CLOCK_REALTIME: may step; for schedules and display.
pub fn wall_now() -> Wall {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Realtime);
    Wall(tv_sec.saturating_mul(1_000_000).saturating_add(tv_nsec / 1000))
}

/// Both clocks at once.
pub fn now() -> Now {
    Now { boot: boot_now(), wall: wall_now() }
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn the_boot_clock_never_goes_back_and_the_wall_clock_is_the_system_time() {
        let (a, b) = (boot_now(), boot_now());
        assert!(a <= b && a > Tick::ZERO);
        let system = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_micros() as i64;
        assert!((wall_now().0 - system).abs() < 5_000_000);
    }
}
