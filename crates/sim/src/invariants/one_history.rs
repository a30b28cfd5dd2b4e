//! One history: no server has pages or WAL of two branches in it.

use super::Violation;
use crate::world::World;

pub fn check(world: &World) -> Option<Violation> {
    let (host, (own, other)) = world.hosts.iter().find_map(|h| Some((h, h.pg.data()?.mixed?)))?;
    let end = |record| format!("{} on timeline {}", world.wal.end(record), world.wal.timeline(record));
    let parted =
        world.wal.common(own, other).map_or("never were one".to_owned(), |at| format!("parted at {}", end(at)));
    Some(Violation {
        at: world.now,
        check: "two histories met in one data directory",
        text: format!(
            "{} has followed or been rewound onto a log that its own is not a part of: its own ended at {}, the other at {}, they {parted}",
            host.name,
            end(own),
            end(other)
        ),
    })
}
