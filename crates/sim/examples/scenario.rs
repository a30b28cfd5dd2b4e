//! Runs a scenario from the command line: `scenario NAME [WEAKNESS]`. Seeds are run by `jogi sim`.

use jogi_sim::Weaknesses;
use jogi_sim::scenario::{self, Scenario, run_weakened};
use jogi_sim::trace::Level;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some(name) = args.first() else { return println!("scenario NAME [WEAKNESS]") };
    let weakness =
        args.get(1).map_or(Weaknesses::default(), |names| Weaknesses::named(names).expect("known weaknesses"));
    let path = scenario::directory().join(format!("{name}.txt"));
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => return println!("{}: {error}", path.display()),
    };
    match Scenario::parse(name, &text) {
        Ok(scenario) => {
            let ended = run_weakened(&scenario, Level::Everything, weakness);
            ended.world.trace.lines.iter().for_each(|line| println!("{line}"));
            println!("{}", ended.failure.unwrap_or_else(|| "nothing went wrong".to_owned()));
        }
        Err(error) => println!("{name}.txt, {error}"),
    }
}
