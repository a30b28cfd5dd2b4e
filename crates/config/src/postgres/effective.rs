//! The `postgresql` section as the layers together make it.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

use super::parameters::says_yes;
use super::{CONTROLLED, Controlled, Parameters, ReplicaMethod, is_recovery_parameter};
use crate::Local;
use crate::local::RawSection;
use crate::python;

/// The effective `postgresql` section: defaults, then the store, then the local files.
#[derive(Clone, Debug, PartialEq)]
pub struct Effective {
    pub raw: RawSection,
    /// Before version-dependent treatment; see [`super::ServerParameters`].
    pub parameters: Parameters,
    pub use_slots: bool,
    pub use_pg_rewind: bool,
    pub remove_data_directory_on_rewind_failure: bool,
    pub remove_data_directory_on_diverged_timelines: bool,
    /// In order of preference; never empty.
    pub create_replica_methods: Vec<ReplicaMethod>,
    pub callbacks: Callbacks,
    pub pg_hba: Option<Vec<String>>,
    pub pg_ident: Option<Vec<String>>,
    pub recovery_conf: Map<String, Value>,
    /// None: programs are searched in PATH.
    pub bin_dir: Option<PathBuf>,
    pub bin_names: BinNames,
    /// How long a start may take before it is called failed. Zero: no limit.
    pub pg_ctl_timeout: Duration,
    pub pre_promote: Option<String>,
    pub before_stop: Option<String>,
    pub use_unix_socket: bool,
    pub use_unix_socket_repl: bool,
    pub custom_conf: Option<String>,
    /// `NAME.conf`, `NAME.base.conf`.
    pub config_base_name: String,
    pub krbsrvname: Option<String>,
    pub warnings: Vec<String>,
}

/// Commands, split by shell rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Callbacks {
    pub on_start: Option<String>,
    pub on_stop: Option<String>,
    pub on_restart: Option<String>,
    pub on_reload: Option<String>,
    pub on_role_change: Option<String>,
}

/// The names of PostgreSQL's programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BinNames {
    pub pg_ctl: String,
    pub initdb: String,
    pub pg_controldata: String,
    pub pg_basebackup: String,
    pub postgres: String,
    pub pg_isready: String,
    pub pg_rewind: String,
}

/// What the store may not set: it belongs to one member.
const LOCAL_ONLY: [&str; 7] =
    ["connect_address", "proxy_address", "listen", "config_dir", "data_dir", "pgpass", "authentication"];

/// Merges the store's configuration (`config` key) with the local one.
pub fn effective_postgresql(dynamic: &Value, local: &Local) -> Effective {
    let mut layers = Layers::new();
    match dynamic.get("postgresql") {
        Some(Value::Object(section)) => layers.dynamic(section),
        None | Some(Value::Null) => {}
        Some(other) => layers.warnings.push(not_a_mapping("postgresql of the dynamic configuration", other)),
    }
    layers.local(&local.postgresql.raw.0);
    layers.finish(local)
}

fn not_a_mapping(what: &str, value: &Value) -> String {
    format!("{what} is ignored: expected a mapping, found {}", kind_of(value))
}

pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

struct Layers {
    section: Map<String, Value>,
    parameters: Parameters,
    warnings: Vec<String>,
}

impl Layers {
    fn new() -> Layers {
        let mut parameters = Parameters::default();
        // How much WAL to keep has its default where the version is known.
        for row in CONTROLLED.iter().filter(|row| row.command_line) {
            if let Some(value) = row.default_value() {
                parameters.set(row.name, value);
            }
        }
        Layers { section: Map::new(), parameters, warnings: Vec::new() }
    }

    fn dynamic(&mut self, section: &Map<String, Value>) {
        for (key, value) in section.iter().filter(|(key, _)| !LOCAL_ONLY.contains(&key.as_str())) {
            match key.as_str() {
                "parameters" => self.parameters(value, Self::dynamic_parameter),
                key => {
                    self.section.insert(key.to_owned(), value.clone());
                }
            }
        }
    }

    fn local(&mut self, section: &Map<String, Value>) {
        for (key, value) in section {
            match key.as_str() {
                "parameters" => self.parameters(value, Self::local_parameter),
                // Slots are used in the whole herd or nowhere.
                "use_slots" => {}
                key => {
                    self.section.insert(key.to_owned(), value.clone());
                }
            }
        }
    }

    fn parameters(&mut self, value: &Value, set: fn(&mut Self, &str, &Value)) {
        match value {
            Value::Object(parameters) => parameters.iter().for_each(|(name, value)| set(self, name, value)),
            Value::Null => {}
            other => self.warnings.push(not_a_mapping("postgresql.parameters", other)),
        }
    }

    fn dynamic_parameter(&mut self, name: &str, value: &Value) {
        match Controlled::of(name) {
            None => self.parameters.set(name, value.clone()),
            Some(row) => match row.accept(value) {
                Some(value) => self.parameters.set(name, value),
                None => self.warnings.push(row.refusal(value)),
            },
        }
    }

    fn local_parameter(&mut self, name: &str, value: &Value) {
        if Controlled::of(name).is_none() {
            self.parameters.set(name, value.clone());
        }
    }

    fn text(&self, key: &str) -> Option<String> {
        self.section.get(key).filter(|value| python::is_true(value)).map(python::str)
    }

    fn flag(&self, key: &str) -> bool {
        says_yes(self.section.get(key))
    }

