//! Programs that work on the server: each runs in its own process group, with a deadline, and can be cancelled.

mod archive;
mod basebackup;
mod callback;
mod clone;
mod initdb;
mod rewind;
mod run;
mod single_user;
mod words;

pub use archive::archive_pending;
pub use callback::{callback, script};
pub use clone::clone_data;
pub use initdb::{custom_bootstrap, initdb};
pub use rewind::rewind;
pub use run::{Cancel, Canceller, Ended, Program, ProgramError, cancel_pair, run};
pub use single_user::single_user;
pub use words::{WordsError, split_words};
