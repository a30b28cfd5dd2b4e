//! Never two members that can commit at the same instant.

use super::{Hosts, Violation};
use crate::world::{Host, World};

pub(super) fn check<'a>(
    world: &World,
    committing: Hosts,
    lenient: bool,
    writers: impl Fn() -> Vec<&'a Host>,
) -> Option<Violation> {
    if committing.count() < 2 || lenient {
        return None;
    }
    let writers: Vec<&str> = writers().iter().map(|h| h.name.as_str()).collect();
    (writers.len() > 1).then(|| Violation {
        at: world.now,
        check: "two members can commit at the same instant",
        text: writers.join(" and "),
    })
}
