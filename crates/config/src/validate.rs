//! The checks of `--validate-config`: Patroni's schema, with Patroni's messages.
//!
//! What looks at the machine (ports, hosts, directories, programs) is asked of a [`Machine`], so that
//! this stays pure. The daemon itself does not run these checks.

use std::net::Ipv6Addr;

use serde_json::{Map, Value};

use crate::HostPort;
use crate::address::AddressError;
use crate::postgres::units::{parse_bool, parse_int};
use crate::python;

mod schema;

use schema::{Field, Rule};

/// A finding of `--validate-config`; prints as `PATH VALUE MESSAGE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub path: String,
    /// The value as Python prints it; hidden for secrets.
    pub value: String,
    pub message: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.path, self.value, self.message)
    }
}

/// What `--validate-config` asks the machine. Each answer is `Err(message)` when the check fails.
pub trait Machine {
    /// The port at these hosts can be listened on (`Port 5432 is already in use.`).
    fn can_listen(&self, address: &HostPort) -> Result<(), String>;
    /// Something answers at this address, which is `written` so in the configuration (`HOST:PORT is not reachable`).
    fn can_connect(&self, address: &HostPort, written: &str) -> Result<(), String>;
    /// The data directory is absent, empty, or one of the installed PostgreSQL version.
    fn data_dir(&self, path: &str) -> Result<(), String>;
    /// The directory exists (`Directory 'X' does not exist.`, `'X' is not a directory.`).
    fn directory(&self, path: &str) -> Result<(), String>;
    /// The program exists in `bin_dir`, or in the search path when that is `None`.
    fn program(&self, bin_dir: Option<&str>, name: &str) -> bool;
}

/// All findings about a merged local configuration (`Local::raw`).
pub fn validate(config: &Value, machine: &dyn Machine) -> Vec<Finding> {
    let mut validation = Validation { machine, config, path: Vec::new(), findings: Vec::new() };
    validation.check(config, &schema::SCHEMA);
    validation.findings
}

/// Programs that a directory of PostgreSQL's must have; pg_rewind is optional.
const PROGRAMS: [&str; 6] = ["pg_ctl", "initdb", "pg_controldata", "pg_basebackup", "postgres", "pg_isready"];

struct Validation<'a> {
    machine: &'a dyn Machine,
    config: &'a Value,
    path: Vec<String>,
    findings: Vec<Finding>,
}

