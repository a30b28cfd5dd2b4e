//! The store's time: it goes on from where the log stands, by a clock that counts suspend and never steps.

use jogi_kv::Millis;

/// The clock of a leader.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    base: Millis,
    /// Nanoseconds of the boot clock.
    since: u64,
}

impl Clock {
    /// `base`: the time of the last command in the log. Time in which nobody led does not count.
    pub fn from(base: Millis) -> Clock {
        Clock { base, since: jogi_net::boot_now().0 }
    }

    pub fn now(&self) -> Millis {
        self.base + jogi_net::boot_now().0.saturating_sub(self.since) / 1_000_000
    }
}
