//! The `PATRONI_*` variables as a configuration.
//!
//! Which variables exist, and how each is read, follows Patroni 4.1.5 with its quirks: empty ones count
//! for nothing, except in store sections; store sections have variables by suffix, so that any
//! `PATRONI_X_HOST` makes a section `x`; etcd credentials need another variable of their section.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::local::CREDENTIAL_KEYS;
use crate::postgres::units::{parse_bool_text, parse_int_text};
use crate::yaml;

/// The process environment, handed in by the caller.
pub type Environment = BTreeMap<String, String>;

pub const PREFIX: &str = "PATRONI_";
/// Holds a whole configuration as YAML. With it no other variable counts.
pub const CONFIGURATION: &str = "PATRONI_CONFIGURATION";

/// What the variables say, in the shape of the local configuration, with warnings about values that
/// could not be read (they are left out, as Patroni does).
#[derive(Clone, Default, PartialEq)]
pub struct FromEnvironment {
    pub config: Map<String, Value>,
    pub warnings: Vec<String>,
}

/// How a variable's text becomes a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Bool,
    Int,
    List,
    Map,
    /// A template, or a list of fields.
    LogFormat,
}

use Kind::{Bool, Int, List, LogFormat, Map as MapKind, Text};

const GLOBALS: [&str; 5] = ["name", "namespace", "scope", "thread_pool_size", "thread_stack_size"];

/// Section, key, kind; the variable is `PATRONI_SECTION_KEY`.
const SECTIONS: [(&str, &[(&str, Kind)]); 5] = [
    (
        "restapi",
        &[
            ("listen", Text),
            ("connect_address", Text),
            ("certfile", Text),
            ("keyfile", Text),
            ("keyfile_password", Text),
            ("cafile", Text),
            ("ciphers", Text),
            ("verify_client", Text),
            ("http_extra_headers", MapKind),
            ("https_extra_headers", MapKind),
            ("allowlist", List),
            ("allowlist_include_members", Bool),
            ("request_queue_size", Int),
            ("server_tokens", Text),
        ],
    ),
    ("ctl", &[("insecure", Bool), ("cacert", Text), ("certfile", Text), ("keyfile", Text), ("keyfile_password", Text)]),
    (
        "postgresql",
        &[
            ("listen", Text),
            ("connect_address", Text),
            ("proxy_address", Text),
            ("config_dir", Text),
            ("data_dir", Text),
            ("pgpass", Text),
            ("bin_dir", Text),
        ],
    ),
    (
        "log",
        &[
            ("type", Text),
            ("level", Text),
            ("traceback_level", Text),
            ("format", LogFormat),
            ("dateformat", Text),
            ("static_fields", MapKind),
            ("max_queue_size", Int),
            ("dir", Text),
            ("mode", Int),
            ("file_size", Int),
            ("file_num", Int),
            ("loggers", MapKind),
            ("deduplicate_heartbeat_logs", Bool),
        ],
    ),
    (
        "raft",
        &[("data_dir", Text), ("self_addr", Text), ("partner_addrs", List), ("password", Text), ("bind_addr", Text)],
    ),
];

const PROGRAMS: [&str; 7] =
    ["pg_ctl", "initdb", "pg_controldata", "pg_basebackup", "postgres", "pg_isready", "pg_rewind"];

/// Old names of log variables.
const RENAMED: [(&str, &str); 3] =
    [("LOGLEVEL", "LOG_LEVEL"), ("LOGFORMAT", "LOG_FORMAT"), ("LOG_DATEFMT", "LOG_DATEFORMAT")];

