//! Files: of the run directory, of the configuration, and the data directory as a whole.

use std::sync::Arc;
use std::time::Duration;

use jogi_core::Timeline;
use jogi_core::ha::{Aside, Failure, Intent, Mode, Outcome, Setup, Yield};
use jogi_pg::connect::{Connection, Purpose};
use jogi_pg::instance::Instance;
use jogi_pg::look::{self, Running};
use jogi_pg::programs::Cancel;
use jogi_pg::rundir::{self, IntentKind};
use jogi_pg::{data_dir, files};
use serde_json::Value;

use super::{Shared, blocking, set_up};

impl Shared {
    /// Writes the intent, durably. What the directory holds meanwhile the core knows: it asked for it.
    pub(super) async fn intend(&self, intent: Intent, _limit: Duration) -> Outcome {
        let written = record(&intent);
        let rundir = Arc::clone(&self.rundir);
        blocking(move || rundir.write_intent(&written)).await?.map_err(|error| Failure::Failed(error.to_string()))?;
        Ok(Yield::Done)
    }

    pub(super) async fn settle(&self, _limit: Duration) -> Outcome {
        let rundir = Arc::clone(&self.rundir);
        blocking(move || rundir.clear_intent()).await?.map_err(|error| Failure::Failed(error.to_string()))?;
        Ok(Yield::Done)
    }

    /// Writes the server's files, comparing with what a running server has in force.
    pub(super) async fn configure(&self, instance: &Instance, setup: Setup, limit: Duration) -> Outcome {
        let instance = set_up(instance, &setup);
        let running = in_force(&instance, limit / 2).await?;
        let written = blocking(move || {
            if matches!(setup.mode, Mode::Standby { .. }) {
                forget_reserved(instance.data_dir())?;
            }
            files::configure(&instance, &setup, running.as_ref()).map_err(|error| error.to_string())
        });
        let configured = written.await?.map_err(Failure::Failed)?;
        for warning in &configured.warnings {
            tracing::warn!("{warning}");
        }
        Ok(Yield::Configured { restart: configured.restart, unchanged: configured.unchanged })
    }
}

/// A directory without `pg_wal` (before initdb, half made) has no marks to forget.
fn forget_reserved(data_dir: &std::path::Path) -> Result<(), String> {
    match jogi_pg::wal::forget_reserved(data_dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("cannot take away the marks of timelines in {}/pg_wal: {error}", data_dir.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What the server has in force, when one runs. A server that runs and does not answer is a failure: files
/// written without knowing it could call for a restart that nobody wanted.
async fn in_force(instance: &Instance, limit: Duration) -> Result<Option<Running>, Failure> {
    let data_dir = instance.data_dir().to_owned();
    let found = blocking(move || jogi_pg::postmaster::find(&data_dir)).await?;
    if found.map_err(|error| Failure::Failed(format!("cannot find out whether the server runs: {error}")))?.is_none() {
        return Ok(None);
    }
    let target = instance.local_target(Purpose::Heartbeat);
    let unknown = |error: jogi_pg::connect::SqlError| {
        Failure::Failed(format!("cannot read the settings that the running server has in force: {error}"))
    };
    let mut connection = Connection::open(&target, limit).await.map_err(unknown)?;
    Ok(Some(look::running(&mut connection, limit).await.map_err(unknown)?))
}

pub(super) async fn save_dynamic(instance: &Instance, config: Arc<Value>, _limit: Duration) -> Outcome {
    let data_dir = instance.data_dir().to_owned();
    let saved = blocking(move || files::save_dynamic(&data_dir, &config)).await?;
    saved.map(|()| Yield::Done).map_err(|error| Failure::Failed(error.to_string()))
}

pub(super) async fn put_aside(instance: &Instance, suffix: Aside, _limit: Duration) -> Outcome {
    let data_dir = instance.data_dir().to_owned();
    let aside = blocking(move || data_dir::put_aside(&data_dir, suffix)).await?;
    let aside = aside.map_err(|error| Failure::Failed(error.to_string()))?;
    for (from, to) in &aside.renamed {
        tracing::warn!("{} was renamed to {}", from.display(), to.display());
    }
    if let Some(why) = &aside.removed {
        tracing::warn!("the old data directory was removed: {why}");
    }
    Ok(Yield::Done)
}

/// Ends early when asked to: what is left is removed another time.
pub(super) async fn remove_copies(instance: &Instance, keep_diverged: usize, cancel: Cancel) -> Outcome {
    let data_dir = instance.data_dir().to_owned();
    let ear = cancel.clone();
    let work = move || data_dir::remove_copies(&data_dir, keep_diverged, &|| ear.is_requested());
    match blocking(work).await? {
        Ok(()) => Ok(Yield::Done),
        Err(_) if cancel.is_requested() => Err(Failure::Cancelled),
        Err(error) => Err(Failure::Failed(error.to_string())),
    }
}

/// The intent as the run directory keeps it.
fn record(intent: &Intent) -> rundir::Intent {
    let (kind, detail) = match intent {
        Intent::Bootstrap { initialize } => {
            (IntentKind::Initdb, initialize.as_ref().map(|revision| revision.0.to_string()).unwrap_or_default())
        }
        Intent::Clone => (IntentKind::Clone, String::new()),
        Intent::Rewind => (IntentKind::Rewind, String::new()),
        Intent::SingleUser => (IntentKind::SingleUser, String::new()),
        Intent::PutAside => (IntentKind::Rename, String::new()),
    };
    rundir::Intent { kind, since: jogi_net::wall_now(), detail }
}

/// The intent as the core knows it. `Err`: a kind that a newer version wrote.
pub(crate) fn recorded(intent: &rundir::Intent) -> Result<Intent, String> {
    Ok(match &intent.kind {
        IntentKind::Initdb => {
            let revision =
                (!intent.detail.is_empty()).then(|| jogi_core::view::Revision(intent.detail.as_str().into()));
            Intent::Bootstrap { initialize: revision }
        }
        IntentKind::Clone => Intent::Clone,
        IntentKind::Rewind => Intent::Rewind,
        IntentKind::SingleUser => Intent::SingleUser,
        IntentKind::Rename | IntentKind::Remove => Intent::PutAside,
        IntentKind::Other(kind) => return Err(kind.clone()),
    })
}

/// The numbers of timelines that others have opened are marked as taken.
pub(super) async fn reserve_timelines(instance: &Instance, above: Timeline, up_to: Timeline) -> Outcome {
    let data_dir = instance.data_dir().to_owned();
    match blocking(move || jogi_pg::wal::reserve_timelines(&data_dir, above, up_to)).await? {
        Ok(()) => Ok(Yield::Done),
        Err(error) => {
            Err(Failure::Failed(format!("cannot mark timelines {above} to {up_to} as taken in pg_wal: {error}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use jogi_core::view::Revision;

    use super::*;

    #[test]
    fn an_intent_survives_the_run_directory() {
        for intent in [
            Intent::Bootstrap { initialize: Some(Revision("17".into())) },
            Intent::Bootstrap { initialize: None },
            Intent::Clone,
            Intent::Rewind,
            Intent::SingleUser,
            Intent::PutAside,
        ] {
            assert_eq!(recorded(&record(&intent)), Ok(intent));
        }
        let newer = rundir::Intent {
            kind: IntentKind::Other("teleport".into()),
            since: jogi_core::Wall(0),
            detail: String::new(),
        };
        assert_eq!(recorded(&newer), Err("teleport".into()));
    }
}
