//! `GET /readiness`: whether this member leads, or is a replica that streams and keeps up.

use super::answer::Answer;
use super::api::Api;
use super::document::Status;
use super::live::PATIENCE;
use super::query::Query;

pub(super) async fn get(api: &Api, query: &Query) -> Answer {
    match unready(api, query).await {
        None => Answer::Bare(200),
        Some(why) => {
            tracing::debug!("not ready: {why}");
            Answer::Bare(503)
        }
    }
}

/// Why this member is not ready.
async fn unready(api: &Api, query: &Query) -> Option<String> {
    if api.holds_lock() {
        // One becomes leader after a bootstrap or as a standby that runs: it is ready.
        return None;
    }
    let snapshot = api.snapshot();
    if snapshot.state != "running" {
        return Some("PostgreSQL is not running".into());
    }
    let live = api.live.look(PATIENCE).await;
    let status = Status::with_live(&snapshot, live.as_deref());
    if status.replication_state() != Some("streaming") {
        return Some("PostgreSQL replication state is not streaming".into());
    }
    let receives = status.row.and_then(|row| row.receiver.as_ref()).is_some_and(|r| r.latest_end.is_valid());
    if snapshot.cluster.is_none() && !receives {
        return (!snapshot.failsafe_active).then(|| "DCS is not accessible".into());
    }
    let writes = query.first("mode") == Some("write");
    let (mode, location) = match status.row {
        Some(row) if writes => ("write", if row.received.is_valid() { row.received.0 } else { row.replayed.0 }),
        Some(row) => ("apply", row.replayed.0),
        None => ("apply", 0),
    };
    let lag = i128::from(status.leader_position()) - i128::from(location);
    let allowed = query.bytes("lag").map_or(i128::from(snapshot.settings.maximum_lag_on_failover), i128::from);
    (lag > allowed).then(|| format!("Replication {mode} lag {lag} exceeds maximum allowable {allowed}"))
}
