//! `jogi sim`: simulated herds from seeds.

use std::io::{IsTerminal, Write, stderr, stdout};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use jogi_sim::Weaknesses;
use jogi_sim::seeds::plan::MEMBERS_MAX;
use jogi_sim::seeds::shrink::shrink;
use jogi_sim::seeds::{Campaign, Options, Plan, Profile, Report, run_plan, story};
use jogi_sim::trace::Level;

const SHORTEST_SPACING: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub struct Arguments {
    /// How many seeds are run, one simulated herd each.
    #[arg(long, default_value_t = 1000, conflicts_with = "seed")]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0, conflicts_with = "seed")]
    from: u64,
    /// Runs this one seed.
    #[arg(long)]
    seed: Option<u64>,
    /// Prints every step of the seed's history.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Ends the faults after so many virtual seconds; the herd is repaired then and has to heal.
    #[arg(long, value_parser = seconds)]
    until: Option<Duration>,
    /// Herds of so many members, instead of what the seed chooses.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=MEMBERS_MAX as i64))]
    members: Option<u8>,
    /// What is done to the herds more often than anything else, instead of what the seed chooses: calm, network, store,
    /// process, disk, clock, operator, everything.
    #[arg(long, value_parser = profile)]
    profile: Option<Profile>,
    /// The mean time between two faults in seconds, instead of what the seed chooses.
    #[arg(long, value_parser = spacing)]
    fault_every: Option<Duration>,
    /// Only the faults with these numbers, as `3,7` or `none`: what is left of a seed that was shrunk.
    #[arg(long, requires = "seed", value_parser = numbers)]
    only: Option<Numbers>,
    /// Threads; seeds are reported in their order all the same. Default: one for each processor.
    #[arg(long)]
    jobs: Option<usize>,
    /// Goes on after a seed that fails.
    #[arg(long, conflicts_with = "seed")]
    keep_going: bool,
    /// Takes protections away (names, comma-separated), to see that they are missed.
    #[arg(long, hide = true, value_parser = weaknesses)]
    weaken: Option<Weaknesses>,
}

