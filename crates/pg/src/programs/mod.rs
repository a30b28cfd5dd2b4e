//! Programs that work on the server: each runs in its own process group, with a deadline, and can be cancelled.
//!
//! No secret is an argument: passwords go into a file of mode 0600 that lives as long as the program. Those of
//! PostgreSQL's own programs that change the data directory run inside it, so that whoever fences it finds them.

mod archive;
mod basebackup;
mod callback;
mod clone;
mod initdb;
mod rewind;
mod run;
mod single_user;

use std::path::Path;

use crate::files::FileError;
use crate::files::passwords::Passwords;
use crate::instance::Instance;

pub use archive::{archive_pending, archive_shutdown};
pub use callback::{callback, script};
pub use clone::clone_data;
pub use initdb::{custom_bootstrap, initdb};
pub use rewind::rewind;
pub use run::{Cancel, Canceller, Ended, Program, ProgramError, cancel_pair, run, succeed};
pub use single_user::single_user;

/// Variables that would send one of PostgreSQL's programs elsewhere, or win over the password file.
const CONNECTION_VARIABLES: [&str; 9] =
    ["PGHOST", "PGHOSTADDR", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE", "PGSERVICE", "PGSERVICEFILE", "PGOPTIONS"];

/// One of PostgreSQL's programs, with messages that can be read whatever the locale is.
fn postgres_program(path: &Path) -> Program {
    let mut program = Program::new(path).env("LC_ALL", "C").env("LANG", "C");
    program.env.extend(CONNECTION_VARIABLES.map(|name| (name.to_owned(), None)));
    program
}

/// A command of the operator's, split by shell rules.
pub(crate) fn operators_command(text: &str, what: &str) -> Result<Program, ProgramError> {
    let wrong = |cause: String| ProgramError::Prepare(format!("{what} cannot be run: {cause} (it is: {text})"));
    let words = jogi_config::shell::split(text).map_err(|e| wrong(e.to_string()))?;
    match words.split_first() {
        Some((program, args)) => Ok(Program::new(program).args(args)),
        None => Err(wrong("the command is empty".to_owned())),
    }
}

/// Lets a program take its password from `passwords`.
fn with_passwords(program: Program, passwords: &Passwords) -> Program {
    match passwords.path() {
        Some(path) => program.env("PGPASSFILE", path),
        None => program,
    }
}

impl From<FileError> for ProgramError {
    fn from(error: FileError) -> Self {
        ProgramError::Prepare(error.to_string())
    }
}

impl From<crate::data_dir::DataDirError> for ProgramError {
    fn from(error: crate::data_dir::DataDirError) -> Self {
        ProgramError::Prepare(error.to_string())
    }
}

/// Runs blocking file work on the runtime's pool.
pub(crate) async fn run_blocking<T: Send + 'static, E: Into<ProgramError> + Send + 'static>(
    instance: &Instance,
    work: impl FnOnce(&Instance) -> Result<T, E> + Send + 'static,
) -> Result<T, ProgramError> {
    let instance = instance.clone();
    match tokio::task::spawn_blocking(move || work(&instance)).await {
        Ok(done) => done.map_err(Into::into),
        Err(_) => Err(ProgramError::Prepare("an internal error ended the work on files; the log has it".to_owned())),
    }
}
