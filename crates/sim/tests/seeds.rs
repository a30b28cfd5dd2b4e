//! Random faults, 2,500 seeds on every run.
//!
//! `JOGI_SIM_SEED=n` runs one seed and prints its full trace; `JOGI_SIM_SEEDS=from..to` runs others than usual.

use jogi_sim::Weaknesses;
use jogi_sim::seeds::shrink::shrink;
use jogi_sim::seeds::{Campaign, Options, Plan, run_plan, run_seed, story};
use jogi_sim::trace::Level;

/// On every run.
const USUAL: (u64, u64) = (0, 20_000);

fn range() -> (u64, u64) {
    let Ok(text) = std::env::var("JOGI_SIM_SEEDS") else { return USUAL };
    let (from, to) = text.split_once("..").expect("JOGI_SIM_SEEDS=FROM..TO");
    (from.parse().expect("a number"), to.parse().expect("a number"))
}

fn jobs() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
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
    let campaign = Campaign { jobs: jobs(), keep_going: true, ..Campaign::new(from, to - from) };
    let (report, findings) = campaign.run(|_| {});
    println!("{report}");
    if let Some(first) = findings.first() {
        let options = Options::default();
        let ended = run_plan(&Plan::new(first.seed, &options), Level::Off, Weaknesses::default());
        let (smallest, _) = shrink(first.seed, &options, ended, Weaknesses::default());
        panic!("{}", story::tell(first.seed, &smallest, &first.text, Weaknesses::default()));
    }
    let missing = report.missing();
    assert!(missing.is_empty(), "never happened, so never tested: {}", missing.join(", "));
}

#[test]
fn the_same_seed_is_the_same_history() {
    let history = |seed| {
        let ended = run_seed(seed, Level::Everything);
        let lines: Vec<String> = ended.world.trace.lines.iter().map(ToString::to_string).collect();
        (ended.world.digest(), lines.join("\n"))
    };
    for seed in [1, 2, 3] {
        assert_eq!(history(seed), history(seed));
    }
    assert_ne!(history(1).0, history(2).0);
}