impl Validation<'_> {
    fn report(&mut self, value: Option<&Value>, message: impl Into<String>) {
        let secret = self.path.last().is_some_and(|key| key.contains("password") || key == "token");
        let value = match value {
            None => String::new(),
            Some(_) if secret => "***".into(),
            Some(value) => python::str(value),
        };
        self.findings.push(Finding { path: self.path.join("."), value, message: message.into() });
    }

    fn expect(&mut self, value: &Value, fits: bool, kind: &str) {
        if !fits {
            self.report(Some(value), format!("is not {kind}"));
        }
    }

    fn result(&mut self, value: &Value, result: Result<(), String>) {
        if let Err(message) = result {
            self.report(Some(value), format!("didn't pass validation: {message}"));
        }
    }

    fn below(&mut self, key: &str, check: impl FnOnce(&mut Self)) {
        self.path.push(key.to_owned());
        check(self);
        self.path.pop();
    }

    /// A check of a text; something else is not a string.
    fn text(&mut self, value: &Value, check: impl FnOnce(&Self, &str) -> Result<(), String>) {
        match value.as_str() {
            Some(text) => {
                let result = check(self, text);
                self.result(value, result);
            }
            None => self.report(Some(value), "is not a string"),
        }
    }

    fn check(&mut self, value: &Value, rule: &Rule) {
        // Python's booleans are integers.
        let is_int = value.is_i64() || value.is_u64() || value.is_boolean();
        match rule {
            Rule::Str => self.expect(value, value.is_string(), "a string"),
            Rule::Int => self.expect(value, is_int, "an integer"),
            Rule::Bool => self.expect(value, value.is_boolean(), "a boolean"),
            Rule::Dict => self.expect(value, value.is_object(), "a dictionary"),
            Rule::Number(number) if number.exact && !is_int => self.report(Some(value), "is not an integer"),
            Rule::Number(number) => self.result(value, number.check(value)),
            Rule::Word { words, any_case } => {
                let fits = |word: &&str| match value.as_str() {
                    Some(text) if *any_case => word.eq_ignore_ascii_case(text),
                    Some(text) => *word == text,
                    None => false,
                };
                self.result(value, accept(words.iter().any(fits)));
            }
            Rule::ConnectAddress => self.text(value, |_, text| check_connect_address(text)),
            Rule::Listen => self.text(value, |this, text| this.machine.can_listen(&parse(text)?)),
            Rule::ListenMany => self.text(value, |this, text| this.check_listen_many(text)),
            Rule::Reachable => self.reachable(value),
            Rule::ReachableMany => self.reachable_many(value),
            Rule::ReachableList => self.reachable_list(value),
            Rule::DataDir => self.text(value, |this, text| match text {
                "" => Err("is an empty string".into()),
                text => this.machine.data_dir(text),
            }),
            Rule::BinName => self.text(value, Self::check_bin_name),
            Rule::BinDir => self.bin_dir(value),
            Rule::LogFormat => self.result(value, check_log_format(value)),
            Rule::WatchdogMode => self.result(value, check_watchdog_mode(value)),
            Rule::SynchronousMode => {
                let quorum = value.as_str().is_some_and(|mode| mode.eq_ignore_ascii_case("quorum"));
                let fits = quorum || parse_bool(value).is_some();
                self.result(value, if fits { Ok(()) } else { Err("invalid value for synchronous_mode".into()) });
            }
            Rule::Ip => self.ip(value),
            Rule::List(rule) => self.list(value, rule),
            Rule::Either(first, second) => self.either(value, first, second),
            Rule::Object(fields) => match value {
                Value::Object(map) => fields.iter().for_each(|field| self.field(map, field)),
                other => self.report(Some(other), "is not a dictionary"),
            },
        }
    }

    fn field(&mut self, map: &Map<String, Value>, field: &Field) {
        match field {
            Field::Must(key, rule) => match map.get(*key) {
                Some(value) => self.below(key, |this| this.check(value, rule)),
                None => self.below(key, |this| this.report(None, "is not defined.")),
            },
            Field::May(key, rule) => {
                if let Some(value) = map.get(*key) {
                    self.below(key, |this| this.check(value, rule));
                }
            }
            Field::OrDefault(key, rule, default) => {
                let default = Value::from(*default);
                self.below(key, |this| this.check(map.get(*key).unwrap_or(&default), rule));
            }
            Field::OneOf(cases) => {
                let any = cases.iter().any(|(key, _)| map.contains_key(*key));
                for (key, rule) in cases.iter() {
                    match map.get(*key) {
                        Some(value) => self.below(key, |this| this.check(value, rule)),
                        None if any => {}
                        None => self.below(key, |this| this.report(None, "is not defined.")),
                    }
                }
            }
            Field::AtMostOne(cases) => {
                let present: Vec<_> = cases.iter().filter(|(key, _)| map.contains_key(*key)).collect();
                if present.len() > 1 {
                    let names: Vec<String> = cases.iter().map(|(key, _)| format!("'{key}'")).collect();
                    return self.report(None, format!("Multiple of ({}) provided", names.join(", ")));
                }
                for (key, rule) in present {
                    self.below(key, |this| this.check(&map[*key], rule));
                }
            }
        }
    }

    fn list(&mut self, value: &Value, rule: &Rule) {
        let Value::Array(items) = value else { return self.report(Some(value), "is not a list") };
        if items.is_empty() {
            self.report(Some(value), "is an empty list");
        }
        for (i, item) in items.iter().enumerate() {
            let before = self.findings.len();
            self.below(&i.to_string(), |this| this.check(item, rule));
            // A finding inside of an item shows the item.
            for finding in &mut self.findings[before..] {
                finding.value = python::str(item);
            }
        }
    }

    /// One of two rules. When neither fits, findings about the content weigh more than those about the type.
    fn either(&mut self, value: &Value, first: &Rule, second: &Rule) {
        let found = |rule: &Rule, this: &Self| {
            let mut attempt = Validation {
                machine: this.machine,
                config: this.config,
                path: this.path.clone(),
                findings: Vec::new(),
            };
            attempt.check(value, rule);
            attempt.findings
        };
        let (first, second) = (found(first, self), found(second, self));
        if !first.is_empty() && !second.is_empty() {
            let all: Vec<Finding> = first.into_iter().chain(second).collect();
            let is_type = |finding: &&Finding| finding.message.starts_with("is not ");
            let content: Vec<Finding> = all.iter().filter(|finding| !is_type(finding)).cloned().collect();
            self.findings.extend(if content.is_empty() { all } else { content });
        }
    }

    fn check_listen_many(&self, text: &str) -> Result<(), String> {
        let address = parse(text)?;
        let hosts: Vec<&str> = address.host.split(',').collect();
        if hosts.contains(&"*") && hosts.len() > 1 {
            return Err("expecting '*' alone".into());
        }
        hosts.iter().try_for_each(|host| self.machine.can_listen(&HostPort::new(*host, address.port)))
    }

    fn reachable(&mut self, value: &Value) {
        let result = match value.as_str() {
            Some(text) => self.check_reachable(text),
            None => Err("contains a wrong value".into()),
        };
        self.result(value, result);
    }

    fn check_reachable(&self, text: &str) -> Result<(), String> {
        self.machine.can_connect(&parse(text)?, text)
    }

    /// Addresses between commas, or a list of them.
    fn reachable_many(&mut self, value: &Value) {
        match value {
            Value::String(text) => {
                let mut addresses = text.split(',').map(str::trim);
                let result = addresses.try_for_each(|text| self.check_reachable(text));
                self.result(value, result);
            }
            Value::Array(_) => self.list(value, &Rule::Reachable),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
                self.report(Some(value), "is not a string");
                self.report(Some(value), "is not a list");
            }
        }
    }

    fn reachable_list(&mut self, value: &Value) {
        let Value::Array(items) = value else { return self.report(Some(value), "is not an array") };
        let mut texts = items.iter().map(|item| item.as_str().ok_or("contains a wrong value".to_owned()));
        let result = texts.try_for_each(|text| self.check_reachable(text?));
        self.result(value, result);
    }

    fn bin_directory(&self) -> Option<&str> {
        self.config["postgresql"]["bin_dir"].as_str().filter(|directory| !directory.is_empty())
    }

    fn check_bin_name(&self, name: &str) -> Result<(), String> {
        if name.is_empty() {
            return Err("is an empty string".into());
        }
        let directory = self.bin_directory();
        match self.machine.program(directory, name) {
            true => Ok(()),
            false => Err(format!("does not contain '{name}' in '{}'", directory.unwrap_or("$PATH"))),
        }
    }

    fn bin_dir(&mut self, value: &Value) {
        let Some(directory) = value.as_str() else { return };
        let directory = Some(directory).filter(|directory| !directory.is_empty());
        if let Some(Err(message)) = directory.map(|directory| self.machine.directory(directory)) {
            return self.report(Some(&Value::from("")), message);
        }
        for program in PROGRAMS {
            let name = self.config["postgresql"]["bin_name"][program].as_str().unwrap_or(program);
            if !self.machine.program(directory, name) {
                let place = directory.unwrap_or("$PATH");
                self.report(Some(&Value::from("")), format!("does not contain '{name}' in '{place}'"));
            }
        }
    }

    fn ip(&mut self, value: &Value) {
        let text = value.as_str().unwrap_or("");
        if !is_ipv4(text) && text.parse::<Ipv6Addr>().is_err() {
            self.result(value, Err("Is not a valid ipv4 address".into()));
            self.result(value, Err("Is not a valid ipv6 address".into()));
        }
    }
}

