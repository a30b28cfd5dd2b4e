//! One history: no server has pages or WAL of two branches in it.

use super::Violation;
use crate::world::World;

pub fn check(world: &World) -> Option<Violation> {
    let host = world.hosts.iter().find(|h| h.pg.data().is_some_and(|d| d.mixed))?;
    Some(Violation {
        at: world.now,
        check: "two histories met in one data directory",
        text: format!("{} has followed or been rewound onto a log that its own is not a part of", host.name),
    })
}
