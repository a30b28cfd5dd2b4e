//! Runs seeds from the command line: `seeds FROM TO`, or `seeds --trace SEED`.

use std::time::Instant;

use jogi_sim::seeds::{run_seed, run_seeds};
use jogi_sim::trace::Level;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize| args.get(i).and_then(|a| a.parse::<u64>().ok());
    match (args.first().map(String::as_str), number(0), number(1)) {
        (Some("--trace"), _, Some(seed)) => {
            let ended = run_seed(seed, Level::Everything);
            ended.world.trace.lines.iter().for_each(|line| println!("{line}"));
            println!("{}", ended.failure.unwrap_or_else(|| "nothing went wrong".to_owned()));
        }
        (_, Some(from), Some(to)) => {
            let began = Instant::now();
            let mut failed = 0;
            for seed in from..to {
                let report = run_seeds(seed, 1);
                for (seed, why) in report.failures {
                    failed += 1;
                    println!("seed {seed}: {why}");
                }
            }
            println!("{failed} of {} failed, {:.1} s", to - from, began.elapsed().as_secs_f64());
        }
        (_, _, _) => println!("seeds FROM TO | seeds --trace SEED"),
    }
}
