//! What Patroni 4.1.5 makes of the same inputs: `golden/*.jsonl`, made by `golden/generate.py`.

use std::collections::BTreeMap;

use jogi_config::postgres::{self, Conninfo, ServerParameters, Setting, effective_postgresql, units};
use jogi_config::validate::{Machine, validate};
use jogi_config::{HostPort, Local, dynamic, env, sample};
use serde_json::{Map, Value, json};

fn rows(name: &str) -> Vec<Value> {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect("the samples are in the repository");
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    assert!(!rows.is_empty());
    rows
}

/// Fails with the first differences, all of them counted.
fn check(name: &str, mut difference: impl FnMut(&Value) -> Option<String>) {
    let rows = rows(name);
    let wrong: Vec<String> = rows.iter().filter_map(|row| Some(format!("{row}\n  {}", difference(row)?))).collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), rows.len(), wrong[..wrong.len().min(15)].join("\n"));
}

fn differ<T: PartialEq + std::fmt::Debug>(ours: T, theirs: T) -> Option<String> {
    (ours != theirs).then(|| format!("ours {ours:?}\n  theirs {theirs:?}"))
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn texts(value: &Value) -> BTreeMap<String, String> {
    let map = value.as_object().expect("an object");
    map.iter().map(|(key, value)| (key.clone(), text(value).to_owned())).collect()
}

#[test]
fn numbers_with_units() {
    check("units.jsonl", |row| match text(&row[0]) {
        "int" => differ(json!(units::parse_int_text(text(&row[1]), row[2].as_str())), row[3].clone()),
        "real" => {
            let (ours, theirs) = (units::parse_real_text(text(&row[1]), row[2].as_str()), row[3].as_f64());
            let close = |a: f64, b: f64| (a - b).abs() <= a.abs() * 1e-12;
            let same = ours == theirs || ours.zip(theirs).is_some_and(|(a, b)| close(a, b));
            (!same).then(|| format!("ours {ours:?}"))
        }
        "human" => differ(units::humanize(text(&row[1]), text(&row[2]), row[3].as_str()), text(&row[4]).to_owned()),
        _ => {
            let setting = Setting {
                setting: text(&row[1]).into(),
                vartype: text(&row[2]).into(),
                unit: row[3].as_str().map(str::to_owned),
                context: "user".into(),
            };
            differ(Some(postgres::equivalent(&setting, &row[4])), row[5].as_bool())
        }
    });
}

#[test]
fn connection_strings_and_password_files() {
    let version = |row: &Value| u32::try_from(row.as_u64().expect("a version")).expect("a small number");
    check("conninfo.jsonl", |row| match text(&row[0]) {
        "dsn" => differ(Conninfo(texts(&row[2])).to_dsn(version(&row[1])), text(&row[3]).to_owned()),
        "pgpass" => {
            let wanted = ["host", "port", "user", "password"];
            let map = texts(&row[1]).into_iter().filter(|(key, _)| wanted.contains(&key.as_str())).collect();
            differ(postgres::pgpass_text(&Conninfo(map)), row[2].as_str().map(str::to_owned))
        }
        _ => {
            let theirs = (!row[2].is_null()).then(|| texts(&row[2]));
            differ(Conninfo::parse(text(&row[1])).map(|conninfo| conninfo.0), theirs)
        }
    });
}

#[test]
fn patches_and_settings() {
    check("dynamic.jsonl", |row| {
        let mut config = row[1].clone();
        if text(&row[0]) == "patch" {
            let changed = dynamic::patch(&mut config, &row[2]);
            return differ((json!(changed), config), (row[3].clone(), row[4].clone()));
        }
        for setting in row[2].as_array().expect("a list") {
            dynamic::set(&mut config, text(setting)).expect("a valid setting");
        }
        differ(config, row[3].clone())
    });
}

#[test]
fn variables() {
    check("environment.jsonl", |row| {
        let read = env::read(&texts(&row[0]));
        // Patroni leaves sections whose only value it could not read.
        let mut theirs = row[1].clone();
        theirs.as_object_mut().expect("an object").retain(|_, section| section != &json!({}));
        differ(Value::Object(read.config), theirs)
    });
}

/// The local configuration of a sample: the merged YAML text, loaded as a file.
fn load(config: &Value) -> Local {
    let file = ("sample.yml".to_owned(), config.to_string());
    Local::load(&[file], &BTreeMap::new()).expect("a configuration that starts").local
}

#[test]
fn effective_postgresql_sections_and_parameters() {
    check("effective.jsonl", |row| {
        let local = load(&row["local"]);
        let effective = effective_postgresql(&row["dynamic"], &local);
        let version = u32::try_from(row["version"].as_u64().expect("a number")).expect("a small number");
        let server = ServerParameters::new(version, &effective, &local, None);
        let line: Vec<String> = server.command_line.iter().map(|(name, value)| format!("--{name}={value}")).collect();
        // Patroni shows the default of use_slots, and moves recovery parameters later.
        let mut raw: Map<String, Value> = effective.raw.0.clone();
        raw.entry("use_slots").or_insert(json!(true));
        differ(Value::Object(raw), row["raw"].clone())
            .or_else(|| differ(json!(server.file), row["file"].clone()))
            .or_else(|| differ(json!(line), row["command_line"].clone()))
    });
}

struct Stub;

impl Machine for Stub {
    fn can_listen(&self, _: &HostPort) -> Result<(), String> {
        Ok(())
    }

    fn can_connect(&self, address: &HostPort, written: &str) -> Result<(), String> {
        match address.host.as_str() {
            "unreachable" => Err(format!("{written} is not reachable")),
            _ => Ok(()),
        }
    }

    fn data_dir(&self, _: &str) -> Result<(), String> {
        Ok(())
    }

    fn directory(&self, path: &str) -> Result<(), String> {
        match path {
            "/nonexistent/bin" => Err(format!("Directory '{path}' does not exist.")),
            _ => Ok(()),
        }
    }

    fn program(&self, _: Option<&str>, name: &str) -> bool {
        !["missing", ""].contains(&name)
    }
}

#[test]
fn findings_of_validate_config() {
    check("validate.jsonl", |row| {
        let ours: Vec<String> = validate(&row[0], &Stub).iter().map(ToString::to_string).collect();
        let theirs = row[1].as_array().expect("a list").iter().map(|line| text(line).to_owned());
        // A wrong value of a secret is not shown, nor is an exception of Python.
        let shown = |line: String| match line.split_once("password ") {
            Some((path, rest)) if !rest.starts_with(' ') => {
                format!("{path}password *** {}", rest.split_once(' ').map_or("", |(_, message)| message))
            }
            Some(_) | None => line.replace("'int' object has no attribute 'rsplit'", "contains a wrong value"),
        };
        differ(ours, theirs.map(shown).collect())
    });
}

#[test]
fn sample_configurations() {
    check("sample.jsonl", |row| {
        let input = sample::SampleInput {
            hostname: Some("host1".into()),
            address: Some("10.0.0.1".into()),
            version: u32::try_from(row[0].as_u64().expect("a version")).expect("a small number"),
            bin_dir: None,
        };
        differ(sample::sample_config(&input, &texts(&row[1])), text(&row[2]).to_owned())
    });
}
