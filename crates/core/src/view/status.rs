//! The `status` key: how far the leader's WAL reaches, and its slots.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{compact, integer};
use crate::{Lsn, SlotName, Timeline};

/// The leader's position and slots as last published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// End of useful WAL on the leader; zero when unknown.
    pub optime: Lsn,
    pub slots: Option<BTreeMap<SlotName, Lsn>>,
    pub retain_slots: Option<Vec<SlotName>>,
    /// The newest timeline that a leader has opened or was about to open. Ours, below the field that is ours.
    pub opened: Option<Timeline>,
}

impl Status {
    /// Reads the key: an object, or a bare integer. Inner values may be JSON in text.
    pub fn parse(text: &str) -> Status {
        match serde_json::from_str::<Value>(text) {
            Ok(Value::Object(object)) => Status {
                optime: object.get("optime").and_then(lsn).unwrap_or_default(),
                slots: object.get("slots").and_then(slots),
                retain_slots: object.get("retain_slots").and_then(retain_slots),
                opened: object.get("jogi").and_then(|ours| ours.get("timeline")).and_then(timeline),
            },
            Ok(other) => Status { optime: lsn(&other).unwrap_or_default(), ..Status::default() },
            Err(_) => Status::default(),
        }
    }

    /// Whether all that sets two apart is how far the server and its slots have come.
    pub fn differs_in_positions(&self, other: &Status) -> bool {
        let names = |status: &Status| status.slots.as_ref().map(|slots| slots.keys().cloned().collect::<Vec<_>>());
        (names(self), &self.retain_slots, self.opened) == (names(other), &other.retain_slots, other.opened)
    }

    pub fn to_text(&self) -> String {
        let mut object = Map::new();
        object.insert("optime".into(), self.optime.0.into());
        if let Some(slots) = self.slots.as_ref().filter(|s| !s.is_empty()) {
            let slots = slots.iter().map(|(name, lsn)| (name.to_string(), Value::from(lsn.0))).collect();
            object.insert("slots".into(), Value::Object(slots));
        }
        if let Some(retain) = self.retain_slots.as_ref().filter(|r| !r.is_empty()) {
            object.insert("retain_slots".into(), retain.iter().map(|s| Value::from(s.as_str())).collect());
        }
        if let Some(opened) = self.opened {
            object.insert("jogi".into(), json!({"timeline": opened.0}));
        }
        compact(&Value::Object(object))
    }
}

fn timeline(value: &Value) -> Option<Timeline> {
    integer(value).and_then(|i| u32::try_from(i).ok()).map(Timeline)
}

fn lsn(value: &Value) -> Option<Lsn> {
    integer(value).and_then(|i| u64::try_from(i).ok()).map(Lsn)
}

fn unwrapped(value: &Value) -> Option<Value> {
    match value {
        Value::String(text) => serde_json::from_str(text).ok(),
        other => Some(other.clone()),
    }
}

fn slots(value: &Value) -> Option<BTreeMap<SlotName, Lsn>> {
    let value = unwrapped(value)?;
    Some(value.as_object()?.iter().filter_map(|(k, v)| Some((SlotName(k.into()), lsn(v)?))).collect())
}

fn retain_slots(value: &Value) -> Option<Vec<SlotName>> {
    let value = unwrapped(value)?;
    Some(value.as_array()?.iter().filter_map(|v| v.as_str().map(|s| SlotName(s.into()))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_patroni_reads() {
        let text = r#"{"optime":67406904,"slots":{"node_0":67406904},"retain_slots":["node_0"]}"#;
        assert_eq!(Status::parse(text).to_text(), text);
        let ours = r#"{"optime":1,"jogi":{"timeline":3}}"#;
        assert_eq!(Status::parse(ours).opened, Some(Timeline(3)));
        assert_eq!(Status::parse(ours).to_text(), ours);
        assert_eq!(Status::parse("42").optime, Lsn(42));
        assert_eq!(Status::parse(r#"{"optime":"7","slots":"{\"a\":1}"}"#).slots.map(|s| s.len()), Some(1));
        assert_eq!(Status::parse("junk"), Status::default());
    }
}
