//! Runs seeds without building the whole program: `campaign FROM TO [WEAKNESS]`.

use std::time::Instant;

use jogi_sim::Weakness;
use jogi_sim::seeds::Campaign;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize| args.get(i).and_then(|a| a.parse::<u64>().ok());
    let (Some(from), Some(to)) = (number(0), number(1)) else { return println!("campaign FROM TO [WEAKNESS]") };
    let began = Instant::now();
    let weakness = args.get(2).and_then(|name| Weakness::named(name));
    let campaign = Campaign { keep_going: true, weakness, ..Campaign::new(from, to.saturating_sub(from)) };
    let (report, findings) = campaign.run(|_| {});
    findings.iter().for_each(|finding| println!("seed {}: {}", finding.seed, finding.text));
    let took = began.elapsed().as_secs_f64();
    let hours = report.hours.counted();
    println!("{} failed, {hours:.1} cluster-hours in {took:.1} s, {:.0} a minute", findings.len(), hours * 60.0 / took);
}
