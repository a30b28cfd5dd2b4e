//! Callbacks and the scripts around promotion and stop.

use std::time::Duration;

use jogi_core::ha::{Action, Script};

use super::{Cancel, ProgramError};
use crate::instance::Instance;

/// Runs the callback of an action, when one is configured, with ACTION ROLE SCOPE.
pub async fn callback(
    _instance: &Instance,
    _action: Action,
    _role: &str,
    _within: Duration,
    _cancel: &mut Cancel,
) -> Result<(), ProgramError> {
    todo!()
}

/// Runs `pre_promote` or `before_stop`. A non-zero exit is an error; nothing configured is a success.
pub async fn script(
    _instance: &Instance,
    _script: Script,
    _within: Duration,
    _cancel: &mut Cancel,
) -> Result<(), ProgramError> {
    todo!()
}
