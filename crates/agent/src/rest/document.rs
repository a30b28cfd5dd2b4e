//! The status document: what `GET /patroni` and the health endpoints show (rest-api 3).

use std::time::Duration;

use jogi_core::Tick;
use jogi_core::ha::server::{DataDir, Row};
use jogi_core::ha::{Server, Snapshot};
use jogi_core::view::{MemberData, SyncMode};
use serde_json::{Map, Value, json};

use super::wall;
use crate::local::VERSION;
use crate::logging::Logging;

/// Lines in the log's queue from which on it is worth telling.
const NORMAL_LOG_QUEUE: usize = 2;

/// What the document and the health endpoints are made from.
pub(super) struct Status<'a> {
    pub snapshot: &'a Snapshot,
    server: Option<&'a Server>,
    /// The server's answer, in the states in which one counts.
    pub row: Option<&'a Row>,
    /// The server was asked just now; otherwise it is the snapshot's.
    live: bool,
}

impl<'a> Status<'a> {
    pub fn of_snapshot(snapshot: &'a Snapshot) -> Status<'a> {
        Status::new(snapshot, snapshot.server.as_deref(), false)
    }

    /// With what the server answered just now, when it did.
    pub fn with_live(snapshot: &'a Snapshot, server: Option<&'a Server>) -> Status<'a> {
        match server.filter(|server| server.row.is_some()) {
            Some(server) => Status::new(snapshot, Some(server), true),
            None => Status::of_snapshot(snapshot),
        }
    }

