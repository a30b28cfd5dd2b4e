//! Growing pauses between tries: exponential, capped, with jitter so that a herd does not knock in step.

use std::time::Duration;

/// The pauses of one series of tries. The n-th pause lies between half and all of `min(cap, first · 2ⁿ)`.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    tries: u32,
}

impl Backoff {
    pub const fn new(first: Duration, cap: Duration) -> Backoff {
        Backoff { first, cap, tries: 0 }
    }

    /// The next pause; `random` is any number from a random source (`jogi_net::random_u64()`).
    pub fn next(&mut self, random: u64) -> Duration {
        let whole = self.first.saturating_mul(2u32.saturating_pow(self.tries)).min(self.cap);
        self.tries = self.tries.saturating_add(1);
        let half = whole / 2;
        half + half.mul_f64((random >> 11) as f64 / (1u64 << 53) as f64)
    }

    /// After a success: the next pause is the first one again.
    pub fn reset(&mut self) {
        self.tries = 0;
    }

    /// Pauses taken since the last success.
    pub fn tries(&self) -> u32 {
        self.tries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_cap_and_never_leave_their_band() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        for whole in [100, 200, 400, 800, 1600, 2000, 2000] {
            for random in [0, u64::MAX / 3, u64::MAX] {
                let pause = backoff.clone().next(random).as_millis();
                assert!((whole / 2..=whole).contains(&pause), "{pause} of {whole}");
            }
            backoff.next(7);
        }
        backoff.reset();
        assert!(backoff.next(u64::MAX) <= Duration::from_millis(100));
    }

    #[test]
    fn a_thousand_tries_do_not_overflow() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        let last = (0..1000).map(|i| backoff.next(i)).last();
        assert!(last >= Some(Duration::from_secs(30)));
    }
}
