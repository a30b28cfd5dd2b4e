//! Hosts as network namespaces, wired through a switch that is a namespace of its own.
//!
//! The switch stands apart from the machine's own network: where a container engine runs, the machine forwards nothing
//! between its bridges. A host has two links, one to the others and the store (`cluster`), one to the clients, so that a
//! test can cut the one and leave the other. Needs iproute2, and root or a user namespace.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::wait;

/// Where iproute2 binds namespaces to names.
const NAMED: &str = "/run/netns";

/// A first packet needs the neighbour's address resolved; loaded machines take their time.
const LINK_WITHIN: Duration = Duration::from_secs(15);

/// Long enough for an answer on a bridge in memory, short enough to notice that none comes.
const PROBE: Duration = Duration::from_millis(400);

/// The two networks of a lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Net {
    /// Members and the store.
    Cluster,
    /// Clients and members.
    Clients,
}

impl Net {
    fn bridge(self) -> &'static str {
        match self {
            Net::Cluster => "cluster",
            Net::Clients => "clients",
        }
    }

    fn device(self) -> &'static str {
        match self {
            Net::Cluster => "eth0",
            Net::Clients => "eth1",
        }
    }

    pub fn address(self, octet: u8) -> Ipv4Addr {
        match self {
            Net::Cluster => Ipv4Addr::new(10, 77, 0, octet),
            Net::Clients => Ipv4Addr::new(10, 78, 0, octet),
        }
    }
}

/// A named network namespace; deleted when dropped. Processes in it are the owner's business.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    fn create(name: String) -> io::Result<Namespace> {
        ip(&["netns", "add", &name])?;
        let namespace = Namespace { name };
        ip(&["-n", &namespace.name, "link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn path(&self) -> PathBuf {
        PathBuf::from(NAMED).join(&self.name)
    }

    /// Moves the calling thread in, for good. What it starts or opens from now on lives there.
    pub fn enter(&self) -> io::Result<()> {
        let file = File::open(self.path())?;
        Ok(move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?)
    }

    /// Runs `work` on a thread inside the namespace. Sockets and processes that it leaves behind stay there.
    ///
    /// # Panics
    /// When the namespace cannot be entered, or `work` panics.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            self.enter().unwrap_or_else(|e| panic!("entering network namespace {}: {e}", self.name));
            work()
        };
        thread::scope(|scope| match scope.spawn(inside).join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    pub fn processes(&self) -> Vec<i32> {
        crate::process::in_network_namespace(&self.path())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = ip(&["netns", "del", &self.name]) {
            eprintln!("could not delete network namespace {}: {error}", self.name);
        }
    }
}

/// The switch with its two bridges.
#[derive(Debug)]
pub struct Switch {
    namespace: Namespace,
    prefix: String,
}

impl Switch {
    /// `prefix` begins the name of each namespace of this lab.
    pub fn create(prefix: &str) -> io::Result<Switch> {
        let namespace = Namespace::create(format!("{prefix}-sw"))?;
        for net in [Net::Cluster, Net::Clients] {
            ip(&["-n", namespace.name(), "link", "add", net.bridge(), "type", "bridge"])?;
            ip(&["-n", namespace.name(), "link", "set", net.bridge(), "up"])?;
        }
        Ok(Switch { namespace, prefix: prefix.to_owned() })
    }

    /// A host called `name`, the same last octet in each network that it is on.
    pub fn host(&self, name: &str, octet: u8, nets: &[Net]) -> io::Result<Namespace> {
        let namespace = Namespace::create(format!("{}-{name}", self.prefix))?;
        let (switch, host) = (self.namespace.name(), namespace.name());
        for net in nets {
            let (port, device) = (port(*net, octet), net.device());
            ip(&["-n", switch, "link", "add", &port, "type", "veth", "peer", "name", device, "netns", host])?;
            ip(&["-n", switch, "link", "set", &port, "master", net.bridge(), "up"])?;
            ip(&["-n", host, "addr", "add", &format!("{}/24", net.address(octet)), "dev", device])?;
            ip(&["-n", host, "link", "set", device, "up"])?;
        }
        Ok(namespace)
    }

    /// Pulls the host's plug out of one network.
    pub fn unplug(&self, net: Net, octet: u8) -> io::Result<()> {
        ip(&["-n", self.namespace.name(), "link", "set", &port(net, octet), "down"])
    }

    pub fn plug(&self, net: Net, octet: u8) -> io::Result<()> {
        ip(&["-n", self.namespace.name(), "link", "set", &port(net, octet), "up"])
    }
}

fn port(net: Net, octet: u8) -> String {
    format!("{}{octet}", net.bridge())
}

/// Whether packets go both ways between this place and `to`: somebody accepts, or the other host refuses.
pub fn reachable(to: SocketAddr) -> bool {
    match TcpStream::connect_timeout(&to, PROBE) {
        Ok(_) => true,
        Err(error) => error.kind() == io::ErrorKind::ConnectionRefused,
    }
}

/// Waits until `to` can, or cannot, be reached from inside `from`.
///
/// # Panics
/// When it stays as it was: the fault did not take effect.
#[track_caller]
pub fn wait_reachable(from: &Namespace, to: SocketAddr, wanted: bool) {
    let what = format!("{to} {} from {}", if wanted { "reached" } else { "cut off" }, from.name());
    wait::until(&what, LINK_WITHIN, || from.run(|| reachable(to)) == wanted);
}

fn ip(args: &[&str]) -> io::Result<()> {
    let out = Command::new("ip").args(args).output()?;
    if out.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&out.stderr).trim().to_owned();
    Err(io::Error::other(format!("ip {}: {said}", args.join(" "))))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn two_hosts_reach_each_other_until_one_is_unplugged() {
        if !crate::require::can(&[crate::require::Need::Networks, crate::require::Need::Program("ip")]) {
            return;
        }
        let prefix = format!("jtu{}", std::process::id());
        let switch = Switch::create(&prefix).expect("a switch");
        let a = switch.host("a", 11, &[Net::Cluster, Net::Clients]).expect("host a");
        let b = switch.host("b", 12, &[Net::Cluster, Net::Clients]).expect("host b");
        let listener = b.run(|| TcpListener::bind("0.0.0.0:700")).expect("listening in b");
        let cluster = SocketAddr::from((Net::Cluster.address(12), 700));
        let clients = SocketAddr::from((Net::Clients.address(12), 701));
        wait_reachable(&a, cluster, true);
        wait_reachable(&a, clients, true);
        switch.unplug(Net::Cluster, 12).expect("unplugged");
        wait_reachable(&a, cluster, false);
        wait_reachable(&a, clients, true);
        switch.plug(Net::Cluster, 12).expect("plugged");
        wait_reachable(&a, cluster, true);
        drop(listener);
    }
}