#[derive(Clone, Debug)]
struct Numbers(Vec<usize>);

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("'{text}' is no number of seconds"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn spacing(text: &str) -> Result<Duration, String> {
    let every = seconds(text)?;
    if every < SHORTEST_SPACING {
        return Err(format!("faults come {} s apart at least", SHORTEST_SPACING.as_secs_f64()));
    }
    Ok(every)
}

fn profile(text: &str) -> Result<Profile, String> {
    Profile::named(text).ok_or_else(|| {
        let words: Vec<&str> = Profile::ALL.iter().map(|profile| profile.word()).collect();
        format!("there are {}", words.join(", "))
    })
}

fn numbers(text: &str) -> Result<Numbers, String> {
    if text == "none" {
        return Ok(Numbers(Vec::new()));
    }
    let numbers: Result<Vec<usize>, _> = text.split(',').map(|n| n.trim().parse()).collect();
    numbers.map(Numbers).map_err(|_| format!("'{text}' is no list of numbers (3,7,12)"))
}

fn weaknesses(text: &str) -> Result<Weaknesses, String> {
    if !cfg!(debug_assertions) {
        return Err("protections can be taken away in debug builds only".to_owned());
    }
    Weaknesses::named(text).ok_or_else(|| "there is no such weakness".to_owned())
}

/// Exit code 0: nothing was found. 1: a seed failed, or what a seed is to test never happened.
pub fn main(arguments: Arguments) -> ExitCode {
    let options = Options {
        profile: arguments.profile,
        members: arguments.members.map(usize::from),
        until: arguments.until,
        only: arguments.only.clone().map(|Numbers(numbers)| numbers),
        fault_every: arguments.fault_every,
    };
    let result = match arguments.seed {
        Some(seed) => one(seed, &options, &arguments),
        None => many(&options, &arguments),
    };
    // Only a closed pipe can fail here, and then nobody reads the reason.
    result.unwrap_or(ExitCode::FAILURE)
}

fn one(seed: u64, options: &Options, arguments: &Arguments) -> std::io::Result<ExitCode> {
    let began = Instant::now();
    let level = if arguments.trace { Level::Everything } else { Level::Off };
    let ended = run_plan(&Plan::new(seed, options), level, arguments.weaken.unwrap_or_default());
    let mut out = stdout().lock();
    for line in &ended.world.trace.lines {
        writeln!(out, "{line}")?;
    }
    let mut report = Report::default();
    report.add(&ended);
    let failure = ended.failure.clone();
    if let Some(failure) = &failure {
        // Who names the faults, or looks at every step, has the seed as small as they want it.
        let (options, _) = if arguments.trace || arguments.only.is_some() {
            (options.clone(), ended)
        } else {
            writeln!(stderr(), "seed {seed} fails; looking for the smallest history that still does …")?;
            shrink(seed, options, ended, arguments.weaken.unwrap_or_default())
        };
        writeln!(out, "{}", story::tell(seed, &options, &failure.text, arguments.weaken.unwrap_or_default()))?;
    }
    writeln!(out, "{}", summary(&report, usize::from(failure.is_some()), began.elapsed()))?;
    Ok(if failure.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn many(options: &Options, arguments: &Arguments) -> std::io::Result<ExitCode> {
    let began = Instant::now();
    let campaign = Campaign {
        from: arguments.from,
        count: arguments.seeds,
        options: options.clone(),
        weakness: arguments.weaken.unwrap_or_default(),
        jobs: arguments.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
        keep_going: arguments.keep_going,
    };
    let (report, findings) = campaign.run(progress(began, arguments.seeds));
    let mut out = stdout().lock();
    for finding in findings.iter().skip(usize::from(!arguments.keep_going)) {
        writeln!(out, "seed {} fails: {}", finding.seed, finding.text)?;
    }
    if let Some(first) = findings.first().filter(|_| !arguments.keep_going) {
        writeln!(stderr(), "seed {} fails; looking for the smallest history that still does …", first.seed)?;
        let ended = run_plan(&Plan::new(first.seed, options), Level::Off, arguments.weaken.unwrap_or_default());
        let (smallest, _) = shrink(first.seed, options, ended, arguments.weaken.unwrap_or_default());
        writeln!(out, "{}", story::tell(first.seed, &smallest, &first.text, arguments.weaken.unwrap_or_default()))?;
    }
    writeln!(out, "{report}")?;
    let usual = arguments.profile.is_none() && arguments.members.is_none() && arguments.fault_every.is_none();
    let missing = if findings.is_empty() && usual { report.missing() } else { Vec::new() };
    if !missing.is_empty() {
        writeln!(out, "never happened, so never tested: {}", missing.join(", "))?;
    }
    writeln!(out, "{}", summary(&report, findings.len(), began.elapsed()))?;
    Ok(if findings.is_empty() && missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Says on a terminal how far it is.
fn progress(began: Instant, all: u64) -> impl FnMut(&Report) {
    let mut last = began;
    let terminal = stderr().is_terminal();
    move |report| {
        if terminal && last.elapsed() >= Duration::from_secs(1) {
            last = Instant::now();
            let _ = write!(stderr(), "\r{} of {all} seeds, {} s ", report.seeds, began.elapsed().as_secs());
        }
        if terminal && report.seeds == all {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

/// The last line.
fn summary(report: &Report, failed: usize, took: Duration) -> String {
    format!(
        "{} seeds, {failed} failed; {:.1} virtual hours, {:.1} cluster-hours, {} commits, {} promotions, {} acknowledged \
         rows lost where they may be; history {:016x}; {:.1} s",
        report.seeds,
        report.simulated.as_secs_f64() / 3600.0,
        report.hours.counted(),
        report.commits,
        report.counts.promotions,
        report.lost_rows,
        report.digest,
        took.as_secs_f64(),
    )
}
