//! Environments and what must come of them, written down from the reference of Spilo's environment, each line with
//! its section. A case is `== name`, facts and variables, `--`, expectations.

use std::collections::BTreeMap;
use std::path::Path;

use jogi_appliance::document::Document;
use jogi_appliance::facts::{Facts, Provider, Renice};
use jogi_appliance::plan::{Content, Notice, Plan, plan};
use jogi_appliance::variables::{Environment, Refusal};
use jogi_config::{Local, yaml};
use serde_json::Value;

struct Case {
    place: String,
    facts: Facts,
    environment: Environment,
    expected: Vec<String>,
}

fn cases() -> Vec<Case> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files: Vec<_> = std::fs::read_dir(dir).expect("the cases are there").flatten().map(|e| e.path()).collect();
    files.sort();
    files.iter().flat_map(|file| read(file)).collect()
}

fn read(file: &Path) -> Vec<Case> {
    let text = std::fs::read_to_string(file).expect("a file of cases");
    let name = file.file_name().expect("a name").to_string_lossy();
    let case = |block: &str| {
        let (title, rest) = block.split_once('\n').expect("a title");
        // A case may have no line at all before the dashes.
        let rest = format!("\n{rest}");
        let (given, expected) = rest.split_once("\n--\n").expect("a line with two dashes");
        let given = given.trim_start_matches('\n');
        let mut case = Case {
            place: format!("{name}: {}", title.trim()),
            facts: facts(),
            environment: Environment::new(),
            expected: expected.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect(),
        };
        given.lines().for_each(|line| given_line(line, &mut case));
        case
    };
    text.strip_prefix("== ").unwrap_or(&text).split("\n== ").map(case).collect()
}

fn facts() -> Facts {
    let servers = (14..=18).map(|v| (format!("/usr/lib/postgresql/{v}/bin"), v.to_string())).collect();
    Facts {
        host_name: "host-0".into(),
        host_ip: "10.2.3.4".into(),
        memory_mb: 30720,
        cpus: 4,
        dual_stack: true,
        servers,
        path: "/usr/bin:/bin".into(),
        ..Facts::default()
    }
}

fn given_line(line: &str, case: &mut Case) {
    if let Some(fact) = line.strip_prefix("fact ") {
        let (key, value) = fact.split_once(' ').expect("a fact and its value");
        let text = || Some(value.to_owned());
        match key {
            "provider" => case.facts.provider = Provider::parse(value).expect("a provider"),
            "zone" => case.facts.instance.zone = text(),
            "instance_id" => case.facts.instance.id = text(),
            "instance_ip" => case.facts.instance.ip = text(),
            "memory_mb" => case.facts.memory_mb = value.parse().expect("a number"),
            "dual_stack" => case.facts.dual_stack = value == "true",
            "data_version" => case.facts.data_version = text(),
            "renice" => case.facts.renice = Renice::Yes,
            other => panic!("{}: no such fact: {other}", case.place),
        }
        return;
    }
    let (name, value) = line.split_once('=').expect("NAME=value");
    case.environment.insert(name.to_owned(), value.to_owned());
}

#[test]
fn environments_become_what_the_document_says() {
    let cases = cases();
    assert!(cases.len() >= 80, "only {} cases", cases.len());
    let failed: Vec<String> = cases.iter().flat_map(failures).collect();
    assert!(failed.is_empty(), "{} of the lines:\n{}", failed.len(), failed.join("\n"));
}

/// What is generated loads in the agent; it says nothing beyond what the plan itself has told.
#[test]
fn every_configuration_loads_in_the_agent_without_a_word() {
    let mut loaded = 0;
    for case in cases() {
        let Ok(plan) = plan(&case.environment, &case.facts) else { continue };
        let text = yaml::dump(&Value::Object(config(&plan).root().clone()));
        let has_store = case.expected.iter().all(|line| !line.ends_with("warns no store"));
        if !has_store {
            continue;
        }
        let read = Local::load(&[("postgres.yml".into(), text)], &BTreeMap::new());
        let warnings = read.map(|read| read.warnings).unwrap_or_else(|error| panic!("{}: {error}", case.place));
        // An option that the user's own mapping invented is the user's.
        let ours: Vec<&String> = warnings.iter().filter(|warning| !warning.contains("new_thing")).collect();
        assert!(ours.is_empty(), "{}: {ours:?}", case.place);
        loaded += 1;
    }
    assert!(loaded >= 80, "only {loaded} were loaded");
}