/// Suffixes that make a variable one of a store section.
const STORE_SUFFIXES: [(&str, Kind); 42] = [
    ("HOST", Text),
    ("HOSTS", List),
    ("PORT", Int),
    ("USE_PROXIES", Bool),
    ("PROTOCOL", Text),
    ("SRV", Text),
    ("SRV_SUFFIX", Text),
    ("URL", Text),
    ("PROXY", Text),
    ("CACERT", Text),
    ("CERT", Text),
    ("KEY", Text),
    ("VERIFY", Bool),
    ("TOKEN", Text),
    ("CHECKS", List),
    ("DC", Text),
    ("CONSISTENCY", Text),
    ("REGISTER_SERVICE", Bool),
    ("SERVICE_CHECK_INTERVAL", Text),
    ("SERVICE_CHECK_TLS_SERVER_NAME", Text),
    ("SERVICE_TAGS", List),
    ("NAMESPACE", Text),
    ("CONTEXT", Text),
    ("USE_ENDPOINTS", Bool),
    ("SCOPE_LABEL", Text),
    ("ROLE_LABEL", Text),
    ("POD_IP", Text),
    ("PORTS", List),
    ("LABELS", MapKind),
    ("BYPASS_API_SERVICE", Bool),
    ("RETRIABLE_HTTP_CODES", List),
    ("KEY_PASSWORD", Text),
    ("USE_SSL", Text),
    ("SET_ACLS", MapKind),
    ("GROUP", Text),
    ("DATABASE", Text),
    ("LEADER_LABEL_VALUE", Text),
    ("FOLLOWER_LABEL_VALUE", Text),
    ("STANDBY_LEADER_LABEL_VALUE", Text),
    ("TMP_ROLE_LABEL", Text),
    ("AUTH_DATA", MapKind),
    ("BOOTSTRAP_LABELS", MapKind),
];

/// Reads every variable except `PATRONI_CONFIGURATION`.
pub fn read(env: &Environment) -> FromEnvironment {
    let mut reader = Reader { env, used: BTreeSet::new(), out: FromEnvironment::default() };
    for key in GLOBALS {
        if let Some(value) = reader.take(&key.to_uppercase()) {
            reader.out.config.insert(key.into(), value.into());
        }
    }
    for (section, keys) in SECTIONS {
        keys.iter().for_each(|(key, kind)| reader.section_key(section, key, *kind));
    }
    reader.programs();
    for section in ["ctl", "restapi"] {
        let entry = reader.credentials(section, &CREDENTIAL_KEYS[..2]);
        reader.insert(&[section, "authentication"], entry);
    }
    for role in ["replication", "superuser", "rewind"] {
        let entry = reader.credentials(role, &CREDENTIAL_KEYS);
        reader.insert(&["postgresql", "authentication", role], entry);
    }
    reader.stores();
    reader.out
}

struct Reader<'e> {
    env: &'e Environment,
    used: BTreeSet<String>,
    out: FromEnvironment,
}

