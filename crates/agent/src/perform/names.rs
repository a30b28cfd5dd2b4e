//! `synchronous_standby_names`: written, loaded, and waited for until commits really wait.
//!
//! A session that shows the new value proves little. Whether a commit waits at all is a flag in shared memory that the
//! checkpointer sets when it reads the configuration again (`SyncRepUpdateSyncStandbysDefined`), and a checkpointer
//! that flushes files to a slow disk does so only when it is done: until then commits wait for nobody, whatever
//! `SHOW` says. Who a commit waits for is decided by the walsenders, each by the configuration that it has read. So
//! the value counts when a session that was there before the reload shows it (every process has been signalled then),
//! and the checkpointer is seen asleep in its loop some time afterwards: a signal that had not been taken would have
//! woken it.

use std::time::Duration;

use jogi_core::ha::{Failure, Outcome, Setup, Yield};
use jogi_pg::connect::{Connection, Purpose, SqlError};
use jogi_pg::instance::Instance;
use jogi_pg::{files, look, postmaster};
use tokio::time::Instant;

use super::{blocking, set_up};

/// How often the server is asked.
const POLL: Duration = Duration::from_millis(15);
/// A process that was signalled, and sleeps so long afterwards, has taken the signal.
const TAKEN_AFTER: Duration = Duration::from_millis(30);
/// Where the checkpointer reads its configuration before it sleeps.
const ASLEEP: [&str; 2] = ["CheckpointerMain", "CheckpointWriteDelay"];
const QUESTION: &str = "SELECT current_setting('synchronous_standby_names'), pg_is_in_recovery(), \
    (SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'), \
    (SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'checkpointer')";
/// Something for the standbys to confirm: they tell their positions with the next WAL that they get.
const TRAFFIC: &str = "SET synchronous_commit TO off; SELECT txid_current()";

pub(super) async fn put(instance: &Instance, setup: Setup, limit: Duration) -> Outcome {
    let until = Instant::now() + limit;
    let instance = set_up(instance, &setup);
    let wanted = setup.synchronous_standby_names.clone().unwrap_or_default();
    let mut session =
        Connection::open(&instance.local_target(Purpose::Work), limit).await.map_err(|e| unknown(&wanted, &e))?;
    let running = look::running(&mut session, left(until)).await.map_err(|e| unknown(&wanted, &e))?;
    let data_dir = instance.data_dir().to_owned();
    let written = blocking(move || {
        let configured = files::configure(&instance, &setup, Some(&running)).map_err(|error| error.to_string())?;
        match postmaster::reload(&data_dir) {
            Ok(true) => Ok(configured),
            Ok(false) => Err("there is no postmaster to reload".to_owned()),
            Err(error) => Err(format!("cannot tell the postmaster to reload: {error}")),
        }
    });
    for warning in &written.await?.map_err(Failure::Failed)?.warnings {
        tracing::warn!("{warning}");
    }
    in_force(&mut session, &wanted, until).await
}

async fn in_force(session: &mut Connection, wanted: &str, until: Instant) -> Outcome {
    let mut shown_at: Option<Instant> = None;
    loop {
        let asked_at = Instant::now();
        let seen = ask(session, left(until)).await.map_err(|e| unknown(wanted, &e))?;
        if seen.value == wanted {
            let shown_at = *shown_at.get_or_insert(asked_at);
            if asked_at.duration_since(shown_at) >= TAKEN_AFTER && seen.checkpointer_sleeps() {
                if !seen.in_recovery {
                    session.query(TRAFFIC, left(until)).await.map_err(|e| unknown(wanted, &e))?;
                }
                return Ok(Yield::Done);
            }
        } else {
            shown_at = None;
        }
        if Instant::now() + POLL >= until {
            return Err(Failure::Failed(seen.missing(wanted)));
        }
        tokio::time::sleep(POLL).await;
    }
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now()).max(POLL)
}

fn unknown(wanted: &str, error: &SqlError) -> Failure {
    Failure::Failed(format!("whether synchronous_standby_names is '{wanted}' cannot be seen: {error}"))
}

/// One answer of the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    value: String,
    in_recovery: bool,
    checkpointer: Option<u32>,
    wait_event: Option<String>,
}

async fn ask(session: &mut Connection, within: Duration) -> Result<Seen, SqlError> {
    let rows = session.query(QUESTION, within).await?;
    let column = |n: usize| rows.first().and_then(|row| row.get(n)).map(str::to_owned);
    Ok(Seen {
        value: column(0).unwrap_or_default(),
        in_recovery: column(1).as_deref() == Some("t"),
        checkpointer: column(2).and_then(|pid| pid.parse().ok()),
        wait_event: column(3),
    })
}

impl Seen {
    /// It sleeps where it takes signals, and is not stopped.
    fn checkpointer_sleeps(&self) -> bool {
        let asleep = self.wait_event.as_deref().is_some_and(|event| ASLEEP.contains(&event));
        asleep && self.checkpointer.is_some_and(|pid| !is_stopped(pid))
    }

    fn missing(&self, wanted: &str) -> String {
        if self.value != wanted {
            return format!("after the reload the server shows '{}'; its log says why", self.value);
        }
        match (&self.checkpointer, &self.wait_event) {
            (None, _) => "the server has no checkpointer that could make commits wait".to_owned(),
            (Some(pid), Some(event)) => {
                format!("its checkpointer (pid {pid}) has not taken the configuration: it is busy in {event}")
            }
            (Some(pid), None) => format!("its checkpointer (pid {pid}) has not taken the configuration: it is busy"),
        }
    }
}

fn is_stopped(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    !matches!(state, Some('S' | 'R'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_checkpointer_that_sleeps_in_its_loop_has_taken_the_names() {
        let me = std::process::id();
        let seen = |checkpointer: Option<u32>, event: Option<&str>| Seen {
            value: "b".into(),
            in_recovery: false,
            checkpointer,
            wait_event: event.map(str::to_owned),
        };
        for (what, seen, sleeps) in [
            ("in its loop", seen(Some(me), Some("CheckpointerMain")), true),
            ("between two writes", seen(Some(me), Some("CheckpointWriteDelay")), true),
            ("flushing", seen(Some(me), Some("DataFileSync")), false),
            ("computing", seen(Some(me), None), false),
            ("not there", seen(None, None), false),
            ("gone meanwhile", seen(Some(u32::MAX), Some("CheckpointerMain")), false),
        ] {
            assert_eq!(seen.checkpointer_sleeps(), sleeps, "{what}");
        }
    }

    #[test]
    fn what_is_missing_is_said() {
        let seen = Seen {
            value: "a".into(),
            checkpointer: Some(7),
            wait_event: Some("DataFileSync".into()),
            ..Seen::default()
        };
        assert!(seen.missing("b").contains("shows 'a'"));
        assert!(seen.missing("a").contains("busy in DataFileSync"));
    }
}
