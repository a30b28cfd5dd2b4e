//! What the tool knows of its surroundings: configuration files, `PATRONI_*` variables, the command line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jogi_config::local::{BasicAuth, Consul, Ctl, Etcd, RawSection, StoreSection};
use jogi_config::{ClientConfig, HostPort, Secret, dynamic, env, python, yaml};
use serde_json::{Map, Value};
use tracing::warn;

use crate::cli::Options;
use crate::failure::Failure;

/// Ports that a store without a named kind is recognised by; etcd stands before etcd3, as in patronictl.
const STORES: [(&str, u16); 5] =
    [("zookeeper", 2181), ("exhibitor", 8181), ("consul", 8500), ("etcd", 2379), ("etcd3", 2379)];

pub struct Config {
    pub scope: Option<String>,
    pub namespace: String,
    pub store: Option<StoreSection>,
    /// How to talk to members: `ctl`, and what `restapi` says where `ctl` is silent.
    pub ctl: Ctl,
    /// The Citus group of the configuration; `Some` makes this a Citus cluster.
    pub citus_group: Option<i64>,
}

impl Config {
    /// Reads everything. Blocking.
    pub fn load(options: &Options) -> Result<Config, Failure> {
        let files = read_files(options.config_file.as_deref())?;
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let environment: BTreeMap<String, String> = std::env::vars_os().filter_map(text).collect();
        let client = ClientConfig::load(&files, &environment).map_err(|error| Failure::said(error.to_string()))?;
        client.warnings.iter().for_each(|warning| warn!("{warning}"));
        let mut config = Config {
            scope: client.scope,
            namespace: client.namespace,
            store: client.store,
            ctl: with_restapi(client.ctl, &restapi_section(&files, &environment)),
            citus_group: client.citus.map(|citus| citus.group),
        };
        config.ctl.insecure |= options.insecure;
        if let Some(url) = options.dcs_url.as_deref().filter(|url| !url.is_empty()) {
            let (store, namespace) = parse_dcs_url(url)?;
            config.store = Some(store);
            config.namespace = namespace.unwrap_or(config.namespace);
        }
        Ok(config)
    }
}

/// The files given or found, by name and text. A file that somebody named must be readable.
fn read_files(given: Option<&Path>) -> Result<Vec<(String, String)>, Failure> {
    let given = given.filter(|path| !path.as_os_str().is_empty());
    let Some(path) = given.map(Path::to_owned).or_else(default_file) else { return Ok(Vec::new()) };
    let read = |file: PathBuf| Ok((file.display().to_string(), std::fs::read_to_string(&file)?));
    let all = files_of(&path).and_then(|files| files.into_iter().map(read).collect::<std::io::Result<Vec<_>>>());
    match (all, given) {
        (Ok(files), _) => Ok(files),
        (Err(_), None) => Ok(Vec::new()),
        (Err(_), Some(path)) => Err(Failure::said(format!(
            "Provided config file {} not existing or no read rights. Check the -c/--config-file parameter",
            path.display()
        ))),
    }
}

/// `patronictl.yaml` in the user's configuration directory.
fn default_file() -> Option<PathBuf> {
    let given = std::env::var_os("XDG_CONFIG_HOME").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    Some(given.or_else(|| Some(std::env::home_dir()?.join(".config")))?.join("patroni").join("patronictl.yaml"))
}

/// The file itself, or the `*.yml` and `*.yaml` files of a directory in the order of their names.
fn files_of(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !path.metadata()?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        if file.is_file() && file.extension().is_some_and(|extension| extension == "yml" || extension == "yaml") {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// The merged `restapi` section: the client's configuration does not carry it.
fn restapi_section(files: &[(String, String)], environment: &BTreeMap<String, String>) -> Map<String, Value> {
    let mut config = Map::new();
    let mut merge = |text: &str| {
        if let Ok(Value::Object(map)) = yaml::parse(text) {
            dynamic::patch_map(&mut config, &map);
        }
    };
    match environment.get(env::CONFIGURATION).filter(|text| files.is_empty() && !text.trim().is_empty()) {
        Some(text) => merge(text),
        None => {
            files.iter().for_each(|(_, text)| merge(text));
            dynamic::patch_map(&mut config, &env::read(environment).config);
        }
    }
    config.get("restapi").and_then(Value::as_object).cloned().unwrap_or_default()
}

fn with_restapi(mut ctl: Ctl, restapi: &Map<String, Value>) -> Ctl {
    let text = |value: Option<&Value>| value.filter(|value| python::is_true(value)).map(python::str);
    if ctl.authentication.is_none() {
        let authentication = restapi.get("authentication");
        let part = |name: &str| text(authentication.and_then(|section| section.get(name)));
        if let (Some(username), Some(password)) = (part("username"), part("password")) {
            ctl.authentication = Some(BasicAuth { username, password: Secret::new(password) });
        }
    }
    ctl.cacert = ctl.cacert.or_else(|| text(restapi.get("cafile")).map(PathBuf::from));
    ctl
}

/// `SCHEME://HOST[:PORT][/NAMESPACE]`, with everything but the host left out at will.
fn parse_dcs_url(url: &str) -> Result<(StoreSection, Option<String>), Failure> {
    let (scheme, rest) = match url.split_once("//") {
        Some((scheme, rest)) => (scheme.trim_end_matches(':').to_lowercase(), rest),
        None => (String::new(), url),
    };
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (host, port) = split_port(authority)
        .ok_or_else(|| Failure::said(format!("{url} has no valid port: expected etcd3://HOST:PORT/NAMESPACE")))?;
    let kind = match scheme.as_str() {
        "" => STORES.iter().find(|(_, standard)| Some(*standard) == port).map_or("etcd", |(kind, _)| kind),
        named => named,
    };
    let Some((kind, standard)) = STORES.iter().find(|(known, _)| *known == kind) else {
        return Err(Failure::said(format!("Unknown dcs scheme: {kind}")));
    };
    let host = if host.is_empty() { "localhost".to_owned() } else { host.to_lowercase() };
    let namespace = path.trim().trim_matches('/');
    let namespace = (!namespace.is_empty()).then(|| format!("/{namespace}"));
    Ok((section(kind, HostPort::new(host, port.unwrap_or(*standard))), namespace))
}

fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => match port.is_empty() {
            true => Some((host, None)),
            false => Some((host.trim_matches(['[', ']']), Some(port.parse().ok()?))),
        },
        Some(_) | None => Some((authority.trim_matches(['[', ']']), None)),
    }
}

