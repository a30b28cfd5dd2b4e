//! Protections taken away one by one: a check must notice each within a stated number of seeds.
//!
//! Each has the profile that brings herds to where it is all that is left, and the number of seeds that may pass. A
//! seed counts when the same herd with every protection does not fail in the same check. Prints the table of
//! docs/reliability.md. `JOGI_SIM_WEAKEN=names` tries any, with `JOGI_SIM_PROFILE=word` and `JOGI_SIM_WITHIN=n`. The
//! same by scenarios, on every run, is in `protections.rs`.
#![cfg(debug_assertions)]

use jogi_sim::Weaknesses;
use jogi_sim::seeds::{Campaign, Finding, Options, Plan, Profile, run_plan};
use jogi_sim::trace::Level;

/// The checks that look at who can write, at what was acknowledged or lost, and at histories.
const FIRST_FOUR: [&str; 7] = [
    "two members can commit at the same instant",
    "a member can commit without the leader key",
    "a server that no lease covers stays writable",
    "an acknowledged commit is missing from the primary",
    "faults that may lose nothing lose nothing",
    "the new leader lacks more than maximum_lag_on_failover",
    "two histories met in one data directory",
];

/// What is taken away, where, and after how many seeds it must have been noticed at the latest.
const MUTATIONS: [(&str, Profile, u64); 27] = [
    ("acquire-uncompared", Profile::Everything, 30),
    ("guard-is-late", Profile::Answers, 30),
    ("promote-unarmed", Profile::Stalls, 30),
    ("ignore-conflict", Profile::Everything, 30),
    ("no-deadlines", Profile::Answers, 30),
    ("beat-without-key", Profile::Store, 30),
    ("count-errors", Profile::Store, 60),
    ("fence-by-postmaster", Profile::Answers, 30),
    ("guard-never-kills", Profile::Answers, 30),
    ("fence-at-ttl", Profile::Answers, 30),
    ("lease-from-answer", Profile::Answers, 300),
    ("no-parent-death-signal", Profile::Branches, 100),
    ("keep-unleased", Profile::Strays, 60),
    ("act-after-stall,promote-unread", Profile::StaleViews, 150),
    ("promote-unread", Profile::StaleViews, 300),
    ("ignore-lag", Profile::Stalls, 30),
    ("lsn-before-lineage", Profile::Branches, 60),
    ("open-unannounced", Profile::Branches, 30),
    ("no-reserve", Profile::Stalls, 60),
    ("release-before-stop", Profile::HandOvers, 30),
    ("names-before-sync", Profile::Synchronous, 60),
    ("sync-before-names", Profile::Synchronous, 60),
    ("ignore-sync", Profile::Synchronous, 60),
    ("failsafe-majority", Profile::Failsafe, 150),
    ("no-intent", Profile::Copies, 30),
    ("initdb-again", Profile::Identity, 30),
    ("ignore-hung", Profile::Hangs, 30),
];

/// So many are run before it is looked whether one of them was noticed.
const AT_ONCE: u64 = 8;

#[test]
#[ignore = "minutes: scripts/proof.sh mutations"]
fn weaknesses_are_noticed() {
    let only = std::env::var("JOGI_SIM_WEAKEN").ok();
    let profile = std::env::var("JOGI_SIM_PROFILE").ok().map(|word| Profile::named(&word).expect("a profile"));
    let within = std::env::var("JOGI_SIM_WITHIN").ok().map(|n| n.parse().expect("a number"));
    let mut table = MUTATIONS.to_vec();
    if let Some(only) = &only {
        table.retain(|(names, _, _)| names == only);
        if table.is_empty() {
            table.push((only, Profile::Everything, 100));
        }
    }
    let (mut unnoticed, mut by_first_four) = (Vec::new(), 0);
    for (names, usual, most) in table {
        let weakness = Weaknesses::named(names).unwrap_or_else(|| panic!("there is no weakness called '{names}'"));
        let profile = profile.unwrap_or(usual);
        let most = within.unwrap_or(most);
        match noticed(weakness, profile, most) {
            Some(finding) => {
                by_first_four += u64::from(FIRST_FOUR.contains(&finding.check));
                println!("| `{names}` | {} | {} | {} | {most} |", profile.word(), finding.check, finding.seed + 1);
            }
            None => unnoticed.push(format!("{names} ({} seeds, {})", most, profile.word())),
        }
    }
    println!("{by_first_four} by the checks of writers, acknowledged commits, losses and histories");
    assert!(unnoticed.is_empty(), "nothing notices {}", unnoticed.join(", "));
    assert!(only.is_some() || by_first_four >= 15, "the first four checks notice {by_first_four} only");
}

/// The first seed that fails, and does not fail in the same way with every protection.
fn noticed(weakness: Weaknesses, profile: Profile, within: u64) -> Option<Finding> {
    let options = Options { profile: Some(profile), ..Options::default() };
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let mut from = 0;
    while from < within {
        let count = AT_ONCE.min(within - from);
        let campaign =
            Campaign { jobs, weakness, keep_going: true, options: options.clone(), ..Campaign::new(from, count) };
        let (_, findings) = campaign.run(|_| {});
        let sound = |finding: &Finding| {
            let ended = run_plan(&Plan::new(finding.seed, &options), Level::Off, Weaknesses::default());
            ended.failure.is_none_or(|failure| failure.check != finding.check)
        };
        if let Some(finding) = findings.into_iter().find(sound) {
            return Some(finding);
        }
        from += count;
    }
    None
}
