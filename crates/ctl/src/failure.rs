//! How a command ends when it does not succeed.

use std::process::ExitCode;

use jogi_dcs::{DcsError, SetupError};

use crate::rest::RestError;

/// Every reason to end with exit code 1.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A refusal or a failure in a sentence: `Error: …` on stderr.
    #[error("{0}")]
    Said(String),
    /// The end of the input, or a refusal, at a prompt.
    #[error("Aborted!")]
    Aborted,
    /// Ctrl-C.
    #[error("Aborted!")]
    Interrupted,
    /// Nobody reads what we print.
    #[error("the output cannot be written: {0}")]
    Output(#[from] std::io::Error),
    #[error("the store: {0}")]
    Store(#[from] DcsError),
    #[error(transparent)]
    StoreSetup(#[from] SetupError),
    #[error(transparent)]
    Rest(#[from] RestError),
}

impl Failure {
    pub fn said(text: impl Into<String>) -> Failure {
        Failure::Said(text.into())
    }

    /// Tells it as patronictl does.
    pub fn report(&self) -> ExitCode {
        match self {
            Failure::Aborted => eprintln!("{self}"),
            Failure::Interrupted => eprintln!("\n{self}"),
            Failure::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
            Failure::Said(_) | Failure::Output(_) | Failure::Store(_) | Failure::StoreSetup(_) | Failure::Rest(_) => {
                eprintln!("Error: {self}");
            }
        }
        ExitCode::FAILURE
    }
}
