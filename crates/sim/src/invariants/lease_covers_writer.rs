//! Whoever can commit holds the leader key, truly and at that instant.
//!
//! Stronger than the single writer: it fails as soon as another *could* take the lock, not only when one does. It
//! begins with the first lock of a cluster, since a bootstrap writes before there is one. In failsafe mode the key may
//! be gone under a writer, and still nobody else may have it: that would be the one who broke a promise.

use super::Violation;
use crate::world::{Host, World};

#[derive(Clone, Debug, Default)]
pub struct LeaseCoversWriter {
    began: bool,
}

impl LeaseCoversWriter {
    /// From the first lock on.
    pub fn notice(&mut self, world: &World) {
        self.began |= world.store.leader().is_some();
    }

    /// `promised`: failsafe mode is on, or was a moment ago.
    pub fn check<'a>(
        &self,
        world: &World,
        lenient: bool,
        promised: bool,
        writers: impl Fn() -> Vec<&'a Host>,
    ) -> Option<Violation> {
        let leader = world.store.leader();
        if !self.began || lenient {
            return None;
        }
        let uncovered = |h: &Host| leader.map_or(!promised, |leader| leader != h.name.as_str());
        if !world.hosts.iter().any(|h| h.pg.can_commit() && uncovered(h)) {
            return None;
        }
        let writer = writers().into_iter().find(|h| uncovered(h))?;
        Some(Violation {
            at: world.now,
            check: "a member can commit without the leader key",
            text: format!("{} is writable, the leader key is {}", writer.name, leader.unwrap_or("nobody's")),
        })
    }
}