impl Reader<'_> {
    /// The variable's text, unless it is empty.
    fn take(&mut self, name: &str) -> Option<String> {
        let variable = format!("{PREFIX}{name}");
        let text = self.env.get(&variable)?.clone();
        self.used.insert(variable);
        (!text.is_empty()).then_some(text)
    }

    /// As [`Reader::take`], by the old name of a log variable when the new one is not there.
    fn take_renamed(&mut self, name: &str) -> Option<String> {
        let old = RENAMED.iter().find(|(_, new)| *new == name).map(|(old, _)| *old);
        match self.take(name) {
            Some(text) => Some(text),
            None => old.and_then(|old| self.take(old)),
        }
    }

    fn section_key(&mut self, section: &str, key: &str, kind: Kind) {
        let name = format!("{section}_{key}").to_uppercase();
        let Some(text) = self.take_renamed(&name) else { return };
        if let Some(value) = self.convert(&name, text, kind).filter(crate::python::is_true_or_number) {
            self.section(section).insert(key.into(), value);
        }
    }

    fn section(&mut self, section: &str) -> &mut Map<String, Value> {
        object(&mut self.out.config, section)
    }

    fn insert(&mut self, path: &[&str], entry: Map<String, Value>) {
        let (Some((last, sections)), false) = (path.split_last(), entry.is_empty()) else { return };
        let mut map = &mut self.out.config;
        for section in sections {
            map = object(map, section);
        }
        map.insert((*last).to_owned(), Value::Object(entry));
    }

    fn programs(&mut self) {
        for program in PROGRAMS {
            if let Some(name) = self.take(&format!("POSTGRESQL_BIN_{}", program.to_uppercase())) {
                object(self.section("postgresql"), "bin_name").insert(program.into(), name.into());
            }
        }
    }

    fn credentials(&mut self, role: &str, keys: &[&str]) -> Map<String, Value> {
        let name = |key: &str| format!("{role}_{key}").to_uppercase();
        keys.iter().filter_map(|key| Some(((*key).to_owned(), self.take(&name(key))?.into()))).collect()
    }

    fn stores(&mut self) {
        let variables: Vec<(String, String)> = self
            .env
            .iter()
            .filter(|(variable, _)| !self.used.contains(*variable))
            .filter_map(|(variable, text)| Some((variable.strip_prefix(PREFIX)?.to_owned(), text.clone())))
            .collect();
        for (name, text) in variables {
            self.store_key(&name, text);
        }
        for section in ["etcd", "etcd3"] {
            let credentials = self.credentials(section, &CREDENTIAL_KEYS[..2]);
            if let Some(Value::Object(section)) = self.out.config.get_mut(section) {
                section.extend(credentials);
            }
        }
    }

    fn store_key(&mut self, name: &str, text: String) {
        let Some((section, suffix)) = name.split_once('_') else { return };
        let Some((_, kind)) = STORE_SUFFIXES.iter().find(|(known, _)| *known == suffix) else { return };
        let kind = match (section, suffix) {
            ("", _) => return,
            ("CITUS", "GROUP") => Int,
            ("CITUS", "DATABASE") => Text,
            ("CITUS", _) => return,
            (_, _) => *kind,
        };
        // Patroni lets empty texts pass here, and they override the file's.
        let value = match (text.is_empty(), kind) {
            (true, Int | List) if section != "CITUS" => Some(Value::String(text)),
            (_, kind) => self.convert(name, text, kind),
        };
        if let Some(value) = value.filter(|value| !value.is_null()) {
            self.section(&section.to_lowercase()).insert(suffix.to_lowercase(), value);
        }
    }

    /// The value of a text; what cannot be read is a warning without the text, which may hold a secret.
    fn convert(&mut self, name: &str, text: String, kind: Kind) -> Option<Value> {
        let value = match kind {
            Text => Ok(Some(Value::String(text))),
            Bool => Ok(parse_bool_text(&text).map(Value::Bool)),
            Int => Ok(parse_int_text(&text, None).map(Value::from)),
            List => list(&text).map(Some),
            MapKind => map(&text).map(Some),
            LogFormat if is_template(&text) => Ok(Some(Value::String(text))),
            // What is no list is taken as it is.
            LogFormat => Ok(Some(list(&text).unwrap_or(Value::String(text)))),
        };
        let expected = match kind {
            Text | LogFormat => "a text",
            Bool => "on or off",
            Int => "a whole number",
            List => "a list",
            MapKind => "a mapping",
        };
        match value {
            Ok(Some(value)) => Some(value),
            Ok(None) => {
                self.out.warnings.push(format!("{PREFIX}{name} is ignored: expected {expected}"));
                None
            }
            Err(error) => {
                self.out.warnings.push(format!("{PREFIX}{name} is ignored: expected {expected}; {error}"));
                None
            }
        }
    }
}

fn object<'m>(map: &'m mut Map<String, Value>, key: &str) -> &'m mut Map<String, Value> {
    let entry = map.entry(key).or_insert_with(|| Value::Object(Map::new()));
    if !entry.is_object() {
        *entry = Value::Object(Map::new());
    }
    entry.as_object_mut().expect("it has just been made an object")
}

