//! Every scenario of `scenarios/` ends as it is written there.
//!
//! `JOGI_SIM_ONLY=name` runs one and prints its full trace; `JOGI_SIM_BLESS=1` writes the transcripts anew.

use std::fs;
use std::path::PathBuf;

use jogi_sim::scenario::{self, Scenario};
use jogi_sim::trace::Level;

fn files() -> Vec<PathBuf> {
    let listed = fs::read_dir(scenario::directory()).expect("the crate has scenarios");
    let mut files: Vec<PathBuf> = listed.map(|entry| entry.expect("readable").path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "txt"));
    files.sort();
    files
}

/// `None`: as written.
fn try_one(path: &PathBuf, bless: bool, loud: bool) -> Option<String> {
    let name = path.file_stem().expect("a file").to_string_lossy().into_owned();
    let text = fs::read_to_string(path).expect("readable");
    let scenario = match Scenario::parse(&name, &text) {
        Ok(scenario) => scenario,
        Err(error) => return Some(format!("{name}.txt, {error}")),
    };
    let level = if loud { Level::Everything } else { Level::Story };
    let ended = scenario::run(&scenario, level);
    if loud {
        ended.world.trace.lines.iter().for_each(|line| println!("{line}"));
    }
    if let Some(why) = scenario.expected_to_fail() {
        return match ended.failure {
            Some(failure) => {
                println!("{name}.txt fails as expected ({why}): {failure}");
                None
            }
            None => Some(format!("{name}.txt begins to pass: take its line 'expected-to-fail {why}' away")),
        };
    }
    if let Some(failure) = ended.failure {
        let last = ended.transcript.iter().rev().take(25).rev().cloned().collect::<Vec<_>>().join("\n  ");
        return Some(format!("{failure}\n  {last}"));
    }
    if bless {
        fs::write(path, scenario.with_transcript(&ended.transcript)).expect("writable");
        return None;
    }
    let differs = scenario.transcript.iter().zip(&ended.transcript).position(|(was, is)| was != is);
    let differs = differs.or((scenario.transcript.len() != ended.transcript.len())
        .then(|| scenario.transcript.len().min(ended.transcript.len())))?;
    let line = |lines: &[String]| lines.get(differs).cloned().unwrap_or_else(|| "(the end)".to_owned());
    Some(format!(
        "{name}.txt: the transcript differs in its line {}:\n  was {}\n  is  {}\n  (JOGI_SIM_BLESS=1 accepts it)",
        differs + 1,
        line(&scenario.transcript),
        line(&ended.transcript)
    ))
}

#[test]
fn every_scenario_ends_as_written() {
    let only = std::env::var("JOGI_SIM_ONLY").ok();
    let bless = std::env::var("JOGI_SIM_BLESS").is_ok();
    let mut files = files();
    if let Some(only) = &only {
        files.retain(|path| path.file_stem().is_some_and(|stem| stem.to_string_lossy() == *only));
    }
    assert!(!files.is_empty(), "there are scenarios");
    let failures: Vec<String> = files.iter().filter_map(|path| try_one(path, bless, only.is_some())).collect();
    assert!(failures.is_empty(), "{} of {} scenarios:\n\n{}", failures.len(), files.len(), failures.join("\n\n"));
}

/// The sixteen that other systems got wrong are named by their numbers.
#[test]
fn all_sixteen_fault_scenarios_are_there() {
    let names: Vec<String> =
        files().iter().map(|f| f.file_stem().unwrap_or_default().to_string_lossy().into_owned()).collect();
    let missing: Vec<usize> =
        (1..=16).filter(|n| !names.iter().any(|name| name.starts_with(&format!("f{n}_")))).collect();
    assert!(missing.is_empty(), "no scenario begins with f{missing:?}_");
}

/// A scenario that is expected to fail and does not turns the run red, and says what to do.
#[test]
fn one_that_begins_to_pass_is_told() {
    let path = std::env::temp_dir().join(format!("begins_to_pass-{}.txt", std::process::id()));
    let script = "members a\nconfig {\"ttl\": 5, \"loop_wait\": 1}\nexpected-to-fail nobody leads yet\nstart\n";
    let told = |condition: &str| {
        fs::write(&path, format!("{script}{condition}\n")).expect("writable");
        try_one(&path, false, false)
    };
    let (passes, fails) = (told("until primary a within 30s"), told("until primary b within 3s"));
    fs::remove_file(&path).expect("it was written");
    assert!(passes.is_some_and(|text| text.contains("begins to pass")));
    assert_eq!(fails, None);
}

#[test]
fn the_same_seed_is_the_same_history() {
    let path = files().into_iter().next().expect("there are scenarios");
    let text = fs::read_to_string(path).expect("readable");
    let scenario = Scenario::parse("any", &text).expect("parses");
    let trace = || {
        let ended = scenario::run(&scenario, Level::Everything);
        ended.world.trace.lines.iter().map(|l| l.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(trace(), trace());
}