    fn new(snapshot: &'a Snapshot, server: Option<&'a Server>, live: bool) -> Status<'a> {
        let row = server.and_then(|server| server.row.as_ref()).filter(|_| is_queried(snapshot.state));
        Status { snapshot, server, row, live }
    }

    /// Whether the server may answer a query in its state.
    pub fn is_queried(&self) -> bool {
        is_queried(self.snapshot.state)
    }

    /// `unknown`: it should answer and does not.
    pub fn state(&self) -> &'a str {
        match (self.snapshot.state, self.row) {
            ("running", None) => "unknown",
            (state, _) => state,
        }
    }

    pub fn is_running(&self) -> bool {
        self.state() == "running"
    }

    /// As the server itself says; in a standby cluster, and where it does not say, as it is remembered.
    pub fn role(&self) -> &'a str {
        match self.row {
            Some(row) if !row.in_recovery => "primary",
            Some(_) if self.is_standby_cluster() => self.snapshot.role,
            Some(_) => "replica",
            None => self.snapshot.role,
        }
    }

    pub fn is_standby_cluster(&self) -> bool {
        self.snapshot.settings.standby_cluster.is_some()
    }

    pub fn replication_state(&self) -> Option<&'static str> {
        self.row.and_then(Row::replication_state)
    }

    /// `sync_standby` or `quorum_standby`, when we are one.
    pub fn sync_role(&self) -> Option<&'static str> {
        let settings = &self.snapshot.settings;
        let cluster = self.snapshot.cluster.as_ref()?;
        let is_standby = self.role() == "replica" && cluster.sync.is_standby(&self.snapshot.local.name);
        if !is_standby || !settings.is_sync() {
            return None;
        }
        match settings.sync_mode {
            SyncMode::Off => None,
            SyncMode::Priority => Some("sync_standby"),
            SyncMode::Quorum => Some("quorum_standby"),
        }
    }

    pub fn is_unlocked(&self) -> bool {
        self.snapshot.cluster.as_ref().is_none_or(|cluster| cluster.leader.is_none())
    }

    /// How far the leader's WAL is known to reach, from the store and from our wal receiver; zero when unknown.
    pub fn leader_position(&self) -> u64 {
        let published = self.snapshot.cluster.as_ref().map_or(0, |cluster| cluster.status.optime.0);
        let received = self.row.and_then(|row| row.receiver.as_ref()).map_or(0, |receiver| receiver.latest_end.0);
        published.max(received)
    }

    pub fn system_identifier(&self) -> Option<&'a str> {
        let control = match &self.server?.data {
            DataDir::Present(control) => Some(control.system_identifier.as_str()),
            DataDir::Empty | DataDir::Unusable(_) | DataDir::Broken(_) => None,
        };
        control.or_else(|| self.row?.system_identifier.as_deref())
    }

    /// The whole document, in Patroni's order of fields; ours under `jogi` at the end.
    pub fn document(&self, valid_until: Tick, now: Tick) -> Value {
        let mut doc = Map::new();
        doc.insert("state".into(), self.state().into());
        match self.row {
            Some(row) => self.insert_row(&mut doc, row),
            None => {
                doc.insert("role".into(), self.role().into());
            }
        }
        self.insert_cluster(&mut doc);
        self.insert_member(&mut doc);
        insert_log(&mut doc);
        doc.insert("jogi".into(), self.own(valid_until, now));
        Value::Object(doc)
    }

    fn insert_row(&self, doc: &mut Map<String, Value>, row: &Row) {
        doc.insert("postmaster_start_time".into(), wall::python(row.postmaster_start).into());
        doc.insert("role".into(), self.role().into());
        doc.insert("server_version".into(), row.server_version.into());
        doc.insert("xlog".into(), xlog(row));
        if let Some(sync) = self.sync_role() {
            doc.insert(sync.into(), true.into());
        }
        doc.insert("timeline".into(), row.timeline.map(|timeline| timeline.0).into());
        if let Some(state) = row.replication_state() {
            doc.insert("replication_state".into(), state.into());
        }
        if !row.replication.is_empty() {
            doc.insert("replication".into(), replication(row));
        }
    }

    fn insert_cluster(&self, doc: &mut Map<String, Value>) {
        if self.snapshot.settings.pause {
            doc.insert("pause".into(), true.into());
        }
        if self.is_unlocked() {
            doc.insert("cluster_unlocked".into(), true.into());
        }
        if self.snapshot.failsafe_active {
            doc.insert("failsafe_mode_is_active".into(), true.into());
        }
        doc.insert("dcs_last_seen".into(), self.snapshot.store_last_seen.seconds().into());
    }

    fn insert_member(&self, doc: &mut Map<String, Value>) {
        let MemberData(member) = &self.snapshot.member;
        let local = &self.snapshot.local;
        let published = member.get("tags").and_then(Value::as_object).cloned();
        let tags = published.unwrap_or_else(|| local.tags.effective());
        if !tags.is_empty() {
            doc.insert("tags".into(), Value::Object(tags));
        }
        if let Some(id) = self.system_identifier() {
            doc.insert("database_system_identifier".into(), id.into());
        }
        if self.is_restart_pending() {
            doc.insert("pending_restart".into(), true.into());
            doc.insert(
                "pending_restart_reason".into(),
                member.get("pending_restart_reason").cloned().unwrap_or(json!({})),
            );
        }
        let (scope, name) = (local.scope.as_str(), local.name.as_str());
        doc.insert("patroni".into(), json!({"version": VERSION, "scope": scope, "name": name}));
        if let Some(Value::Object(scheduled)) = member.get("scheduled_restart") {
            let mut scheduled = scheduled.clone();
            scheduled.shift_remove("postmaster_start_time");
            doc.insert("scheduled_restart".into(), Value::Object(scheduled));
        }
        if self.snapshot.watchdog_failed {
            doc.insert("watchdog_failed".into(), true.into());
        }
    }

    pub fn is_restart_pending(&self) -> bool {
        self.snapshot.member.0.contains_key("pending_restart")
    }

    /// What this program adds: why it does what it does, and what stands between its death and two writers.
    fn own(&self, valid_until: Tick, now: Tick) -> Value {
        let snapshot = self.snapshot;
        let published = snapshot.member.0.get("jogi").and_then(Value::as_object).cloned();
        let mut own = published.unwrap_or_default();
        own.insert("version".into(), env!("CARGO_PKG_VERSION").into());
        own.insert("decision".into(), json!(snapshot.decision));
        let postmaster = snapshot.server.as_ref().is_some_and(|server| server.process.is_running());
        let guard = match (postmaster, snapshot.guard.adopted) {
            (false, _) => "idle",
            (true, true) => "adopted",
            (true, false) => "guarded",
        };
        own.insert("guard".into(), json!({"state": guard, "armed": snapshot.guard.armed, "last": snapshot.guard.last}));
        let valid_for = (valid_until > now).then(|| millis(valid_until.since(now)));
        own.insert("lock".into(), json!({"held": valid_for.is_some(), "valid_for_ms": valid_for}));
        for (name, set) in [("coming_up", snapshot.coming_up), ("aside", snapshot.aside)] {
            if set {
                own.insert(name.into(), true.into());
            }
        }
        if let Some(operation) = snapshot.operation {
            own.insert("operation".into(), operation.into());
        }
        if let Some(lost) = &snapshot.lease.lost {
            own.insert("lock_lost".into(), lost.as_str().into());
        }
        if let Some(silent) = self.server.and_then(|server| server.silent.as_ref()) {
            own.insert("server_silent".into(), silent.as_str().into());
        }
        if !self.live {
            let seen = self.server.map_or(snapshot.taken_at.boot, |server| server.looked_at);
            own.insert("age_ms".into(), millis(now.since(seen)).into());
        }
        Value::Object(own)
    }
}

/// In these states the server may answer a query.
fn is_queried(state: &str) -> bool {
    matches!(state, "running" | "restarting" | "starting")
}

fn xlog(row: &Row) -> Value {
    if !row.in_recovery {
        return json!({"location": row.flushed.0});
    }
    let received = if row.received.is_valid() { row.received } else { row.replayed };
    json!({
        "received_location": received.0,
        "replayed_location": row.replayed.0,
        "replayed_timestamp": row.replayed_at.map(wall::python),
        "paused": row.replay_paused,
    })
}

fn replication(row: &Row) -> Value {
    let walsender = |w: &jogi_core::ha::server::Walsender| {
        json!({
            "usename": w.user,
            "application_name": w.application_name,
            "client_addr": w.client_addr,
            "state": w.state,
            "sync_state": w.sync_state,
            "sync_priority": w.sync_priority,
        })
    };
    Value::Array(row.replication.iter().map(walsender).collect())
}

fn insert_log(doc: &mut Map<String, Value>) {
    let Some(logging) = Logging::current() else { return };
    let queued = logging.queue_size();
    if queued > NORMAL_LOG_QUEUE {
        doc.insert("logger_queue_size".into(), queued.into());
        let lost = logging.records_lost();
        if lost > 0 {
            doc.insert("logger_records_lost".into(), lost.into());
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
