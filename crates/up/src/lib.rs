//! `jogi up`: a herd of members on this machine, with a store of its own, for trying and for development.
//!
//! It writes ordinary configuration files and starts ordinary agents: nothing in the agent knows of it. All
//! it starts listens on the loopback only and ends with it; the data stays, and the same command resumes.

/// `println!` to a person who may have closed the terminal: that is no reason to end a herd in a panic.
macro_rules! say {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($words)*);
    }};
}

mod account;
mod children;
mod herd;
mod layout;
mod store;
mod tour;

use std::path::PathBuf;
use std::process::ExitCode;

/// Starts a herd on this machine and keeps it until Ctrl-C.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Where data, configuration, logs and passwords live
    #[arg(long, default_value = "herd")]
    pub dir: PathBuf,
    /// How many members
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=i64::from(layout::MOST_MEMBERS)))]
    pub members: u16,
    /// First port: PostgreSQL from here on, REST from +50 on, the store at +90 and +91
    #[arg(long, default_value_t = 5532, value_parser = clap::value_parser!(u16).range(1024..=65000))]
    pub port: u16,
    /// Folder of PostgreSQL's server programs (default: the newest found)
    #[arg(long)]
    pub pg_bin: Option<PathBuf>,
}

/// Runs the herd to its end.
pub fn main(options: &Options) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("jogi up: the runtime could not be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(herd::run(options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("jogi up: {error:#}");
            ExitCode::FAILURE
        }
    }
}
