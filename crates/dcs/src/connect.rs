//! From the local configuration to a store's client.

use std::sync::Arc;

use jogi_config::Local;
use jogi_config::local::{Etcd, StoreSection};
use jogi_net::tls::{ClientTls, Verify};
use tracing::warn;

use crate::kubernetes::{Kubernetes, KubernetesOptions};
use crate::{Consul, Dcs, Etcd2, Etcd3, Etcd3Options, SetupError, base_path};

/// The sections whose stores this build has.
pub const AVAILABLE: &[&str] = &["consul", "etcd", "etcd3", "kubernetes"];

/// Where in a store a member's keys are, as the configuration names it.
#[derive(Clone, Debug)]
pub struct Place {
    pub namespace: String,
    pub scope: String,
    /// The Citus group.
    pub group: Option<i64>,
    /// Our member's name, the value of the leader key; empty for a client that never holds the lock.
    pub name: String,
}

impl Place {
    /// The base path of the cluster's keys, for stores that have paths.
    pub fn base(&self) -> String {
        base_path(&self.namespace, &self.scope, self.group)
    }
}

/// Makes the client that an agent's configuration asks for. Nothing is sent: a store that is down is no error here.
pub fn connect(local: &Local) -> Result<Arc<dyn Dcs>, SetupError> {
    let place = Place {
        namespace: local.namespace.clone(),
        scope: local.scope.clone(),
        group: local.citus.as_ref().map(|citus| citus.group),
        name: local.name.as_str().to_owned(),
    };
    connect_to(&local.store, &place)
}

/// Makes the client of the store that `section` describes: the one place where a store is chosen.
pub fn connect_to(section: &StoreSection, place: &Place) -> Result<Arc<dyn Dcs>, SetupError> {
    match section {
        StoreSection::Etcd3(etcd) => Ok(Arc::new(Etcd3::new(etcd3_options(etcd, place.base(), &place.name)?)?)),
        StoreSection::Consul(consul) => Ok(Arc::new(Consul::new(consul.clone(), place)?)),
        StoreSection::Kubernetes(raw) => {
            let options = KubernetesOptions::read(&raw.0, &place.scope, place.group, &place.name)?;
            Ok(Arc::new(Kubernetes::new(options)?))
        }
        StoreSection::Etcd(etcd) => Ok(Arc::new(Etcd2::new(etcd_options("etcd", etcd, place.base(), &place.name)?)?)),
        other @ (StoreSection::Exhibitor(_) | StoreSection::Raft(_) | StoreSection::Zookeeper(_)) => {
            Err(SetupError::Unsupported { section: other.name() })
        }
    }
}

/// The options of the section `etcd3` for the cluster at `base` and the member `name` (empty for ctl).
pub fn etcd3_options(etcd: &Etcd, base: String, name: &str) -> Result<Etcd3Options, SetupError> {
    etcd_options("etcd3", etcd, base, name)
}

fn etcd_options(section: &'static str, etcd: &Etcd, base: String, name: &str) -> Result<Etcd3Options, SetupError> {
    if let Some(domain) = &etcd.srv {
        if etcd.addresses.is_empty() {
            let cause =
                format!("finding servers by SRV records (srv: {domain}) is not supported yet: list them in hosts");
            return Err(SetupError::Section { section, cause });
        }
        warn!(%domain, "{section}.srv is not supported yet: only the listed hosts are used");
    }
    let tls = (etcd.protocol == "https").then(|| ClientTls {
        ca: etcd.cacert.clone(),
        cert: etcd.cert.clone(),
        key: etcd.key.clone(),
        key_password: None,
        verify: Verify::Full,
    });
    Ok(Etcd3Options {
        urls: etcd.urls(),
        discover: !etcd.use_proxies,
        username: etcd.username.clone(),
        password: etcd.password.as_ref().map(|p| p.expose().to_owned()),
        tls,
        version_prefix: etcd.version_prefix.clone(),
        base,
        name: name.into(),
    })
}

#[cfg(test)]
mod tests {
    use jogi_config::{HostPort, Secret};

    use super::*;

    fn section() -> Etcd {
        Etcd {
            protocol: "http".into(),
            addresses: vec![HostPort::new("10.0.0.1", 2379), HostPort::new("::1", 2380)],
            use_proxies: false,
            srv: None,
            srv_suffix: None,
            username: Some("root".into()),
            password: Some(Secret::new("secret")),
            cacert: Some("/ca.pem".into()),
            cert: None,
            key: None,
            version_prefix: None,
        }
    }

    #[test]
    fn the_section_becomes_options() {
        let options = etcd3_options(&section(), "/service/demo".into(), "a").expect("valid");
        assert_eq!(options.urls, ["http://10.0.0.1:2379", "http://[::1]:2380"]);
        assert!(options.discover && options.tls.is_none(), "a CA without https changes nothing");
        assert_eq!(options.password.as_deref(), Some("secret"));
        let proxies = Etcd { use_proxies: true, protocol: "https".into(), ..section() };
        let options = etcd3_options(&proxies, "/service/demo".into(), "a").expect("valid");
        assert!(!options.discover && options.tls.is_some_and(|tls| tls.ca.is_some()));
    }

    #[test]
    fn servers_that_can_only_be_found_by_srv_are_an_error_with_a_remedy() {
        let etcd = Etcd { addresses: Vec::new(), srv: Some("example.org".into()), ..section() };
        let error = etcd3_options(&etcd, "/service/demo".into(), "a").err().map(|e| e.to_string());
        assert!(error.is_some_and(|e| e.contains("example.org") && e.contains("hosts")));
    }
}
