//! The `history` key: the timelines of the cluster and who opened them.

use serde_json::Value;

use super::{compact, integer};
use crate::{Lsn, Timeline};

/// One switch of timelines as published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    pub parent: Timeline,
    pub switched_at: Lsn,
    pub reason: String,
    /// ISO 8601, when the new timeline began.
    pub at: Option<String>,
    pub new_leader: Option<String>,
}

/// The whole key, oldest switch first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryKey(pub Vec<HistoryEntry>);

impl HistoryKey {
    /// `None` when the value is not an array.
    pub fn parse(text: &str) -> Option<HistoryKey> {
        let value: Value = serde_json::from_str(text).ok()?;
        let entry = |v: &Value| {
            let fields = v.as_array()?;
            let text = |i: usize| fields.get(i).and_then(Value::as_str).map(str::to_owned);
            Some(HistoryEntry {
                parent: Timeline(u32::try_from(integer(fields.first()?)?).ok()?),
                switched_at: Lsn(u64::try_from(integer(fields.get(1)?)?).ok()?),
                reason: text(2).unwrap_or_default(),
                at: text(3),
                new_leader: text(4),
            })
        };
        Some(HistoryKey(value.as_array()?.iter().filter_map(entry).collect()))
    }

    pub fn timeline(&self) -> Timeline {
        self.0.last().map_or(Timeline(1), |last| Timeline(last.parent.0 + 1))
    }

    pub fn to_text(&self) -> String {
        let entry = |e: &HistoryEntry| {
            let mut fields = vec![Value::from(e.parent.0), e.switched_at.0.into(), e.reason.as_str().into()];
            if let Some(at) = &e.at {
                fields.push(at.as_str().into());
                fields.extend(e.new_leader.as_deref().map(Value::from));
            }
            Value::Array(fields)
        };
        compact(&Value::Array(self.0.iter().map(entry).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_survives_a_round_trip() {
        let text = r#"[[1,67407200,"no recovery target specified","2026-11-22T22:05:26.642398+00:00","node-1"]]"#;
        let history = HistoryKey::parse(text).expect("an array");
        assert_eq!(history.timeline(), Timeline(2));
        assert_eq!(history.to_text(), text);
        assert_eq!(HistoryKey::parse("[]").expect("an array").timeline(), Timeline(1));
        assert_eq!(HistoryKey::parse("{}"), None);
    }
}
