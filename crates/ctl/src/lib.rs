//! The control tool: patronictl's commands, options, formats, texts and exit codes (those of 4.1.5).
//!
//! It reads the store itself, linearizably, and asks the members' REST API for everything that changes
//! something; only `edit-config`, `remove` and what falls back to the store write there. What it prints is parsed
//! by people's scripts: texts and layouts are patronictl's to the byte, also where they are odd (a refused
//! switchover is exit code 0). What is ours and not patronictl's:
//!
//! - A store that cannot be reached at the start: patronictl is silent and tries for ever. We say so once on stderr
//!   and end with exit code 1 after [`store::PATIENCE`].
//! - Every request to a member has a deadline; patronictl waits for ever. A handover whose answer does not come in
//!   time is not written into the store on top: it may be under way.
//! - `query` says nothing after a statement without a result, where patronictl prints its driver's error.
//! - `why` shows each member's decision.
//!
//! Layout: one file per command below `command/`; `cli` is the command line; `session` and `store` are where the
//! commands look at the cluster, `rest` is how they talk to members, `listing` and `output` how they print.

mod cli;
mod command;
mod config;
mod failure;
mod listing;
mod log;
mod output;
mod prompt;
mod rest;
mod roles;
mod select;
mod session;
mod store;
mod story;
mod table;
mod time;

use std::process::ExitCode;

pub use cli::Options;
use failure::Failure;

/// The version that we speak for: what `version` prints and members publish.
pub(crate) const PATRONI_VERSION: &str = "4.1.5";

/// Runs one command to its end. Ctrl-C ends it at once.
pub fn main(options: Options) -> ExitCode {
    log::start();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("Error: the runtime could not be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        tokio::select! {
            result = command::run(options) => result,
            _ = interrupted() => Err(Failure::Interrupted),
        }
    });
    // A prompt may still be reading: it ends with the process.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Asks for a password on the terminal, not shown while it is typed. `None`: there is nobody to answer.
pub async fn ask_password(question: &str) -> Option<String> {
    prompt::ask_hidden(question).await.ok()
}

/// Where the signal cannot be caught it ends the process by itself.
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
