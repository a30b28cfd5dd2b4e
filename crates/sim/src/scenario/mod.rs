//! Scenarios: a story as a text file, and what must come of it.
//!
//! A file has two parts, parted by a line of dashes. First the script: one command a line, carried out in order,
//! where `wait` and `until` let time pass and `expect` fails the scenario. Then the transcript of what happened, as
//! it was last accepted, from the first `mark` on and without times: a change of behaviour is a readable diff. `JOGI_SIM_BLESS=1` accepts what
//! happens now.
//!
//! ```text
//! members a b c
//! config {"ttl": 5, "loop_wait": 1}
//! start
//! until healthy within 60s
//! crash a
//! until primary not a within 7s
//! ```
//!
//! All commands are in [`parse`]; times are `300ms`, `5s`, `2m`.

mod ask;
mod parse;
mod run;

use std::path::{Path, PathBuf};

pub use parse::{Command, Condition, ParseError};
pub use run::{Ended, run, run_weakened};

/// A parsed file.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub name: String,
    pub script: String,
    pub commands: Vec<(usize, Command)>,
    pub transcript: Vec<String>,
}

const PARTING: &str = "----";

impl Scenario {
    pub fn parse(name: &str, text: &str) -> Result<Scenario, ParseError> {
        let is_parting = |line: &&str| line.starts_with(PARTING);
        let script: Vec<&str> = text.lines().take_while(|line| !is_parting(line)).collect();
        let transcript = text.lines().skip_while(|line| !is_parting(line)).skip(1);
        let mut commands = Vec::new();
        for (number, line) in script.iter().enumerate() {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                commands.push((number + 1, parse::command(number + 1, line)?));
            }
        }
        Ok(Scenario {
            name: name.to_owned(),
            script: script.join("\n"),
            commands,
            transcript: transcript.map(str::to_owned).skip_while(String::is_empty).collect(),
        })
    }

    /// Why it is known to fail, if it is.
    pub fn expected_to_fail(&self) -> Option<&str> {
        self.commands
            .iter()
            .find_map(|(_, command)| if let Command::ExpectedToFail(why) = command { Some(why.as_str()) } else { None })
    }

    /// The file with another transcript.
    pub fn with_transcript(&self, transcript: &[String]) -> String {
        let script = self.script.trim_end();
        format!("{script}\n{}\n{}\n", PARTING.repeat(8), transcript.join("\n"))
    }
}

/// Where the repository's scenarios are.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}
