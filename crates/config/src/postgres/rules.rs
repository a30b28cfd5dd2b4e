//! Validity of parameters per version.
//!
//! The hazard: a server does not start with a parameter that it does not know or with a value out of
//! range, so what the version would refuse is left out or brought to the limit, with a warning. The table
//! `rules.txt` holds names, versions, types and limits.

use std::collections::HashMap;
use std::sync::OnceLock;

use serde_json::Value;

use super::units::{parse_bool, parse_int, parse_real};
use super::{DescribeConfig, is_recovery_parameter};
use crate::python;

/// What becomes of one parameter in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// What is written; `None` leaves the parameter out.
    pub written: Option<String>,
    pub warning: Option<String>,
}

impl Verdict {
    fn keep(value: &Value) -> Verdict {
        Verdict { written: Some(python::str(value)), warning: None }
    }

    fn leave_out(warning: String) -> Verdict {
        Verdict { written: None, warning: Some(warning) }
    }
}

#[derive(Debug)]
struct Rule {
    from: u32,
    till: u32,
    check: Check,
}

#[derive(Debug)]
enum Check {
    Bool,
    Integer(Limits),
    Real(Limits),
    Enum(Vec<&'static str>),
    EnumBool(Vec<&'static str>),
    Text,
}

/// The limits as written in the table: they are what gets into the file.
#[derive(Debug)]
struct Limits {
    least: &'static str,
    most: &'static str,
    unit: Option<&'static str>,
}

type Rules = HashMap<String, Vec<Rule>>;

const TABLE: &str = include_str!("rules.txt");

/// Rules of server parameters and of recovery parameters.
fn rules() -> &'static (Rules, Rules) {
    static RULES: OnceLock<(Rules, Rules)> = OnceLock::new();
    RULES.get_or_init(|| {
        let (mut server, mut recovery) = (Rules::new(), Rules::new());
        for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
            let (section, line) = match line.strip_prefix("recovery ") {
                Some(rest) => (&mut recovery, rest),
                None => (&mut server, line),
            };
            if let Some((name, rule)) = parse_rule(line) {
                section.entry(name.to_lowercase()).or_default().push(rule);
            }
        }
        (server, recovery)
    })
}

fn parse_rule(line: &'static str) -> Option<(&'static str, Rule)> {
    let mut words = line.split(' ');
    let name = words.next()?;
    let (from, till) = words.next()?.split_once("..")?;
    let kind = words.next()?;
    let rest: Vec<&str> = words.map(|word| if word == "''" { "" } else { word }).collect();
    let limits = || match rest[..] {
        [least, most, unit] => Some(Limits { least, most, unit: Some(unit).filter(|unit| *unit != "-") }),
        _ => None,
    };
    let check = match kind {
        "bool" => Check::Bool,
        "integer" => Check::Integer(limits()?),
        "real" => Check::Real(limits()?),
        "enum" => Check::Enum(rest),
        "enumbool" => Check::EnumBool(rest),
        "string" => Check::Text,
        _ => return None,
    };
    Some((name, Rule { from: from.parse().unwrap_or(0), till: till.parse().unwrap_or(u32::MAX), check }))
}

/// A parameter for the main part of `postgresql.conf`. Names with a dot belong to extensions and pass as
/// they are, recovery parameters never pass, names that only the installed binary knows pass as they are.
pub(crate) fn server_parameter(version: u32, name: &str, value: &Value, known: Option<&DescribeConfig>) -> Verdict {
    let rules = &rules().0;
    if name.contains('.') && !rules.contains_key(&name.to_lowercase()) {
        return Verdict::keep(value);
    }
    if is_recovery_parameter(name) {
        return Verdict::default();
    }
    judge(rules, version, name, value, known.is_some_and(|known| known.contains(name)))
}

/// A parameter for the recovery part.
pub(crate) fn recovery_parameter(version: u32, name: &str, value: &Value, known: Option<&DescribeConfig>) -> Verdict {
    let known = match version >= 120_000 {
        true => known.is_some_and(|known| known.contains(name)),
        // Before PostgreSQL 12 these are no server parameters, and describe-config is silent about them.
        false => is_recovery_parameter(name),
    };
    judge(&rules().1, version, name, value, known)
}

fn judge(rules: &Rules, version: u32, name: &str, value: &Value, known: bool) -> Verdict {
    let rule = rules
        .get(&name.to_lowercase())
        .and_then(|rules| rules.iter().find(|rule| version >= rule.from && version < rule.till));
    match rule {
        _ if value.is_null() => Verdict::default(),
        Some(rule) => apply(&rule.check, name, value),
        None if known => Verdict::keep(value),
        None => Verdict::leave_out(format!(
            "Removing unexpected parameter={name} value={} from the config",
            python::str(value)
        )),
    }
}

