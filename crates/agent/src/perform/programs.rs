//! Programs that make or change the data directory. When cancelled or out of time their whole process group is
//! killed, and the effect ends only when they have been reaped.

use std::time::Duration;

use jogi_core::ha::{Failure, Outcome, Upstream, Yield};
use jogi_pg::instance::Instance;
use jogi_pg::programs::{self, Cancel, ProgramError};
use jogi_pg::roles;

use super::program_ended;

/// initdb, or the custom method of `bootstrap`.
pub(super) async fn initdb(instance: &Instance, limit: Duration, cancel: &mut Cancel) -> Outcome {
    let ended = match &instance.local.bootstrap.custom {
        Some(_) => programs::custom_bootstrap(instance, limit, cancel).await,
        None => programs::initdb(instance, limit, cancel).await,
    };
    program_ended(ended, cancel)
}

pub(super) async fn post_bootstrap(instance: &Instance, limit: Duration, cancel: &mut Cancel) -> Outcome {
    program_ended(roles::post_bootstrap(instance, limit, cancel).await, cancel)
}

pub(super) async fn clone_data(
    instance: &Instance,
    source: Option<&Upstream>,
    basebackup_only: bool,
    limit: Duration,
    cancel: &mut Cancel,
) -> Outcome {
    program_ended(programs::clone_data(instance, source, basebackup_only, limit, cancel).await, cancel)
}

pub(super) async fn single_user(instance: &Instance, limit: Duration, cancel: &mut Cancel) -> Outcome {
    program_ended(programs::single_user(instance, limit, cancel).await, cancel)
}

pub(super) async fn rewind(instance: &Instance, source: &Upstream, limit: Duration, cancel: &mut Cancel) -> Outcome {
    match programs::rewind(instance, source, limit, cancel).await {
        Ok(changed) => Ok(Yield::Rewound { changed }),
        Err(_) if cancel.is_requested() => Err(Failure::Cancelled),
        Err(error) => Err(Failure::Failed(error.to_string())),
    }
}

pub(super) async fn archive_pending(instance: &Instance, limit: Duration, cancel: &mut Cancel) -> Outcome {
    archived(programs::archive_pending(instance, limit, cancel).await, cancel)
}

pub(super) async fn archive_shutdown(instance: &Instance, limit: Duration, cancel: &mut Cancel) -> Outcome {
    archived(programs::archive_shutdown(instance, limit, cancel).await, cancel)
}

fn archived(ended: Result<u32, ProgramError>, cancel: &Cancel) -> Outcome {
    match ended {
        Ok(segments) => Ok(Yield::Archived { segments }),
        Err(_) if cancel.is_requested() => Err(Failure::Cancelled),
        Err(error) => Err(Failure::Failed(error.to_string())),
    }
}
