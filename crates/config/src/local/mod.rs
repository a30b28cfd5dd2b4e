//! The local configuration of one member: files and variables, merged, typed, complete.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use jogi_core::MemberName;
use jogi_core::view::Tags;

mod api;
mod bootstrap;
mod consul;
mod log;
mod postgresql;
mod section;
mod store;

pub use api::{BasicAuth, Ctl, RestApi, ServerTokens, VerifyClient};
pub use bootstrap::{Bootstrap, CustomBootstrap};
pub use consul::{Consistency, Consul};
pub use log::{DEFAULT_FORMAT, DEFAULT_MAX_QUEUE_SIZE, Log, LogField, LogFormat, LogType};
pub use postgresql::{Authentication, CREDENTIAL_KEYS, Credentials, Postgresql};
pub use store::{Etcd, RawSection, StoreSection};

use section::{Findings, Section};

use crate::dynamic::patch_map;
use crate::postgres::units::parse_int;
use crate::postgres::{Controlled, kind_of};
use crate::yaml::Document;
use crate::{env, options, python, yaml};

/// The configuration of one member. `Debug` hides secrets.
#[derive(Clone, Debug, PartialEq)]
pub struct Local {
    pub name: MemberName,
    pub scope: String,
    /// Begins with a slash: `/service`.
    pub namespace: String,
    pub restapi: RestApi,
    pub ctl: Ctl,
    pub store: StoreSection,
    pub log: Log,
    pub tags: Tags,
    pub watchdog: Watchdog,
    pub bootstrap: Bootstrap,
    pub postgresql: Postgresql,
    pub citus: Option<Citus>,
    /// The merged configuration as written, with its secrets.
    pub raw: RawSection,
}

/// A valid `citus` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Citus {
    pub group: i64,
    pub database: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchdogMode {
    Off,
    Automatic,
    Required,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watchdog {
    pub mode: WatchdogMode,
    pub device: String,
    /// Seconds; −1 gives half of the ttl to the margin.
    pub safety_margin: i64,
    pub driver: String,
}

/// A configuration that can be used, and what is odd about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    pub local: Local,
    pub warnings: Vec<String>,
}

/// One reason why a configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where: `FILE, line 3, column 7`, `postgresql.listen` …
    pub place: String,
    pub message: String,
}

