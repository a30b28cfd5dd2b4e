//! `GET /metrics`: Patroni's metrics in Prometheus' text format 0.0.4 (rest-api 6).
//!
//! Written by hand, because names, help texts, order and the comment with the states' numbers are what dashboards and
//! their authors know.

use std::fmt::Write;

use jogi_core::Wall;

use super::answer::Answer;
use super::api::Api;
use super::document::Status;
use super::live::PATIENCE;
use super::wall;
use crate::local::VERSION;

/// Patroni's names of the states in the order of their numbers, and the words they stand for.
const STATES: [(&str, &str); 15] = [
    ("initdb", "initializing new cluster"),
    ("initdb_failed", "initdb failed"),
    ("custom_bootstrap", "running custom bootstrap script"),
    ("custom_bootstrap_failed", "custom bootstrap failed"),
    ("creating_replica", "creating replica"),
    ("running", "running"),
    ("starting", "starting"),
    ("bootstrap_starting", "starting after custom bootstrap"),
    ("start_failed", "start failed"),
    ("restarting", "restarting"),
    ("restart_failed", "restart failed"),
    ("stopping", "stopping"),
    ("stopped", "stopped"),
    ("stop_failed", "stop failed"),
    ("crashed", "crashed"),
];

/// `pg_stat_get_wal_receiver()` exists from here on.
const WAL_RECEIVER_VIEW: u32 = 90_600;

pub(super) async fn get(api: &Api) -> Answer {
    let live = match Status::of_snapshot(&api.snapshot()).is_queried() {
        true => api.live.look(PATIENCE).await,
        false => None,
    };
    let snapshot = api.snapshot();
    Answer::plain(text(&Status::with_live(&snapshot, live.as_deref())))
}

struct Page {
    labels: String,
    text: String,
}

impl Page {
    fn head(&mut self, name: &str, help: &str) {
        let _ = writeln!(self.text, "# HELP {name} {help}");
    }

    fn value(&mut self, name: &str, kind: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.text, "# TYPE {name} {kind}\n{name}{} {value}", self.labels);
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl std::fmt::Display) {
        self.head(name, help);
        self.value(name, "gauge", value);
    }

    fn flag(&mut self, name: &str, help: &str, value: bool) {
        self.gauge(name, help, u8::from(value));
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, help);
        self.value(name, "counter", value);
    }
}

pub(super) fn text(status: &Status<'_>) -> String {
    let local = &status.snapshot.local;
    let labels = format!("{{scope=\"{}\",name=\"{}\"}}", local.scope, local.name);
    let mut page = Page { labels, text: String::new() };
    roles(&mut page, status);
    positions(&mut page, status);
    server(&mut page, status);
    cluster(&mut page, status);
    state(&mut page, status.state());
    page.text
}

fn roles(page: &mut Page, status: &Status<'_>) {
    let role = status.role();
    let sync = status.sync_role();
    let started = status.row.map(|row| row.postmaster_start);
    let version: String = VERSION.split('.').map(|part| format!("{part:0>2}")).collect();
    page.gauge("patroni_version", "Patroni semver without periods.", version);
    page.flag("patroni_postgres_running", "Value is 1 if Postgres is running, 0 otherwise.", status.is_running());
    page.gauge("patroni_postmaster_start_time", "Epoch seconds since Postgres started.", seconds(started));
    page.flag("patroni_primary", "Value is 1 if this node is the leader, 0 otherwise.", role == "primary");
    page.counter(
        "patroni_xlog_location",
        "Current location of the Postgres transaction log, 0 if this node is not the leader.",
        status.row.filter(|row| !row.in_recovery).map_or(0, |row| row.flushed.0),
    );
    page.flag(
        "patroni_standby_leader",
        "Value is 1 if this node is the standby_leader, 0 otherwise.",
        role == "standby_leader",
    );
    page.flag("patroni_replica", "Value is 1 if this node is a replica, 0 otherwise.", role == "replica");
    page.flag(
        "patroni_sync_standby",
        "Value is 1 if this node is a sync standby, 0 otherwise.",
        sync == Some("sync_standby"),
    );
    page.flag(
        "patroni_quorum_standby",
        "Value is 1 if this node is a quorum standby, 0 otherwise.",
        sync == Some("quorum_standby"),
    );
}

