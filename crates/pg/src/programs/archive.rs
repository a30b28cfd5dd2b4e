//! Archiving finished segments of a stopped server.

use std::time::Duration;

use super::{Cancel, ProgramError};
use crate::instance::Instance;

/// Archives every segment marked `.ready` with archive_command; the number archived.
pub async fn archive_pending(
    _instance: &Instance,
    _within: Duration,
    _cancel: &mut Cancel,
) -> Result<u32, ProgramError> {
    todo!()
}
