//! Each protection switched off once: the scenario that it exists for must go wrong, and be noticed.
//!
//! Where a check fails it is named; where the herd merely does not do what it must, the line of the scenario is. The same
//! by random faults is in `mutations.rs`, and what only a race of milliseconds shows (`release-before-stop`) is there alone.
#![cfg(debug_assertions)]

use std::fs;

use jogi_sim::scenario::{self, Scenario, run_weakened};
use jogi_sim::trace::Level;
use jogi_sim::weakness::Weaknesses;

/// What went wrong first in a world without the protection.
fn noticed(name: &str, weakness: Weaknesses) -> String {
    let path = scenario::directory().join(format!("{name}.txt"));
    let scenario = Scenario::parse(name, &fs::read_to_string(path).expect("a scenario")).expect("parses");
    let ended = run_weakened(&scenario, Level::Off, weakness);
    let violation = ended.world.checks.violations.first().map(|v| v.check.to_owned());
    violation.or(ended.failure).unwrap_or_default()
}

#[test]
fn what_is_switched_off_is_missed() {
    let uncovered = "a member can commit without the leader key";
    let (two, missing) = ("two members can commit", "an acknowledged commit is missing");
    let (histories, lacks) = ("two histories met", "the new leader lacks more");
    for (name, weak, expected) in [
        ("agent_killed", "no-deadlines", uncovered),
        ("agent_killed", "guard-is-late", uncovered),
        ("agent_killed", "acquire-uncompared", uncovered),
        ("bootstrap", "ignore-conflict", two),
        ("f10_stopped_backend_frozen", "fence-by-postmaster", uncovered),
        ("f10_stopped_backend_frozen", "guard-never-kills", uncovered),
        ("f10_blocked_backend", "fence-at-once", "the data directory is changed under a server"),
        ("tree_killed", "no-parent-death-signal", uncovered),
        ("store_errors_paced", "count-errors", uncovered),
        ("leader_key_deleted", "beat-without-key", uncovered),
        ("half_clone", "no-intent", "a half-made directory is started"),
        ("half_clone", "start-half-copies", "within"),
        ("f9_hung_server", "ignore-hung", "a hung primary is given up"),
        ("f9_stopped_postmaster", "ignore-hung", "a hung primary is given up"),
        ("f16_stray_primary", "keep-unleased", "a server that no lease covers stays writable"),
        ("f3_published_late", "sync-before-names", "Lost"),
        ("sync_forgotten_first", "names-before-sync", missing),
        ("f4_stale_third", "ignore-sync", missing),
        ("f4_asynchronous_third", "ignore-sync", "it came to hold"),
        ("f5_dead_branch", "lsn-before-lineage", "the primary is a"),
        ("f6_stale_view", "promote-unread", histories),
        ("f6_same_point", "open-unannounced", histories),
        ("f6_same_point", "no-reserve", histories),
        ("f11_stale_candidate", "act-after-stall,promote-unread", lacks),
        ("f11_stale_candidate", "ignore-lag", lacks),
        ("failsafe_partition", "failsafe-majority", uncovered),
        ("f8_initialize_deleted", "initdb-again", "a cluster is bootstrapped once"),
    ] {
        assert_eq!(noticed(name, Weaknesses::default()), "", "{name} with every protection");
        let found = noticed(name, Weaknesses::named(weak).expect("known"));
        assert!(!found.is_empty() && found.contains(expected), "{name} with {weak}: '{found}'");
    }
}
