//! One look at our own server: data directory, process, and one query.
//!
//! Elections and switchovers wait for it, so it is one prepared statement on a kept connection. A server that
//! does not answer there is asked again on a fresh one. Every few seconds a fresh connection is tried beside a
//! kept one that works: a stopped postmaster lets old sessions work on and new ones wait for ever
//! (fault-scenarios F9).

mod archiver;
mod ground;
mod query;
mod running;

use std::collections::BTreeMap;
use std::time::Duration;

use jogi_core::ha::Server;
use jogi_core::ha::server::{Accepting, DataDir, Process, Row};
use jogi_core::{Lsn, Tick, Timeline, Wall};
use serde_json::Value;
use tokio::time::Instant;

use crate::connect::{Connection, Purpose, SqlError, Target};
use crate::instance::Instance;
use crate::postmaster::Postmaster;
use crate::replication;
use ground::Ground;
use query::Answer;
pub use running::{Running, running};

/// The part of a look's time that a kept connection gets before a fresh one is tried.
const KEPT_SHARE: u32 = 2;

/// How old the last answer on a fresh connection may be before another is tried.
const FRESH_EVERY: Duration = Duration::from_secs(5);
/// How long a fresh connection may take to be answered.
const FRESH_WITHIN: Duration = Duration::from_secs(1);

/// What the looker cannot see by itself.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The boot clock before the look.
    pub looked_at: Tick,
    /// The postmaster that the guard started; another one is shown as adopted.
    pub child: Option<u32>,
    /// An intent stands for the data directory: it is not to be trusted. The text says which.
    pub intent: Option<String>,
}

/// Looks at one server again and again; keeps its connection and what does not change in between.
#[derive(Debug)]
pub struct Looker {
    purpose: Purpose,
    kept: Option<Kept>,
    pending: Option<Pending>,
    /// When a fresh connection was last answered.
    fresh_at: Option<Instant>,
    /// What this start of a standby last said of its timeline.
    last_timeline: Option<LastTimeline>,
}

/// A standby's timeline, as it or its wal receiver said it. It stays true for as long as no more WAL has come: what came
/// since and was never seen with a wal receiver may have brought other timelines.
#[derive(Debug, Clone, Copy)]
struct LastTimeline {
    started: Wall,
    timeline: Timeline,
    position: Lsn,
}

#[derive(Debug)]
struct Kept {
    connection: Connection,
    target: Target,
}

/// What waits for a restart, and what that answer depends on.
#[derive(Debug)]
struct Pending {
    started: Wall,
    loaded_at: i64,
    instance: Instance,
    parameters: BTreeMap<String, (String, String)>,
}

impl Looker {
    pub fn new(purpose: Purpose) -> Looker {
        Looker { purpose, kept: None, pending: None, fresh_at: None, last_timeline: None }
    }

    /// Looks, within `within`. Never fails: what could not be seen is said in the result.
    pub async fn look(&mut self, instance: &Instance, known: &Known, within: Duration) -> Server {
        let Ground { data, process, postmaster, archiving } = survey(instance, known).await;
        let (row, silent, fresh, looked_at) = (None, None, None, known.looked_at);
        let mut server = Server { data, process, row, silent, fresh, archiving, looked_at };
        let Some(postmaster) = postmaster else {
            self.kept = None;
            self.fresh_at = None;
            return server;
        };
        if postmaster.says_starting() {
            // Connecting would only fill its log with refusals.
            if let Process::Running { accepting: seen, .. } = &mut server.process {
                *seen = Accepting::NotYet;
            }
            server.silent = Some("the server says of itself that it is starting".into());
            return server;
        }
        let (row, accepting, silent) = match self.ask(instance, within).await {
            Ok(row) => (Some(row), Accepting::Yes, None),
            Err(error) => (None, accepting(&error, &postmaster), Some(error.to_string())),
        };
        if let Process::Running { accepting: seen, .. } = &mut server.process {
            *seen = accepting;
        }
        server.row = row.map(|row| complete(row, &server.data));
        server.silent = silent;
        server.fresh = self.fresh(instance, within).await;
        server
    }

    /// Whether a fresh connection is answered; asked only when that was not seen for a while.
    async fn fresh(&mut self, instance: &Instance, within: Duration) -> Option<bool> {
        if self.fresh_at.is_some_and(|at| at.elapsed() < FRESH_EVERY) {
            return None;
        }
        let target = instance.local_target(self.purpose);
        let answered = match Connection::open(&target, within.min(FRESH_WITHIN)).await {
            Ok(_) => true,
            Err(error) => error.is_answer() || error.is_not_yet(),
        };
        self.fresh_at = answered.then(Instant::now);
        Some(answered)
    }

    /// Forgets the kept connection (after a restart of the server, or when its address changed).
    pub fn reset(&mut self) {
        self.kept = None;
        self.fresh_at = None;
    }

