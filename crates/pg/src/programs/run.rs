//! Running one program.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::sync::watch;

/// Tells a program to end. Dropping it without [`Canceller::cancel`] cancels nothing.
#[derive(Debug)]
pub struct Canceller(watch::Sender<bool>);

/// Hears that a program is to end.
#[derive(Clone, Debug)]
pub struct Cancel(watch::Receiver<bool>);

/// A canceller and its ear.
pub fn cancel_pair() -> (Canceller, Cancel) {
    let (sender, receiver) = watch::channel(false);
    (Canceller(sender), Cancel(receiver))
}

impl Canceller {
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }
}

impl Cancel {
    /// One that is never heard.
    pub fn never() -> Cancel {
        cancel_pair().1
    }

    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits for the request, for ever when none comes.
    pub async fn requested(&mut self) {
        if self.0.wait_for(|cancelled| *cancelled).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// What to run. Secrets belong into files or `stdin`, never into `args`.
#[derive(Clone, Debug, Default)]
pub struct Program {
    pub path: PathBuf,
    pub args: Vec<OsString>,
    /// Added to (or with `None` removed from) the cleaned environment.
    pub env: Vec<(String, Option<OsString>)>,
    pub dir: Option<PathBuf>,
    pub stdin: Option<Vec<u8>>,
}

/// How a program ended, and the last part of what it printed.
#[derive(Clone, Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub output: String,
}

#[derive(Debug, thiserror::Error)]
pub enum ProgramError {}

/// Runs it to its end, or kills its whole process group when the time is over or when cancelled. Returns
/// only after the program has been reaped.
pub async fn run(_program: &Program, _within: Duration, _cancel: &mut Cancel) -> Result<Ended, ProgramError> {
    todo!()
}
