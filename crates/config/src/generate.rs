//! The configuration of `--generate-config`: what a server that runs without an agent needs to be taken over by one.
//!
//! What commands and files are named by goes into the local part, because who may change the store must not be able to
//! run programs on the members; every other parameter goes into `bootstrap.dcs`, where all members share it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::env::Environment;
use crate::postgres::CONTROLLED;
use crate::sample::{PLACEHOLDER, SampleInput, format, template};

/// What was seen of the server.
#[derive(Clone, Debug, Default)]
pub struct Running {
    /// `username`, `password`, `sslmode` … as the configuration names them.
    pub superuser: BTreeMap<String, String>,
    /// The port it was reached at, when somebody said one.
    pub port: Option<String>,
    /// What [`query`] answered.
    pub parameters: Vec<(String, String)>,
    /// The lines of `pg_hba.conf` and `pg_ident.conf` when they are where they are by default.
    pub pg_hba: Option<String>,
    pub pg_ident: Option<String>,
}

/// Parameters that are asked for whatever their source.
const ALWAYS: [&str; 4] = ["hba_file", "ident_file", "config_file", "data_directory"];

/// Parameters that stay local.
const LOCAL: [&str; 8] = [
    "archive_command",
    "restore_command",
    "archive_cleanup_command",
    "recovery_end_command",
    "ssl_passphrase_command",
    "hba_file",
    "ident_file",
    "config_file",
];

/// Connection parameters of roles with the first version that knows them.
const SINCE: [(&str, u32); 5] = [
    ("gssencmode", 120_000),
    ("channel_binding", 130_000),
    ("sslpassword", 130_000),
    ("sslcrldir", 140_000),
    ("sslnegotiation", 170_000),
];

/// The statement that brings name and value of every parameter that somebody has set.
pub fn query() -> String {
    let names = ALWAYS.into_iter().chain(CONTROLLED.iter().map(|row| row.name));
    let names = names.map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ");
    format!(
        "SELECT name, pg_catalog.current_setting(name) FROM pg_catalog.pg_settings \
         WHERE context <> 'internal' \
         AND source IN ('configuration file', 'command line', 'environment variable') \
         AND category <> 'Write-Ahead Log / Recovery Target' AND setting <> '(disabled)' \
         OR name IN ({names})"
    )
}

/// The text of `--generate-config`. `machine.version` is the server's version.
pub fn generate(machine: &SampleInput, server: &Running, env: &Environment) -> String {
    let mut config = template(machine, env);
    let (mut listen, mut port) = (String::new(), String::new());
    let mut local = config["postgresql"].get("parameters").and_then(Value::as_object).cloned().unwrap_or_default();
    for (name, value) in &server.parameters {
        match name.as_str() {
            "data_directory" => config["postgresql"]["data_dir"] = value.as_str().into(),
            "cluster_name" if !value.is_empty() => config["scope"] = value.as_str().into(),
            "listen_addresses" => listen.clone_from(value),
            "port" => port.clone_from(value),
            name if LOCAL.contains(&name) => drop(local.insert(name.to_owned(), value.as_str().into())),
            name => config["bootstrap"]["dcs"]["postgresql"]["parameters"][name] = value.as_str().into(),
        }
    }
    let postgresql = &mut config["postgresql"];
    let address = postgresql["connect_address"].as_str().unwrap_or(PLACEHOLDER).to_owned();
    let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
    postgresql["connect_address"] = format!("{host}:{}", server.port.as_ref().unwrap_or(&port)).into();
    postgresql["listen"] = format!("{listen}:{port}").into();
    postgresql["parameters"] = Value::Object(local);
    postgresql["bin_dir"] = machine.bin_dir.clone().unwrap_or_default().into();
    postgresql["authentication"] = authentication(server, machine.version);
    if let Some(lines) = &server.pg_hba {
        postgresql["pg_hba"] = hba_lines(lines, machine.version);
    }
    if let Some(lines) = server.pg_ident.as_deref().map(ident_lines).filter(|lines| !lines.is_empty()) {
        postgresql["pg_ident"] = lines.into();
    }
    format(&config)
}

fn authentication(server: &Running, version: u32) -> Value {
    let known = |name: &str| SINCE.iter().all(|(other, since)| *other != name || version >= *since);
    let superuser = server.superuser.iter().filter(|(name, _)| known(name));
    let superuser: Map<String, Value> = superuser.map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    json!({
        "superuser": superuser,
        "replication": {"username": PLACEHOLDER, "password": PLACEHOLDER},
    })
}

/// The lines that are rules; comments go.
fn hba_lines(text: &str, version: u32) -> Value {
    let mut kinds = vec!["local", "host", "hostssl", "hostnossl", "hostgssenc", "hostnogssenc"];
    if version >= 160_000 {
        kinds.extend(["include", "include_if_exists", "include_dir"]);
    }
    let rule = |line: &&str| line.split_whitespace().next().is_some_and(|kind| kinds.contains(&kind));
    text.lines().map(str::trim).filter(rule).collect::<Vec<_>>().into()
}

fn ident_lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    fn texts<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn a_server_becomes_a_configuration() {
        let machine = SampleInput {
            hostname: Some("db1".into()),
            address: Some("10.0.0.7".into()),
            version: 120_005,
            bin_dir: Some("/usr/lib/postgresql/12/bin".into()),
        };
        let server = Running {
            superuser: texts([
                ("username", "postgres"),
                ("password", "p"),
                ("sslcrldir", "/d"),
                ("sslmode", "require"),
            ])
            .into_iter()
            .collect(),
            port: None,
            parameters: texts([
                ("data_directory", "/data"),
                ("cluster_name", "shop"),
                ("listen_addresses", "*"),
                ("port", "5433"),
                ("archive_command", "/bin/true"),
                ("hba_file", "/data/pg_hba.conf"),
                ("max_connections", "120"),
                ("work_mem", "8MB"),
            ]),
            pg_hba: Some("# a comment\n\nlocal all all peer\n  host all all 10.0.0.0/8 md5 \ninclude x\n".into()),
            pg_ident: Some("# only comments\n".into()),
        };
        let text = generate(&machine, &server, &Environment::new());
        let config = yaml::parse(&text).expect("YAML");
        assert_eq!((&config["scope"], &config["name"]), (&json!("shop"), &json!("db1")));
        let postgresql = &config["postgresql"];
        assert_eq!(postgresql["data_dir"], "/data");
        assert_eq!(
            (&postgresql["listen"], &postgresql["connect_address"]),
            (&json!("*:5433"), &json!("10.0.0.7:5433"))
        );
        assert_eq!(postgresql["parameters"], json!({"archive_command": "/bin/true", "hba_file": "/data/pg_hba.conf"}));
        assert_eq!(postgresql["pg_hba"], json!(["local all all peer", "host all all 10.0.0.0/8 md5"]));
        assert_eq!(postgresql.get("pg_ident"), None);
        let superuser = json!({"password": "p", "sslmode": "require", "username": "postgres"});
        assert_eq!(postgresql["authentication"]["superuser"], superuser, "what version 12 does not know is left out");
        let shared = &config["bootstrap"]["dcs"]["postgresql"]["parameters"];
        assert_eq!((&shared["max_connections"], &shared["work_mem"]), (&json!("120"), &json!("8MB")));
        assert_eq!(shared.get("archive_command"), None, "commands are not shared");
    }
}
