//! Whom our WAL is compared with: the leader, or in a standby cluster the primary outside the herd.

use super::super::flight::{Purpose, SHORT};
use super::super::machine::Ha;
use super::super::note::NoteLevel;
use super::super::{Act, Decision, Lane, Lineage, Upstream};
use crate::MemberName;

/// Whose WAL ours has to be part of: the leader's, in a standby cluster that of the remote primary.
#[derive(Clone, Debug)]
pub(super) struct Model {
    /// For sentences.
    pub name: String,
    /// `None`: outside the herd.
    pub member: Option<MemberName>,
    /// `None`: its address is not known.
    pub upstream: Option<Upstream>,
}

impl Ha {
    /// Whom our WAL is compared with. Nobody, where a standby leader has but an archive to follow.
    pub(super) fn model(&self) -> Option<Model> {
        if let Some(remote) = self.remote().filter(Upstream::streams) {
            let name = format!("the remote primary ({remote})");
            return Some(Model { name, member: None, upstream: Some(remote) });
        }
        let leader = self.cluster()?.leader.as_ref()?.name.clone();
        if leader == *self.me() {
            return None;
        }
        Some(Model { name: leader.to_string(), upstream: self.upstream_of(&leader), member: Some(leader) })
    }

    /// A remote primary of another cluster: nothing of ours will ever be part of it.
    pub(super) fn is_foreign_system(&self, model: &Model, theirs: &Lineage) -> Option<String> {
        let (ours, theirs) = (self.system_identifier()?, theirs.system_identifier.as_ref()?);
        let foreign = model.member.is_none() && ours != *theirs;
        foreign.then(|| {
            format!(
                "{} has the system identifier {theirs} and this cluster {ours}: it is another cluster and cannot be \
                 followed. Correct standby_cluster",
                model.name
            )
        })
    }

    /// Why a primary is not closed to follow the remote primary: that one belongs to another cluster, or has not said
    /// yet. One that does not answer at all is no reason.
    pub(in crate::ha) fn refused_remote(&mut self) -> Option<Decision> {
        let model = self.model().filter(|model| model.member.is_none())?;
        if self.failures.compare > 0 {
            return None;
        }
        let because = "the configuration makes this a standby cluster";
        let Some(theirs) = self.divergence.theirs.clone() else {
            let upstream = model.upstream?;
            self.issue(Lane::Load, Act::Compare { upstream }, SHORT, Purpose::Compare);
            return Some(Decision::new("no action", because).waiting("the remote primary's system identifier"));
        };
        let why = self.is_foreign_system(&model, &theirs)?;
        if self.divergence.hopeless.as_ref() != Some(&why) {
            self.note(NoteLevel::Error, why.clone());
            self.divergence.hopeless = Some(why.clone());
        }
        Some(Decision::new("no action", why).waiting("a person"))
    }

    /// Whether what cannot be rewound may be copied. A standby cluster has nobody to copy from that is known to be right.
    pub(super) fn may_copy_anew(&self) -> bool {
        self.divergence.must || self.local.removes_on_divergence(&self.settings) && !self.is_standby_cluster()
    }

    pub(super) fn streams_from_remote(&self) -> bool {
        let receiver = self.row().and_then(|row| row.receiver.as_ref());
        let (Some(remote), Some(receiver)) = (self.remote(), receiver) else { return false };
        receiver.status == "streaming" && receiver.host == remote.hosts() && receiver.port == Some(remote.port)
    }
}
