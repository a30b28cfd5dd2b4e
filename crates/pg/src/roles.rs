//! Roles and passwords of a freshly made cluster.

use std::time::Duration;

use crate::instance::Instance;
use crate::programs::{Cancel, ProgramError};

/// Creates or alters superuser, replication and rewind roles, and runs `post_bootstrap` between them.
pub async fn post_bootstrap(
    _instance: &Instance,
    _within: Duration,
    _cancel: &mut Cancel,
) -> Result<(), ProgramError> {
    todo!()
}
