//! The sample configuration of `--generate-sample-config`, and what `--generate-config` has in common with it.

use serde_json::{Map, Value, json};

use crate::dynamic::patch_map;
use crate::env::{self, Environment};
use crate::postgres::{CONTROLLED, Check};
use crate::yaml::{self, Style};

pub use crate::validate::{Finding, Machine, validate};

/// Stands where the operator has to write something.
pub const PLACEHOLDER: &str = "#FIXME";

/// What a sample needs to know of the machine.
#[derive(Clone, Debug)]
pub struct SampleInput {
    /// Host name; `#FIXME` when unknown.
    pub hostname: Option<String>,
    /// An address of this host.
    pub address: Option<String>,
    /// PostgreSQL's version number, for instance 150000.
    pub version: u32,
    pub bin_dir: Option<String>,
}

/// The text of `--generate-sample-config`: sane defaults, with what the variables say on top.
pub fn sample_config(input: &SampleInput, env: &Environment) -> String {
    let mut config = template(input, env);
    adjust(&mut config, input.version);
    format(&config)
}

/// Sane defaults, with what the variables say on top.
pub(crate) fn template(input: &SampleInput, env: &Environment) -> Value {
    let mut config = defaults(input);
    let mut variables = env::read(env).config;
    let bootstrap = variables.entry("bootstrap").or_insert_with(|| json!({}));
    bootstrap["dcs"] = dynamic_defaults();
    if let Value::Object(config) = &mut config {
        patch_map(config, &variables);
    }
    config
}

fn defaults(input: &SampleInput) -> Value {
    let text = |given: &Option<String>| given.clone().unwrap_or_else(|| PLACEHOLDER.to_owned());
    let address = text(&input.address);
    json!({
        "scope": PLACEHOLDER,
        "name": text(&input.hostname),
        "restapi": {"connect_address": format!("{address}:8008"), "listen": format!("{address}:8008")},
        "log": {
            "type": "plain", "level": "INFO", "traceback_level": "ERROR",
            "format": crate::local::DEFAULT_FORMAT, "max_queue_size": crate::local::DEFAULT_MAX_QUEUE_SIZE,
        },
        "postgresql": {
            "data_dir": PLACEHOLDER,
            "connect_address": format!("{address}:5432"),
            "listen": format!("{address}:5432"),
            "bin_dir": input.bin_dir.clone().unwrap_or_default(),
            "authentication": {
                "superuser": {"username": "postgres", "password": PLACEHOLDER},
                "replication": {"username": "replicator", "password": PLACEHOLDER},
            },
        },
        "tags": {
            "failover_priority": 1, "sync_priority": 1, "noloadbalance": false, "clonefrom": true, "nosync": false, "nostream": false,
        },
    })
}

fn dynamic_defaults() -> Value {
    let defaults = CONTROLLED.iter().filter(|row| row.command_line);
    let parameters: Map<String, Value> =
        defaults.filter_map(|row| Some((row.name.to_owned(), row.default_value()?))).collect();
    json!({
        "ttl": 30, "loop_wait": 10, "retry_timeout": 10,
        "postgresql": {"use_slots": true, "parameters": parameters},
    })
}

/// What depends on PostgreSQL's version.
fn adjust(config: &mut Value, version: u32) {
    let method = if version >= 100_000 { "scram-sha-256" } else { "md5" };
    let replication = &config["postgresql"]["authentication"]["replication"]["username"];
    let replication = replication.as_str().unwrap_or("replicator").to_owned();
    let postgresql = &mut config["postgresql"];
    postgresql["parameters"] = json!({"password_encryption": method});
    postgresql["pg_hba"] =
        json!([format!("host all all all {method}"), format!("host replication {replication} all {method}")]);
    if version >= 110_000 {
        let roles = &mut postgresql["authentication"];
        if roles.get("rewind").is_none() {
            roles["rewind"] = json!({"username": "rewind_user"});
        }
        if roles["rewind"].get("password").is_none() {
            roles["rewind"]["password"] = PLACEHOLDER.into();
        }
    }
    let dcs = &mut config["bootstrap"]["dcs"]["postgresql"];
    let is_size = |check: &Check| matches!(check, Check::AtLeastMegabytes(_));
    let keep = CONTROLLED.iter().find(|row| !row.command_line && is_size(&row.check) == (version >= 130_000));
    if let Some((row, value)) = keep.and_then(|row| Some((row, row.default_value()?))) {
        dcs["parameters"][row.name] = value;
    }
    dcs["parameters"]["wal_level"] = if version >= 90_600 { "replica".into() } else { "hot_standby".into() };
    dcs["use_pg_rewind"] = true.into();
}

const SECTIONS: [&str; 14] = [
    "scope",
    "namespace",
    "name",
    "log",
    "restapi",
    "ctl",
    "citus",
    "consul",
    "etcd",
    "etcd3",
    "exhibitor",
    "kubernetes",
    "raft",
    "zookeeper",
];

const BOOTSTRAP: &str = "
# The bootstrap configuration. Works only when the cluster is not yet initialized.
# If the cluster is already initialized, all changes in the `bootstrap` section are ignored!
bootstrap:
  # This section will be written into <dcs>:/<namespace>/<scope>/config after initializing
  # new cluster and all other cluster members will use it as a `global configuration`.
  # WARNING! If you want to change any of the parameters that were set up
  # via `bootstrap.dcs` section, please use `patronictl edit-config`!
  dcs:";

/// The sections in Patroni's order, with its comments.
pub(crate) fn format(config: &Value) -> String {
    let mut lines = Vec::new();
    let section = |lines: &mut Vec<String>, name: &str| {
        if let Some(value) = config.get(name) {
            if value.is_object() {
                lines.push(String::new());
            }
            lines.push(block(name, value, ""));
        }
    };
    SECTIONS.iter().for_each(|name| section(&mut lines, name));
    lines.push(BOOTSTRAP.to_owned());
    if let Some(dcs) = config["bootstrap"]["dcs"].as_object() {
        let first = ["loop_wait", "retry_timeout", "ttl"];
        let rest = dcs.keys().map(String::as_str).filter(|key| !first.contains(key));
        let present = first.into_iter().chain(rest).filter_map(|key| Some((key, dcs.get(key)?)));
        lines.extend(present.map(|(key, value)| block(key, value, "    ")));
    }
    ["postgresql", "watchdog", "tags"].iter().for_each(|name| section(&mut lines, name));
    lines.join("\n")
}

fn block(name: &str, value: &Value, indent: &str) -> String {
    let text = yaml::emit(&json!({name: value}), &Style::default());
    format!("{indent}{}", text.trim().replace('\n', &format!("\n{indent}")))
}
