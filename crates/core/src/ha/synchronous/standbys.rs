//! What the leader sees of its standbys: who streams, who has caught up with the names in force, who wants to go, and who
//! is only away for a moment.

use std::time::Duration;

use super::super::machine::Ha;
use super::super::server::Row;
use crate::MemberName;
use crate::sync::replicas::{Wanted, choose, replicas};
use crate::sync::{Kind, Names, Replica, StandbyNames};
use crate::view::{Cluster, SyncMode, SyncState};

/// A standby whose connection is away for less than this is not given up: it may only connect anew.
const GRACE: Duration = Duration::from_millis(900);

/// The leader's view of its standbys.
pub(super) struct Standbys {
    pub replicas: Vec<Replica>,
    pub names: StandbyNames,
    pub key: SyncState,
    pub in_force: bool,
    pub ready: Names,
    pub present: Names,
    pub active: Names,
    pub unwilling: Names,
}

impl Ha {
    pub(super) fn standbys(&mut self) -> Option<Standbys> {
        let server = self.server.clone()?;
        let row = server.row.as_ref()?;
        let cluster = self.cluster()?.clone();
        let key = self.sync_key();
        let mut known: Names = key.standbys.iter().cloned().collect();
        let shown = StandbyNames::parse(&row.synchronous_standby_names).unwrap_or_default();
        let names = shown.spelled_like(cluster.members.keys().chain(known.iter()));
        known.extend(names.names.iter().cloned());
        let known_here = self.moving(&known, row);
        let replicas = replicas(&cluster, self.me(), row, &known_here);
        self.learn(row, &names, &replicas);
        let streaming: Names = replicas.iter().map(|r| r.name.clone()).collect();
        let unwilling: Names = known.iter().filter(|name| refuses(&cluster, name)).cloned().collect();
        // Whoever wants to go, and is still there, is waited for until others have caught up.
        let streams = |name: &&MemberName| {
            row.replication.iter().any(|s| s.state == "streaming" && name.matches(&s.application_name))
        };
        let connected: Names = unwilling.iter().filter(streams).cloned().collect();
        let returning = self.returning(&known, &streaming, &unwilling);
        let wanted = Wanted {
            count: usize::try_from(self.settings.sync_node_count.max(1)).unwrap_or(usize::MAX),
            maximum_lag: self.settings.maximum_lag_on_syncnode,
            quorum: self.settings.sync_mode == SyncMode::Quorum,
        };
        let mut active = choose(&replicas, row.flushed, wanted);
        for name in key.standbys.iter().filter(|name| returning.contains(*name)) {
            if wanted.quorum || active.len() < wanted.count {
                active.insert(name.clone());
            }
        }
        let force = self.sync.force.as_ref().filter(|f| f.base.is_some());
        Some(Standbys {
            in_force: force.is_some(),
            ready: force.map(|f| f.ready.clone()).unwrap_or_default(),
            present: &(&streaming | &returning) | &connected,
            replicas,
            names,
            key,
            active,
            unwilling,
        })
    }

    /// Those of the standbys that still answer: they have everything, or have confirmed more lately. The connection of
    /// a host that is gone stands for a long time, and its member key goes first; a store that has lost the keys of
    /// everybody is no reason to stop waiting for standbys that are there.
    fn moving(&mut self, known: &Names, row: &Row) -> Names {
        let now = self.now.boot;
        self.sync.moved.retain(|name, _| known.contains(name));
        let moved = &mut self.sync.moved;
        let moves = |name: &&MemberName| {
            let confirmed = row.replication.iter().filter(|s| name.matches(&s.application_name)).map(|s| s.flush).max();
            let Some(confirmed) = confirmed else { return false };
            let last = moved.entry((*name).clone()).or_insert((confirmed, now));
            if last.0 != confirmed || confirmed >= row.flushed {
                *last = (confirmed, now);
            }
            now.since(last.1) < GRACE * 2
        };
        known.iter().filter(moves).cloned().collect()
    }

    /// Those whose connection has been away for a moment only.
    fn returning(&mut self, known: &Names, streaming: &Names, unwilling: &Names) -> Names {
        let now = self.now.boot;
        let away: Names = &(known - streaming) - unwilling;
        self.sync.missing.retain(|name, _| away.contains(name));
        let missing = &mut self.sync.missing;
        let recent = |name: &&MemberName| now.since(*missing.entry((*name).clone()).or_insert(now)) < GRACE;
        away.iter().filter(recent).cloned().collect()
    }

    /// Takes from a look who works by which names, and who has caught up.
    fn learn(&mut self, row: &Row, names: &StandbyNames, replicas: &[Replica]) {
        let Some(force) = &mut self.sync.force else { return };
        let started = *force.started.get_or_insert(row.postmaster_start);
        if force.text != row.synchronous_standby_names || started != row.postmaster_start {
            self.sync.force = None;
            return;
        }
        if force.base.is_none() && walsenders_work_by(row, names) {
            force.base = Some(row.flushed);
        }
        let Some(base) = force.base else { return };
        let word = if names.kind == Kind::Quorum { "quorum" } else { "sync" };
        let caught_up = |r: &&Replica| names.lists(&r.name) && r.lsn >= base && r.sync_state == word;
        force.ready.extend(replicas.iter().filter(caught_up).map(|r| r.name.clone()));
    }
}

fn refuses(cluster: &Cluster, name: &MemberName) -> bool {
    cluster.members.get(name).is_some_and(|m| m.data.tags().nosync())
}

/// Every walsender that has heard of its standby works by these names.
fn walsenders_work_by(row: &Row, names: &StandbyNames) -> bool {
    let named = |application_name: &str| names.star || names.names.iter().any(|n| n.matches(application_name));
    row.replication
        .iter()
        .filter(|sender| sender.flush.is_valid())
        .all(|sender| (sender.sync_priority > 0) == named(&sender.application_name))
}
