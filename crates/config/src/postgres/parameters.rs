//! The parameters of one server: command line and file.

use std::collections::BTreeMap;

use serde_json::Value;

use super::rules::server_parameter;
use super::units::{parse_bool, parse_int};
use super::{CONTROLLED, Controlled, DescribeConfig, Effective};
use crate::Local;
use crate::python;

/// Parameters by name, without regard to case; a name keeps the case it was last set with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters(BTreeMap<String, (String, Value)>);

impl Parameters {
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(&name.to_lowercase()).map(|(_, value)| value)
    }

    /// The value as it is written.
    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(python::str)
    }

    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(&name.to_lowercase())
    }

    pub fn set(&mut self, name: &str, value: Value) {
        self.0.insert(name.to_lowercase(), (name.to_owned(), value));
    }

    fn set_default(&mut self, name: &str, value: Value) {
        if !self.contains(name) {
            self.set(name, value);
        }
    }

    pub fn remove(&mut self, name: &str) -> Option<Value> {
        self.0.remove(&name.to_lowercase()).map(|(_, value)| value)
    }

    /// Name as written and value, by lower-case name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.values().map(|(name, value)| (name.as_str(), value))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What the postmaster is started with and what stands in `postgresql.conf`.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerParameters {
    /// The server's version, for instance 150002.
    pub version: u32,
    /// All of them, before validation: what a running server is compared with.
    pub wanted: Parameters,
    /// Controlled parameters as `--name=value`, in Patroni's order.
    pub command_line: Vec<(String, String)>,
    /// `postgresql.conf`, validated for the version.
    pub file: BTreeMap<String, String>,
    /// Values left out or clamped, and why.
    pub warnings: Vec<String>,
}

impl ServerParameters {
    /// Takes the effective section for a server of this version; `known` are the parameters of the
    /// installed binary, for names that our own table does not have. `synchronous_standby_names` is as
    /// configured: in the synchronous modes the caller replaces it by [`ServerParameters::with`].
    pub fn new(version: u32, effective: &Effective, local: &Local, known: Option<&DescribeConfig>) -> Self {
        let mut wanted = effective.parameters.clone();
        wanted.set("cluster_name", local.scope.clone().into());
        wanted.set("listen_addresses", local.postgresql.listen.host.clone().into());
        wanted.set("port", local.postgresql.listen.port.to_string().into());
        name_wal_level(version, &mut wanted);
        convert_wal_keep(version, &mut wanted);
        if local.citus.is_some() {
            adjust_for_citus(&mut wanted, &local_host(effective, local));
        }
        for name in ["hba_file", "ident_file"] {
            if let Some(file) = wanted.text(name) {
                let path = local.postgresql.config_dir.join(file);
                wanted.set(name, path.to_string_lossy().into_owned().into());
            }
        }
        for row in CONTROLLED.iter().filter(|row| version < row.since) {
            wanted.remove(row.name);
        }
        Self::validated(version, wanted, known)
    }

    fn validated(version: u32, wanted: Parameters, known: Option<&DescribeConfig>) -> Self {
        let mut file = BTreeMap::new();
        let mut warnings = Vec::new();
        for (name, value) in wanted.iter() {
            let verdict = server_parameter(version, name, value, known);
            warnings.extend(verdict.warning);
            if let Some(written) = verdict.written {
                file.insert(name.to_owned(), written);
            }
        }
        let command_line = command_line(&wanted);
        ServerParameters { version, wanted, command_line, file, warnings }
    }

    /// Replaces or removes one parameter (`synchronous_standby_names`, `hot_standby_feedback`, and
    /// `hot_standby` during a custom bootstrap) and validates again.
    pub fn with(mut self, name: &str, value: Option<&str>, known: Option<&DescribeConfig>) -> Self {
        match value {
            Some(value) => self.wanted.set(name, value.into()),
            None => {
                self.wanted.remove(name);
            }
        }
        Self::validated(self.version, self.wanted, known)
    }

    /// Replaces a value that needs no validation, in the file and on the command line.
    pub(super) fn replace(&mut self, name: &str, value: Value) {
        self.file.insert(name.to_owned(), python::str(&value));
        self.wanted.set(name, value);
        self.command_line = command_line(&self.wanted);
    }
}

fn command_line(wanted: &Parameters) -> Vec<(String, String)> {
    let argument = |row: &Controlled| Some((row.name.to_owned(), wanted.text(row.name)?));
    CONTROLLED.iter().filter(|row| row.command_line).filter_map(argument).collect()
}

/// `hot_standby` and `replica` are one level under two names.
fn name_wal_level(version: u32, wanted: &mut Parameters) {
    let (right, wrong) = if version >= 90_600 { ("replica", "hot_standby") } else { ("hot_standby", "replica") };
    if wanted.get("wal_level").and_then(Value::as_str) == Some(wrong) {
        wanted.set("wal_level", right.into());
    }
}

