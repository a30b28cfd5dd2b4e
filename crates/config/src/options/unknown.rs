//! Keys that nobody reads, and what was probably meant.
//!
//! The hazard: `postgresql.datadir` is accepted and ignored, and the operator wonders for hours.

use serde_json::{Map, Value};

use super::{Kind, Layer, OptionRow, all};
use crate::yaml::Lines;

/// Names alike enough to be a slip of the pen: by Jaro-Winkler, or one edit in a short name.
const ALIKE: f64 = 0.85;

fn likeness(key: &str, known: &str) -> f64 {
    let key = key.to_lowercase();
    let one_edit = key.len() >= 3 && strsim::damerau_levenshtein(&key, known) == 1;
    strsim::jaro_winkler(&key, known).max(if one_edit { ALIKE } else { 0.0 })
}

/// Warnings about keys of a local configuration that nobody reads, naming the nearest known one. Keys
/// that begin with `x-`, `_` or `.` are the operator's own (anchors usually).
pub fn unknown_keys(config: &Value, file: &str, lines: &Lines) -> Vec<String> {
    let Value::Object(config) = config else { return Vec::new() };
    let mut search =
        Search { rows: OptionRow::is_local, file, lines: Some(lines), prefix: Vec::new(), out: Vec::new() };
    search.walk(config, &mut Vec::new());
    search.out
}

/// Warnings about keys of a dynamic configuration that nobody reads.
pub fn unknown_dynamic_keys(config: &Value) -> Vec<String> {
    let Value::Object(config) = config else { return Vec::new() };
    let mut search = Search { rows: OptionRow::is_dynamic, file: "", lines: None, prefix: Vec::new(), out: Vec::new() };
    search.walk(config, &mut Vec::new());
    search.out
}

struct Search<'a> {
    rows: fn(&OptionRow) -> bool,
    file: &'a str,
    lines: Option<&'a Lines>,
    /// Where a dynamic configuration stands in the file.
    prefix: Vec<String>,
    out: Vec<String>,
}

impl Search<'_> {
    fn walk(&mut self, map: &Map<String, Value>, path: &mut Vec<String>) {
        for (key, value) in map {
            if path.is_empty() && key.starts_with(['_', '.'])
                || key.starts_with("x-")
                || is_method(path, key, map, value)
            {
                continue;
            }
            path.push(key.clone());
            match (self.row(path), value) {
                (Some(Kind::Dcs), Value::Object(dcs)) => self.walk_dynamic(dcs, path),
                (Some(_), _) => {}
                (None, Value::Object(below)) if self.is_section(path) => self.walk(below, path),
                (None, _) if self.is_section(path) => {}
                (None, _) => self.report(path),
            }
            path.pop();
        }
    }

    fn walk_dynamic(&mut self, dcs: &Map<String, Value>, path: &[String]) {
        let (rows, prefix) = (self.rows, std::mem::replace(&mut self.prefix, path.to_vec()));
        self.rows = OptionRow::is_dynamic;
        self.walk(dcs, &mut Vec::new());
        (self.rows, self.prefix) = (rows, prefix);
    }

    fn known(&self) -> impl Iterator<Item = &'static OptionRow> + use<> {
        let rows = self.rows;
        all().iter().filter(move |row| rows(row))
    }

    /// The kind of the option at this path.
    fn row(&self, path: &[String]) -> Option<Kind> {
        let fits = |row: &&OptionRow| {
            let keys = || row.path.split('.');
            keys().count() == path.len() && keys().zip(path).all(|(known, key)| known == "*" || known == key)
        };
        self.known().find(fits).map(|row| row.kind)
    }

    fn is_section(&self, path: &[String]) -> bool {
        let prefix = format!("{}.", path.join("."));
        self.known().any(|row| row.path.starts_with(&prefix))
    }

    fn is_of_the_store(&self, path: &[String]) -> bool {
        let path = path.join(".");
        let below = format!("{path}.");
        let is_it = |row: &OptionRow| row.path == path || row.path.starts_with(&below);
        all().iter().any(|row| row.layer == Layer::Dynamic && is_it(row))
    }

    fn report(&mut self, path: &[String]) {
        let full: Vec<String> = self.prefix.iter().chain(path).cloned().collect();
        let keys: Vec<&str> = full.iter().map(String::as_str).collect();
        let line = self.lines.and_then(|lines| lines.of(&keys));
        let place = match (self.file, line) {
            ("", _) => String::new(),
            (file, Some(line)) => format!(" ({file}, line {line})"),
            (file, None) => format!(" ({file})"),
        };
        let advice = match self.nearest(path) {
            _ if self.prefix.is_empty() && self.is_of_the_store(path) => {
                "it counts only in the store (jogi ctl edit-config; below bootstrap.dcs for a new cluster)".to_owned()
            }
            Some(known) => format!("did you mean '{known}'?"),
            None => "it is ignored".to_owned(),
        };
        self.out.push(format!("unknown key '{}'{place}: {advice}", full.join(".")));
    }

    /// The nearest key of the same section, or the same key at its right place.
    fn nearest(&self, path: &[String]) -> Option<String> {
        let (key, section) = path.split_last()?;
        let sibling = |row: &'static OptionRow| {
            let mut keys = row.path.split('.');
            section.iter().all(|part| keys.next() == Some(part)).then(|| keys.next())?.filter(|next| *next != "*")
        };
        let best = self.known().filter_map(sibling).max_by(|a, b| likeness(key, a).total_cmp(&likeness(key, b)));
        let has_key = |row: &&OptionRow| row.path.contains('.') && row.path.rsplit('.').next() == Some(key);
        let in_postgresql = |row: &&OptionRow| row.path.starts_with("postgresql.");
        let elsewhere = || self.known().filter(has_key).max_by_key(in_postgresql).map(|row| row.path.to_owned());
        best.filter(|best| likeness(key, best) >= ALIKE).map(str::to_owned).or_else(elsewhere)
    }
}

