//! Each protection switched off once: the scenario that it exists for must go wrong, and be caught by a check.

use std::fs;

use jogi_sim::scenario::{self, Scenario, run_weakened};
use jogi_sim::trace::Level;
use jogi_sim::weakness::Weakness;

/// The first violation of a scenario in a world without the protection.
fn caught(name: &str, weakness: Option<Weakness>) -> Option<&'static str> {
    let path = scenario::directory().join(format!("{name}.txt"));
    let scenario = Scenario::parse(name, &fs::read_to_string(path).expect("a scenario")).expect("parses");
    let ended = run_weakened(&scenario, Level::Off, weakness);
    ended.world.checks.violations.first().map(|violation| violation.check)
}

#[test]
fn what_is_switched_off_is_missed() {
    let uncovered = "a member can commit without the leader key";
    for (name, weakness, check) in [
        ("agent_killed", Weakness::GuardSleeps, uncovered),
        ("agent_killed", Weakness::GuardIsLate, uncovered),
        ("partition_f1", Weakness::GuardSleeps, ""),
        ("stopped_backend_frozen_f10", Weakness::GuardKillsPostmasterOnly, uncovered),
        ("tree_killed", Weakness::NoParentDeathSignal, uncovered),
        ("half_clone", Weakness::NoIntent, "a half-made directory is started"),
    ] {
        assert_eq!(caught(name, None), None, "{name} with every protection");
        let found = caught(name, Some(weakness)).unwrap_or("");
        assert_eq!(found, check, "{name} with {weakness:?}");
    }
}
