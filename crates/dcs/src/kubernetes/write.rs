//! Writes of keys: the condition is judged on the object as it is known, and the change is made on just that version.

use std::time::Duration;

use jogi_core::view::{Condition, Key, Revision, Write, Written};
use jogi_net::boot_now;
use serde_json::json;
use tracing::debug;

use super::Kubernetes;
use super::call::{Answer, Answered, Request, unexpected};
use super::knowledge::List;
use super::objects::{Annotations, Lock, Object, PARTS, Part, annotations_for, part_of, revision_of};
use crate::DcsError;
use crate::deadline::Left;

const OPERATION: &str = "write a key";

impl Kubernetes {
    pub(super) async fn write_key(&self, write: &Write, deadline: Duration) -> Result<Written, DcsError> {
        if let Some(session) = &write.session
            && self.shared.sessions.alive(session, boot_now()).is_none()
        {
            return Ok(Written::SessionGone);
        }
        match (&write.key, part_of(&write.key)) {
            (Key::Member(name), _) => self.write_member(name.as_str(), write, deadline).await,
            (Key::Leader, _) => {
                Err(unexpected(OPERATION, &self.shared, "the leader lock is only taken, renewed and released"))
            }
            (_, Some(part)) => self.write_part(part, write, deadline).await,
            (key, None) => Err(unexpected(OPERATION, &self.shared, &format!("{key:?} has no object"))),
        }
    }

    async fn write_part(&self, part: Part, write: &Write, deadline: Duration) -> Result<Written, DcsError> {
        let left = Left::of(deadline);
        let wanted = annotations_for(&write.key, write.value.as_deref());
        let mut object = self.knowledge().object(part);
        let mut fresh = false;
        let mut tried = false;
        loop {
            let permitted = self.permits(part, write, object.as_ref(), fresh, left).await?;
            if !permitted {
                // What is known may be old: only the object as it is now refuses.
                if fresh {
                    return Ok(self.refused(part, write, &wanted, tried));
                }
                object = self.read_part(part, left.time()).await?;
                fresh = true;
                continue;
            }
            if object.is_none() && write.value.is_none() {
                if fresh {
                    return Ok(Written::Done { revision: Revision::default() });
                }
                object = self.read_part(part, left.time()).await?;
                fresh = true;
                continue;
            }
            let answered =
                self.patch_or_post(part, object.as_ref(), &wanted, guarded(part, write), left.time()).await?;
            match answered.answer {
                Answer::Ok(value) => {
                    let object = self.take(OPERATION, List::Objects, &value)?;
                    return Ok(done(&write.key, &object));
                }
                Answer::Missing(cause) if object.is_none() => return Err(unexpected(OPERATION, &self.shared, &cause)),
                Answer::Conflict | Answer::Missing(_) => {
                    tried |= answered.doubtful;
                    object = self.read_part(part, left.time()).await?;
                    fresh = true;
                }
                Answer::Gone => return Err(unexpected(OPERATION, &self.shared, "a change cannot be 410 Gone")),
            }
        }
    }

    /// Whether the conditions of a write hold. The holder's keys beside the lock's object need a look at the lock as
    /// it is now; those in it are guarded by its version.
    async fn permits(
        &self,
        part: Part,
        write: &Write,
        object: Option<&Object>,
        fresh: bool,
        left: Left,
    ) -> Result<bool, DcsError> {
        if let Some(created) = &write.only_while_leader {
            let leader = match (part, fresh) {
                (Part::Leader, _) => object.cloned(),
                (Part::Config | Part::Failover | Part::Sync, _) => self.read_part(Part::Leader, left.time()).await?,
            };
            let me = self.shared.options.name.as_str();
            if !leader.as_ref().and_then(Lock::of).is_some_and(|lock| lock.name == me && lock.created() == *created) {
                return Ok(false);
            }
        }
        let now = object.and_then(|object| revision_of(&write.key, object));
        Ok(match &write.condition {
            Condition::Always => true,
            Condition::Absent => now.is_none(),
            Condition::Unchanged(revision) => now.as_ref() == Some(revision),
        })
    }

    /// A refusal, unless an earlier try of ours, whose answer was lost, has left just this.
    fn refused(&self, part: Part, write: &Write, wanted: &Annotations, tried: bool) -> Written {
        let object = self.knowledge().object(part).filter(|object| tried && object.says(wanted));
        let ours = match write.condition {
            // Another member may have created the same.
            Condition::Absent => None,
            Condition::Always | Condition::Unchanged(_) => object,
        };
        ours.map_or(Written::Conflict, |object| done(&write.key, &object))
    }

    async fn patch_or_post(
        &self,
        part: Part,
        object: Option<&Object>,
        wanted: &Annotations,
        guarded: bool,
        deadline: Duration,
    ) -> Result<Answered, DcsError> {
        let left = Left::of(deadline);
        if let Some(object) = object {
            let body = self.body(part, wanted, guarded.then_some(object.version.as_str()));
            let path = self.shared.object_path(part);
            return self.call(&Request::patch(OPERATION, &path, &body), deadline).await;
        }
        let present: Annotations =
            wanted.iter().filter(|(_, v)| v.is_some()).map(|(k, v)| (k.clone(), v.clone())).collect();
        let body = self.body(part, &present, None);
        let path = self.shared.path(self.shared.kind());
        let answered = self.call(&Request::post(OPERATION, &path, &body), deadline).await?;
        if part == Part::Config && self.shared.options.use_endpoints && matches!(answered.answer, Answer::Ok(_)) {
            self.keep_endpoints(left.time()).await;
        }
        Ok(answered)
    }

    /// Endpoints without a service of their name may be removed by Kubernetes; a service without addresses keeps them.
    async fn keep_endpoints(&self, deadline: Duration) {
        let name = self.knowledge().names.of(Part::Config);
        let options = &self.shared.options;
        let body = json!({
            "metadata": {"name": name, "namespace": options.namespace, "labels": options.labels},
            "spec": {"clusterIP": "None"},
        });
        let path = self.shared.path("services");
        match self.call(&Request::post("create the service of the endpoints", &path, &body), deadline).await {
            Ok(_) => {}
            Err(error) => debug!(%error, "no service keeps the endpoints {name}"),
        }
    }

    pub(super) async fn remove(&self, deadline: Duration) -> Result<(), DcsError> {
        let path = self.shared.list_path(List::Objects);
        let operation = "remove the cluster's objects";
        match self.call(&Request::delete(operation, &path), deadline).await?.answer {
            Answer::Ok(_) | Answer::Missing(_) => {}
            other @ (Answer::Conflict | Answer::Gone) => {
                return Err(unexpected(operation, &self.shared, &format!("a removal cannot be {other:?}")));
            }
        }
        for part in PARTS {
            if let Some(object) = self.knowledge().object(part) {
                self.knowledge().remove(List::Objects, &object.name, &object.version, boot_now());
            }
        }
        Ok(())
    }
}

/// Whether a change needs the version that was judged. The lock's object does always: it may have been taken by
/// another one meanwhile.
fn guarded(part: Part, write: &Write) -> bool {
    let leaders = part == Part::Leader && write.only_while_leader.is_some();
    leaders || write.condition != Condition::Always
}

fn done(key: &Key, object: &Object) -> Written {
    Written::Done { revision: revision_of(key, object).unwrap_or_default() }
}