/// A YAML list, or its items alone.
pub(crate) fn list(text: &str) -> Result<Value, yaml::YamlError> {
    match text.trim().starts_with('-') || text.contains('[') {
        true => yaml::parse(text),
        false => yaml::parse(&format!("[{text}]")),
    }
}

/// A YAML mapping, or its pairs alone.
fn map(text: &str) -> Result<Value, yaml::YamlError> {
    match text.trim().starts_with('{') {
        true => yaml::parse(text),
        false => yaml::parse(&format!("{{{text}}}")),
    }
}

/// Holds a `%(name)`.
fn is_template(text: &str) -> bool {
    text.match_indices("%(").any(|(at, _)| {
        let name = &text[at + 2..];
        let end = name.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(name.len());
        end > 0 && name[end..].starts_with(')')
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn from(pairs: &[(&str, &str)]) -> FromEnvironment {
        read(&pairs.iter().map(|(name, text)| (format!("PATRONI_{name}"), (*text).to_owned())).collect())
    }

    #[test]
    fn variables_make_a_configuration() {
        let read = from(&[
            ("NAME", "n1"),
            ("SCOPE", "demo"),
            ("LOGLEVEL", "DEBUG"),
            ("LOG_FORMAT", "asctime,{message: msg}"),
            ("LOG_MODE", "0644"),
            ("LOG_LOGGERS", "patroni.api: DEBUG"),
            ("RESTAPI_ALLOWLIST", "'127.0.0.1/32',localhost"),
            ("RESTAPI_USERNAME", "u"),
            ("RESTAPI_PASSWORD", "p"),
            ("RESTAPI_REQUEST_QUEUE_SIZE", ""),
            ("CTL_INSECURE", "yes"),
            ("POSTGRESQL_BIN_PG_ISREADY", "isready"),
            ("SUPERUSER_USERNAME", "postgres"),
            ("SUPERUSER_SSLMODE", "require"),
            ("ETCD3_HOSTS", "host1:2379,host2:2379"),
            ("ETCD3_USERNAME", "root"),
            ("ETCD_PASSWORD", "alone"),
            ("CONSUL_VERIFY", "off"),
            ("CITUS_GROUP", "1"),
            ("CITUS_DATABASE", "c"),
            ("CITUS_HOST", "x"),
            ("KUBERNETES_LABELS", "a: b, c: d"),
            ("UNKNOWN", "x"),
        ]);
        assert_eq!(read.warnings, Vec::<String>::new());
        assert_eq!(
            Value::Object(read.config),
            json!({
                "name": "n1", "scope": "demo",
                "restapi": {"allowlist": ["127.0.0.1/32", "localhost"], "authentication": {"username": "u", "password": "p"}},
                "ctl": {"insecure": true},
                "log": {"level": "DEBUG", "format": ["asctime", {"message": "msg"}], "mode": 420, "loggers": {"patroni.api": "DEBUG"}},
                "postgresql": {"bin_name": {"pg_isready": "isready"},
                    "authentication": {"superuser": {"username": "postgres", "sslmode": "require"}}},
                "citus": {"database": "c", "group": 1}, "consul": {"verify": false},
                "etcd3": {"hosts": ["host1:2379", "host2:2379"], "username": "root"},
                "kubernetes": {"labels": {"a": "b", "c": "d"}},
            })
        );
    }

    #[test]
    fn what_cannot_be_read_is_left_out_without_showing_it() {
        let read = from(&[("LOG_LOGGERS", "{hunter2"), ("LOG_FILE_NUM", "many"), ("ETCD3_HOSTS", "[a")]);
        assert_eq!(read.warnings.len(), 3, "{:?}", read.warnings);
        assert!(!read.warnings.join("").contains("hunter2"));
        assert!(read.config.is_empty());
    }

    #[test]
    fn new_names_win_over_old_ones() {
        let read = from(&[("LOGLEVEL", "DEBUG"), ("LOG_LEVEL", "ERROR")]);
        assert_eq!(read.config["log"], json!({"level": "ERROR"}));
    }
}
