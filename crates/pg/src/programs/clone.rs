//! Making a copy of a member by the configured methods.

use std::time::Duration;

use jogi_core::ha::Upstream;

use super::{Cancel, ProgramError};
use crate::instance::Instance;

/// Tries the methods in order until one succeeds; the directory is wiped before and after failed ones, unless
/// a method keeps data. Then restores saved configuration files.
pub async fn clone_data(
    _instance: &Instance,
    _source: Option<&Upstream>,
    _basebackup_only: bool,
    _within: Duration,
    _cancel: &mut Cancel,
) -> Result<(), ProgramError> {
    todo!()
}
