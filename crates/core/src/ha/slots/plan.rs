//! What has to change so that the slots of a server are those that are wanted (ha-rules 14.4).

use std::collections::BTreeMap;

use serde_json::Value;

use crate::ha::SlotPlan;
use crate::ha::server::Slot;
use crate::{Lsn, SlotName};

/// A slot that ought to be here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Want {
    Physical {
        /// Somebody is expected to stream from it here.
        active: bool,
        /// How far the leader says it is.
        target: Option<Lsn>,
    },
    Logical {
        database: String,
        plugin: String,
        target: Option<Lsn>,
    },
}

impl Want {
    /// Whether a slot is of this kind, so that it may stay.
    pub(super) fn is_met_by(&self, slot: &Slot) -> bool {
        match self {
            Want::Physical { .. } => !slot.logical,
            Want::Logical { database, plugin, .. } => {
                slot.logical
                    && slot.database.as_deref() == Some(database.as_str())
                    && slot.plugin.as_deref() == Some(plugin.as_str())
            }
        }
    }
}

pub(super) fn plan(
    wanted: &BTreeMap<SlotName, Want>,
    have: &BTreeMap<SlotName, Slot>,
    foreign: impl Fn(&SlotName, &Slot) -> bool,
) -> SlotPlan {
    let mut plan = SlotPlan::default();
    for (name, slot) in have {
        let stays = wanted.get(name).is_some_and(|want| want.is_met_by(slot) && !slot.lost && !is_idle(want, slot));
        if !stays && !slot.active && !foreign(name, slot) {
            plan.drop.push(name.clone());
        }
    }
    for (name, want) in wanted {
        let Want::Physical { active, target } = want else { continue };
        match have.get(name) {
            None => plan.create.push(name.clone()),
            Some(slot) if !active && !slot.xmin && !slot.logical => {
                if let (Some(target), Some(at)) = (target, slot.restart)
                    && *target > at
                {
                    plan.advance.push((name.clone(), *target));
                }
            }
            Some(_) => {}
        }
    }
    plan
}

/// A slot that nobody uses here: what holds xmin back on it would stop vacuum for ever, and one that holds no WAL
/// would never be advanced.
fn is_idle(want: &Want, slot: &Slot) -> bool {
    match want {
        Want::Physical { active, .. } => !active && (slot.xmin || slot.restart.is_none()),
        Want::Logical { .. } => false,
    }
}

/// Whether `ignore_slots` names this slot: every key that an entry gives must be equal.
pub(super) fn is_ignored(dynamic: &Value, name: &SlotName, slot: &Slot) -> bool {
    let ignored = dynamic.get("ignore_slots").and_then(Value::as_array);
    ignored.is_some_and(|list| list.iter().any(|matcher| matches(matcher, name, slot)))
}

fn matches(matcher: &Value, name: &SlotName, slot: &Slot) -> bool {
    let Some(matcher) = matcher.as_object() else { return false };
    let kind = if slot.logical { "logical" } else { "physical" };
    let equal = |key: &str, value: Option<&str>| {
        matcher.get(key).and_then(Value::as_str).is_none_or(|wanted| Some(wanted) == value)
    };
    equal("name", Some(name.as_str()))
        && equal("type", Some(kind))
        && equal("database", slot.database.as_deref())
        && equal("plugin", slot.plugin.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn name(name: &str) -> SlotName {
        SlotName(name.into())
    }

    fn physical(restart: Option<u64>, active: bool) -> Slot {
        Slot { restart: restart.map(Lsn), active, ..Slot::default() }
    }

    fn logical(database: &str) -> Slot {
        Slot {
            logical: true,
            database: Some(database.into()),
            plugin: Some("pgoutput".into()),
            confirmed_flush: Some(Lsn(5)),
            ..Slot::default()
        }
    }

    #[test]
    fn slots_are_dropped_created_and_advanced() {
        let have = BTreeMap::from([
            (name("gone"), physical(Some(5), false)),
            (name("gone_but_used"), physical(Some(5), true)),
            (name("mine_to_keep"), physical(Some(5), false)),
            (name("idle"), physical(Some(5), false)),
            (name("idle_empty"), physical(None, false)),
            (name("idle_xmin"), Slot { xmin: true, ..physical(Some(5), false) }),
            (name("used_empty"), physical(None, false)),
            (name("lost"), Slot { lost: true, ..physical(Some(5), false) }),
            (name("cdc"), logical("app")),
            (name("moved"), logical("old")),
            (name("was_logical"), logical("app")),
        ]);
        let want = |active, target| Want::Physical { active, target: Some(Lsn(target)) };
        let cdc = Want::Logical { database: "app".into(), plugin: "pgoutput".into(), target: Some(Lsn(9)) };
        let wanted = BTreeMap::from([
            (name("idle"), want(false, 9)),
            (name("idle_empty"), want(false, 9)),
            (name("idle_xmin"), want(false, 9)),
            (name("used_empty"), want(true, 9)),
            (name("lost"), want(true, 9)),
            (name("new"), want(true, 9)),
            (name("cdc"), cdc.clone()),
            (name("moved"), cdc),
            (name("was_logical"), want(true, 9)),
        ]);
        let plan = plan(&wanted, &have, |n, _| n.as_str() == "mine_to_keep");
        let dropped: Vec<&str> = plan.drop.iter().map(SlotName::as_str).collect();
        assert_eq!(dropped, ["gone", "idle_empty", "idle_xmin", "lost", "moved", "was_logical"]);
        assert_eq!(plan.create, [name("new")]);
        assert_eq!(plan.advance, [(name("idle"), Lsn(9))]);
    }

    #[test]
    fn an_ignored_slot_agrees_in_every_key_that_is_given() {
        for (matcher, ignored) in [
            (json!({"name": "cdc"}), true),
            (json!({"type": "logical", "plugin": "pgoutput"}), true),
            (json!({"name": "cdc", "database": "other"}), false),
            (json!({"type": "physical"}), false),
            (json!("cdc"), false),
            (json!({}), true),
        ] {
            let dynamic = json!({"ignore_slots": [matcher]});
            assert_eq!(is_ignored(&dynamic, &name("cdc"), &logical("app")), ignored, "{dynamic}");
        }
        assert!(!is_ignored(&json!({}), &name("cdc"), &logical("app")));
    }
}
