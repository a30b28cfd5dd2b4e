//! What may depend on what: the list of ARCHITECTURE.md, checked against the manifests.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Crate → what of ours it may use.
const ALLOWED: [(&str, &[&str]); 15] = [
    ("jogi-core", &[]),
    ("jogi-config", &["core"]),
    ("jogi-kv", &[]),
    ("jogi-net", &["core"]),
    ("jogi-dcs", &["net", "config", "core"]),
    ("jogi-pg", &["net", "config", "core"]),
    ("jogi-agent", &["dcs", "pg", "net", "config", "core"]),
    ("jogi-archive", &["pg", "net", "core"]),
    ("jogi-ctl", &["dcs", "pg", "net", "config", "core"]),
    ("jogi-store", &["kv", "net"]),
    ("jogi-up", &["agent", "pg", "net", "config", "core"]),
    // Its configuration is read by the agent's own reader; the metadata of clouds are asked by the one HTTP client.
    ("jogi-appliance", &["net", "config", "core"]),
    ("jogi-sim", &["core", "config"]),
    ("jogi-testkit", &["dcs", "pg", "net", "config", "core"]),
    ("jogi", &["agent", "archive", "appliance", "ctl", "up", "store", "pg", "config", "sim", "net", "core"]),
];

/// What the pure crates may take from outside.
const PURE: [(&str, &[&str]); 3] = [
    ("jogi-core", &["serde", "serde_json", "smol_str", "thiserror", "tracing"]),
    ("jogi-config", &["serde", "serde_json", "thiserror", "tracing", "jiff", "saphyr-parser", "strsim", "jogi-core"]),
    // prost and serde: what clients send is what the log holds, in both of the API's encodings.
    ("jogi-kv", &["base64", "bytes", "crc32fast", "prost", "serde", "thiserror"]),
];

fn normal_dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let name = |v: &Value| v["name"].as_str().expect("a name").to_owned();
    let normal = |package: &Value| {
        let dependencies = package["dependencies"].as_array().expect("a list").iter();
        dependencies.filter(|d| d["kind"].is_null()).map(name).collect()
    };
    metadata["packages"].as_array().expect("packages").iter().map(|p| (name(p), normal(p))).collect()
}

#[test]
fn crates_use_only_what_the_house_allows() {
    let found = normal_dependencies();
    let known: BTreeSet<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
    let unknown: Vec<&String> = found.keys().filter(|name| !known.contains(name.as_str())).collect();
    assert!(unknown.is_empty(), "crates without a place in the house: {unknown:?}");
    for (name, allowed) in ALLOWED {
        let ours = found[name].iter().filter_map(|d| d.strip_prefix("jogi-"));
        let astray: Vec<&str> = ours.filter(|d| !allowed.contains(d)).collect();
        assert!(astray.is_empty(), "{name} may not use {astray:?}");
    }
}

#[test]
fn pure_crates_stay_pure() {
    let found = normal_dependencies();
    for (name, allowed) in PURE {
        let astray: Vec<&String> = found[name].iter().filter(|d| !allowed.contains(&d.as_str())).collect();
        assert!(astray.is_empty(), "{name} may not use {astray:?}");
    }
}