fn apply(check: &Check, name: &str, value: &Value) -> Verdict {
    let invalid = |kind: &str| {
        Verdict::leave_out(format!(
            "Removing {kind} parameter={name} from the config due to the invalid value={}",
            python::str(value)
        ))
    };
    let is_word = |words: &[&str]| words.contains(&python::str(value).to_lowercase().as_str());
    match check {
        Check::Text => Verdict::keep(value),
        Check::Bool if parse_bool(value).is_some() => Verdict::keep(value),
        Check::Bool => invalid("bool"),
        Check::Enum(words) if is_word(words) => Verdict::keep(value),
        Check::EnumBool(words) if parse_bool(value).is_some() || is_word(words) => Verdict::keep(value),
        Check::Enum(_) | Check::EnumBool(_) => invalid("enum"),
        Check::Integer(limits) => match parse_int(value, limits.unit) {
            Some(number) => limits.clamp(number as f64, name, value),
            None => invalid("integer"),
        },
        Check::Real(limits) => match parse_real(value, limits.unit) {
            Some(number) => limits.clamp(number, name, value),
            None => invalid("real"),
        },
    }
}

impl Limits {
    fn clamp(&self, number: f64, name: &str, value: &Value) -> Verdict {
        let limit = |text: &str| text.parse::<f64>().unwrap_or(number);
        let brought_to = |limit: &str, how: &str| Verdict {
            written: Some(limit.to_owned()),
            warning: Some(format!(
                "Value={} of parameter={name} is too {how} to {limit}{}",
                python::str(value),
                self.unit.unwrap_or("")
            )),
        };
        if number < limit(self.least) {
            brought_to(self.least, "low, increasing")
        } else if number > limit(self.most) {
            brought_to(self.most, "big, decreasing")
        } else {
            Verdict::keep(value)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_line_of_the_table_is_read() {
        let lines = TABLE.lines().filter(|line| !line.starts_with('#')).count();
        let (server, recovery) = rules();
        assert_eq!(server.values().chain(recovery.values()).map(Vec::len).sum::<usize>(), lines);
    }

    #[test]
    fn values_are_kept_clamped_or_left_out() {
        let known = DescribeConfig::parse("new_one\tuser\tx\tBOOLEAN\n");
        for (version, name, value, written) in [
            (150_000, "wal_compression", json!("zstd"), Some("zstd")),
            (140_000, "wal_compression", json!("zstd"), None),
            (150_000, "archive_mode", json!(true), Some("True")),
            (150_000, "archive_mode", json!("ALWAYS"), Some("ALWAYS")),
            (150_000, "DateStyle", json!("iso"), Some("iso")),
            (150_000, "work_mem", json!("1kB"), Some("64")),
            (150_000, "archive_timeout", json!("1d"), Some("1d")),
            (150_000, "archive_timeout", json!("never"), None),
            (150_000, "seq_page_cost", json!(-1.5), Some("0")),
            (150_000, "timescaledb.max_background_workers", json!(8), Some("8")),
            (150_000, "restore_command", json!("cp"), None),
            (150_000, "new_one", json!("on"), Some("on")),
            (150_000, "old_one", json!("on"), None),
            (120_012, "allow_in_place_tablespaces", json!("on"), Some("on")),
            (130_000, "allow_in_place_tablespaces", json!("on"), None),
        ] {
            let verdict = server_parameter(version, name, &value, Some(&known));
            assert_eq!(verdict.written.as_deref(), written, "{name}={value} on {version}: {verdict:?}");
        }
    }

    /// `tests/golden/rules.jsonl`: what Patroni 4.1.5 writes.
    #[test]
    fn verdicts_are_patronis() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/rules.jsonl");
        let text = std::fs::read_to_string(path).expect("the samples are in the repository");
        let known = DescribeConfig::parse("some_new_thing\tuser\tx\tBOOLEAN\n");
        let mut wrong = Vec::new();
        for line in text.lines() {
            let row: Value = serde_json::from_str(line).expect("a line of JSON");
            let version = u32::try_from(row[1].as_u64().expect("a number")).expect("a version");
            let name = row[2].as_str().expect("a name");
            let verdict = match row[0] == "server" {
                true => server_parameter(version, name, &row[3], Some(&known)),
                false => recovery_parameter(version, name, &row[3], Some(&known)),
            };
            if verdict.written.as_deref() != row[4].as_str() {
                wrong.push(format!("{line}: {verdict:?}"));
            }
        }
        assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong[..wrong.len().min(20)].join("\n"));
    }
}
