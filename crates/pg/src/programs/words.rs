//! Splitting a command by shell rules, without a shell.

/// A quote is not closed, or the command is empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WordsError {}

/// The words of a command.
pub fn split_words(_command: &str) -> Result<Vec<String>, WordsError> {
    todo!()
}
