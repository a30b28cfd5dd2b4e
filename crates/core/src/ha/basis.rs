//! What plans are made of, so that a plan is not made again while all of it is the same.
//!
//! Most turns change nothing: a heartbeat, a renewed lease, the end of a write. Views, looks and settings are shared
//! values that are never changed in place while somebody else holds them, and a [`Basis`] does: what is the same by
//! address is the same.

use std::sync::Arc;

use serde_json::Value;

use super::machine::Ha;
use super::{Local, Server};
use crate::view::{Cluster, Settings};

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
            && Arc::ptr_eq(&self.settings, &ha.settings)
            && Arc::ptr_eq(&self.dynamic, &ha.dynamic)
            && Arc::ptr_eq(&self.local, &ha.local)
    }
}

pub(super) fn same<T>(one: Option<&Arc<T>>, other: Option<&Arc<T>>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, Some(_)) | (Some(_), None) => false,
    }
}
