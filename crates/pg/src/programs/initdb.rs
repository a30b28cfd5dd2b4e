//! Making the first data directory.

use std::time::Duration;

use super::{Cancel, ProgramError};
use crate::instance::Instance;

/// Runs initdb into the empty data directory, then appends `bootstrap.pg_hba`.
pub async fn initdb(_instance: &Instance, _within: Duration, _cancel: &mut Cancel) -> Result<(), ProgramError> {
    todo!()
}

/// Runs the configured custom bootstrap method.
pub async fn custom_bootstrap(
    _instance: &Instance,
    _within: Duration,
    _cancel: &mut Cancel,
) -> Result<(), ProgramError> {
    todo!()
}
