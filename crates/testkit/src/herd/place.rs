//! Where a host is: in a network namespace of its own, or on this machine's loopback.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crate::netns::{Namespace, Net, Switch, wait_reachable};
use crate::{process, require};

/// What hosts in namespaces share: the switch, and the place of the clients.
#[derive(Debug)]
pub struct Lab {
    pub switch: Switch,
    pub clients: Namespace,
}

impl Lab {
    pub fn create(prefix: &str) -> io::Result<Lab> {
        let switch = Switch::create(prefix)?;
        let clients = switch.host("clients", CLIENTS, &[Net::Clients])?;
        Ok(Lab { switch, clients })
    }
}

/// Last octets of the addresses.
const CLIENTS: u8 = 1;
pub const STORE: u8 = 2;
pub const FIRST_MEMBER: u8 = 11;

/// One host.
#[derive(Debug)]
pub struct Place {
    /// Everything that runs here works below this directory.
    dir: PathBuf,
    hosted: Option<Hosted>,
}

#[derive(Debug)]
struct Hosted {
    namespace: Namespace,
    octet: u8,
    lab: Arc<Lab>,
}

impl Place {
    /// A host on both networks of the lab, or, without a lab, on the loopback.
    pub fn create(lab: Option<&Arc<Lab>>, name: &str, octet: u8, dir: &Path) -> io::Result<Place> {
        let nets = if octet == STORE { &[Net::Cluster][..] } else { &[Net::Cluster, Net::Clients] };
        let hosted = match lab {
            Some(lab) => {
                let namespace = lab.switch.host(name, octet, nets)?;
                Some(Hosted { namespace, octet, lab: Arc::clone(lab) })
            }
            None => None,
        };
        Ok(Place { dir: dir.to_owned(), hosted })
    }

    /// `port` where hosts have addresses of their own, else a free one.
    pub fn port(&self, port: u16) -> io::Result<u16> {
        if self.hosted.is_some() {
            return Ok(port);
        }
        Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
    }

    /// The address that the other hosts know.
    pub fn ip(&self) -> IpAddr {
        self.hosted.as_ref().map_or(Ipv4Addr::LOCALHOST, |h| Net::Cluster.address(h.octet)).into()
    }

    /// The address that clients know.
    pub fn client_ip(&self) -> IpAddr {
        self.hosted.as_ref().map_or(Ipv4Addr::LOCALHOST, |h| Net::Clients.address(h.octet)).into()
    }

    /// What a server that shall be reached from everywhere listens on.
    pub fn any_ip(&self) -> &'static str {
        if self.hosted.is_some() { "0.0.0.0" } else { "127.0.0.1" }
    }

    /// Runs `work` as if on this host.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match &self.hosted {
            Some(hosted) => hosted.namespace.run(work),
            None => work(),
        }
    }

    /// Moves the calling thread to where the clients are.
    pub fn enter_clients(&self) -> io::Result<()> {
        self.hosted.as_ref().map_or(Ok(()), |h| h.lab.clients.enter())
    }

    /// Starts a thread that is where the clients are.
    pub fn enter_clients_on_new_thread(&self, work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
        let lab = self.hosted.as_ref().map(|h| Arc::clone(&h.lab));
        thread::spawn(move || {
            if let Some(lab) = lab {
                lab.clients.enter().unwrap_or_else(|e| panic!("entering {}: {e}", lab.clients.name()));
            }
            work();
        })
    }

    /// Starts a program on this host, working in its directory, in a session of its own: as PostgreSQL's user
    /// if `demoted`, output and errors appended to `log`.
    pub fn spawn(&self, words: &[String], demoted: bool, env: &[(String, String)], log: &Path) -> io::Result<Child> {
        let out = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
        let mut command = if demoted { require::as_server_user() } else { Command::new("setpriv") };
        command.arg("setsid").args(words).current_dir(&self.dir).envs(env.iter().map(|(k, v)| (k, v)));
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        self.run(move || command.spawn())
    }

    /// Everything that runs on this host.
    pub fn processes(&self) -> Vec<i32> {
        match &self.hosted {
            Some(hosted) => hosted.namespace.processes(),
            None => process::working_below(&self.dir),
        }
    }

    fn hosted(&self) -> &Hosted {
        self.hosted.as_ref().unwrap_or_else(|| panic!("a herd on the loopback has no links to pull"))
    }

    /// Cuts the host's link to one network and checks, by `probe`, that nothing goes through any more.
    pub fn unplug(&self, net: Net, probe: SocketAddr) {
        let hosted = self.hosted();
        let pulled = hosted.lab.switch.unplug(net, hosted.octet);
        pulled.unwrap_or_else(|e| panic!("unplugging {}: {e}", hosted.namespace.name()));
        wait_reachable(self.side_of(net), probe, false);
    }

    /// Mends the link and checks that `probe` answers again.
    pub fn plug(&self, net: Net, probe: SocketAddr) {
        let hosted = self.hosted();
        let plugged = hosted.lab.switch.plug(net, hosted.octet);
        plugged.unwrap_or_else(|e| panic!("plugging in {}: {e}", hosted.namespace.name()));
        wait_reachable(self.side_of(net), probe, true);
    }

    /// From where a probe of the link is sent: from the host to its peers, from the clients to the host.
    fn side_of(&self, net: Net) -> &Namespace {
        match net {
            Net::Cluster => &self.hosted().namespace,
            Net::Clients => &self.hosted().lab.clients,
        }
    }
}
