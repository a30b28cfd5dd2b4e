//! `jogi configure`.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::plan::{File, Section, plan};
use crate::shell::{self, Machine};
use crate::show;
use crate::variables::Environment;

/// Makes the configuration of a member, and of what stands beside it, from the environment.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Only these parts [default: all]
    #[arg(value_enum)]
    pub sections: Vec<Section>,
    /// Put every file below this directory; the data directory is looked for there too
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Write nothing: print every value with where it came from, secrets masked
    #[arg(long)]
    pub dry_run: bool,
    /// Replace files that are there already
    #[arg(short, long)]
    pub force: bool,
    /// Where the instance's metadata are asked for
    #[arg(long, env = "JOGI_METADATA_ADDRESS", default_value = shell::DEFAULT_ADDRESS, hide = true)]
    pub metadata_address: String,
}

/// Runs it. The code is 1 when the environment is refused or a file cannot be written.
pub fn main(options: &Options) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("jogi configure: the runtime could not be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let root = options.root.clone().unwrap_or_else(|| PathBuf::from("/"));
    let machine = Machine { root: root.clone(), metadata_address: options.metadata_address.clone() };
    let environment = environment();
    let facts = runtime.block_on(shell::facts(&environment, &machine));
    let plan = match plan(&environment, &facts) {
        Ok(plan) => plan,
        Err(refusal) => {
            eprintln!("jogi configure: {refusal}");
            return ExitCode::FAILURE;
        }
    };
    plan.notices.iter().for_each(|notice| eprintln!("{}", show::notice(notice)));
    let wanted = |file: &&File| options.sections.is_empty() || options.sections.contains(&file.section);
    let files: Vec<&File> = plan.files.iter().filter(wanted).collect();
    if options.dry_run {
        let text: Vec<String> = files.iter().map(|file| show::file(file)).collect();
        // A reader may have closed the pipe: that is no reason to panic.
        let _ = std::io::Write::write_all(&mut std::io::stdout(), text.join("\n").as_bytes());
        return ExitCode::SUCCESS;
    }
    match shell::write(&plan, &files, &root, options.force) {
        Ok(written) => {
            eprintln!("{} of {} files written; the others were there already", written.len(), files.len());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("jogi configure: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Names and values that are not UTF-8 cannot be ours.
fn environment() -> Environment {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}
