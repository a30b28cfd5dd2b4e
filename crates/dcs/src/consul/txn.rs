//! Transactions: how they are written, and what their answers mean.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jogi_core::view::{Condition, Key, KeyValue, Revision, Session};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

/// One key as Consul delivers it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Kv {
    pub key: String,
    #[serde(deserialize_with = "base64_text")]
    pub value: String,
    pub session: Option<String>,
    pub create_index: u64,
    pub modify_index: u64,
}

/// An empty value comes as null.
fn base64_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
    let bytes = STANDARD.decode(text).map_err(serde::de::Error::custom)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

impl Kv {
    pub(super) fn session(&self) -> Option<Session> {
        self.session.as_deref().filter(|id| !id.is_empty()).map(|id| Session(id.into()))
    }

    pub(super) fn key_value(self, prefix: &str) -> Option<KeyValue> {
        Some(KeyValue {
            path: self.key.strip_prefix(prefix)?.to_owned(),
            session: self.session(),
            value: self.value,
            revision: revision(self.modify_index),
            created: revision(self.create_index),
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct TxnAnswer {
    #[serde(default)]
    results: Option<Vec<TxnResult>>,
    #[serde(default)]
    errors: Option<Vec<TxnError>>,
}

#[derive(Debug, Deserialize)]
struct TxnResult {
    #[serde(rename = "KV")]
    kv: Option<Kv>,
}

#[derive(Debug, Deserialize)]
struct TxnError {
    #[serde(rename = "What", default)]
    what: String,
}

/// What a transaction came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Applied; creation and modification of the last key that it wrote (0: it wrote none).
    Done {
        created: u64,
        modified: u64,
    },
    Conflict,
    SessionGone,
}

impl TxnAnswer {
    /// `Err`: refused for something that is no condition of ours.
    pub(super) fn outcome(&self) -> Result<Outcome, String> {
        let errors = self.errors.as_deref().unwrap_or_default();
        if errors.is_empty() {
            let last = self.results.iter().flatten().filter_map(|r| r.kv.as_ref()).next_back();
            let (created, modified) = last.map_or((0, 0), |kv| (kv.create_index, kv.modify_index));
            return Ok(Outcome::Done { created, modified });
        }
        if errors.iter().any(|e| e.what.starts_with("invalid session")) {
            return Ok(Outcome::SessionGone);
        }
        const CONDITIONS: [&str; 5] =
            ["failed index check", "failed to check index", "exists", "failed to lock", "isn't currently"];
        match errors.iter().find(|e| !CONDITIONS.iter().any(|known| e.what.contains(known))) {
            None => Ok(Outcome::Conflict),
            Some(other) => Err(other.what.clone()),
        }
    }
}

/// A transaction over one cluster's keys.
pub(super) struct Txn<'a> {
    prefix: &'a str,
    operations: Vec<Value>,
}

/// A revision that is no index of Consul's can never be met again.
pub(super) struct NeverMet;

impl<'a> Txn<'a> {
    pub(super) fn new(prefix: &'a str) -> Txn<'a> {
        Txn { prefix, operations: Vec::new() }
    }

    fn push(&mut self, verb: &str, key: &Key, mut fields: Value) {
        fields["Verb"] = verb.into();
        fields["Key"] = format!("{}{}", self.prefix, key.path()).into();
        self.operations.push(json!({ "KV": fields }));
    }

    pub(super) fn condition(&mut self, key: &Key, condition: &Condition) -> Result<(), NeverMet> {
        match condition {
            Condition::Always => {}
            Condition::Absent => self.push("check-not-exists", key, json!({})),
            Condition::Unchanged(revision) => self.unchanged(key, number(revision)?),
        }
        Ok(())
    }

    pub(super) fn unchanged(&mut self, key: &Key, index: u64) {
        self.push("check-index", key, json!({ "Index": index }));
    }

    pub(super) fn set(&mut self, key: &Key, value: &str) {
        self.push("set", key, json!({ "Value": STANDARD.encode(value) }));
    }

    pub(super) fn delete(&mut self, key: &Key) {
        self.push("delete", key, json!({}));
    }

    pub(super) fn lock(&mut self, key: &Key, value: &str, session: &Session) {
        self.push("lock", key, json!({ "Value": STANDARD.encode(value), "Session": session.0 }));
    }

    /// Takes a lock from the session that has it; only together with [`Txn::lock`] in one transaction.
    pub(super) fn unlock(&mut self, key: &Key, value: &str, session: &Session) {
        self.push("unlock", key, json!({ "Value": STANDARD.encode(value), "Session": session.0 }));
    }

    pub(super) fn into_body(self) -> Value {
        Value::Array(self.operations)
    }
}

pub(super) fn revision(index: u64) -> Revision {
    Revision(index.to_string().into())
}

/// Consul's indexes are positive.
pub(super) fn number(revision: &Revision) -> Result<u64, NeverMet> {
    match revision.0.parse::<u64>() {
        Ok(n) if n > 0 => Ok(n),
        Ok(_) | Err(_) => Err(NeverMet),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_consul_answers_to_a_transaction() {
        let refused = |what: &str| json!({"Results": null, "Errors": [{"OpIndex": 0, "What": what}]});
        for (answer, outcome) in [
            (
                json!({"Results": [{"KV": {"Key": "k", "Value": null, "CreateIndex": 8, "ModifyIndex": 16}}], "Errors": null}),
                Ok(Outcome::Done { created: 8, modified: 16 }),
            ),
            (json!({"Results": [], "Errors": null}), Ok(Outcome::Done { created: 0, modified: 0 })),
            (refused("key \"s/d/leader\" exists"), Ok(Outcome::Conflict)),
            (refused("failed to check index, key \"s/d/no\" doesn't exist"), Ok(Outcome::Conflict)),
            (refused("failed index check for key \"k\", current modify index 5 != 4"), Ok(Outcome::Conflict)),
            (refused("failed to lock key \"k\", lock is already held"), Ok(Outcome::Conflict)),
            (refused("failed to unlock key \"k\", lock isn't currently held"), Ok(Outcome::Conflict)),
            (refused("invalid session \"x\""), Ok(Outcome::SessionGone)),
            (refused("Permission denied"), Err("Permission denied".to_owned())),
        ] {
            let parsed: TxnAnswer = serde_json::from_value(answer.clone()).expect("an answer");
            assert_eq!(parsed.outcome(), outcome, "{answer}");
        }
    }

    #[test]
    fn a_revision_of_another_store_is_never_met() {
        for text in ["", "0", "-1", "x", "99999999999999999999"] {
            let mut txn = Txn::new("s/d/");
            assert!(txn.condition(&Key::Sync, &Condition::Unchanged(Revision(text.into()))).is_err(), "{text:?}");
        }
    }

    #[test]
    fn keys_as_consul_delivers_them() {
        let text = r#"{"LockIndex":2,"Key":"s/d/leader","Flags":0,"Value":"YQ==","Session":"x","CreateIndex":8,"ModifyIndex":16}"#;
        let kv = serde_json::from_str::<Kv>(text).expect("a key").key_value("s/d/").expect("below the prefix");
        assert_eq!((kv.path.as_str(), kv.value.as_str(), kv.created.0.as_str()), ("leader", "a", "8"));
        assert_eq!(kv.session, Some(Session("x".into())));
        let bad = r#"{"Key":"s/d/leader","Value":"!"}"#;
        assert!(serde_json::from_str::<Kv>(bad).is_err());
    }
}
