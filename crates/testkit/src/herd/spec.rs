//! What a herd shall be: how many members, which settings, where.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::Herd;
use crate::require::{self, Need};

/// Names a template of the agent's command, `{config}` standing for its file, when another program than the built one
/// shall be tested: `JOGI_AGENT='/opt/ha-bench/bin/patroni {config}'`.
const AGENT: &str = "JOGI_AGENT";

/// The same for the control tool: `JOGI_CTL='/opt/ha-bench/bin/patronictl -c {config}'`.
const CTL: &str = "JOGI_CTL";

/// Runs all tests on another agent, those too that it will fail.
const ALL: &str = "JOGI_TEST_UNPROMISED";

/// Switches off one protection of a debug build, by name, so that a test can be seen to fail without it.
pub const WEAKEN: &str = "JOGI_TEST_WEAKEN";

/// Settings of the cluster that let a test see expiry soon. Patroni raises `ttl` to 20 and `retry_timeout` to 3: a test
/// run against it waits longer for the same.
fn quick_dcs() -> Value {
    json!({
        "ttl": 5, "loop_wait": 1, "retry_timeout": 2, "maximum_lag_on_failover": 1048576,
        "postgresql": {
            "use_pg_rewind": true, "use_slots": true,
            "parameters": {"wal_log_hints": "on", "max_connections": 50, "wal_keep_size": "64MB"},
        },
    })
}

/// A herd to be made.
#[derive(Clone, Debug)]
pub struct HerdSpec {
    pub(super) jogi: PathBuf,
    pub(super) agent: Option<String>,
    pub(super) ctl: Option<String>,
    pub(super) member_agent: BTreeMap<String, String>,
    pub(super) members: usize,
    pub(super) loopback: bool,
    pub(super) dcs: Value,
    pub(super) config: Value,
    pub(super) member_config: BTreeMap<String, Value>,
    pub(super) env: Vec<(String, String)>,
    pub(super) store_front: bool,
    pub(super) built_in_store: bool,
}

impl HerdSpec {
    /// Three members on hosts of their own. `jogi` is the binary under test: `env!("CARGO_BIN_EXE_jogi")`.
    pub fn new(jogi: impl Into<PathBuf>) -> HerdSpec {
        HerdSpec {
            jogi: jogi.into(),
            agent: env::var(AGENT).ok(),
            ctl: env::var(CTL).ok(),
            member_agent: BTreeMap::new(),
            members: 3,
            loopback: false,
            dcs: quick_dcs(),
            config: json!({}),
            member_config: BTreeMap::new(),
            env: Vec::new(),
            store_front: false,
            built_in_store: false,
        }
    }

    /// Whether the machine can carry such a herd; prints why not.
    ///
    /// # Panics
    /// Under `CI=true` when it cannot.
    #[must_use]
    pub fn possible(&self) -> bool {
        let always = [Need::PostgreSql, Need::PostgresUser, Need::Program("etcd"), Need::Program("setpriv")];
        let hosts = [Need::Networks, Need::Program("ip")];
        let needs: Vec<Need> = always.into_iter().chain(hosts.into_iter().filter(|_| !self.loopback)).collect();
        require::can(&needs)
    }

    /// Whether another program than the built one is under test: see `JOGI_AGENT`.
    pub fn is_foreign(&self) -> bool {
        self.agent.is_some()
    }

    /// Whether what only jogi promises may be tested. Prints that it is not.
    #[must_use]
    pub fn promises(&self, what: &str) -> bool {
        if env::var_os(ALL).is_some() {
            return true;
        }
        if self.is_foreign() {
            eprintln!("SKIPPED: {what}: the agent of {AGENT} does not promise that");
        }
        !self.is_foreign()
    }

    /// Runs another agent and another control tool than the built ones, whatever the environment names.
    pub fn programs(mut self, agent: String, ctl: String) -> Self {
        (self.agent, self.ctl) = (Some(agent), Some(ctl));
        self
    }

    /// Runs the built agent and control tool, whatever the environment names.
    pub fn own_programs(mut self) -> Self {
        (self.agent, self.ctl) = (None, None);
        self
    }

    /// Runs another agent on one member: a mixed herd.
    pub fn member_agent(mut self, member: &str, agent: String) -> Self {
        self.member_agent.insert(member.to_owned(), agent);
        self
    }

    pub fn members(mut self, count: usize) -> Self {
        self.members = count;
        self
    }

    /// All on 127.0.0.1, on free ports, without namespaces: links cannot be cut, and root is not needed.
    pub fn on_loopback(mut self) -> Self {
        self.loopback = true;
        self
    }

    /// Laid over `bootstrap.dcs`; null removes.
    pub fn dcs(mut self, settings: Value) -> Self {
        merge(&mut self.dcs, settings);
        self
    }

    /// Laid over every member's configuration file; null removes.
    pub fn config(mut self, settings: Value) -> Self {
        merge(&mut self.config, settings);
        self
    }

    /// Laid over the configuration file of one member.
    pub fn member_config(mut self, member: &str, settings: Value) -> Self {
        merge(self.member_config.entry(member.to_owned()).or_insert(json!({})), settings);
        self
    }

    /// An environment variable of every agent.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs the agents with one protection switched off, by the name of its weakness: a test of the protection must then be
    /// seen to fail, or it proves nothing. `None`, and a word about it, for an agent that has no such switch.
    pub fn weakened(self, weakness: &str) -> Option<Self> {
        self.promises("a protection that can be switched off").then(|| self.env(WEAKEN, weakness))
    }

    /// The store listens behind its own address, where the test puts a [`super::Front`] before it starts the agents.
    pub fn store_front(mut self) -> Self {
        self.store_front = true;
        self
    }

    /// The store is `jogi store` of the binary under test instead of etcd.
    pub fn built_in_store(mut self) -> Self {
        self.built_in_store = true;
        self
    }

    /// Hosts, addresses, files and the store; no agent runs yet.
    pub fn build(self) -> Herd {
        Herd::build(self)
    }

    /// Builds it, starts the first member, waits until it leads, starts the others, waits until all replicate.
    pub fn start(self) -> Herd {
        let herd = self.build();
        herd.start();
        herd
    }
}

/// Lays `over` over `base` as a PATCH of the configuration does: objects into objects, null removes, the rest replaces.
pub fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => merge_objects(base, over),
        (base, over) => *base = over,
    }
}

fn merge_objects(base: &mut Map<String, Value>, over: Map<String, Value>) {
    for (key, value) in over {
        if value.is_null() {
            base.shift_remove(&key);
        } else {
            let empty = if value.is_object() { json!({}) } else { Value::Null };
            merge(base.entry(key).or_insert(empty), value);
        }
    }
}

/// The words of a command template with the file put in.
pub(super) fn words(template: &str, config: &Path) -> Vec<String> {
    template.split_whitespace().map(|w| w.replace("{config}", &config.to_string_lossy())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_laid_over_each_other() {
        let mut base = json!({"a": {"b": 1, "c": 2}, "d": 3});
        merge(&mut base, json!({"a": {"b": null, "e": {"f": null, "g": 4}}, "d": {"h": 5}}));
        assert_eq!(base, json!({"a": {"c": 2, "e": {"g": 4}}, "d": {"h": 5}}));
    }

    #[test]
    fn a_template_names_the_file() {
        assert_eq!(words("x agent {config}", Path::new("/c.yml")), ["x", "agent", "/c.yml"]);
    }
}
