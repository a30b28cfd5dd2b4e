//! What differs between two answers, told as lines: `WHERE: Patroni: …, ours: …`.
//!
//! Values that cannot be equal in two clusters (times, positions, identities) are compared by their kind.

use jogi_testkit::http::Reply;
use serde_json::Value;

/// Fields whose values differ from cluster to cluster.
const VOLATILE: [&str; 19] = [
    "postmaster_start_time",
    "location",
    "received_location",
    "replayed_location",
    "replayed_timestamp",
    "dcs_last_seen",
    "database_system_identifier",
    "receive_lsn",
    "replay_lsn",
    "lsn",
    "receive_lag",
    "replay_lag",
    "lag",
    "Receive LSN",
    "Replay LSN",
    "LSN",
    "Timestamp",
    "Receive Lag",
    "Replay Lag",
];

/// Metrics likewise.
const VOLATILE_METRICS: [&str; 6] = [
    "patroni_postmaster_start_time",
    "patroni_xlog_location",
    "patroni_xlog_received_location",
    "patroni_xlog_replayed_location",
    "patroni_xlog_replayed_timestamp",
    "patroni_dcs_last_seen",
];

/// Collects differences below one place.
pub struct Differences<'a> {
    place: String,
    found: &'a mut Vec<String>,
}

impl<'a> Differences<'a> {
    pub fn at(place: String, found: &'a mut Vec<String>) -> Differences<'a> {
        Differences { place, found }
    }

    fn say(&mut self, what: &str, theirs: impl std::fmt::Display, ours: impl std::fmt::Display) {
        self.found.push(format!("{}: {what}: Patroni: {theirs}, ours: {ours}", self.place));
    }

    /// Status, headers and body of an answer.
    pub fn replies(&mut self, theirs: &Reply, ours: &Reply) {
        if theirs.status != ours.status {
            self.say("status", format!("{} {}", theirs.status, theirs.body), format!("{} {}", ours.status, ours.body));
            return;
        }
        let names = |reply: &Reply| reply.headers.iter().map(|(n, _)| n.to_lowercase()).collect::<Vec<_>>().join(", ");
        if names(theirs) != names(ours) {
            self.say("headers", names(theirs), names(ours));
        }
        let kind = |reply: &Reply| reply.header("content-type").unwrap_or("none").to_lowercase();
        if kind(theirs) != kind(ours) {
            self.say("content type", kind(theirs), kind(ours));
        }
        match kind(theirs).as_str() {
            "application/json" => self.values("body", &theirs.json(), &ours.json()),
            "text/plain" => self.metrics(&theirs.body, &ours.body),
            _ => self.texts("body", &theirs.body, &ours.body),
        }
    }

    pub fn texts(&mut self, what: &str, theirs: &str, ours: &str) {
        if theirs != ours {
            self.say(what, format!("{theirs:?}"), format!("{ours:?}"));
        }
    }

    /// Fields, their order and their values.
    pub fn values(&mut self, path: &str, theirs: &Value, ours: &Value) {
        match (theirs, ours) {
            (Value::Object(theirs), Value::Object(ours)) => {
                let names = |o: &serde_json::Map<String, Value>| o.keys().cloned().collect::<Vec<_>>().join(", ");
                if names(theirs) != names(ours) {
                    self.say(&format!("fields of {path}"), names(theirs), names(ours));
                }
                for (name, theirs) in theirs {
                    match ours.get(name) {
                        Some(ours) if VOLATILE.contains(&name.as_str()) => self.kinds(name, theirs, ours),
                        Some(ours) => self.values(&format!("{path}.{name}"), theirs, ours),
                        None => {}
                    }
                }
            }
            (Value::Array(all), Value::Array(ours))
                if path.ends_with(".replication") && all.iter().any(is_question) =>
            {
                let standbys = all.iter().filter(|row| !is_question(row)).cloned().collect();
                self.values(path, &Value::Array(standbys), &Value::Array(ours.clone()));
            }
            (Value::Array(theirs), Value::Array(ours)) if theirs.len() == ours.len() => {
                for (number, (theirs, ours)) in theirs.iter().zip(ours).enumerate() {
                    self.values(&format!("{path}[{number}]"), theirs, ours);
                }
            }
            (theirs, ours) if theirs != ours => self.say(path, theirs, ours),
            _ => {}
        }
    }

    fn kinds(&mut self, name: &str, theirs: &Value, ours: &Value) {
        if shape(theirs) != shape(ours) {
            self.say(&format!("kind of {name}"), theirs, ours);
        }
    }

    fn metrics(&mut self, theirs: &str, ours: &str) {
        let line = |line: &str| {
            let name = line.split(['{', ' ']).next().unwrap_or_default().to_owned();
            let volatile = VOLATILE_METRICS.contains(&name.as_str());
            let text = if volatile { line.rsplit_once(' ').map_or(line, |(head, _)| head) } else { line };
            text.to_owned()
        };
        let ours: Vec<String> = ours.lines().filter(|l| !l.contains("jogi_")).map(line).collect();
        let theirs: Vec<String> = theirs.lines().map(line).collect();
        for (number, text) in theirs.iter().enumerate() {
            let other = ours.get(number).map_or("(nothing)", String::as_str);
            if text != other {
                self.say("metrics", text, other);
            }
        }
        if ours.len() > theirs.len() {
            self.say("metrics", "no more", ours[theirs.len()..].join(" | "));
        }
    }
}

/// A replication connection of Patroni's agent to its own server, open for one question: seen now and then, by chance.
fn is_question(row: &Value) -> bool {
    row["application_name"] == "" && row["state"] == "startup"
}

/// The kind of a value, and of a text its form: letters and digits stand for themselves no more.
fn shape(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => "truth".into(),
        Value::Number(_) => "number".into(),
        Value::String(text) if text.contains('/') => "position".into(),
        // A zero fraction of a second is not printed.
        Value::String(text) if text.contains(':') => "time".into(),
        Value::String(text) if text.bytes().all(|b| b.is_ascii_digit()) => "digits".into(),
        Value::String(text) => text.clone(),
        Value::Array(_) => "array".into(),
        Value::Object(_) => "object".into(),
    }
}

/// A difference that shall be: what a line about it contains, and why.
pub struct Wanted {
    pub line: &'static str,
    pub why: &'static str,
}

/// Fails when there is a difference that nobody wants, or a wanted one that is no more.
#[track_caller]
pub fn check(found: &[String], wanted: &[Wanted]) {
    let unwanted: Vec<&str> =
        found.iter().map(String::as_str).filter(|line| !wanted.iter().any(|w| line.contains(w.line))).collect();
    assert!(unwanted.is_empty(), "{} unwanted differences:\n{}", unwanted.len(), unwanted.join("\n"));
    for Wanted { line, why } in wanted {
        assert!(found.iter().any(|f| f.contains(line)), "no longer different, take it off the list: {line} ({why})");
    }
}
