//! Many seeds, over some threads; each world lives in one. Results come in the order of the seeds, whatever the threads do.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::plan::{Options, Plan};
use super::report::Report;
use super::run::run_plan;
use crate::trace::Level;
use crate::weakness::Weaknesses;

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Campaign {
    pub from: u64,
    pub count: u64,
    pub options: Options,
    pub weakness: Weaknesses,
    pub jobs: usize,
    /// Goes on after a failing seed.
    pub keep_going: bool,
}

/// A seed that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub seed: u64,
    pub check: &'static str,
    pub text: String,
}

/// One seed's part of the report.
struct One {
    seed: u64,
    report: Report,
    finding: Option<Finding>,
}

impl Campaign {
    pub fn new(from: u64, count: u64) -> Campaign {
        Campaign {
            from,
            count,
            options: Options::default(),
            weakness: Weaknesses::default(),
            jobs: 1,
            keep_going: false,
        }
    }

    /// Runs until the end or the first failing seed; `watch` hears of every seed in order.
    pub fn run(&self, mut watch: impl FnMut(&Report)) -> (Report, Vec<Finding>) {
        let (next, stop) = (AtomicU64::new(self.from), AtomicBool::new(false));
        let (report, findings) = thread::scope(|scope| {
            let (sender, receiver) = sync_channel(64 * self.jobs.max(1));
            for _ in 0..self.jobs.max(1) {
                let sender = sender.clone();
                scope.spawn(|| self.work(&next, &stop, sender));
            }
            drop(sender);
            let result = self.collect(&receiver, &mut watch);
            stop.store(true, Ordering::Relaxed);
            // Whoever still sends finds nobody and ends.
            drop(receiver);
            result
        });
        (report, findings)
    }

    fn work(&self, next: &AtomicU64, stop: &AtomicBool, sender: SyncSender<One>) {
        while !stop.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= self.from.saturating_add(self.count) || sender.send(self.one(seed)).is_err() {
                return;
            }
        }
    }

    fn one(&self, seed: u64) -> One {
        let ended = run_plan(&Plan::new(seed, &self.options), Level::Off, self.weakness);
        let mut report = Report::default();
        report.add(&ended);
        let finding = ended.failure.map(|failure| Finding { seed, check: failure.check, text: failure.text });
        One { seed, report, finding }
    }

    fn collect(&self, receiver: &Receiver<One>, watch: &mut impl FnMut(&Report)) -> (Report, Vec<Finding>) {
        let (mut report, mut findings) = (Report::default(), Vec::new());
        let mut early = BTreeMap::new();
        let mut expected = self.from;
        for one in receiver {
            early.insert(one.seed, one);
            while let Some(one) = early.remove(&expected) {
                expected += 1;
                report.merge(&one.report);
                watch(&report);
                findings.extend(one.finding);
                if !findings.is_empty() && !self.keep_going {
                    return (report, findings);
                }
            }
        }
        (report, findings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_change_nothing() {
        let run = |jobs| Campaign { jobs, keep_going: true, ..Campaign::new(0, 6) }.run(|_| {});
        let ((one, none), (three, _)) = (run(1), run(3));
        assert_eq!((one.seeds, one.digest, one.counts), (three.seeds, three.digest, three.counts));
        assert_eq!(none, []);
    }
}
