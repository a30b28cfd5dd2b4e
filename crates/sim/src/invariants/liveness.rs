//! Once faults have ended there is a writable primary, and every member follows it.

use crate::net::HostId;
use crate::postgres::Phase;
use crate::world::World;

/// The herd is as it should be: one writable primary that holds the key, everybody else streams from it (or from a
/// member that does) and has everything.
pub fn is_healthy(world: &World) -> bool {
    why_not(world).is_none()
}

/// The first thing that is not as it should be.
pub fn why_not(world: &World) -> Option<String> {
    let Some(leader) = world.store.leader().and_then(|name| world.host_named(name)) else {
        return Some("nobody holds the leader key".to_owned());
    };
    let primary = &world.hosts[leader];
    if is_standby_cluster(world) {
        return why_no_standby_cluster(world, leader);
    }
    if primary.pg.phase() != Some(Phase::Primary) || !primary.pg.accepts() {
        return Some(format!("{} holds the leader key and is {:?}", primary.name, primary.pg.phase()));
    }
    let Some(tip) = primary.pg.data().map(|d| d.tip) else { return Some("the primary has no data".to_owned()) };
    for (host, machine) in world.hosts.iter().enumerate().filter(|(host, _)| *host != leader) {
        if !machine.powered || machine.absent || machine.remote {
            continue;
        }
        if machine.pg.phase() != Some(Phase::Standby) || world.streams[host].is_none() {
            return Some(format!("{} does not stream: its server is {:?}", machine.name, machine.pg.phase()));
        }
        let Some(ours) = machine.pg.data().map(|d| d.tip) else { continue };
        if !world.wal.contains(tip, ours) {
            return Some(format!("{} has a log that is not a part of the primary's", machine.name));
        }
    }
    None
}

fn is_standby_cluster(world: &World) -> bool {
    world.store.settings().standby_cluster.is_some()
}

/// The same of a standby cluster: its leader streams from outside, everybody else from a member, and none of them has
/// anything that the remote primary has not.
fn why_no_standby_cluster(world: &World, leader: HostId) -> Option<String> {
    let source = |host: HostId| world.streams[host].as_ref().map(|stream| stream.upstream);
    let Some(remote) = source(leader).filter(|from| world.hosts[*from].remote) else {
        return Some(format!("{} leads a standby cluster and does not stream from outside", world.hosts[leader].name));
    };
    let tip = world.hosts[remote].pg.data().map(|d| d.tip)?;
    for (host, machine) in world.hosts.iter().enumerate() {
        if !machine.powered || machine.absent || machine.remote {
            continue;
        }
        if machine.pg.phase() != Some(Phase::Standby) || source(host).is_none() {
            return Some(format!("{} does not stream: its server is {:?}", machine.name, machine.pg.phase()));
        }
        if host != leader && source(host).is_some_and(|from| world.hosts[from].remote) {
            return Some(format!("{} streams from outside and does not lead", machine.name));
        }
        let ours = machine.pg.data().map(|d| d.tip)?;
        if !world.wal.contains(tip, ours) {
            return Some(format!("{} has a log that is not a part of the remote primary's", machine.name));
        }
    }
    None
}
