//! Which decision is logged when: each when it changes, and again every `loop_wait` for as long as it stands.
//!
//! Patroni logs one line per turn of its loop, and people have their alarms on a line that stays away. With
//! `log.deduplicate_heartbeat_logs` the line that nothing is to be done is not repeated; as with Patroni that counts at
//! the level INFO, and whatever else stands is repeated all the same.

use std::time::Duration;

use jogi_config::local::Log;
use jogi_core::Tick;
use jogi_core::ha::Decision;

#[derive(Debug, Default)]
pub(super) struct Spoken {
    decision: Decision,
    paused: bool,
    /// When it was logged last.
    at: Tick,
}

impl Spoken {
    /// The line to be logged now, if any. `again`: see [`Spoken::again_at`].
    pub fn line(&mut self, decision: &Decision, paused: bool, now: Tick, again: Option<Tick>) -> Option<String> {
        let stands = *decision == self.decision && paused == self.paused;
        if stands && again.is_none_or(|at| now < at) {
            return None;
        }
        *self = Spoken { decision: decision.clone(), paused, at: now };
        let mark = if paused { "PAUSE: " } else { "" };
        Some(format!("{mark}{decision}"))
    }

    /// When the decision that was logged last is logged again if it stands until then.
    pub fn again_at(&self, loop_wait: Duration, log: &Log) -> Option<Tick> {
        let deduplicated = log.deduplicate_heartbeat_logs && log.level == "INFO" && self.is_heartbeat();
        (!deduplicated).then(|| self.at + loop_wait)
    }

    fn is_heartbeat(&self) -> bool {
        self.decision.state.starts_with("no action. ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logging::tests::settings;

    const LOOP_WAIT: Duration = Duration::from_secs(10);

    #[test]
    fn a_decision_is_repeated_while_it_stands_and_a_heartbeat_may_not_be() {
        let heartbeat = Decision::new("no action. I am (a), the leader with the lock", "it is the primary");
        let waits = Decision::new("waiting for leader to bootstrap", "there is none");
        for (decision, level, deduplicate, repeated) in [
            (&heartbeat, "INFO", false, true),
            (&heartbeat, "INFO", true, false),
            (&heartbeat, "DEBUG", true, true),
            (&waits, "INFO", true, true),
            (&waits, "INFO", false, true),
        ] {
            let log = Log { deduplicate_heartbeat_logs: deduplicate, ..settings(level, &[]) };
            let mut spoken = Spoken::default();
            let begin = Tick::default() + Duration::from_secs(100);
            let mut said = |after: u64| {
                let again = spoken.again_at(LOOP_WAIT, &log);
                spoken.line(decision, false, begin + Duration::from_secs(after), again).is_some()
            };
            let heard = [0, 1, 9, 10, 11, 21].map(&mut said);
            assert_eq!(heard, [true, false, false, repeated, false, repeated], "{decision} {level} {deduplicate}");
        }
    }

    #[test]
    fn what_changes_is_said_at_once() {
        let log = Log { deduplicate_heartbeat_logs: true, ..settings("INFO", &[]) };
        let mut spoken = Spoken::default();
        let now = Tick::default() + Duration::from_secs(1);
        for (state, paused, line) in [
            ("no action. A", false, "no action. A"),
            ("starting", false, "starting"),
            ("no action. A", false, "no action. A"),
            ("no action. A", true, "PAUSE: no action. A"),
        ] {
            let again = spoken.again_at(LOOP_WAIT, &log);
            assert_eq!(spoken.line(&Decision::new(state, ""), paused, now, again).as_deref(), Some(line));
        }
    }
}
