//! The health endpoints: every GET, HEAD and OPTIONS that is no endpoint of its own (rest-api 4).
//!
//! The path is matched by what it contains, in a fixed order, as load balancers are configured for it.
//!
//! The snapshot answers. Only a replica that it shows as not keeping up is asked itself before it is refused: what the
//! leader has published may be younger than the last look at our server, and a replica that keeps up must not fall out of
//! a load balancer for that.

use std::time::Duration;

use jogi_config::python;
use serde_json::Value;

use super::answer::Answer;
use super::api::Api;
use super::document::Status;
use super::query::Query;

/// A health check is answered within a tenth of a second, whatever our server does: a server that is well answers in a
/// few milliseconds, and what is left is for a machine that is busy.
const LOOK_PATIENCE: Duration = Duration::from_millis(50);

/// What is asked for, and what may be answered.
pub(super) async fn get(api: &Api, path: &str, query: &Query, bare: bool) -> Answer {
    let mut snapshot = api.snapshot();
    let mut live = None;
    if let shown = Status::of_snapshot(&snapshot)
        && shown.role() == "replica"
        && !keeps_up(&shown, query)
    {
        live = api.live.look(LOOK_PATIENCE).await;
        snapshot = api.snapshot();
    }
    let status = Status::with_live(&snapshot, live.as_deref());
    let (valid_until, now) = (api.keeper.valid_until(), api.now().boot);
    let code = Health::new(&status, valid_until > now, query).code(path, query);
    match (bare, live.is_some()) {
        (true, _) => Answer::Bare(code),
        (false, true) => Answer::json(code, &status.document(valid_until, now)),
        (false, false) => Answer::document(code, api.shown.document(&snapshot, valid_until, now)),
    }
}

/// Whether this member may be used as what.
struct Health<'a> {
    status: &'a Status<'a>,
    leader: bool,
    primary: bool,
    standby_leader: bool,
    replica: bool,
}

impl<'a> Health<'a> {
    fn new(status: &'a Status<'a>, holds_lock: bool, query: &Query) -> Health<'a> {
        let role = status.role();
        let balanced = !status.snapshot.local.tags.noloadbalance();
        let replica = role == "replica" && status.is_running() && balanced && keeps_up(status, query);
        // In pause, without a store, the role is all there is to go by.
        if status.snapshot.cluster.is_none() && status.snapshot.settings.pause {
            let (primary, standby_leader) = (role == "primary", role == "standby_leader");
            return Health { status, leader: primary || standby_leader, primary, standby_leader, replica };
        }
        if !holds_lock {
            return Health { status, leader: false, primary: false, standby_leader: false, replica };
        }
        match status.is_standby_cluster() {
            true => {
                let standby_leader = matches!(role, "replica" | "standby_leader");
                Health { status, leader: true, primary: false, standby_leader, replica: false }
            }
            false => Health { status, leader: true, primary: true, standby_leader: false, replica },
        }
    }

    fn code(&self, path: &str, query: &Query) -> u16 {
        let path = if path == "/" { "/primary" } else { path };
        let contains = |part: &str| path.contains(part);
        let (good, tags_count) = if contains("standby_leader") || contains("standby-leader") {
            (self.standby_leader, false)
        } else if contains("leader") {
            (self.leader, false)
        } else if contains("master") || contains("primary") || contains("read-write") {
            (self.primary, false)
        } else if contains("replica") {
            (self.replica, true)
        } else if contains("read-only") && !contains("sync") && !contains("quorum") {
            (self.primary || self.standby_leader || self.replica, true)
        } else if contains("health") {
            (self.status.is_running(), true)
        } else {
            (self.status.snapshot.cluster.is_some() && self.by_sync_role(path), true)
        };
        let good = good && (!tags_count || self.has_tags(query));
        if good { 200 } else { 503 }
    }

    /// These count only while there is a view of the cluster.
    fn by_sync_role(&self, path: &str) -> bool {
        let sync = self.status.sync_role() == Some("sync_standby");
        let quorum = self.status.sync_role() == Some("quorum_standby");
        let leads = self.primary || self.standby_leader;
        match path {
            "/sync" | "/synchronous" => sync && self.replica,
            "/quorum" => quorum && self.replica,
            "/async" | "/asynchronous" => !sync && !quorum && self.replica,
            "/read-only-sync" | "/read-only-synchronous" => leads || (sync && self.replica),
            "/read-only-quorum" => leads || (quorum && self.replica),
            _ => false,
        }
    }

    fn has_tags(&self, query: &Query) -> bool {
        let tags = self.status.snapshot.local.tags.effective();
        query.tags().all(|(name, wanted)| match tags.get(name) {
            None | Some(Value::Null) => false,
            Some(Value::String(text)) => text == wanted,
            Some(other) => python::str(other).to_lowercase() == wanted,
        })
    }
}

/// Whether a replica replicates as it is asked to: within `lag`, and in the state `replication_state` (which Patroni has
/// from 4.2 on).
fn keeps_up(status: &Status<'_>, query: &Query) -> bool {
    let lags = query.bytes("lag").is_some_and(|lag| is_lagging(status, lag));
    let in_state = |wanted: &str| status.replication_state() == Some(wanted);
    !lags && query.first("replication_state").is_none_or(in_state)
}

/// Whether more than `lag` bytes are missing.
fn is_lagging(status: &Status<'_>, lag: i64) -> bool {
    let leader = status.leader_position();
    let replayed = status.row.filter(|row| row.in_recovery).map_or(0, |row| row.replayed.0);
    leader > 0 && i128::from(leader) > i128::from(replayed) + i128::from(lag)
}
