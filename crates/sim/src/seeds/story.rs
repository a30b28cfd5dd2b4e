//! A failure as a story that a person can read: what was done to the herd, who believed what, which rule acted and why,
//! and the command that replays it.

use std::fmt::Write as _;

use super::plan::{Options, Plan};
use super::run::{Ended, run_plan, said};
use crate::trace::{Level, Line, Topic};
use crate::weakness::Weaknesses;
use crate::world::{Host, World};

/// Lines shown at most; from a longer story the middle is left out.
const LINES: usize = 240;

/// The story of a seed that fails, as short as it could be made.
pub fn tell(seed: u64, options: &Options, original: &str, weakness: Weaknesses) -> String {
    let plan = Plan::new(seed, options);
    let ended = run_plan(&plan, Level::Notes, weakness);
    let mut text = String::new();
    let _ = writeln!(text, "seed {seed} fails: {original}\n");
    let _ = writeln!(
        text,
        "At its smallest: {} member(s), {} fault(s), profile {}, {}\n",
        plan.herd.members.len(),
        ended.struck.len(),
        plan.profile.word(),
        plan.herd.dynamic
    );
    lines(&mut text, &ended.world);
    let _ = writeln!(text, "\nWhat went wrong: {}", failure(&ended));
    let _ = writeln!(text, "\nWhat is true at that moment:\n{}", truth(&ended.world));
    let _ = writeln!(text, "What the members believe:{}\n", said(&ended.world));
    let _ = writeln!(text, "Replay it:        {}", command(seed, options));
    let _ = writeln!(text, "with every step:  {} --trace", command(seed, options));
    text
}

fn failure(ended: &Ended) -> String {
    ended.failure.as_ref().map_or_else(|| "nothing".to_owned(), |f| f.text.clone())
}

/// From the first fault on; how the herd came to be is the same every time.
fn lines(text: &mut String, world: &World) {
    let all = &world.trace.lines;
    let first = all.iter().position(|line| line.topic == Topic::Fault).unwrap_or(0);
    let told: Vec<&Line> = all.iter().skip(first).collect();
    let left_out = told.len().saturating_sub(LINES);
    for (at, line) in told.iter().enumerate() {
        if left_out > 0 && at == LINES / 4 {
            let _ = writeln!(text, "          … {left_out} lines …");
        }
        if left_out == 0 || at < LINES / 4 || at >= LINES / 4 + left_out {
            let _ = writeln!(text, "{line}");
        }
    }
}

fn truth(world: &World) -> String {
    let leader = world.store.leader().unwrap_or("nobody");
    let mut text = format!("  {} s: the leader key is {leader}'s; the store is {:?}\n", world.now, world.store.health);
    world.hosts.iter().for_each(|host| text.push_str(&member(world, host)));
    text
}

fn member(world: &World, host: &Host) -> String {
    let pg = &host.pg;
    let log = pg.data().map(|d| format!("log to {} on timeline {}", world.wal.end(d.tip), world.wal.timeline(d.tip)));
    let server = match (pg.phase(), pg.orphans) {
        (Some(phase), _) => format!("{phase:?}"),
        (None, Some(orphans)) => format!("{orphans:?}"),
        (None, None) => "no process".to_owned(),
    };
    format!(
        "  {}: server {server}{}, {}, guard {}{}{}\n",
        host.name,
        if pg.can_commit() { ", CAN COMMIT" } else { "" },
        log.unwrap_or_else(|| "no whole data directory".to_owned()),
        if host.guard.alive { "alive" } else { "dead" },
        if host.guard.armed { " and armed" } else { "" },
        if host.powered { "" } else { ", host is off" },
    )
}

/// What replays the seed with these options.
pub fn command(seed: u64, options: &Options) -> String {
    let mut text = format!("jogi sim --seed {seed}");
    if let Some(profile) = options.profile {
        let _ = write!(text, " --profile {}", profile.word());
    }
    if let Some(members) = options.members {
        let _ = write!(text, " --members {members}");
    }
    if let Some(every) = options.fault_every {
        let _ = write!(text, " --fault-every {}", every.as_secs_f64());
    }
    if let Some(until) = options.until {
        let _ = write!(text, " --until {}", until.as_secs_f64());
    }
    if let Some(only) = &options.only {
        let numbers: Vec<String> = only.iter().map(usize::to_string).collect();
        let _ = write!(text, " --only {}", if numbers.is_empty() { "none".to_owned() } else { numbers.join(",") });
    }
    text
}
