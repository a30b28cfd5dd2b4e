//! Crash recovery in single-user mode.

use std::time::Duration;

use super::{Cancel, ProgramError};
use crate::instance::Instance;

/// Lets a crashed primary's data directory finish its recovery without taking connections.
pub async fn single_user(_instance: &Instance, _within: Duration, _cancel: &mut Cancel) -> Result<(), ProgramError> {
    todo!()
}
