//! `-W` and `-w`: the same again and again.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::cli::WatchArgument;
use crate::failure::Failure;

const OFTEN: Duration = Duration::from_secs(2);

/// When to show something again.
pub struct Watching {
    every: Option<Duration>,
    clear: bool,
    last: Option<Instant>,
}

impl Watching {
    /// `clear`: the terminal's screen is emptied each time.
    pub fn new(arguments: WatchArgument, clear: bool) -> Watching {
        let given = arguments.watch.filter(|seconds| *seconds > 0.0).and_then(|s| Duration::try_from_secs_f64(s).ok());
        Watching { every: given.or(arguments.often.then_some(OFTEN)), clear, last: None }
    }

    /// Waits until it is time. `false`: that was all.
    pub async fn next(&mut self) -> Result<bool, Failure> {
        match (self.last, self.every) {
            (Some(_), None) => return Ok(false),
            (Some(last), Some(every)) => tokio::time::sleep(every.saturating_sub(last.elapsed())).await,
            (None, _) => {}
        }
        self.last = Some(Instant::now());
        let mut out = std::io::stdout();
        if self.clear && self.every.is_some() && out.is_terminal() {
            out.write_all(b"\x1b[H\x1b[2J\x1b[3J")?;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_period_is_what_was_asked_for() {
        let every = |often, watch| Watching::new(WatchArgument { often, watch }, true).every;
        assert_eq!(every(false, None), None);
        assert_eq!(every(true, None), Some(OFTEN));
        assert_eq!(every(true, Some(0.5)), Some(Duration::from_millis(500)));
        assert_eq!(every(false, Some(f64::INFINITY)), None);
        assert_eq!(every(false, Some(-1.0)), None);
    }
}