/// All the reasons together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub problems: Vec<Problem>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place.is_empty() {
            true => f.write_str(&self.message),
            false => write!(f, "{}: {}", self.place, self.message),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            write!(f, "{}{problem}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Patroni's words for a configuration without anything in it.
const EMPTY: &str = "Config is empty.";

/// The files and variables as one configuration, and what was found on the way.
fn merge(files: &[(String, String)], env: &BTreeMap<String, String>, found: &mut Findings) -> Map<String, Value> {
    let mut config = Map::new();
    match (files, env.get(env::CONFIGURATION).filter(|text| !text.trim().is_empty())) {
        ([], Some(text)) => merge_file(&mut config, env::CONFIGURATION, text, found),
        (files, _) => {
            files.iter().for_each(|(name, text)| merge_file(&mut config, name, text, found));
            let variables = env::read(env);
            found.warnings.extend(variables.warnings);
            patch_map(&mut config, &variables.config);
        }
    }
    if config.is_empty() && found.problems.is_empty() {
        found.problem("", EMPTY);
    }
    move_exhibitor(&mut config);
    config
}

fn merge_file(config: &mut Map<String, Value>, name: &str, text: &str, found: &mut Findings) {
    match yaml::parse_document(text) {
        Ok(Document { value: Value::Object(map), lines }) => {
            found.warnings.extend(options::unknown_keys(&Value::Object(map.clone()), name, &lines));
            patch_map(config, &map);
        }
        Ok(Document { value, .. }) => {
            found.problem(name, format!("expected a mapping of options, found {}", kind_of(&value)));
        }
        Err(error) => {
            found.problem(format!("{name}, line {}, column {}", error.line, error.column), error.message);
        }
    }
}

/// An old form: `zookeeper.exhibitor` is a section of its own.
fn move_exhibitor(config: &mut Map<String, Value>) {
    if let Some(exhibitor) = config.get("zookeeper").and_then(|section| section.get("exhibitor")).cloned() {
        config.shift_remove("zookeeper");
        config.insert("exhibitor".into(), exhibitor);
    }
}

fn read_namespace(config: &Section<'_>, found: &mut Findings) -> String {
    let text = config.text("namespace", found).unwrap_or_else(|| "service".into());
    format!("/{}", text.trim_matches('/'))
}

/// An invalid section is dropped.
fn read_citus(config: &Map<String, Value>, found: &mut Findings) -> Option<Citus> {
    let section = config.get("citus")?;
    let group = section.get("group").and_then(Value::as_i64);
    let database = section.get("database").and_then(Value::as_str);
    match (group, database) {
        (Some(group), Some(database)) => Some(Citus { group, database: database.to_owned() }),
        (_, _) => {
            found.warn("citus is ignored: expected group, a number, and database, a text");
            None
        }
    }
}

impl Watchdog {
    fn read(section: &Section<'_>, found: &mut Findings) -> Watchdog {
        let modes = [
            ("automatic", WatchdogMode::Automatic),
            ("auto", WatchdogMode::Automatic),
            ("required", WatchdogMode::Required),
            ("require", WatchdogMode::Required),
            ("off", WatchdogMode::Off),
            ("false", WatchdogMode::Off),
            ("disable", WatchdogMode::Off),
            ("disabled", WatchdogMode::Off),
        ];
        // A word that nobody knows switches it off, as Patroni does.
        let default = if section.get("mode").is_some() { WatchdogMode::Off } else { WatchdogMode::Automatic };
        Watchdog {
            mode: section.choice("mode", &modes, default, found),
            device: section.text("device", found).unwrap_or_else(|| "/dev/watchdog".into()),
            safety_margin: section.number("safety_margin", 5, -1..=i64::MAX, found),
            driver: section.text("driver", found).unwrap_or_else(|| "default".into()),
        }
    }
}

/// A flag and a priority that say different things.
fn check_tags(tags: &Tags, found: &mut Findings) {
    for (flag, priority) in [("nofailover", "failover_priority"), ("nosync", "sync_priority")] {
        let given = tags.0.get(flag).map(|value| (value, python::is_true(value)));
        let number = tags.0.get(priority).and_then(|value| parse_int(value, None));
        if let (Some((value, set)), Some(number)) = (given, number)
            && set == (number > 0)
        {
            let value = python::str(value);
            found.warn(format!(
                "Conflicting configuration between {flag}: {value} and {priority}: {number}. Defaulting to {flag}: {value}"
            ));
        }
    }
}

/// Parameters that must be equal in the whole herd come from the store alone.
fn check_controlled(postgresql: &Section<'_>, found: &mut Findings) {
    let Some(Value::Object(parameters)) = postgresql.map.get("parameters") else { return };
    let ignored: Vec<&str> =
        parameters.keys().map(String::as_str).filter(|name| Controlled::of(name).is_some()).collect();
    if !ignored.is_empty() {
        found.warn(format!(
            "postgresql.parameters: {} ignored here: only the store sets them (jogi ctl edit-config; bootstrap.dcs for a new cluster)",
            ignored.join(", ")
        ));
    }
}

/// What the first dynamic configuration asks for and our Patroni neighbours would raise.
fn check_timing(dcs: &Value, found: &mut Findings) {
    for (key, least) in [("ttl", 20), ("loop_wait", 1), ("retry_timeout", 3)] {
        if let Some(number) = dcs.get(key).and_then(|value| parse_int(value, None)).filter(|number| *number < least) {
            found.warn(format!("bootstrap.dcs.{key} is {number}: members that run Patroni will use {least}"));
        }
    }
}

impl Local {
    /// Merges the files in order (later ones win, null deletes), then the `PATRONI_*` variables. Without
    /// any file `PATRONI_CONFIGURATION` is the whole configuration, else the variables alone.
    /// Each file is its name, for messages, and its text.
    pub fn load(files: &[(String, String)], env: &BTreeMap<String, String>) -> Result<Loaded, ConfigError> {
        let mut found = Findings::default();
        let config = merge(files, env, &mut found);
        if config.is_empty() {
            return Err(ConfigError { problems: found.problems });
        }
        let local = Self::read(config, &mut found);
        match local.filter(|_| found.problems.is_empty()) {
            Some(local) => Ok(Loaded { local, warnings: found.warnings }),
            None => Err(ConfigError { problems: found.problems }),
        }
    }

    /// What [`Local::load`] reads, merged and not looked at: for checks of the whole of it.
    pub fn merged(files: &[(String, String)], env: &BTreeMap<String, String>) -> Result<Value, ConfigError> {
        let mut found = Findings::default();
        let config = merge(files, env, &mut found);
        // That there is nothing is a finding for the checks.
        found.problems.retain(|problem| problem.message != EMPTY);
        match found.problems.is_empty() {
            true => Ok(Value::Object(config)),
            false => Err(ConfigError { problems: found.problems }),
        }
    }

    /// Every section is read before the first missing one ends it, so that all problems are found.
    fn read(config: Map<String, Value>, found: &mut Findings) -> Option<Local> {
        let top = Section { path: String::new(), map: Cow::Borrowed(&config) };
        let postgresql_section = top.section("postgresql", found);
        let name = top.text("name", found).or_else(|| postgresql_section.text("name", found));
        if name.is_none() {
            top.missing("name", "a name for this member, unique in its cluster", found);
        }
        let scope = top.text("scope", found);
        if scope.is_none() {
            top.missing("scope", "the name of the cluster", found);
        }
        let namespace = read_namespace(&top, found);
        let restapi = RestApi::read(&top.section("restapi", found), found);
        let ctl = Ctl::read(&top.section("ctl", found), found);
        let problems = found.problems.len();
        let store = StoreSection::read(&config, found);
        if store.is_none() && found.problems.len() == problems {
            let expected = format!("no store is configured: expected a section {}", StoreSection::names());
            found.problem("", expected);
        }
        let log = Log::read(&top.section("log", found), found);
        let tags = Tags(top.section("tags", found).map.into_owned());
        check_tags(&tags, found);
        let watchdog = Watchdog::read(&top.section("watchdog", found), found);
        let citus = read_citus(&config, found);
        let bootstrap = Bootstrap::read(&top.section("bootstrap", found), citus.is_some(), found);
        check_timing(&bootstrap.dcs, found);
        found.warnings.extend(options::check_dynamic(&bootstrap.dcs, "bootstrap.dcs"));
        let postgresql = Postgresql::read(&postgresql_section, found);
        check_controlled(&postgresql_section, found);
        Some(Local {
            name: MemberName::from(name?),
            scope: scope?,
            namespace,
            restapi: restapi?,
            ctl,
            store: store?,
            log,
            tags,
            watchdog,
            bootstrap,
            postgresql: postgresql?,
            citus,
            raw: RawSection(config),
        })
    }
}

/// What `jogi ctl` needs: nothing in it is mandatory.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientConfig {
    pub scope: Option<String>,
    pub namespace: String,
    pub store: Option<StoreSection>,
    pub ctl: Ctl,
    pub citus: Option<Citus>,
    /// The `postgresql` section as written: the superuser, for `ctl query` and `dsn`.
    pub postgresql: RawSection,
    pub warnings: Vec<String>,
}

impl ClientConfig {
    /// As [`Local::load`], for the control tool. No file and no variable is no error: everything may
    /// come from the command line.
    pub fn load(files: &[(String, String)], env: &BTreeMap<String, String>) -> Result<ClientConfig, ConfigError> {
        let mut found = Findings::default();
        let config = merge(files, env, &mut found);
        if config.is_empty() {
            found.problems.retain(|problem| problem.message != EMPTY);
        }
        let top = Section { path: String::new(), map: Cow::Borrowed(&config) };
        let client = ClientConfig {
            scope: top.text("scope", &mut found),
            namespace: read_namespace(&top, &mut found),
            store: StoreSection::read(&config, &mut found),
            ctl: Ctl::read(&top.section("ctl", &mut found), &mut found),
            citus: read_citus(&config, &mut found),
            postgresql: RawSection(top.section("postgresql", &mut found).map.into_owned()),
            warnings: Vec::new(),
        };
        match found.problems.is_empty() {
            true => Ok(ClientConfig { warnings: found.warnings, ..client }),
            false => Err(ConfigError { problems: found.problems }),
        }
    }
}
