//! Protections taken away one by one: a check must notice each within a stated number of seeds.
//!
//! Prints the table: weakness, the check that caught it, after how many seeds. `JOGI_SIM_WEAKEN=name` tries any
//! weakness, `JOGI_SIM_WITHIN=n` with more seeds. Those of single scenarios are in `protections.rs`.
#![cfg(debug_assertions)]

use jogi_sim::Weakness;
use jogi_sim::seeds::Campaign;

/// So many seeds may pass before a weakness is noticed.
const WITHIN: u64 = 300;

/// What random faults notice.
const NOTICED: [&str; 16] = [
    "guard-is-late",
    "guard-never-kills",
    "promote-unarmed",
    "no-intent",
    "no-reserve",
    "ignore-conflict",
    "acquire-uncompared",
    "keep-unleased",
    "count-errors",
    "no-deadlines",
    "fence-by-postmaster",
    "no-parent-death-signal",
    "fence-at-ttl",
    "beat-without-key",
    "ignore-lag",
    "open-unannounced",
];

#[test]
#[ignore = "minutes: cargo nextest run -p jogi-sim --test mutations --run-ignored only --no-capture"]
fn weaknesses_are_noticed() {
    let only = std::env::var("JOGI_SIM_WEAKEN").ok();
    let within = std::env::var("JOGI_SIM_WITHIN").ok().map_or(WITHIN, |n| n.parse().expect("a number"));
    let names = only.as_deref().map_or(NOTICED.to_vec(), |name| vec![name]);
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let mut unnoticed = Vec::new();
    for name in names {
        let weakness = Some(Weakness::named(name).unwrap_or_else(|| panic!("there is no weakness called '{name}'")));
        let (_, findings) = Campaign { weakness, jobs, ..Campaign::new(0, within) }.run(|_| {});
        match findings.first() {
            Some(finding) => println!("| {name} | {} | {} |", finding.check, finding.seed + 1),
            None => unnoticed.push(name),
        }
    }
    assert!(unnoticed.is_empty(), "within {within} seeds nothing notices {}", unnoticed.join(", "));
}
