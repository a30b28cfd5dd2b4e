//! Runs seeds without building the whole program: `campaign FROM TO [WEAKNESS]`, `campaign --tell SEED [WEAKNESS]`.

use std::time::Instant;

use jogi_sim::Weakness;
use jogi_sim::seeds::shrink::shrink;
use jogi_sim::seeds::{Campaign, Options, Plan, run_plan, story};
use jogi_sim::trace::Level;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize| args.get(i).and_then(|a| a.parse::<u64>().ok());
    let weakness = args.get(2).and_then(|name| Weakness::named(name));
    if let (Some("--tell"), Some(seed)) = (args.first().map(String::as_str), number(1)) {
        return tell(seed, weakness);
    }
    let (Some(from), Some(to)) = (number(0), number(1)) else { return println!("campaign FROM TO [WEAKNESS]") };
    let began = Instant::now();
    let keep_going = weakness.is_none();
    let campaign = Campaign { keep_going, weakness, ..Campaign::new(from, to.saturating_sub(from)) };
    let (report, findings) = campaign.run(|_| {});
    findings.iter().for_each(|finding| println!("seed {}: {}", finding.seed, finding.text));
    let took = began.elapsed().as_secs_f64();
    let hours = report.hours.counted();
    println!("{} failed, {hours:.1} cluster-hours in {took:.1} s, {:.0} a minute", findings.len(), hours * 60.0 / took);
}

fn tell(seed: u64, weakness: Option<Weakness>) {
    let ended = run_plan(&Plan::new(seed, &Options::default()), Level::Off, weakness);
    let Some(failure) = ended.failure.clone() else { return println!("seed {seed} does not fail") };
    let (options, _) = shrink(seed, &Options::default(), ended, weakness);
    println!("{}", story::tell(seed, &options, &failure.text, weakness));
}
