//! Permanent slots: what the dynamic configuration asks to be kept whoever leads (ha-rules 14.3).

use std::collections::BTreeMap;

use serde_json::Value;

use crate::SlotName;

/// The keys that may hold them; the first that is not empty counts.
const KEYS: [&str; 3] = ["permanent_replication_slots", "permanent_slots", "slots"];
/// `NAMEDATALEN - 1`.
const NAME_MAX: usize = 63;

/// One permanent slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Permanent {
    Physical {
        /// In which kind of cluster alone it is kept: `true` for a standby cluster.
        only_standby: Option<bool>,
    },
    Logical {
        database: String,
        plugin: String,
    },
}

/// The permanent slots of a configuration.
#[derive(Clone, Debug, Default)]
pub(in crate::ha) struct Configured {
    pub(super) slots: BTreeMap<SlotName, Permanent>,
    /// What is wrong with those that are left out.
    pub(super) wrong: Vec<String>,
}

impl Configured {
    pub(in crate::ha) fn of(dynamic: &Value) -> Configured {
        let Configured { mut slots, mut wrong } = Configured::default();
        let configured = KEYS.iter().filter_map(|key| dynamic.get(*key)?.as_object()).find(|slots| !slots.is_empty());
        for (name, value) in configured.into_iter().flatten() {
            match one(name, value) {
                Ok(slot) => _ = slots.insert(SlotName(name.into()), slot),
                Err(why) => wrong.push(format!("permanent slot '{name}' is left out: {why}")),
            }
        }
        Configured { slots, wrong }
    }
}

fn one(name: &str, value: &Value) -> Result<Permanent, String> {
    let fits = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '_');
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(fits) {
        return Err("a slot's name has 1 to 63 of the characters a-z, 0-9 and _".into());
    }
    let empty = serde_json::Map::new();
    let options = match value {
        Value::Null => &empty,
        Value::Object(options) => options,
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            return Err(format!("{value} is no mapping of its options"));
        }
    };
    let text = |key: &str| options.get(key).and_then(Value::as_str).map(str::to_owned);
    match text("type").unwrap_or_else(|| "physical".into()).to_lowercase().as_str() {
        "physical" => Ok(Permanent::Physical { only_standby: only_standby(options.get("cluster_type"))? }),
        "logical" => match (text("database"), text("plugin")) {
            (Some(database), Some(plugin)) => Ok(Permanent::Logical { database, plugin }),
            (None, _) => Err("a logical slot needs a 'database'".into()),
            (_, None) => Err("a logical slot needs a 'plugin'".into()),
        },
        other => Err(format!("'{other}' is no type of slot: physical or logical")),
    }
}

fn only_standby(value: Option<&Value>) -> Result<Option<bool>, String> {
    match value.map(|v| v.as_str().map(str::to_lowercase)) {
        None => Ok(None),
        Some(Some(kind)) if kind == "primary" => Ok(Some(false)),
        Some(Some(kind)) if kind == "standby" => Ok(Some(true)),
        Some(_) => Err("'cluster_type' is primary or standby".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn slots_are_read_and_mistakes_named() {
        let Configured { slots, wrong } = Configured::of(&json!({
            "permanent_replication_slots": {},
            "slots": {
                "plain": null, "empty": {}, "typed": {"type": "physical", "cluster_type": "standby"},
                "cdc": {"type": "logical", "database": "app", "plugin": "pgoutput"},
                "Upper": null, "no-dash": null, "text": "physical",
                "half": {"type": "logical", "database": "app"}, "other": {"type": "magic"},
                "where": {"cluster_type": "moon"},
            },
        }));
        let physical = |only_standby| Permanent::Physical { only_standby };
        let logical = Permanent::Logical { database: "app".into(), plugin: "pgoutput".into() };
        let expected =
            [("cdc", logical), ("empty", physical(None)), ("plain", physical(None)), ("typed", physical(Some(true)))];
        assert_eq!(slots, expected.into_iter().map(|(n, s)| (SlotName(n.into()), s)).collect());
        assert_eq!(wrong.len(), 6, "{wrong:?}");
    }

    #[test]
    fn the_first_key_with_slots_counts() {
        let Configured { slots, .. } = Configured::of(&json!({"permanent_slots": {"a": null}, "slots": {"b": null}}));
        assert_eq!(slots.into_keys().collect::<Vec<_>>(), [SlotName("a".into())]);
        assert!(Configured::of(&Value::Null).slots.is_empty());
    }
}
