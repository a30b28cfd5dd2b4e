//! Whoever can commit holds the leader key, truly and at that instant.
//!
//! Stronger than the single writer: it fails as soon as another *could* take the lock, not only when one does. It
//! begins with the first lock of a cluster, since a bootstrap writes before there is one. In failsafe mode the key may
//! be gone under a writer, and still nobody else may have it: that would be the one who broke a promise.

use super::{Holder, Hosts, Violation};
use crate::world::{Host, World};

#[derive(Clone, Debug, Default)]
pub struct LeaseCoversWriter {
    began: bool,
}

impl LeaseCoversWriter {
    /// From the first lock on.
    pub(super) fn notice(&mut self, holder: Holder) {
        self.began |= holder != Holder::Nobody;
    }

    /// `promised`: failsafe mode is on, or was a moment ago.
    pub(super) fn check<'a>(
        &self,
        world: &World,
        (committing, holder): (Hosts, Holder),
        lenient: bool,
        promised: bool,
        writers: impl Fn() -> Vec<&'a Host>,
    ) -> Option<Violation> {
        let uncovered = match holder {
            Holder::Host(host) => committing.without(host),
            Holder::Nobody if promised => return None,
            Holder::Nobody | Holder::Stranger => committing,
        };
        if !self.began || lenient || uncovered.count() == 0 {
            return None;
        }
        let leader = world.store.leader();
        let writer = writers().into_iter().find(|h| leader != Some(h.name.as_str()))?;
        Some(Violation {
            at: world.now,
            check: "a member can commit without the leader key",
            text: format!("{} is writable, the leader key is {}", writer.name, leader.unwrap_or("nobody's")),
        })
    }
}
