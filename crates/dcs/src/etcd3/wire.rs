//! The gateway's JSON: base64 for keys and values, 64-bit integers as text, absent for zero.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

/// Stands in every answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Header {
    #[serde(deserialize_with = "unsigned")]
    pub cluster_id: u64,
    #[serde(deserialize_with = "integer")]
    pub revision: i64,
    #[serde(deserialize_with = "unsigned")]
    pub raft_term: u64,
}

/// An answer that says which history it stands for.
pub(super) trait Answered: serde::de::DeserializeOwned + Send {
    fn header(&self) -> Header;
}

macro_rules! answered {
    ($($answer:ty),*) => {
        $(impl Answered for $answer {
            fn header(&self) -> Header {
                self.header
            }
        })*
    };
}

answered!(RangeAnswer, TxnAnswer, HeaderAnswer, GrantAnswer, KeepAliveAnswer, MembersAnswer);

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Kv {
    #[serde(deserialize_with = "text")]
    pub key: String,
    #[serde(deserialize_with = "text")]
    pub value: String,
    #[serde(deserialize_with = "integer")]
    pub create_revision: i64,
    #[serde(deserialize_with = "integer")]
    pub mod_revision: i64,
    #[serde(deserialize_with = "integer")]
    pub lease: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RangeAnswer {
    pub header: Header,
    pub kvs: Vec<Kv>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TxnAnswer {
    pub header: Header,
    pub succeeded: bool,
    pub responses: Vec<OpAnswer>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct OpAnswer {
    pub response_range: Option<RangeAnswer>,
    pub response_delete_range: Option<DeletedAnswer>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct DeletedAnswer {
    #[serde(deserialize_with = "integer")]
    pub deleted: i64,
}

impl TxnAnswer {
    /// A lone deletion of a key that was not there: no revision was made.
    pub(super) fn deleted_nothing(&self) -> bool {
        let deleted = |op: &OpAnswer| op.response_delete_range.as_ref().map(|d| d.deleted);
        self.responses.len() == 1 && deleted(&self.responses[0]) == Some(0)
    }
}

/// An answer of which only the header matters.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct HeaderAnswer {
    pub header: Header,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct GrantAnswer {
    pub header: Header,
    #[serde(rename = "TTL", deserialize_with = "integer")]
    pub ttl: i64,
}

/// Unwrapped from the stream's `result`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct KeepAliveAnswer {
    pub header: Header,
    /// Absent or zero: there is no such lease any more.
    #[serde(rename = "TTL", deserialize_with = "integer")]
    pub ttl: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct MembersAnswer {
    pub header: Header,
    pub members: Vec<EtcdMember>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct EtcdMember {
    #[serde(rename = "clientURLs")]
    pub client_urls: Vec<String>,
    #[serde(rename = "isLearner")]
    pub is_learner: bool,
}

/// One message of a watch's stream, unwrapped from `result`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WatchMessage {
    pub header: Header,
    pub created: bool,
    pub canceled: bool,
    pub cancel_reason: String,
    #[serde(deserialize_with = "integer")]
    pub compact_revision: i64,
    pub events: Vec<WatchedChange>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WatchedChange {
    /// Absent for PUT.
    #[serde(rename = "type")]
    pub kind: ChangeKind,
    pub kv: Kv,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) enum ChangeKind {
    #[default]
    #[serde(rename = "PUT")]
    Put,
    #[serde(rename = "DELETE")]
    Delete,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct VersionAnswer {
    pub etcdserver: String,
    pub etcdcluster: String,
}

pub(super) fn encode(text: &str) -> String {
    STANDARD.encode(text)
}

/// The `range_end` of a prefix: its last byte that is not 0xff, incremented.
pub(super) fn prefix_end(prefix: &str) -> String {
    let mut bytes = prefix.as_bytes().to_vec();
    while let Some(last) = bytes.pop() {
        if last < 0xff {
            bytes.push(last + 1);
            return STANDARD.encode(bytes);
        }
    }
    STANDARD.encode([0])
}

/// Key and range end of everything below `prefix`.
pub(super) fn prefix_range(prefix: &str) -> Value {
    json!({"key": encode(prefix), "range_end": prefix_end(prefix)})
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Signed(i64),
    Unsigned(u64),
    Text(String),
}

fn integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    match Option::<Number>::deserialize(deserializer)? {
        None => Ok(0),
        Some(Number::Signed(n)) => Ok(n),
        Some(Number::Unsigned(n)) => i64::try_from(n).map_err(serde::de::Error::custom),
        Some(Number::Text(s)) => s.parse().map_err(serde::de::Error::custom),
    }
}

fn unsigned<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    match Option::<Number>::deserialize(deserializer)? {
        None => Ok(0),
        Some(Number::Signed(n)) => u64::try_from(n).map_err(serde::de::Error::custom),
        Some(Number::Unsigned(n)) => Ok(n),
        Some(Number::Text(s)) => s.parse().map_err(serde::de::Error::custom),
    }
}

/// Base64 of UTF-8; other bytes are replaced, because a key that no one can read must not stop the rest.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let Some(encoded) = Option::<String>::deserialize(deserializer)? else { return Ok(String::new()) };
    let bytes = STANDARD.decode(encoded).map_err(serde::de::Error::custom)?;
    Ok(String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_come_as_text_as_numbers_or_not_at_all() {
        let header: Header = serde_json::from_str(r#"{"cluster_id":"14841639068965178418","revision":7}"#).expect("ok");
        assert_eq!(header, Header { cluster_id: 14841639068965178418, revision: 7, raft_term: 0 });
        assert!(serde_json::from_str::<Header>(r#"{"revision":"x"}"#).is_err());
        assert!(serde_json::from_str::<Header>(r#"{"revision":"9999999999999999999999"}"#).is_err());
    }

    #[test]
    fn a_prefix_ends_where_the_next_one_begins() {
        for (prefix, end) in [("/service/demo/", &b"/service/demo0"[..]), ("a", b"b"), ("", b"\0")] {
            assert_eq!(prefix_end(prefix), STANDARD.encode(end), "{prefix:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        let kv: Kv = serde_json::from_str(r#"{"key":"YQ==","value":"/w==","lease":"12"}"#).expect("ok");
        assert_eq!((kv.key.as_str(), kv.value.as_str(), kv.lease), ("a", "\u{fffd}", 12));
    }
}