/// Segments and size stand for each other, at the usual 16 MB per segment.
fn convert_wal_keep(version: u32, wanted: &mut Parameters) {
    const SEGMENT_MEGABYTES: i64 = 16;
    const DEFAULT_SEGMENTS: i64 = 8;
    if version >= 130_000 {
        let segments = wanted.remove("wal_keep_segments").and_then(|value| parse_int(&value, None));
        let size = segments.unwrap_or(DEFAULT_SEGMENTS).saturating_mul(SEGMENT_MEGABYTES);
        wanted.set_default("wal_keep_size", format!("{size}MB").into());
    } else {
        let size = wanted
            .remove("wal_keep_size")
            .map_or(DEFAULT_SEGMENTS * SEGMENT_MEGABYTES, |value| parse_int(&value, Some("MB")).unwrap_or(0));
        wanted.set_default("wal_keep_segments", (size.saturating_add(8) / SEGMENT_MEGABYTES).into());
    }
}

/// Citus wants to be loaded first, two-phase commit, and logical WAL for moving shards.
fn adjust_for_citus(wanted: &mut Parameters, host: &str) {
    let libraries = wanted.text("shared_preload_libraries").unwrap_or_default();
    let others = libraries.split(',').map(str::trim).filter(|library| !library.is_empty() && *library != "citus");
    let libraries: Vec<&str> = std::iter::once("citus").chain(others).collect();
    wanted.set("shared_preload_libraries", libraries.join(",").into());
    let number = |name| wanted.get(name).and_then(|value| parse_int(value, None));
    if let (Some(0), Some(connections)) = (number("max_prepared_transactions"), number("max_connections")) {
        wanted.set("max_prepared_transactions", connections.saturating_mul(2).into());
    }
    wanted.set("wal_level", "logical".into());
    wanted.set("citus.local_hostname", host.into());
}

/// The host of local connections: the socket directory when that is wanted, else [`local_tcp_host`].
fn local_host(effective: &Effective, local: &Local) -> String {
    let sockets = effective.parameters.text("unix_socket_directories");
    let directory = sockets.as_deref().and_then(socket_directory);
    match directory {
        Some(directory) if effective.use_unix_socket => directory.to_owned(),
        Some(_) | None => local_tcp_host(&local.postgresql.listen.host),
    }
}

/// The first absolute path in `unix_socket_directories`: only there can clients connect.
pub fn socket_directory(directories: &str) -> Option<&str> {
    directories.split(',').map(str::trim).find(|directory| directory.starts_with('/'))
}

/// Where a member reaches its own server by TCP: `localhost` when it listens there, else the first address.
pub fn local_tcp_host(listen_addresses: &str) -> String {
    let addresses = || listen_addresses.split(',').map(str::trim);
    let is_local = |a: &str| a.eq_ignore_ascii_case("localhost") || matches!(a, "*" | "0.0.0.0" | "127.0.0.1");
    match addresses().any(is_local) {
        true => "localhost".into(),
        false => addresses().next().unwrap_or("localhost").to_owned(),
    }
}

/// True when the configuration says yes: a boolean word, or anything that Python takes as true.
pub(crate) fn says_yes(value: Option<&Value>) -> bool {
    value.is_some_and(|value| parse_bool(value).unwrap_or_else(|| python::is_true(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wal_keep_is_converted_both_ways() {
        for (version, given, expected) in [
            (130_000, vec![], ("wal_keep_size", "128MB")),
            (130_000, vec![("wal_keep_segments", 10)], ("wal_keep_size", "160MB")),
            (130_000, vec![("wal_keep_segments", 10), ("wal_keep_size", 99)], ("wal_keep_size", "99")),
            (120_000, vec![], ("wal_keep_segments", "8")),
            (120_000, vec![("wal_keep_size", 1024)], ("wal_keep_segments", "64")),
        ] {
            let mut wanted = Parameters::default();
            given.iter().for_each(|(name, value)| wanted.set(name, Value::from(*value)));
            convert_wal_keep(version, &mut wanted);
            assert_eq!(wanted.len(), 1, "{version} {given:?}");
            assert_eq!(wanted.text(expected.0).as_deref(), Some(expected.1), "{version} {given:?}");
        }
    }

    #[test]
    fn local_hosts_are_preferred() {
        for (listen, host) in
            [("*", "localhost"), ("10.0.0.1, 127.0.0.1", "localhost"), ("10.0.0.1,10.0.0.2", "10.0.0.1")]
        {
            assert_eq!(local_tcp_host(listen), host, "{listen}");
        }
        assert_eq!(socket_directory("@x, /run/pg,/tmp"), Some("/run/pg"));
        assert_eq!(socket_directory(""), None);
    }

    #[test]
    fn names_have_no_case() {
        let mut parameters = Parameters::default();
        parameters.set("datestyle", "iso".into());
        parameters.set("DateStyle", "german".into());
        assert_eq!(parameters.iter().collect::<Vec<_>>(), [("DateStyle", &Value::from("german"))]);
    }
}
