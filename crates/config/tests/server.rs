//! The table of parameters against the PostgreSQL servers installed here.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use jogi_config::Local;
use jogi_config::postgres::{
    Controlled, DescribeConfig, ServerParameters, effective_postgresql, is_recovery_parameter,
};
use serde_json::json;

/// `postgres` of every major version in the usual places.
fn servers() -> Vec<PathBuf> {
    let places = ["/usr/lib/postgresql", "/usr/local/lib/postgresql", "/opt/postgresql"];
    let versions = places.iter().filter_map(|place| std::fs::read_dir(place).ok()).flatten().flatten();
    versions.map(|version| version.path().join("bin/postgres")).filter(|program| program.exists()).collect()
}

fn output(program: &PathBuf, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output().expect("postgres runs");
    assert!(output.status.success(), "{}: {}", program.display(), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn local() -> Local {
    let text = json!({
        "scope": "demo", "name": "n1", "etcd3": {"host": "h"}, "restapi": {"listen": "10.0.0.1:8008"},
        "postgresql": {"listen": "10.0.0.1:5432", "data_dir": "/d", "authentication": {"replication": {"username": "r"}}},
    });
    Local::load(&[("l.yml".into(), text.to_string())], &BTreeMap::new()).expect("a configuration").local
}

#[test]
fn limits_are_those_of_the_installed_servers() {
    let servers = servers();
    if servers.is_empty() {
        println!("skipped: no PostgreSQL server is installed here");
    }
    for program in servers {
        let version = output(&program, "--version");
        let major: u32 = version
            .split(|c: char| !c.is_ascii_digit())
            .find_map(|digits| digits.parse().ok())
            .expect("a version number");
        let describe = output(&program, "--describe-config");
        let known = DescribeConfig::parse(&describe);
        assert!(known.parameters.len() > 250, "{} parameters", known.parameters.len());
        let wrong: Vec<String> = describe.lines().filter_map(|line| wrong_limit(line, major * 10_000 + 20)).collect();
        assert!(wrong.is_empty(), "PostgreSQL {major}:\n{}", wrong.join("\n"));
    }
}

/// A value below the server's minimum has to become the minimum.
fn wrong_limit(line: &str, version: u32) -> Option<String> {
    let columns: Vec<&str> = line.split('\t').collect();
    let [name, context, _, "INTEGER", _, least, ..] = columns[..] else { return None };
    let least: i64 = least.parse().ok()?;
    if context == "internal" || Controlled::of(name).is_some() || is_recovery_parameter(name) {
        return None;
    }
    let dynamic = json!({"postgresql": {"parameters": {name: least - 1}}});
    let local = local();
    let server = ServerParameters::new(version, &effective_postgresql(&dynamic, &local), &local, None);
    let written = server.file.get(name).cloned();
    (written.as_deref() != Some(least.to_string().as_str()))
        .then(|| format!("{name}: {least} here, written {written:?}"))
}
