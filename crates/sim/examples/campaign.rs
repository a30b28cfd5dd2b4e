//! Runs seeds without building the whole program: `campaign FROM TO [WEAKNESSES|none [PROFILE [FAULT_EVERY|any [MEMBERS]]]]`,
//! `campaign --tell SEED [WEAKNESSES|none [PROFILE]]`, `campaign --trace SEED [WEAKNESSES|none [PROFILE]]`. Most weaknesses are in debug builds only.

use std::time::{Duration, Instant};

use jogi_sim::Weaknesses;
use jogi_sim::seeds::shrink::shrink;
use jogi_sim::seeds::{Campaign, Options, Plan, Profile, run_plan, story};
use jogi_sim::trace::Level;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize| args.get(i).and_then(|a| a.parse::<u64>().ok());
    let names = args.get(2).filter(|names| *names != "none");
    let weakness = names.map_or(Weaknesses::default(), |names| Weaknesses::named(names).expect("known weaknesses"));
    let profile = args.get(3).filter(|word| *word != "any").map(|word| Profile::named(word).expect("a known profile"));
    let fault_every = number(4).map(Duration::from_secs);
    let members = number(5).and_then(|n| usize::try_from(n).ok());
    let options = Options { profile, fault_every, members, ..Options::default() };
    if let (Some("--tell"), Some(seed)) = (args.first().map(String::as_str), number(1)) {
        return tell(seed, &options, weakness);
    }
    if let (Some("--trace"), Some(seed)) = (args.first().map(String::as_str), number(1)) {
        let ended = run_plan(&Plan::new(seed, &options), Level::Everything, weakness);
        return ended.world.trace.lines.iter().for_each(|line| println!("{line}"));
    }
    let (Some(from), Some(to)) = (number(0), number(1)) else { return println!("campaign FROM TO [WEAKNESSES]") };
    let began = Instant::now();
    let keep_going = weakness.is_empty();
    let campaign = Campaign { keep_going, weakness, options, ..Campaign::new(from, to.saturating_sub(from)) };
    let (report, findings) = campaign.run(|_| {});
    findings.iter().for_each(|finding| println!("seed {}: {}", finding.seed, finding.text));
    let took = began.elapsed().as_secs_f64();
    let hours = report.hours.counted();
    println!(
        "{} failed of {}, {hours:.1} cluster-hours in {took:.1} s, {:.0} a minute",
        findings.len(),
        report.seeds,
        hours * 60.0 / took
    );
    println!("what herds of three and more lived through: {}", report.hours);
}

fn tell(seed: u64, given: &Options, weakness: Weaknesses) {
    let ended = run_plan(&Plan::new(seed, given), Level::Off, weakness);
    let Some(failure) = ended.failure.clone() else { return println!("seed {seed} does not fail") };
    let (options, _) = shrink(seed, given, ended, weakness);
    println!("{}", story::tell(seed, &options, &failure.text, weakness));
}