    async fn ask(&mut self, instance: &Instance, within: Duration) -> Result<Row, SqlError> {
        let until = Instant::now() + within;
        let target = instance.local_target(self.purpose);
        let mut kept = self.kept.take().filter(|kept| kept.target == target);
        let mut answer = None;
        if let Some(kept) = &mut kept {
            answer = execute(&mut kept.connection, within / KEPT_SHARE).await.ok();
        }
        let (mut kept, answer) = match (kept, answer) {
            (Some(kept), Some(answer)) => (kept, answer),
            (_, _) => {
                let (connection, answer) = fresh(&target, until).await?;
                self.fresh_at = Some(Instant::now());
                (Kept { connection, target }, answer)
            }
        };
        let row = self.enrich(instance, &mut kept.connection, answer, until).await;
        self.kept = Some(kept);
        Ok(row)
    }

    /// Adds what costs more and seldom changes. What fails here is tried at the next look: the row stands.
    async fn enrich(
        &mut self,
        instance: &Instance,
        connection: &mut Connection,
        answer: Answer,
        until: Instant,
    ) -> Row {
        let Answer { mut row, loaded_at } = answer;
        if !self.pending_is_current(instance, &row, loaded_at)
            && let Ok(parameters) = running::pending_restart(instance, connection, left(until)).await
        {
            let started = row.postmaster_start;
            self.pending = Some(Pending { started, loaded_at, instance: instance.clone(), parameters });
        }
        // Before 12 it is no parameter of the server's.
        let configured = || instance.effective.recovery_conf.get("restore_command").and_then(Value::as_str);
        row.restores |= row.server_version < 120_000 && configured().is_some_and(|command| !command.is_empty());
        row.pending_restart = self.pending.as_ref().map(|p| p.parameters.clone()).unwrap_or_default();
        self.find_timeline(instance, &mut row, until).await;
        row
    }

    fn pending_is_current(&self, instance: &Instance, row: &Row, loaded_at: i64) -> bool {
        self.pending.as_ref().is_some_and(|pending| {
            pending.started == row.postmaster_start
                && pending.loaded_at == loaded_at
                && pending.instance.is_same_configuration(instance)
        })
    }

    /// A standby without a wal receiver is on the timeline that it was last seen on, if no WAL has come since. Otherwise it
    /// is asked over the replication protocol, and where it does not answer that, the last one seen is the best known.
    async fn find_timeline(&mut self, instance: &Instance, row: &mut Row, until: Instant) {
        let (started, position) = (row.postmaster_start, row.position());
        if row.timeline.is_none() {
            let last = self.last_timeline.filter(|last| last.started == started);
            row.timeline = match last {
                Some(last) if last.position == position => Some(last.timeline),
                _ => match replication::identify(&instance.local_replication_target(), left(until)).await {
                    Ok(identity) => Some(identity.timeline),
                    // Not kept as seen at this position.
                    Err(_) => {
                        row.timeline = last.map(|last| last.timeline);
                        return;
                    }
                },
            };
        }
        let seen = row.timeline.filter(|_| row.in_recovery);
        self.last_timeline = seen.map(|timeline| LastTimeline { started, timeline, position });
    }
}

async fn survey(instance: &Instance, known: &Known) -> Ground {
    let (on, about) = (instance.clone(), known.clone());
    let surveyed = tokio::task::spawn_blocking(move || ground::survey(&on, &about)).await;
    surveyed.unwrap_or_else(|_| Ground {
        data: DataDir::Unusable("the data directory could not be looked at: an internal error ended the look".into()),
        process: Process::Leftovers,
        postmaster: None,
        archiving: false,
    })
}

async fn fresh(target: &Target, until: Instant) -> Result<(Connection, Answer), SqlError> {
    let mut connection = Connection::open(target, left(until)).await?;
    connection.query(&query::prepare(connection.server_version()), left(until)).await?;
    let answer = execute(&mut connection, left(until)).await?;
    Ok((connection, answer))
}

async fn execute(connection: &mut Connection, within: Duration) -> Result<Answer, SqlError> {
    let rows = connection.query(query::EXECUTE, within).await?;
    match rows.first() {
        Some(row) => Ok(query::answer(connection.server_version(), row)),
        None => Err(connection.lost("the look's query brought no row")),
    }
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

/// Whether the server takes connections, when no query came through.
fn accepting(error: &SqlError, postmaster: &Postmaster) -> Accepting {
    if error.is_not_yet() {
        return Accepting::NotYet;
    }
    if error.is_answer() {
        // It answers everybody but us: wrong password, no connection left.
        return Accepting::Yes;
    }
    // Before it listens a starting server refuses connections; after that, a refusal is news.
    match error {
        SqlError::Unreachable { .. } if !postmaster.says_ready() => Accepting::NotYet,
        SqlError::Unreachable { .. }
        | SqlError::TimedOut { .. }
        | SqlError::Rejected { .. }
        | SqlError::Login { .. }
        | SqlError::Tls { .. }
        | SqlError::Failed { .. }
        | SqlError::Lost { .. } => Accepting::NoAnswer,
    }
}

fn complete(mut row: Row, data: &DataDir) -> Row {
    if let DataDir::Present(control) = data {
        row.system_identifier = Some(control.system_identifier.clone());
        if row.in_recovery && row.timeline.is_none() {
            row.timeline = Some(control.timeline.max(control.min_recovery_timeline));
        }
    }
    row
}
