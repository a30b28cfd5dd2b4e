//! Two effects of one lane never overlap, and no effect has the number of another.

use std::collections::BTreeMap;

use jogi_core::MemberName;
use jogi_core::ha::{Act, Effect, EffectId, Lane};

use crate::agent::Agent;

#[derive(Clone, Debug, Default)]
pub struct Lanes {
    last: BTreeMap<MemberName, EffectId>,
}

impl Lanes {
    pub fn check(&mut self, name: &MemberName, effect: &Effect, agent: Option<&Agent>) -> Option<String> {
        let running = agent.map(|a| &a.works).filter(|works| !works.is_empty());
        if running.is_none() {
            self.last.remove(name);
        }
        let last = self.last.insert(name.clone(), effect.id);
        if last.is_some_and(|last| last >= effect.id) {
            return Some(format!("{name}: effect {} has a number that was used", effect.id.0));
        }
        if may_overlap(effect) {
            return None;
        }
        let other = running?.values().find(|w| w.effect.lane == effect.lane && !may_overlap(&w.effect))?;
        Some(format!(
            "{name}: {} {} begins while {} {} is still being done in the lane {:?}",
            effect.act.name(),
            effect.id.0,
            other.effect.act.name(),
            other.effect.id.0,
            effect.lane
        ))
    }
}

/// Answers and cancellations need no lane, callbacks replace one another, and a question that was given up harms nobody.
fn may_overlap(effect: &Effect) -> bool {
    effect.lane.is_question()
        || matches!(effect.lane, Lane::Callback(_))
        || matches!(effect.act, Act::Reply { .. } | Act::Exit { .. } | Act::Cancel { .. })
}