    /// A list of lines. Patroni skips what is no text.
    fn lines(&mut self, key: &str) -> Option<Vec<String>> {
        match self.section.get(key) {
            Some(Value::Array(items)) if !items.is_empty() => {
                Some(items.iter().filter_map(Value::as_str).map(str::to_owned).collect())
            }
            None | Some(Value::Null | Value::Array(_)) => None,
            Some(other) => {
                self.warnings
                    .push(format!("postgresql.{key} is ignored: expected a list of lines, found {}", kind_of(other)));
                None
            }
        }
    }

    fn map(&mut self, key: &str) -> Map<String, Value> {
        match self.section.get(key) {
            Some(Value::Object(map)) => map.clone(),
            None | Some(Value::Null) => Map::new(),
            Some(other) => {
                self.warnings.push(not_a_mapping(&format!("postgresql.{key}"), other));
                Map::new()
            }
        }
    }

    /// Recovery parameters among the server's stand for the whole of recovery_conf.
    fn recovery_conf(&mut self) -> Map<String, Value> {
        let misplaced: Map<String, Value> = self
            .parameters
            .iter()
            .filter(|(name, _)| is_recovery_parameter(name))
            .map(|(name, value)| (name.to_lowercase(), value.clone()))
            .collect();
        match misplaced.is_empty() {
            true => self.map("recovery_conf"),
            false => misplaced,
        }
    }

    fn replica_methods(&self) -> Vec<ReplicaMethod> {
        let names = ["create_replica_methods", "create_replica_method"];
        let given = names.iter().find_map(|name| self.section.get(*name).filter(|value| python::is_true(value)));
        let names: Vec<String> = match given {
            Some(Value::Array(names)) => names.iter().map(python::str).collect(),
            Some(Value::String(name)) => vec![name.clone()],
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => Vec::new(),
        };
        match names.is_empty() {
            true => vec![ReplicaMethod::of("basebackup", &self.section)],
            false => names.iter().map(|name| ReplicaMethod::of(name, &self.section)).collect(),
        }
    }

    fn pg_ctl_timeout(&mut self) -> Duration {
        const DEFAULT: Duration = Duration::from_secs(60);
        let Some(value) = self.section.get("pg_ctl_timeout") else { return DEFAULT };
        let seconds = if python::is_true(value) { python::str(value).trim().parse::<f64>().ok() } else { Some(0.0) };
        match seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
            Some(timeout) => timeout,
            None => {
                self.warnings.push("postgresql.pg_ctl_timeout is ignored: expected seconds; 60 is used".into());
                DEFAULT
            }
        }
    }

    fn finish(mut self, local: &Local) -> Effective {
        let callbacks = self.map("callbacks");
        let callback = |name: &str| callbacks.get(name).filter(|value| python::is_true(value)).map(python::str);
        let callbacks = Callbacks {
            on_start: callback("on_start"),
            on_stop: callback("on_stop"),
            on_restart: callback("on_restart"),
            on_reload: callback("on_reload"),
            on_role_change: callback("on_role_change"),
        };
        let bin_names = BinNames::read(&self.map("bin_name"));
        Effective {
            use_slots: self.section.get("use_slots").is_none_or(|value| says_yes(Some(value))),
            use_pg_rewind: self.flag("use_pg_rewind") || local.postgresql.legacy_pg_rewind,
            remove_data_directory_on_rewind_failure: self.flag("remove_data_directory_on_rewind_failure"),
            remove_data_directory_on_diverged_timelines: self.flag("remove_data_directory_on_diverged_timelines"),
            create_replica_methods: self.replica_methods(),
            callbacks,
            pg_hba: self.lines("pg_hba"),
            pg_ident: self.lines("pg_ident"),
            recovery_conf: self.recovery_conf(),
            bin_dir: self.text("bin_dir").map(PathBuf::from),
            bin_names,
            pg_ctl_timeout: self.pg_ctl_timeout(),
            pre_promote: self.text("pre_promote"),
            before_stop: self.text("before_stop"),
            use_unix_socket: self.flag("use_unix_socket"),
            use_unix_socket_repl: self.flag("use_unix_socket_repl"),
            custom_conf: self.text("custom_conf"),
            config_base_name: self.text("config_base_name").unwrap_or_else(|| "postgresql".into()),
            krbsrvname: self.text("krbsrvname"),
            parameters: self.parameters,
            warnings: self.warnings,
            raw: RawSection(self.section),
        }
    }
}

impl Effective {
    /// A method that something else than `create_replica_methods` names (a standby cluster's section).
    pub fn replica_method(&self, name: &str) -> ReplicaMethod {
        ReplicaMethod::of(name, &self.raw.0)
    }

    /// `postgresql.conf`
    pub fn conf_name(&self) -> String {
        format!("{}.conf", self.config_base_name)
    }

    /// `postgresql.base.conf`
    pub fn base_conf_name(&self) -> String {
        format!("{}.base.conf", self.config_base_name)
    }
}

impl BinNames {
    fn read(section: &Map<String, Value>) -> BinNames {
        let name = |program: &str| match section.get(program).filter(|value| python::is_true(value)) {
            Some(value) => python::str(value),
            None => program.to_owned(),
        };
        BinNames {
            pg_ctl: name("pg_ctl"),
            initdb: name("initdb"),
            pg_controldata: name("pg_controldata"),
            pg_basebackup: name("pg_basebackup"),
            postgres: name("postgres"),
            pg_isready: name("pg_isready"),
            pg_rewind: name("pg_rewind"),
        }
    }
}
