//! The section that says where the herd keeps its state.

use std::fmt;
use std::path::PathBuf;

use serde_json::{Map, Value};

use super::consul::Consul;
use super::section::{Findings, Section};
use crate::{HostPort, Secret};

/// The store of the herd. Patroni takes the first section present in this order: consul, etcd, etcd3,
/// exhibitor, kubernetes, raft, zookeeper.
#[derive(Clone, Debug, PartialEq)]
pub enum StoreSection {
    Etcd3(Etcd),
    Etcd(Etcd),
    Consul(Consul),
    Exhibitor(RawSection),
    Kubernetes(RawSection),
    Raft(RawSection),
    Zookeeper(RawSection),
}

/// A section as written. It may hold secrets, so `Debug` prints its keys only.
#[derive(Clone, Default, PartialEq)]
pub struct RawSection(pub Map<String, Value>);

impl fmt::Debug for RawSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// `etcd` and `etcd3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Etcd {
    /// `http` or `https`.
    pub protocol: String,
    /// From `hosts`, `host` or `url`; empty when only `srv` is given.
    pub addresses: Vec<HostPort>,
    /// Ask only the given addresses, never the members that etcd itself names.
    pub use_proxies: bool,
    /// DNS domain with SRV records; asked before `addresses`.
    pub srv: Option<String>,
    pub srv_suffix: Option<String>,
    pub username: Option<String>,
    pub password: Option<Secret>,
    pub cacert: Option<PathBuf>,
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// etcd3: the gateway's path, found out when not given.
    pub version_prefix: Option<String>,
}

impl StoreSection {
    /// The section's name in the configuration.
    pub fn name(&self) -> &'static str {
        match self {
            StoreSection::Etcd3(_) => "etcd3",
            StoreSection::Etcd(_) => "etcd",
            StoreSection::Consul(_) => "consul",
            StoreSection::Exhibitor(_) => "exhibitor",
            StoreSection::Kubernetes(_) => "kubernetes",
            StoreSection::Raft(_) => "raft",
            StoreSection::Zookeeper(_) => "zookeeper",
        }
    }
}

impl Etcd {
    /// `http://HOST:PORT` for each address.
    pub fn urls(&self) -> Vec<String> {
        self.addresses.iter().map(|address| format!("{}://{address}", self.protocol)).collect()
    }
}

/// The sections in Patroni's order of choice.
const ORDER: [&str; 7] = ["consul", "etcd", "etcd3", "exhibitor", "kubernetes", "raft", "zookeeper"];

const ETCD_PORT: u16 = 2379;

impl StoreSection {
    /// The first section present; a warning when there are several.
    pub(super) fn read(config: &Map<String, Value>, found: &mut Findings) -> Option<StoreSection> {
        let present: Vec<&str> = ORDER.into_iter().filter(|name| config.contains_key(*name)).collect();
        let name = *present.first()?;
        if present.len() > 1 {
            found.warn(format!("there are several store sections ({}); {name} is used", present.join(", ")));
        }
        let problems = found.problems.len();
        let section = Section::of(config, name, found);
        if found.problems.len() > problems {
            return None;
        }
        let raw = || RawSection(section.map.clone().into_owned());
        match name {
            "etcd" => Etcd::read(&section, found).map(StoreSection::Etcd),
            "etcd3" => Etcd::read(&section, found).map(StoreSection::Etcd3),
            "consul" => Consul::read(&section, found).map(StoreSection::Consul),
            "exhibitor" => Some(StoreSection::Exhibitor(raw())),
            "kubernetes" => Some(StoreSection::Kubernetes(raw())),
            "raft" => Some(StoreSection::Raft(raw())),
            _ => Some(StoreSection::Zookeeper(raw())),
        }
    }

    /// The names of all sections, for messages.
    pub(super) fn names() -> String {
        ORDER.join(", ")
    }
}

impl Etcd {
    /// `proxy`, else `url`, else `hosts`, else `host`; `srv` beside any of them.
    fn read(section: &Section<'_>, found: &mut Findings) -> Option<Etcd> {
        let problems = found.problems.len();
        let mut etcd = Etcd {
            protocol: section.text("protocol", found).unwrap_or_else(|| "http".into()),
            addresses: Vec::new(),
            use_proxies: section.flag("use_proxies", false, found),
            srv: ["srv", "discovery_srv", "srv_domain"].iter().find_map(|key| section.text(key, found)),
            srv_suffix: section.text("srv_suffix", found),
            username: section.text("username", found),
            password: section.secret("password", found),
            cacert: section.path_value("cacert", found),
            cert: section.path_value("cert", found),
            key: section.path_value("key", found),
            version_prefix: section.text("version_prefix", found),
        };
        let port = section.number("port", ETCD_PORT.into(), 0..=65535, found);
        let port = u16::try_from(port).unwrap_or(ETCD_PORT);
        if let Some(proxy) = section.text("proxy", found) {
            etcd.use_proxies = true;
            etcd.take_url(&proxy, &section.path_of("proxy"), found);
        } else if let Some(url) = section.text("url", found) {
            etcd.take_url(&url, &section.path_of("url"), found);
        } else if section.get("hosts").is_some() {
            for text in section.texts("hosts", found) {
                etcd.take_address(&text, Some(port), &section.path_of("hosts"), found);
            }
        } else if let Some(host) = section.text("host", found) {
            etcd.take_address(&host, Some(port), &section.path_of("host"), found);
            if let (Some(address), true) = (etcd.addresses.first_mut(), section.get("port").is_some()) {
                address.port = port;
            }
        }
        if etcd.addresses.is_empty() && etcd.srv.is_none() && found.problems.len() == problems {
            section.missing("hosts", "one of hosts, host, url, srv or proxy", found);
        }
        (found.problems.len() == problems).then_some(etcd)
    }

    fn take_address(&mut self, text: &str, port: Option<u16>, path: &str, found: &mut Findings) {
        match HostPort::parse(text.trim(), port) {
            Ok(address) if !address.host.is_empty() => self.addresses.push(address),
            Ok(_) => found.problem(path, format!("expected HOST:PORT, found '{text}', which has no host")),
            Err(error) => found.problem(path, error.to_string()),
        }
    }

    /// `https://user:password@host:port`; credentials of the URL win. The text is not shown: it may hold a password.
    fn take_url(&mut self, url: &str, path: &str, found: &mut Findings) {
        let Some((protocol, rest)) = url.split_once("://") else {
            return found.problem(path, "expected http://HOST:PORT or https://HOST:PORT, found no ://");
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
        let (user_info, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        // Brackets without a port behind them.
        let host = if host.ends_with(']') { format!("{host}:{ETCD_PORT}") } else { host.to_owned() };
        protocol.to_lowercase().clone_into(&mut self.protocol);
        let (username, password) = match user_info {
            Some(info) => {
                info.split_once(':').map_or((Some(info), None), |(user, password)| (Some(user), Some(password)))
            }
            None => (None, None),
        };
        if user_info.is_some() {
            self.username = username.map(str::to_owned);
            self.password = password.map(Secret::new);
        }
        match HostPort::parse(&host, Some(ETCD_PORT)) {
            Ok(address) if !address.host.is_empty() => {
                self.addresses.push(HostPort::new(address.host.trim_matches(['[', ']']), address.port));
            }
            Ok(_) | Err(_) => found.problem(path, "expected http://HOST:PORT, found no valid host and port"),
        }
    }
}
