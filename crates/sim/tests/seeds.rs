//! Random faults, a few hundred seeds on every run.
//!
//! `JOGI_SIM_SEED=n` runs one seed and prints its full trace; `JOGI_SIM_SEEDS=from..to` runs others than usual.

use jogi_sim::seeds::{run_seed, run_seeds};
use jogi_sim::trace::Level;

/// On every run.
const USUAL: (u64, u64) = (0, 200);

fn range() -> (u64, u64) {
    let Ok(text) = std::env::var("JOGI_SIM_SEEDS") else { return USUAL };
    let (from, to) = text.split_once("..").expect("JOGI_SIM_SEEDS=FROM..TO");
    (from.parse().expect("a number"), to.parse().expect("a number"))
}

#[test]
fn herds_survive_random_faults() {
    if let Ok(seed) = std::env::var("JOGI_SIM_SEED") {
        let ended = run_seed(seed.parse().expect("a number"), Level::Everything);
        ended.world.trace.lines.iter().for_each(|line| println!("{line}"));
        assert_eq!(ended.failure, None);
        return;
    }
    let (from, to) = range();
    let report = run_seeds(from, to - from);
    println!("{report}");
    let failures: Vec<String> = report.failures.iter().map(|(seed, why)| format!("seed {seed}: {why}")).collect();
    assert!(failures.is_empty(), "{report}\n{}", failures.join("\n"));
    for (what, count) in [
        ("promotions", report.counts.promotions),
        ("clones", report.counts.clones),
        ("rewinds", report.counts.rewinds),
        ("stuck effects", report.counts.stuck),
        ("commits", report.commits),
    ] {
        assert!(count > 0, "{what}: nothing of that kind happened, so nothing was tested");
    }
}
