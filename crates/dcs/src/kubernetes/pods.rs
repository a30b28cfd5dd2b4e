//! The member on its pod: its data as an annotation, its role as a label (dcs-layout 12.3).

use std::time::Duration;

use jogi_core::view::{Key, MemberData, Revision, Write, Written};
use jogi_net::boot_now;
use serde_json::json;

use super::Kubernetes;
use super::call::{Answer, Request, unexpected};
use super::knowledge::List;
use super::objects::{Annotations, Object, STATUS, revision_of};
use super::options::KubernetesOptions;
use crate::DcsError;

const OPERATION: &str = "write the member on its pod";

/// States in which a member carries the bootstrap labels.
const BOOTSTRAP: [&str; 4] = [
    "initializing new cluster",
    "running custom bootstrap script",
    "starting after custom bootstrap",
    "creating replica",
];

/// The labels of a member with this data; `None` removes one.
pub(super) fn labels(options: &KubernetesOptions, data: &MemberData, holds_lock: bool) -> Annotations {
    let role = &options.role;
    // The lock alone makes no primary: a server that is not promoted yet would get the writers of the service.
    let leads = holds_lock && ["primary", "standby_leader"].contains(&data.role());
    let (value, temporary) = match (leads, data.is_running(), data.role()) {
        (true, _, "standby_leader") => (Some(role.standby_leader.as_str()), Some("primary")),
        (true, _, _) => (Some(role.leader.as_str()), Some("primary")),
        (false, true, "replica") => (Some(role.follower.as_str()), Some("replica")),
        (false, true, other) if other != "primary" && !other.is_empty() => (Some(other), Some(other)),
        (false, _, _) => (None, None),
    };
    let mut labels = Annotations::from([(role.name.clone(), value.map(str::to_owned))]);
    if let Some(name) = &role.temporary {
        labels.insert(name.clone(), temporary.map(str::to_owned));
    }
    let bootstrap = BOOTSTRAP.contains(&data.state());
    labels.extend(options.bootstrap_labels.iter().map(|(k, v)| (k.clone(), bootstrap.then(|| v.clone()))));
    labels
}

impl Kubernetes {
    fn holds_lock(&self, name: &str) -> bool {
        let stands = |observed: &super::knowledge::Observed| observed.lock.name == name && observed.stands(boot_now());
        self.knowledge().observed().as_ref().is_some_and(stands)
    }

    pub(super) async fn write_member(
        &self,
        name: &str,
        write: &Write,
        deadline: Duration,
    ) -> Result<Written, DcsError> {
        let data = MemberData::parse(write.value.as_deref().unwrap_or_default());
        let labels = match name == self.shared.options.name.as_str() {
            true => labels(&self.shared.options, &data, self.holds_lock(name)),
            false => Annotations::new(),
        };
        let wanted = Annotations::from([(STATUS.to_owned(), write.value.clone())]);
        let written = self.patch_pod(name, &labels, &wanted, deadline).await?;
        self.knowledge().member_written(name, write.session.as_ref());
        Ok(written)
    }

    async fn patch_pod(
        &self,
        name: &str,
        labels: &Annotations,
        annotations: &Annotations,
        deadline: Duration,
    ) -> Result<Written, DcsError> {
        let known = self.knowledge().pod(name);
        let differs = |pod: &Object| !pod.says(annotations) || !says_labels(pod, labels);
        if let Some(pod) = known.as_ref().filter(|pod| !differs(pod)) {
            return Ok(Written::Done { revision: self.member_revision(pod) });
        }
        let path = format!("{}/{name}", self.shared.path("pods"));
        let namespace = &self.shared.options.namespace;
        let metadata = json!({"name": name, "namespace": namespace, "labels": labels, "annotations": annotations});
        let body = json!({"metadata": metadata});
        match self.call(&Request::patch(OPERATION, &path, &body), deadline).await?.answer {
            Answer::Ok(value) => {
                let pod = self.take(OPERATION, List::Pods, &value)?;
                Ok(Written::Done { revision: self.member_revision(&pod) })
            }
            Answer::Missing(cause) => Err(unexpected(
                OPERATION,
                &self.shared,
                &format!(
                    "{cause}: a member is its pod, so name must be the pod's name and kubernetes.namespace its namespace ({namespace} here)"
                ),
            )),
            Answer::Conflict => Ok(Written::Conflict),
            Answer::Gone => Err(unexpected(OPERATION, &self.shared, "a change cannot be 410 Gone")),
        }
    }

    fn member_revision(&self, pod: &Object) -> Revision {
        revision_of(&Key::Member(pod.name.as_str().into()), pod).unwrap_or_default()
    }

    /// The labels that our pod should have and has not: the lock may have come or gone without a change of what the
    /// member says of itself.
    pub(super) fn labels_due(&self) -> Option<Annotations> {
        let name = self.shared.options.name.as_str();
        let pod = self.knowledge().pod(name)?;
        let data = MemberData::parse(pod.annotation(STATUS)?);
        let wanted = labels(&self.shared.options, &data, self.holds_lock(name));
        (self.knowledge().wrote_member() && !says_labels(&pod, &wanted)).then_some(wanted)
    }

    pub(super) async fn relabel(&self, labels: &Annotations, deadline: Duration) -> Result<Written, DcsError> {
        self.patch_pod(self.shared.options.name.as_str(), labels, &Annotations::new(), deadline).await
    }
}

fn says_labels(pod: &Object, wanted: &Annotations) -> bool {
    wanted.iter().all(|(name, value)| pod.labels.get(name).map(String::as_str) == value.as_deref())
}
