//! pg_rewind.

use std::time::Duration;

use jogi_core::ha::Upstream;

use super::{Cancel, ProgramError};
use crate::instance::Instance;

/// Rewinds the stopped data directory to the source's branch.
pub async fn rewind(
    _instance: &Instance,
    _source: &Upstream,
    _within: Duration,
    _cancel: &mut Cancel,
) -> Result<(), ProgramError> {
    todo!()
}
