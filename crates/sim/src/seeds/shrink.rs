//! The smallest plan that still fails: fewer members, fewer faults, shorter.
//!
//! A candidate counts when the same check fails in it. Every candidate is a plan that the command line can name
//! ([`Options`]), so what is shown can be replayed.

use std::time::Duration;

use super::plan::{Options, Plan};
use super::run::{Ended, run_plan};
use crate::trace::Level;
use crate::weakness::Weaknesses;

/// So many worlds are tried at most.
const TRIES: u32 = 400;

/// The seed's options at their smallest, with how it ends then.
pub fn shrink(seed: u64, given: &Options, ended: Ended, weakness: Weaknesses) -> (Options, Ended) {
    let Some(check) = ended.failure.as_ref().map(|f| f.check) else { return (given.clone(), ended) };
    let mut search = Search { seed, check, weakness, left: TRIES, best: (given.clone(), ended) };
    let struck = search.best.1.struck.iter().map(|planned| planned.number).collect();
    search.attempt(Options { only: Some(struck), ..given.clone() });
    search.fewer_members();
    search.fewer_faults();
    search.fewer_members();
    search.shorter();
    search.best
}

struct Search {
    seed: u64,
    check: &'static str,
    weakness: Weaknesses,
    left: u32,
    best: (Options, Ended),
}

impl Search {
    fn attempt(&mut self, options: Options) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        let ended = run_plan(&Plan::new(self.seed, &options), Level::Off, self.weakness);
        let same = ended.failure.as_ref().is_some_and(|failure| failure.check == self.check);
        if same {
            self.best = (options, ended);
        }
        same
    }

    fn fewer_members(&mut self) {
        let now = self.best.1.world.hosts.len();
        for members in 1..now {
            if self.attempt(Options { members: Some(members), ..self.best.0.clone() }) {
                return;
            }
        }
    }

    /// Leaves out parts of the list, large ones first, until no single one can be left out.
    fn fewer_faults(&mut self) {
        let mut part = self.faults().len().div_ceil(2);
        while part > 0 {
            let mut from = 0;
            let mut found = false;
            while from < self.faults().len() {
                let mut only = self.faults();
                only.drain(from..(from + part).min(only.len()));
                if self.attempt(Options { only: Some(only), ..self.best.0.clone() }) {
                    found = true;
                } else {
                    from += part;
                }
            }
            if part == 1 && !found {
                return;
            }
            part = if part == 1 { 1 } else { part.div_ceil(2) };
            if self.left == 0 {
                return;
            }
        }
    }

    fn faults(&self) -> Vec<usize> {
        self.best.0.only.clone().unwrap_or_default()
    }

    /// Ends right after what went wrong, if the failure does not need the repair at the end.
    fn shorter(&mut self) {
        let at = Duration::from_nanos(self.best.1.world.now.0) + Duration::from_millis(1);
        let at = Duration::from_millis(u64::try_from(at.as_millis()).unwrap_or(u64::MAX) + 1);
        self.attempt(Options { until: Some(at), ..self.best.0.clone() });
    }
}
