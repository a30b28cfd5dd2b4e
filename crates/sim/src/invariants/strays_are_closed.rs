//! A writable server that somebody else has started, and that no lease covers, is closed (F16).
//!
//! Its member's agent may look for its lease for a moment. The check counts the time in which that agent runs, and
//! nothing keeps its signals from the server. In failsafe mode the other members' promises cover it as well, while
//! nobody else has the key.

use std::time::Duration;

use super::Violation;
use crate::agent::Stall;
use crate::clock::Moment;
use crate::postgres::Hang;
use crate::world::{Host, World};

/// The agent's own start, its look, and the fast shutdown that ends in a kill.
const WITHIN: Duration = Duration::from_secs(20);

#[derive(Clone, Debug, Default)]
pub struct StraysAreClosed {
    since: Vec<Option<Moment>>,
}

impl StraysAreClosed {
    /// `promised`: failsafe mode is on, or was a moment ago.
    pub fn check(&mut self, world: &World, lenient: bool, promised: bool) -> Option<Violation> {
        let strays = world.hosts.iter().any(|host| host.stray);
        if !strays || lenient {
            self.since.clear();
            return None;
        }
        self.since.resize(world.hosts.len(), None);
        let leader = world.store.leader();
        for (since, host) in self.since.iter_mut().zip(&world.hosts) {
            let covered = leader.map_or(promised, |leader| leader == host.name.as_str());
            let left_alone = may_act_on(host) && !covered;
            *since = if left_alone { since.or(Some(world.now)) } else { None };
            if since.is_some_and(|since| world.now.since(since) > WITHIN) {
                return Some(Violation {
                    at: world.now,
                    check: "a server that no lease covers stays writable",
                    text: format!("{} is writable, the leader key is {}", host.name, leader.unwrap_or("nobody's")),
                });
            }
        }
        None
    }
}

/// Whoever has not heard that a pause is over leaves the server alone (docs/reliability.md, gaps).
fn may_act_on(host: &Host) -> bool {
    let acts = host.agent.as_ref().is_some_and(|agent| agent.stall == Stall::No && !agent.ha.settings().pause);
    host.stray && host.pg.can_commit() && acts && host.pg.hang() == Hang::No && host.pg.stuck_backend.is_none()
}