fn accept(fits: bool) -> Result<(), String> {
    if fits { Ok(()) } else { Err("Wrong value".into()) }
}

fn parse(text: &str) -> Result<HostPort, String> {
    HostPort::parse(text, Some(1)).map_err(|error| match error {
        AddressError::BadPort { port, .. } if port.trim().parse::<i64>().is_ok() => {
            "connect_ex(): port must be 0-65535.".into()
        }
        AddressError::BadPort { .. } | AddressError::NoPort(_) => "contains a wrong value".into(),
    })
}

/// As `inet_aton` reads it: one to four numbers, each decimal, octal or hexadecimal, the last one filling what is left.
fn is_ipv4(text: &str) -> bool {
    let number = |part: &str| match part.strip_prefix("0x").or_else(|| part.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None if part.len() > 1 && part.starts_with('0') => u64::from_str_radix(part, 8).ok(),
        None => part.parse().ok(),
    };
    let Some(parts) = text.split('.').map(number).collect::<Option<Vec<u64>>>() else { return false };
    let bytes_left = 5_u32.saturating_sub(parts.len() as u32);
    match parts.split_last() {
        Some((last, others)) => bytes_left > 0 && others.iter().all(|n| *n < 256) && *last < 256_u64.pow(bytes_left),
        None => false,
    }
}

fn check_connect_address(text: &str) -> Result<(), String> {
    match parse(text)?.is_unreachable_from_others() {
        true => Err(r#"must not contain "127.0.0.1", "0.0.0.0", "*", "::1", "localhost""#.into()),
        false => Ok(()),
    }
}

fn check_log_format(value: &Value) -> Result<(), String> {
    let is_field = |item: &Value| match item {
        Value::String(_) => true,
        Value::Object(map) => map.len() == 1 && map.values().all(Value::is_string),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => false,
    };
    match value {
        Value::String(_) => Ok(()),
        Value::Array(items) if items.is_empty() => Err("should contain at least one item".into()),
        Value::Array(items) if items.iter().all(is_field) => Ok(()),
        Value::Array(_) => Err("each item should be a string or a dictionary with string values".into()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            Err("Should be a string or a list".into())
        }
    }
}

fn check_watchdog_mode(value: &Value) -> Result<(), String> {
    match value {
        Value::Bool(on) => accept(!on),
        Value::String(mode) => accept(["off", "automatic", "required"].contains(&mode.as_str())),
        Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Err("expected type is not a string".into())
        }
    }
}

impl schema::Number {
    fn check(&self, value: &Value) -> Result<(), String> {
        let number = parse_int(value, self.unit);
        accept(number.is_some_and(|n| (self.least..=self.most).contains(&n) && n % self.aligned == 0))
    }
}
