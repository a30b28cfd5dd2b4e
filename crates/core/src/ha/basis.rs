//! What plans are made of, so that a plan is not made again while all of it is the same.
//!
//! Most turns change nothing: a heartbeat, a renewed lease, the end of a write. Views, looks and settings are shared
//! values that are never changed in place while somebody else holds them, and a [`Basis`] does: what is the same by
//! address is the same.

use std::sync::Arc;

use serde_json::Value;

use super::machine::Ha;
use super::{Local, Server};
use crate::view::{Cluster, Member, Settings};

#[derive(Clone, Debug)]
pub(super) struct Basis {
    cluster: Option<Arc<Cluster>>,
    server: Option<Arc<Server>>,
    settings: Arc<Settings>,
    dynamic: Arc<Value>,
    local: Arc<Local>,
}

impl Basis {
    pub fn now(ha: &Ha) -> Basis {
        Basis {
            cluster: ha.cluster().cloned(),
            server: ha.server.clone(),
            settings: ha.settings.clone(),
            dynamic: ha.dynamic.clone(),
            local: ha.local.clone(),
        }
    }

    /// Whether all of it is still what is known.
    pub fn stands(&self, ha: &Ha) -> bool {
        same(self.cluster.as_ref(), ha.cluster())
            && same(self.server.as_ref(), ha.server.as_ref())
            && self.settings_stand(ha)
    }

    /// Whether slots and whom to follow are as they were: what most views and looks bring is how far servers have come,
    /// of which little depends on that.
    pub fn stands_but_for_positions(&self, ha: &Ha) -> bool {
        let server = match (self.server.as_ref().and_then(|server| server.row.as_ref()), ha.row()) {
            (Some(then), Some(now)) => same(self.server.as_ref(), ha.server.as_ref()) || then.slots_stand(now),
            (None, Some(_)) | (Some(_), None) | (None, None) => same(self.server.as_ref(), ha.server.as_ref()),
        };
        server
            && self.settings_stand(ha)
            && match (&self.cluster, ha.cluster()) {
                (Some(then), Some(now)) => Arc::ptr_eq(then, now) || same_for_slots(then, now),
                (None, None) => true,
                (None, Some(_)) | (Some(_), None) => false,
            }
    }

    fn settings_stand(&self, ha: &Ha) -> bool {
        Arc::ptr_eq(&self.settings, &ha.settings)
            && Arc::ptr_eq(&self.dynamic, &ha.dynamic)
            && Arc::ptr_eq(&self.local, &ha.local)
    }
}

/// Looser than `Cluster::differs_in_positions`: states of members, requests and the history make no difference to slots.
fn same_for_slots(then: &Cluster, now: &Cluster) -> bool {
    let keys = then.leader == now.leader
        && then.config.as_ref().map(|c| &c.revision) == now.config.as_ref().map(|c| &c.revision)
        && (&then.status.slots, &then.status.retain_slots, then.status.opened)
            == (&now.status.slots, &now.status.retain_slots, now.status.opened);
    // Where the leader does not publish every slot, and of who cascades, positions count.
    let publishes = now.leader_member().is_some_and(|leader| leader.data.publishes_all_slots());
    let same_member = |(then, now): (&Member, &Member)| {
        let (was, is) = (&then.data, &now.data);
        then.name == now.name
            && (Arc::ptr_eq(&was.0, &is.0)
                || publishes
                    && was.tags() == is.tags()
                    && is.tags().replicatefrom().is_none()
                    && (was.version(), was.address_ref()) == (is.version(), is.address_ref()))
    };
    keys && then.members.len() == now.members.len() && then.members.values().zip(now.members.values()).all(same_member)
}

pub(super) fn same<T>(one: Option<&Arc<T>>, other: Option<&Arc<T>>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, Some(_)) | (Some(_), None) => false,
    }
}