/// Sections named by the operator: replica methods and bootstrap methods.
fn is_method(path: &[String], key: &str, map: &Map<String, Value>, value: &Value) -> bool {
    let names = match path {
        [section] if section == "postgresql" => ["create_replica_methods", "create_replica_method"],
        [section] if section == "bootstrap" => ["method", "method"],
        _ => return false,
    };
    let is_named = |name: &&str| match map.get(*name) {
        Some(Value::Array(methods)) => methods.iter().any(|method| method.as_str() == Some(key)),
        Some(Value::String(method)) => method == key,
        Some(_) | None => false,
    };
    names.iter().any(is_named) || value.get("command").is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::yaml::parse_document;

    #[test]
    fn unknown_keys_are_named_with_line_and_advice() {
        let text = "scope: demo\nscop: x\nx-mine: 1\npostgresql:\n  datadir: /d\n  parameters: {anything: 1}\n  \
                    create_replica_methods: [wal_e]\n  wal_e: {threshold: 1}\n  own: {command: x}\n  nonsense: 1\n  \
                    authentication:\n    superuser: {user: x}\ndata_dir: /d\nttl: 5\nbootstrap:\n  dcs:\n    tll: 30\n    \
                    postgresql: {use_pg_rewnd: true}\n    slots: {a: {type: physical}}\ntags: {mine: 1}\nrestapi:\n";
        let document = parse_document(text).expect("valid");
        assert_eq!(
            unknown_keys(&document.value, "p.yml", &document.lines),
            [
                "unknown key 'scop' (p.yml, line 2): did you mean 'scope'?",
                "unknown key 'postgresql.datadir' (p.yml, line 5): did you mean 'data_dir'?",
                "unknown key 'postgresql.nonsense' (p.yml, line 10): it is ignored",
                "unknown key 'postgresql.authentication.superuser.user' (p.yml, line 12): did you mean 'username'?",
                "unknown key 'data_dir' (p.yml, line 13): did you mean 'postgresql.data_dir'?",
                "unknown key 'ttl' (p.yml, line 14): it counts only in the store (jogi ctl edit-config; below bootstrap.dcs for a \
                 new cluster)",
                "unknown key 'bootstrap.dcs.tll' (p.yml, line 17): did you mean 'ttl'?",
                "unknown key 'bootstrap.dcs.postgresql.use_pg_rewnd' (p.yml, line 18): did you mean 'use_pg_rewind'?",
            ]
        );
    }

    #[test]
    fn dynamic_keys_are_checked_by_their_own_table() {
        let config =
            json!({"ttl": 1, "postgresql": {"data_dir": "/x", "use_slots": true}, "standby_cluster": {"hots": "x"}});
        assert_eq!(
            unknown_dynamic_keys(&config),
            [
                "unknown key 'postgresql.data_dir': it is ignored",
                "unknown key 'standby_cluster.hots': did you mean 'host'?",
            ]
        );
    }
}
