//! `docs/compatibility.md` names tests that exist, and nothing is missing from it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the API answers to.
const ENDPOINTS: [&str; 39] = [
    "/",
    "/primary",
    "/master",
    "/read-write",
    "/leader",
    "/standby-leader",
    "/standby_leader",
    "/replica",
    "/read-only",
    "/health",
    "/sync",
    "/synchronous",
    "/async",
    "/asynchronous",
    "/quorum",
    "/read-only-sync",
    "/read-only-synchronous",
    "/read-only-quorum",
    "/liveness",
    "/readiness",
    "/patroni",
    "/cluster",
    "/history",
    "/config",
    "/metrics",
    "/failsafe",
    "PATCH /config",
    "PUT /config",
    "POST /switchover",
    "POST /failover",
    "DELETE /switchover",
    "POST /restart",
    "DELETE /restart",
    "POST /reload",
    "POST /reinitialize",
    "POST /sigterm",
    "POST /citus",
    "POST /mpp",
    "POST /failsafe",
];

/// How the state of a row begins.
const STATES: [&str; 5] = ["supported", "different: ", "not yet", "not: ", "ours alone"];

struct Row {
    what: String,
    state: String,
    shown_by: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn page() -> String {
    std::fs::read_to_string(root().join("docs/compatibility.md")).expect("the page is in the repository")
}

fn rows(page: &str) -> Vec<Row> {
    let cells = |line: &str| line.trim_matches('|').split(" | ").map(|c| c.trim().to_owned()).collect::<Vec<_>>();
    let lines = page.lines().filter(|line| line.starts_with("| ") && !line.ends_with("| state | shown by |"));
    let row = |line: &str| match cells(line).as_slice() {
        [what, state, shown_by] => Row { what: what.clone(), state: state.clone(), shown_by: shown_by.clone() },
        [what, state] if line.ends_with("| |") => {
            Row { what: what.clone(), state: state.trim_end_matches(" |").to_owned(), shown_by: String::new() }
        }
        other => panic!("a row has three cells: {other:?} in {line}"),
    };
    lines.map(row).collect()
}

/// What stands between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The names of all tests: functions with a test's attribute above them, and scenarios.
fn tests() -> BTreeSet<String> {
    let mut files = Vec::new();
    sources(&root().join("crates"), &mut files);
    let mut names = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("UTF-8");
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            let name = line.trim_start_matches("async ").strip_prefix("fn ").and_then(|rest| rest.split('(').next());
            if let Some(name) = name {
                if is_test {
                    names.insert(name.to_owned());
                }
                is_test = false;
            }
        }
    }
    for entry in std::fs::read_dir(root().join("crates/sim/scenarios")).expect("the scenarios") {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|e| e == "txt") {
            names.insert(format!("scenario:{}", path.file_stem().unwrap_or_default().to_string_lossy()));
        }
    }
    names
}

#[test]
fn every_test_that_the_page_names_exists() {
    let tests = tests();
    let page = page();
    let rows = rows(&page);
    assert!(rows.len() > 90, "the tables were read: {}", rows.len());
    for Row { what, state, shown_by } in rows {
        assert!(STATES.iter().any(|s| state.starts_with(s)), "{what}: the state is one of {STATES:?}, not {state:?}");
        let named = quoted(&shown_by);
        assert!(!named.is_empty() || state.starts_with("not"), "{what}: what is {state} is shown by a test");
        for name in named {
            assert!(tests.contains(name), "{what}: there is no test {name}");
        }
    }
}

#[test]
fn no_command_endpoint_or_option_is_missing() {
    let page = page();
    let rows = rows(&page);
    let words: BTreeSet<&str> = rows.iter().flat_map(|row| quoted(&row.what)).collect();
    let out = Command::new(env!("CARGO_BIN_EXE_jogi")).args(["ctl", "--help"]).output().expect("it runs");
    let help = String::from_utf8(out.stdout).expect("UTF-8");
    let commands = help.lines().skip_while(|l| *l != "Commands:").skip(1).take_while(|l| !l.is_empty());
    let commands: Vec<&str> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.len() > 15, "{help}");
    for command in commands {
        assert!(words.contains(command), "the command {command} has no row");
    }
    for endpoint in ENDPOINTS {
        let named = words.contains(endpoint) || words.contains(format!("GET {endpoint}").as_str());
        assert!(named, "the endpoint {endpoint} has no row");
    }
    let missing = |path: &str| {
        let parts: Vec<&str> = path.split('.').collect();
        let is_below = |depth: usize| words.contains(format!("{}.*", parts[..depth].join(".")).as_str());
        !words.contains(path) && !(1..parts.len()).any(is_below)
    };
    let missing: Vec<&str> =
        jogi_config::options::all().iter().map(|option| option.path).filter(|path| missing(path)).collect();
    assert!(missing.is_empty(), "options without a row: {missing:?}");
}
