//! Never two members that can commit at the same instant.

use super::Violation;
use crate::world::World;

pub fn check(world: &World, lenient: bool) -> Option<Violation> {
    let writers: Vec<&str> =
        world.hosts.iter().filter(|h| h.pg.can_commit() && !h.stray).map(|h| h.name.as_str()).collect();
    (writers.len() > 1 && !lenient).then(|| Violation {
        at: world.now,
        check: "two members can commit at the same instant",
        text: writers.join(" and "),
    })
}
