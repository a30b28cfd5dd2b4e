//! The section `consul`.

use std::path::PathBuf;

use super::section::{Findings, Section};
use crate::{HostPort, Secret};

const PORT: u16 = 8500;

/// How an agent's routine reads are answered. Decisions are read consistently, whatever this says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    #[default]
    Default,
    Consistent,
    Stale,
}

/// The section `consul`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consul {
    /// `http` or `https`.
    pub scheme: String,
    pub address: HostPort,
    pub token: Option<Secret>,
    /// Verify the server's certificate.
    pub verify: bool,
    pub cacert: Option<PathBuf>,
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub dc: Option<String>,
    pub consistency: Consistency,
    /// Health checks that end the session when they fail.
    pub checks: Vec<String>,
    pub register_service: bool,
    pub service_tags: Vec<String>,
    pub service_check_interval: String,
    pub service_check_tls_server_name: Option<String>,
}

impl Consul {
    /// Plain HTTP to `address`, all else as when the section does not say.
    pub fn at(address: HostPort) -> Consul {
        Consul {
            scheme: "http".into(),
            address,
            token: None,
            verify: true,
            cacert: None,
            cert: None,
            key: None,
            dc: None,
            consistency: Consistency::Default,
            checks: Vec::new(),
            register_service: false,
            service_tags: Vec::new(),
            service_check_interval: "5s".into(),
            service_check_tls_server_name: None,
        }
    }

    /// `SCHEME://HOST:PORT`.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// `url`, else `host` and `port`; without either it is the agent on this machine.
    pub(super) fn read(section: &Section<'_>, found: &mut Findings) -> Option<Consul> {
        let problems = found.problems.len();
        let port = u16::try_from(section.number("port", PORT.into(), 0..=65535, found)).unwrap_or(PORT);
        let mut consul = Consul::at(HostPort::new("127.0.0.1", port));
        if let Some(scheme) = section.text("scheme", found) {
            consul.scheme = scheme.to_lowercase();
        }
        if let Some(url) = section.text("url", found) {
            consul.take_url(&url, &section.path_of("url"), found);
        } else if let Some(address) = section.address("host", Some(port), found) {
            consul.address = address;
        }
        consul.token = section.secret("token", found);
        consul.verify = section.flag("verify", true, found);
        consul.cacert = section.path_value("cacert", found);
        consul.cert = section.path_value("cert", found);
        consul.key = section.path_value("key", found);
        consul.dc = section.text("dc", found);
        let words =
            [("default", Consistency::Default), ("consistent", Consistency::Consistent), ("stale", Consistency::Stale)];
        consul.consistency = section.choice("consistency", &words, Consistency::Default, found);
        consul.checks = section.texts("checks", found);
        consul.register_service = section.flag("register_service", false, found);
        consul.service_tags = section.texts("service_tags", found);
        if let Some(interval) = section.text("service_check_interval", found) {
            consul.service_check_interval = interval;
        }
        consul.service_check_tls_server_name = section.text("service_check_tls_server_name", found);
        if !["http", "https"].contains(&consul.scheme.as_str()) {
            found.problem(section.path_of("scheme"), format!("expected http or https, found '{}'", consul.scheme));
        }
        (found.problems.len() == problems).then_some(consul)
    }

    fn take_url(&mut self, url: &str, path: &str, found: &mut Findings) {
        let Some((scheme, rest)) = url.split_once("://") else {
            return found.problem(path, "expected http://HOST:PORT or https://HOST:PORT, found no ://");
        };
        self.scheme = scheme.to_lowercase();
        let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        match HostPort::parse(host, Some(PORT)) {
            Ok(address) if !address.host.is_empty() => self.address = address,
            Ok(_) | Err(_) => found.problem(path, "expected http://HOST:PORT, found no valid host and port"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::*;

    fn read(section: Value) -> Result<Consul, String> {
        let config = Map::from_iter([("consul".to_owned(), section)]);
        let mut found = Findings::default();
        let section = Section::of(&config, "consul", &mut found);
        Consul::read(&section, &mut found).ok_or_else(|| format!("{:?}", found.problems))
    }

    #[test]
    fn the_agent_is_named_in_every_way() {
        for (section, url) in [
            (json!({}), "http://127.0.0.1:8500"),
            (json!({"port": 8600}), "http://127.0.0.1:8600"),
            (json!({"host": "c"}), "http://c:8500"),
            (json!({"host": "c:1"}), "http://c:1"),
            (json!({"host": "c", "port": 8501, "scheme": "https"}), "https://c:8501"),
            (json!({"url": "https://c:8501/", "host": "d"}), "https://c:8501"),
            (json!({"url": "http://c"}), "http://c:8500"),
        ] {
            assert_eq!(read(section.clone()).map(|c| c.url()), Ok(url.to_owned()), "{section}");
        }
        for section in [json!({"url": "c:8500"}), json!({"scheme": "ftp"}), json!({"host": "c:x"})] {
            assert!(read(section.clone()).is_err(), "{section}");
        }
    }

    #[test]
    fn the_rest_of_the_section() {
        let consul = read(json!({"token": "secret", "verify": false, "consistency": "stale", "checks": "a,b", "register_service": true}))
            .expect("valid");
        assert!(!format!("{consul:?}").contains("secret"));
        assert_eq!(
            (consul.verify, consul.consistency, consul.checks),
            (false, Consistency::Stale, vec!["a".into(), "b".into()])
        );
        assert_eq!((consul.register_service, consul.service_check_interval.as_str()), (true, "5s"));
    }
}
