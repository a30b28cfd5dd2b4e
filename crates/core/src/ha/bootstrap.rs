//! An empty data directory: make a cluster, or a copy (ha-rules 10).

use super::machine::Ha;
use super::note::NoteLevel;
use super::op::{Kind, Op, Starting, Step};
use super::state::Phase;
use super::{Aside, Decision, Intent, Mode, Upstream};
use crate::view::{Cluster, Member, Revision};
use crate::{MemberName, Weakness};

impl Ha {
    pub(super) fn empty(&mut self) -> Decision {
        if self.lease.lock.is_some() {
            self.release_lock();
            return Decision::new("released leader key voluntarily as data dir empty", "the data directory is empty");
        }
        if self.paused() {
            return Decision::new("no action", "in pause nothing is copied").waiting("the end of pause");
        }
        if self.now.boot < self.failures.retry_at {
            return Decision::new("no action", "the last try failed").waiting("the next try");
        }
        let Some(cluster) = self.cluster().cloned() else { return self.nothing_known() };
        match &cluster.leader {
            Some(_) => self.copy(&cluster),
            None => self.found_cluster(&cluster),
        }
    }

    fn nothing_known(&self) -> Decision {
        Decision::new("no action", "the store has not been read").waiting("the store")
    }

    // ---- a copy

    fn copy(&mut self, cluster: &Cluster) -> Decision {
        let Some(source) = self.source(cluster) else {
            let because = "the data directory is empty";
            return Decision::new("no action", because).waiting("a running leader to copy from");
        };
        let name = source.member.clone().map_or_else(String::new, |m| m.to_string());
        let because = format!("the data directory is empty; copying from {name}");
        let basebackup_only = std::mem::take(&mut self.clone_from_leader);
        let steps = [
            Step::Intend(Intent::Clone),
            Step::Clone { source: Some(source), basebackup_only },
            Step::Settle,
            Step::Look,
        ];
        self.begin_op(Op::new(Kind::Clone, because.clone(), steps));
        Decision::new(format!("trying to bootstrap from leader '{name}'"), because)
    }

    /// A running member tagged `clonefrom`, else the leader once it is the primary.
    fn source(&self, cluster: &Cluster) -> Option<Upstream> {
        let leader = &cluster.leader.as_ref()?.name;
        let willing =
            |m: &&Member| m.data.tags().clonefrom() && m.data.is_running() && m.name != *leader && m.name != *self.me();
        let willing: Vec<&MemberName> = cluster.members.values().filter(willing).map(|m| &m.name).collect();
        // Members spread over the sources by their names: no chance is needed for that.
        let spread = self.me().as_str().bytes().map(usize::from).sum::<usize>();
        if !willing.is_empty() && !self.clone_from_leader {
            return self.clone_source(willing[spread % willing.len()]);
        }
        let data = &cluster.members.get(leader)?.data;
        let ready = data.is_running() && matches!(data.role(), "primary" | "standby_leader");
        if ready { self.clone_source(leader) } else { None }
    }

    /// pg_basebackup streams WAL beside the copy without a slot of ours.
    fn clone_source(&self, name: &MemberName) -> Option<Upstream> {
        self.upstream_of(name).map(|upstream| Upstream { slot: None, ..upstream })
    }

    // ---- a new cluster

    fn found_cluster(&mut self, cluster: &Cluster) -> Decision {
        let because = "the data directory is empty and nobody leads";
        if cluster.initialize.is_some() {
            return Decision::new("waiting for leader to bootstrap", because).waiting("a leader to copy from");
        }
        if !self.local.may_bootstrap || self.local.tags.nofailover() {
            let because = "the data directory is empty and this member may not make a cluster";
            return Decision::new("waiting for leader to bootstrap", because).waiting("a leader to copy from");
        }
        // An identity that was lost from the store may live on in a member's data (fault-scenarios F8).
        let has_data = |m: &&Member| m.data.xlog_location().is_some() || m.data.timeline().is_some();
        let owner = cluster.members.values().filter(|m| m.name != *self.me()).find(has_data).map(|m| m.name.clone());
        // Only a leader writes these; a bootstrap that failed leaves at most `config`.
        let led = cluster.history.is_some() || cluster.status.optime.is_valid() || cluster.sync.revision.is_some();
        let traces = led || owner.is_some();
        if traces && !self.weaken.has(Weakness::InitdbAgain) {
            let owner =
                owner.map_or_else(|| "what its leaders left in the store".to_owned(), |n| format!("member {n}"));
            let because = format!("{owner} shows that the cluster has existed; no new one is made");
            return Decision::new("no action", because).waiting("the member that has the data");
        }
        self.bootstrap()
    }

    fn bootstrap(&mut self) -> Decision {
        if let Some(remote) = self.remote() {
            return self.bootstrap_standby(remote);
        }
        let steps = [
            Step::ClaimInitialize,
            Step::Intend(Intent::Bootstrap { initialize: None }),
            Step::Initdb,
            Step::Configure(Mode::Primary),
            Step::Launch(Starting::Bootstrap),
            Step::Accept(self.start_wait()),
            Step::PostBootstrap,
            Step::Checkpoint,
            Step::PublishConfig,
            Step::PublishInitialize,
            Step::Settle,
        ];
        let because = "the store knows no cluster of this name";
        self.begin_op(Op::new(Kind::Bootstrap, because, steps));
        Decision::new("trying to bootstrap a new cluster", because)
    }

    pub(super) fn bootstrap_failed(&mut self, initialize: Option<Revision>, why: &str) {
        let Some(revision) = initialize else {
            // Another member was first: nothing has been begun here.
            self.phase = Phase::AsSeen;
            self.load();
            return;
        };
        self.phase = Phase::InitdbFailed;
        self.found.intent = Some(Intent::Bootstrap { initialize: Some(revision.clone()) });
        let mut steps = self.closing_steps(false);
        steps.extend([
            Step::PutAside(Aside::Failed),
            Step::DropInitialize(revision),
            Step::Settle,
            Step::Exit(1, format!("the bootstrap of a new cluster failed: {why}")),
        ]);
        self.note(NoteLevel::Error, format!("the bootstrap failed and is taken back: {why}"));
        self.begin_op(Op::new(Kind::CleanUp, "the bootstrap failed", steps));
    }

    /// An agent died between initdb and the publication of the identity.
    pub(super) fn interrupted_bootstrap(&self, initialize: Option<Revision>) -> Vec<Step> {
        let published = self.cluster().and_then(|c| c.system_identifier());
        if published.is_some() && published == self.system_identifier() {
            return vec![Step::Settle];
        }
        let mut steps = self.closing_steps(false);
        steps.push(Step::PutAside(Aside::Failed));
        steps.extend(initialize.map(Step::DropInitialize));
        steps.push(Step::Settle);
        steps
    }
}
