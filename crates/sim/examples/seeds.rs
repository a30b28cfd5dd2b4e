//! Runs seeds and scenarios from the command line: `seeds FROM TO`, `seeds --trace SEED`,
//! `seeds --scenario NAME [WEAKNESS]`.

use std::time::Instant;

use jogi_sim::World;
use jogi_sim::scenario::{self, Scenario, run_weakened};
use jogi_sim::seeds::{run_seed, run_seeds};
use jogi_sim::trace::Level;
use jogi_sim::weakness::Weakness;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize| args.get(i).and_then(|a| a.parse::<u64>().ok());
    match (args.first().map(String::as_str), number(0), number(1)) {
        (Some("--trace"), _, Some(seed)) => {
            let ended = run_seed(seed, Level::Everything);
            tell(&ended.world, ended.failure);
        }
        (Some("--scenario"), _, _) => one_scenario(&args[1..]),
        (_, Some(from), Some(to)) => many(from, to),
        (_, _, _) => println!("seeds FROM TO | seeds --trace SEED | seeds --scenario NAME [WEAKNESS]"),
    }
}

fn tell(world: &World, failure: Option<String>) {
    world.trace.lines.iter().for_each(|line| println!("{line}"));
    println!("{}", failure.unwrap_or_else(|| "nothing went wrong".to_owned()));
}

fn many(from: u64, to: u64) {
    let began = Instant::now();
    let mut failed = 0;
    for seed in from..to {
        for (seed, why) in run_seeds(seed, 1).failures {
            failed += 1;
            println!("seed {seed}: {why}");
        }
    }
    println!("{failed} of {} failed, {:.1} s", to - from, began.elapsed().as_secs_f64());
}

fn one_scenario(args: &[String]) {
    let Some(name) = args.first() else { return println!("which scenario?") };
    let weakness = args.get(1).and_then(|name| Weakness::named(name));
    let path = scenario::directory().join(format!("{name}.txt"));
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => return println!("{}: {error}", path.display()),
    };
    match Scenario::parse(name, &text) {
        Ok(scenario) => {
            let ended = run_weakened(&scenario, Level::Everything, weakness);
            tell(&ended.world, ended.failure);
        }
        Err(error) => println!("{name}.txt, {error}"),
    }
}