fn config(plan: &Plan) -> &Document {
    let yaml = plan.files.iter().find_map(|file| match &file.content {
        Content::Yaml(config) => Some(config),
        Content::Text { .. } | Content::SelfSigned { .. } => None,
    });
    yaml.expect("a configuration")
}

fn failures(case: &Case) -> Vec<String> {
    let result = plan(&case.environment, &case.facts);
    let fails = |line: &String| {
        let (section, check) = line.split_once(" | ").expect("a section before the bar");
        assert!(section.starts_with(|c: char| c.is_ascii_digit()), "{}: {line}", case.place);
        Some(format!("{}: {line}\n    {}", case.place, look(check, &result).err()?))
    };
    case.expected.iter().filter_map(fails).collect()
}

fn look(check: &str, result: &Result<Plan, Refusal>) -> Result<(), String> {
    if let Some(part) = check.strip_prefix("refuses ") {
        return contains(&result.as_ref().err().map(ToString::to_string).unwrap_or_default(), part);
    }
    if let Some(part) = check.strip_prefix("never ") {
        let all = format!("{result:?}{}", result.as_ref().err().map(ToString::to_string).unwrap_or_default());
        return if all.contains(part) { Err(format!("{part} is shown")) } else { Ok(()) };
    }
    let plan = result.as_ref().map_err(ToString::to_string)?;
    let path = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<String>>();
    if let Some(at) = check.strip_prefix("no config ") {
        return value_at(plan, &path(at)).map_or(Ok(()), |found| Err(format!("found {found}")));
    }
    if let Some(at) = check.strip_prefix("no file ") {
        return plan.file(at).map_or(Ok(()), |file| Err(format!("found {:?}", file.content)));
    }
    if let Some(rest) = check.strip_prefix("config ") {
        let (at, expected) = rest.split_once(" = ").expect("a path and a value");
        return same_value(value_at(plan, &path(at)), expected);
    }
    for (word, is) in [("warns ", 0), ("notes ", 1), ("not served ", 2)] {
        if let Some(part) = check.strip_prefix(word) {
            let texts = plan.notices.iter().filter_map(|notice| match (notice, is) {
                (Notice::Warning(text), 0) | (Notice::Note(text), 1) => Some(text.clone()),
                (Notice::NotServed { what, .. }, 2) => Some((*what).to_owned()),
                _ => None,
            });
            return contains(&texts.collect::<Vec<_>>().join("\n"), part);
        }
    }
    file_line(plan, check)
}

fn file_line(plan: &Plan, check: &str) -> Result<(), String> {
    let (word, rest) = check.split_once(' ').expect("a word and more");
    let (at, rest) = rest.split_once(' ').expect("a path and more");
    let file = plan.file(at).ok_or_else(|| {
        format!("no such file among {:?}", plan.files.iter().map(|file| &file.path).collect::<Vec<_>>())
    });
    // The key of a pair that is made is no file of its own.
    let file = file?;
    let (operator, expected) = rest.split_once(' ').expect("an operator and a text");
    let text = match &file.content {
        Content::Text { text, .. } => text.trim_end_matches('\n').to_owned(),
        Content::SelfSigned { common_name, .. } => common_name.clone(),
        Content::Yaml(_) => String::new(),
    };
    match (word, operator) {
        ("mode", _) => same(&format!("{:04o}", file.mode), expected),
        ("self-signed", _) if !matches!(file.content, Content::SelfSigned { .. }) => Err("it is given".into()),
        ("file" | "self-signed", "=") => same(&text, expected),
        ("file", "~") => contains(&text, expected),
        _ => panic!("no such check: {check}"),
    }
}

fn value_at(plan: &Plan, path: &[String]) -> Option<Value> {
    let (first, rest) = path.split_first()?;
    let step = |value: &Value, key: &String| match value {
        Value::Array(items) => items.get(key.parse::<usize>().ok()?).cloned(),
        value => value.get(key).cloned(),
    };
    rest.iter().try_fold(config(plan).root().get(first)?.clone(), |value, key| step(&value, key))
}

/// The expected text is YAML, or what YAML would not read as one plain text: then the text itself.
fn same_value(found: Option<Value>, expected: &str) -> Result<(), String> {
    let found = found.ok_or("it is not there")?;
    if found.as_str() == Some(expected) {
        return Ok(());
    }
    match yaml::parse(expected) {
        Ok(value) if value == found => Ok(()),
        Ok(_) | Err(_) => Err(format!("found {found}")),
    }
}

fn same(found: &str, expected: &str) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("found {found:?}")) }
}

fn contains(found: &str, expected: &str) -> Result<(), String> {
    if found.contains(expected) { Ok(()) } else { Err(format!("found {found:?}")) }
}