fn positions(page: &mut Page, status: &Status<'_>) {
    let standby = status.row.filter(|row| row.in_recovery);
    let received = standby.map(|row| if row.received.is_valid() { row.received } else { row.replayed });
    page.counter(
        "patroni_xlog_received_location",
        "Current location of the received Postgres transaction log, 0 if this node is not a replica.",
        received.map_or(0, |lsn| lsn.0),
    );
    page.counter(
        "patroni_xlog_replayed_location",
        "Current location of the replayed Postgres transaction log, 0 if this node is not a replica.",
        standby.map_or(0, |row| row.replayed.0),
    );
    page.gauge(
        "patroni_xlog_replayed_timestamp",
        "Current timestamp of the replayed Postgres transaction log, 0 if null.",
        seconds(standby.and_then(|row| row.replayed_at)),
    );
    page.flag(
        "patroni_xlog_paused",
        "Value is 1 if the Postgres xlog is paused, 0 otherwise.",
        standby.is_some_and(|row| row.replay_paused),
    );
}

fn server(page: &mut Page, status: &Status<'_>) {
    let version = status.row.map_or(0, |row| row.server_version);
    if version >= WAL_RECEIVER_VIEW {
        let replication = status.replication_state();
        page.flag(
            "patroni_postgres_streaming",
            "Value is 1 if Postgres is streaming, 0 otherwise.",
            replication == Some("streaming"),
        );
        page.flag(
            "patroni_postgres_in_archive_recovery",
            "Value is 1 if Postgres is replicating from archive, 0 otherwise.",
            replication == Some("in archive recovery"),
        );
    }
    page.gauge("patroni_postgres_server_version", "Version of Postgres (if running), 0 otherwise.", version);
}

fn cluster(page: &mut Page, status: &Status<'_>) {
    let snapshot = status.snapshot;
    page.flag("patroni_cluster_unlocked", "Value is 1 if the cluster is unlocked, 0 if locked.", status.is_unlocked());
    page.flag(
        "patroni_failsafe_mode_is_active",
        "Value is 1 if failsafe mode is active, 0 if inactive.",
        snapshot.failsafe_active,
    );
    page.gauge(
        "patroni_postgres_timeline",
        "Postgres timeline of this node (if running), 0 otherwise.",
        status.row.and_then(|row| row.timeline).map_or(0, |timeline| timeline.0),
    );
    page.gauge(
        "patroni_dcs_last_seen",
        "Epoch timestamp when DCS was last contacted successfully by Patroni.",
        snapshot.store_last_seen.seconds(),
    );
    page.flag(
        "patroni_pending_restart",
        "Value is 1 if the node needs a restart, 0 otherwise.",
        status.is_restart_pending(),
    );
    page.flag("patroni_is_paused", "Value is 1 if auto failover is disabled, 0 otherwise.", snapshot.settings.pause);
}

fn state(page: &mut Page, state: &str) {
    page.head("patroni_postgres_state", "Numeric representation of Postgres state.");
    let values = STATES.iter().enumerate().map(|(number, (name, _))| format!("{number}={name}"));
    let _ = writeln!(page.text, "# Values: {}", values.collect::<Vec<_>>().join(", "));
    let number = STATES.iter().position(|(_, word)| *word == state).and_then(|n| i64::try_from(n).ok());
    page.value("patroni_postgres_state", "gauge", number.unwrap_or(-1));
}

fn seconds(wall: Option<Wall>) -> String {
    wall.map_or_else(|| "0".to_owned(), wall::epoch)
}
