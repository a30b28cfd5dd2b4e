//! What the store says about the cluster: immutable, in Patroni's keys and JSON (`docs/store-keys.md`).
//!
//! Reading is tolerant where Patroni is: a value that makes no sense reads as absent or empty, never as
//! an error, because one bad key must not stop a herd. Writing is exact, byte for byte.

mod cluster;
mod failover;
mod history;
mod member;
mod settings;
mod status;
mod sync;
mod write;

pub use cluster::{Cluster, Key, KeyValue, Leader, Revision, Session, Versioned};
pub use failover::Failover;
pub use history::{HistoryEntry, HistoryKey};
pub use member::{Member, MemberData, Tags};
pub use settings::{Settings, StandbyCluster, SyncMode};
pub use status::Status;
pub use sync::SyncState;
pub use write::{Condition, Expect, Write, Written};

use serde_json::Value;

/// Compact JSON with non-ASCII characters as `\uXXXX`, as Patroni writes every key.
pub fn compact(value: &impl serde::Serialize) -> String {
    // Only maps with keys that are no strings cannot be written; no key of the store has any.
    let text = serde_json::to_string(value).unwrap_or_default();
    if text.is_ascii() {
        return text;
    }
    let mut out = String::new();
    for c in text.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            let mut units = [0u16; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

/// An integer that may have been written as a number or as text.
fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(n) => n.as_i64().or_else(|| n.as_f64().map(|f| f as i64)),
        Value::String(s) => s.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Patroni's truth: booleans, and the words and numbers people write for them.
pub fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(b) => Some(*b),
        Value::Number(n) => n.as_i64().map(|i| i != 0),
        Value::String(s) => match s.to_ascii_lowercase().as_str() {
            "on" | "true" | "yes" | "1" => Some(true),
            "off" | "false" | "no" | "0" => Some(false),
            _ => None,
        },
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