fn section(kind: &str, address: HostPort) -> StoreSection {
    let raw = || RawSection(Map::from_iter([("host".to_owned(), Value::from(address.to_string()))]));
    let etcd = || Etcd {
        protocol: "http".into(),
        addresses: vec![address.clone()],
        use_proxies: false,
        srv: None,
        srv_suffix: None,
        username: None,
        password: None,
        cacert: None,
        cert: None,
        key: None,
        version_prefix: None,
    };
    match kind {
        "etcd3" => StoreSection::Etcd3(etcd()),
        "etcd" => StoreSection::Etcd(etcd()),
        "consul" => StoreSection::Consul(Consul::at(address.clone())),
        "exhibitor" => StoreSection::Exhibitor(raw()),
        _ => StoreSection::Zookeeper(raw()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn store_addresses_are_read_as_patronictl_does() {
        for (url, kind, address, namespace) in [
            ("etcd3://random.com:2399", "etcd3", "random.com:2399", None),
            ("etcd3://random.com:2399/customnamespace", "etcd3", "random.com:2399", Some("/customnamespace")),
            ("etcd3://[fd00::1]:2399/", "etcd3", "[fd00::1]:2399", None),
            ("etcd://:2399", "etcd", "localhost:2399", None),
            ("etcd3://test", "etcd3", "test:2379", None),
            ("localhost:2379", "etcd", "localhost:2379", None),
            ("localhost:1234", "etcd", "localhost:1234", None),
        ] {
            let (store, found) = parse_dcs_url(url).expect(url);
            assert_eq!((store.name(), found.as_deref()), (kind, namespace), "{url}");
            match store {
                StoreSection::Etcd3(etcd) | StoreSection::Etcd(etcd) => {
                    assert_eq!(etcd.addresses[0].to_string(), address, "{url}");
                }
                other => panic!("{url}: {other:?}"),
            }
        }
        for (url, kind) in [("localhost:8500", "consul"), ("localhost:2181", "zookeeper"), ("//h:8181", "exhibitor")] {
            assert_eq!(parse_dcs_url(url).expect(url).0.name(), kind, "{url}");
        }
        let error = parse_dcs_url("redis://x").err().map(|e| e.to_string());
        assert_eq!(error.as_deref(), Some("Unknown dcs scheme: redis"));
        assert!(parse_dcs_url("etcd3://h:x").is_err());
    }

    #[test]
    fn restapi_stands_in_for_what_ctl_does_not_say() {
        let file = |text: &str| vec![("f".to_owned(), text.to_owned())];
        let files = file("restapi: {cafile: /ca, authentication: {username: u, password: 1}}");
        let environment = BTreeMap::from([("PATRONI_RESTAPI_USERNAME".to_owned(), "v".to_owned())]);
        let restapi = restapi_section(&files, &environment);
        assert_eq!(Value::Object(restapi.clone())["authentication"], json!({"username": "v", "password": 1}));
        let ctl = with_restapi(Ctl::default(), &restapi);
        assert_eq!(ctl.authentication, Some(BasicAuth { username: "v".into(), password: Secret::new("1") }));
        assert_eq!(ctl.cacert, Some("/ca".into()));
        let own = Ctl { cacert: Some("/own".into()), ..Ctl::default() };
        assert_eq!(with_restapi(own, &restapi).cacert, Some("/own".into()));
    }
}
