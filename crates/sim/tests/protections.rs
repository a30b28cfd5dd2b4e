//! Each protection switched off once: the scenario that it exists for must go wrong, and be noticed.
//!
//! Where a check fails it is named; where the herd merely does not do what it must, the line of the scenario is.
#![cfg(debug_assertions)]

use std::fs;

use jogi_core::Weakness::*;
use jogi_sim::scenario::{self, Scenario, run_weakened};
use jogi_sim::trace::Level;
use jogi_sim::weakness::Weakness::{self, *};

/// What went wrong first in a world without the protection.
fn noticed(name: &str, weakness: Option<Weakness>) -> String {
    let path = scenario::directory().join(format!("{name}.txt"));
    let scenario = Scenario::parse(name, &fs::read_to_string(path).expect("a scenario")).expect("parses");
    let ended = run_weakened(&scenario, Level::Off, weakness);
    let violation = ended.world.checks.violations.first().map(|v| v.check.to_owned());
    violation.or(ended.failure).unwrap_or_default()
}

#[test]
fn what_is_switched_off_is_missed() {
    let uncovered = "a member can commit without the leader key";
    for (name, weakness, expected) in [
        ("agent_killed", Known(NoDeadlines), uncovered),
        ("agent_killed", GuardIsLate, uncovered),
        ("stopped_backend_frozen_f10", Known(FenceByPostmaster), uncovered),
        ("tree_killed", Known(NoParentDeathSignal), uncovered),
        ("half_clone", NoIntent, "a half-made directory is started"),
        ("half_clone", Known(StartHalfCopies), "within"),
        ("hung_server_f9", Known(IgnoreHung), "the primary is nobody"),
        ("stray_primary_f16", Known(KeepUnleased), "within"),
        ("sync_async_never_leads", Known(IgnoreSync), "it came to hold"),
        ("sync_published_late_f3", Known(SyncBeforeNames), "Lost"),
        ("sync_forgotten_first", Known(NamesBeforeSync), "an acknowledged commit is missing"),
        ("failsafe_partition", Known(FailsafeMajority), uncovered),
        ("initialize_deleted_f8", Known(InitdbAgain), "a cluster is bootstrapped once"),
    ] {
        assert_eq!(noticed(name, None), "", "{name} with every protection");
        let found = noticed(name, Some(weakness));
        assert!(!found.is_empty() && found.contains(expected), "{name} with {weakness:?}: '{found}'");
    }
}
