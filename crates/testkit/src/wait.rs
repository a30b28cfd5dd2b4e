//! Waiting for a condition with a deadline: what tests do instead of sleeping.

use std::thread;
use std::time::{Duration, Instant};

/// Between two looks. Short beside everything that tests wait for, long enough not to load a small machine.
const LOOK_EVERY: Duration = Duration::from_millis(30);

/// Looks until `condition` gives a value; `None` when `within` has passed. Always looks at least once.
pub fn poll<T>(within: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(value) = condition() {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Looks until `condition` gives a value.
///
/// # Panics
/// When `within` has passed; `what` names what did not happen.
#[track_caller]
pub fn value<T>(what: &str, within: Duration, condition: impl FnMut() -> Option<T>) -> T {
    match poll(within, condition) {
        Some(value) => value,
        None => panic!("waited {within:?} in vain for: {what}"),
    }
}

/// Looks until `condition` holds.
///
/// # Panics
/// When `within` has passed; `what` names what did not happen.
#[track_caller]
pub fn until(what: &str, within: Duration, mut condition: impl FnMut() -> bool) {
    value(what, within, || condition().then_some(()));
}

/// Looks for the whole of `during` and checks that `condition` holds at every look.
///
/// # Panics
/// At the first look at which it does not; `what` names what should have stayed.
#[track_caller]
pub fn stays(what: &str, during: Duration, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while start.elapsed() < during {
        assert!(condition(), "after {:?} it was no longer so: {what}", start.elapsed());
        thread::sleep(LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_looked_at_even_when_no_time_is_left() {
        assert_eq!(poll(Duration::ZERO, || Some(1)), Some(1));
        assert_eq!(poll(Duration::ZERO, || None::<u8>), None);
    }

    #[test]
    #[should_panic(expected = "in vain for: rain")]
    fn a_vain_wait_says_for_what() {
        until("rain", Duration::from_millis(1), || false);
    }
}
