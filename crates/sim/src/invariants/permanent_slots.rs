//! Once a herd is whole, the permanent slots are where the configuration wants them, and nowhere else.

use serde_json::{Map, Value};

use crate::net::HostId;
use crate::world::World;

/// The first slot that is amiss. A physical one is on every member; a logical one is made on the primary, and comes to
/// the others with their next start.
pub fn slot_amiss(world: &World) -> Option<String> {
    let view = world.store.view();
    let none = Map::new();
    let wanted = view.config.as_ref().and_then(|c| c.value.get("slots")).and_then(Value::as_object).unwrap_or(&none);
    let leader = world.leader_host();
    let members = world.hosts.iter().enumerate().filter(|(_, host)| host.powered && !host.absent && !host.remote);
    members.into_iter().find_map(|(host, _)| amiss_on(world, host, leader == Some(host), wanted))
}

fn amiss_on(world: &World, host: HostId, leads: bool, wanted: &Map<String, Value>) -> Option<String> {
    let machine = &world.hosts[host];
    let data = machine.pg.data()?;
    let has_physical = |name: &str| data.slots.keys().any(|slot| slot.as_str() == name);
    let has_logical = |name: &str| data.logical.keys().any(|slot| slot.as_str() == name);
    let lacks = wanted.iter().find(
        |(name, slot)| {
            if is_logical(slot) { leads && !has_logical(name) } else { !has_physical(name) }
        },
    );
    if let Some((name, _)) = lacks {
        return Some(format!("{} lacks the permanent slot {name}", machine.name));
    }
    let is_of_a_member = |name: &str| world.host_named(name).is_some();
    let physical = data.slots.keys().map(|slot| (slot.as_str(), false));
    let logical = data.logical.keys().map(|slot| (slot.as_str(), true));
    let unwanted = physical.chain(logical).find(|(name, logical)| {
        wanted.get(*name).map_or(*logical || !is_of_a_member(name), |slot| is_logical(slot) != *logical)
    });
    unwanted.map(|(name, _)| format!("{} has the slot {name}, which nobody wants any more", machine.name))
}

fn is_logical(slot: &Value) -> bool {
    slot.get("type").and_then(Value::as_str) == Some("logical")
}
