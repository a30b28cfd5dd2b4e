//! What the rules ask of the state again and again, each answered in one place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::Lock;
use super::machine::Ha;
use super::op::Kind;
use super::server::{DataDir, Process, Row};
use crate::view::{Cluster, Member, MemberData, Settings};
use crate::{Lsn, MemberName};

impl Ha {
    pub(super) fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.view.as_ref().map(|seen| &seen.cluster)
    }

    /// The view while it is younger than `ttl`.
    pub(super) fn current_cluster(&self) -> Option<Arc<Cluster>> {
        let seen = self.view.as_ref()?;
        let lost = self.store_error.is_some() && self.now.boot.since(seen.read_at) > self.settings.ttl;
        (!lost).then(|| seen.cluster.clone())
    }

    /// The settings of a view: ours, unless it has others.
    pub(super) fn settings_of(&self, cluster: &Cluster) -> Arc<Settings> {
        match &cluster.config {
            Some(config) if self.dynamic_saved.as_ref() != Some(&config.revision) => {
                Arc::new(Settings::from_value(&config.value))
            }
            Some(_) | None => self.settings.clone(),
        }
    }

    pub(super) fn row(&self) -> Option<&Row> {
        self.server.as_ref()?.row.as_ref()
    }

    pub(super) fn has_data(&self) -> bool {
        self.server.as_ref().is_some_and(|s| matches!(s.data, DataDir::Present(_)))
    }

    pub(super) fn is_running(&self) -> bool {
        self.server.as_ref().is_some_and(|s| s.process.is_running())
    }

    /// The lock, while it may be acted on: not past `soft`.
    pub(super) fn lock(&self) -> Option<&Lock> {
        self.lease.lock.as_ref().filter(|lock| self.now.boot < lock.soft)
    }

    /// Our server does not run yet and is about to: who races waits for what it may have (`race.rs`).
    pub(super) fn is_coming_up(&self) -> bool {
        let down = self.server.as_ref().is_none_or(|s| s.process == Process::Stopped);
        let data = self.server.as_ref().is_none_or(|s| matches!(s.data, DataDir::Present(_)));
        let starts = self.op.as_ref().is_some_and(|op| op.kind == Kind::Start);
        let just_began = self.view.is_none() && !self.shutting_down;
        down && data && (starts || just_began)
    }

    pub(super) fn promoting(&self) -> bool {
        self.op.as_ref().is_some_and(|op| op.kind == Kind::Promote)
    }

    pub(super) fn paused(&self) -> bool {
        self.settings.pause
    }

    pub(super) fn heartbeat(&self) -> Duration {
        self.settings.ttl / 8
    }

    pub(super) fn me(&self) -> &MemberName {
        &self.local.name
    }

    pub(super) fn member_data(&self) -> MemberData {
        super::member::data(self)
    }

    pub(super) fn my_position(&self) -> Lsn {
        self.row().map(Row::position).unwrap_or_default()
    }

    /// Members that could answer us: all of this view, of the last one with a leader, and of the failsafe topology,
    /// except ourselves.
    pub(super) fn peers(&self) -> BTreeMap<MemberName, Member> {
        let views = [self.old_view.as_ref(), self.cluster()];
        let mut peers = self.topology_peers();
        for cluster in views.into_iter().flatten() {
            peers.extend(cluster.members.iter().map(|(n, m)| (n.clone(), m.clone())));
        }
        peers.remove(self.me());
        peers
    }

    pub(super) fn peer_names(&self, keep: impl Fn(&Member) -> bool) -> BTreeSet<MemberName> {
        self.peers().into_values().filter(|m| m.data.api_url().is_some() && keep(m)).map(|m| m.name).collect()
    }
}
