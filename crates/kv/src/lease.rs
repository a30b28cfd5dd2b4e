//! Leases: how long they live, and which keys go with them.
//!
//! Their time is the store's own: it only moves by what stands in the log, so a leader that takes over counts on from
//! where the log stands. Time in which nobody led does not count: a lease is never shortened by a change of leader.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::error::Refused;
use crate::store::Millis;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    /// Seconds.
    pub ttl: i64,
    pub deadline: Millis,
    pub keys: BTreeSet<Bytes>,
}

impl Lease {
    /// Whole seconds that are left.
    pub fn left(&self, now: Millis) -> i64 {
        i64::try_from(self.deadline.saturating_sub(now) / 1000).unwrap_or(i64::MAX)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Leases {
    pub all: BTreeMap<i64, Lease>,
}

impl Leases {
    pub fn get(&self, id: i64) -> Result<&Lease, Refused> {
        self.all.get(&id).ok_or(Refused::LeaseNotFound)
    }

    pub fn grant(&mut self, id: i64, ttl: i64, now: Millis) -> Result<(), Refused> {
        if self.all.contains_key(&id) {
            return Err(Refused::LeaseExists);
        }
        self.all.insert(id, Lease { ttl, deadline: deadline(ttl, now), keys: BTreeSet::new() });
        Ok(())
    }

    /// The TTL that it has again; `None`: there is no such lease.
    pub fn keep_alive(&mut self, id: i64, now: Millis) -> Option<i64> {
        let lease = self.all.get_mut(&id)?;
        lease.deadline = lease.deadline.max(deadline(lease.ttl, now));
        Some(lease.ttl)
    }

    /// Moves a key from one lease to another; 0 is none.
    pub fn move_key(&mut self, key: &Bytes, from: i64, to: i64) {
        if from == to {
            return;
        }
        if let Some(lease) = self.all.get_mut(&from) {
            lease.keys.remove(key);
        }
        if let Some(lease) = self.all.get_mut(&to) {
            lease.keys.insert(key.clone());
        }
    }

    pub fn expired(&self, now: Millis) -> Vec<i64> {
        self.all.iter().filter(|(_, lease)| lease.deadline <= now).map(|(id, _)| *id).collect()
    }

    pub fn next_deadline(&self) -> Option<Millis> {
        self.all.values().map(|lease| lease.deadline).min()
    }
}

fn deadline(ttl: i64, now: Millis) -> Millis {
    now.saturating_add(u64::try_from(ttl).unwrap_or(0).saturating_mul(1000))
}
