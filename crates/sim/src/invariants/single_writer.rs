//! Never two members that can commit at the same instant.

use super::Violation;
use crate::world::{Host, World};

pub fn check<'a>(world: &World, lenient: bool, writers: impl Fn() -> Vec<&'a Host>) -> Option<Violation> {
    let committing = world.hosts.iter().filter(|h| h.pg.can_commit()).count();
    if committing < 2 || lenient {
        return None;
    }
    let writers: Vec<&str> = writers().iter().map(|h| h.name.as_str()).collect();
    (writers.len() > 1).then(|| Violation {
        at: world.now,
        check: "two members can commit at the same instant",
        text: writers.join(" and "),
    })
}
