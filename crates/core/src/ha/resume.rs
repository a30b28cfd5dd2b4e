//! The end of a pause, for those who have not heard of it.
//!
//! In pause the guard is not armed, and a primary that is cut off from the store goes on: it was asked to. When the
//! pause ends, such a primary does not hear of it, and whoever is elected then writes beside it. So a member that
//! was last seen as primary in pause is waited for: as long as its session lives, and for `ttl` + 10 s after that or
//! after the end of the pause, whichever is later. (There must be an end to it: nobody can tell a cut from a dead
//! host.) In that time a cut or a restart of the usual kind is over, and the member leads on without a loss. A
//! request for a failover does not wait.

use std::collections::BTreeMap;
use std::time::Duration;

use super::machine::Ha;
use super::timer::Timer;
use crate::view::Cluster;
use crate::{MemberName, Tick};

/// Beside `ttl`: what a restart of an agent or a short cut of the network takes.
const GRACE: Duration = Duration::from_secs(10);

/// Primaries that have last shown that they believe in a pause.
#[derive(Clone, Debug, Default)]
pub(super) struct Unheard {
    /// `Some`: since when the member's key is gone, or the pause over.
    primaries: BTreeMap<MemberName, Option<Tick>>,
}

impl Unheard {
    /// Takes in a view. `paused`: what it says of the cluster.
    fn see(&mut self, cluster: &Cluster, paused: bool, now: Tick) {
        for (name, member) in &cluster.members {
            if member.data.paused() && member.data.role() == "primary" {
                self.primaries.insert(name.clone(), None);
            } else {
                self.primaries.remove(name);
            }
        }
        for (name, since) in &mut self.primaries {
            if paused || cluster.members.contains_key(name) {
                *since = None;
            } else {
                since.get_or_insert(now);
            }
        }
    }

    /// Who is waited for, and until when if that is known.
    fn awaited(&self, patience: Duration, now: Tick) -> Option<(&MemberName, Option<Tick>)> {
        let until = |since: &Option<Tick>| since.map(|since| since + patience);
        let waiting = self.primaries.iter().map(|(name, since)| (name, until(since)));
        waiting.into_iter().find(|(_, until)| until.is_none_or(|until| now < until))
    }
}

impl Ha {
    pub(super) fn note_who_has_heard(&mut self, cluster: &Cluster) {
        let paused = self.settings_of(cluster).pause;
        self.unheard.see(cluster, paused, self.now.boot);
        self.unheard.primaries.remove(&self.local.name);
    }

    /// Why nobody may be elected yet after a pause.
    pub(super) fn waits_for_the_paused(&mut self) -> Option<String> {
        let patience = self.settings.ttl + GRACE;
        let (name, until) = self.unheard.awaited(patience, self.now.boot)?;
        let why = format!("{name} was primary in pause and may not have heard that the pause is over");
        if let Some(until) = until {
            self.timers.set_earlier(Timer::Race, until);
        }
        Some(why)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::view::{KeyValue, Revision};

    const PATIENCE: Duration = Duration::from_secs(15);

    fn view(members: &[(&str, serde_json::Value)]) -> Cluster {
        Cluster::from_keys(members.iter().map(|(name, data)| KeyValue {
            path: format!("members/{name}"),
            value: data.to_string(),
            revision: Revision("1".into()),
            created: Revision("1".into()),
            session: None,
        }))
    }

    fn at(seconds: u64) -> Tick {
        Tick::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn a_primary_that_has_not_heard_is_awaited_for_a_while() {
        let paused = json!({"role": "primary", "pause": true});
        let heard = json!({"role": "primary"});
        let standby = ("b", json!({"role": "replica", "pause": true}));
        let both = view(&[("a", paused), standby.clone()]);
        let mut unheard = Unheard::default();
        let gone = view(std::slice::from_ref(&standby));
        unheard.see(&both, true, at(1));
        unheard.see(&gone, true, at(100));
        // The pause ends at 200, long after a's session did.
        unheard.see(&gone, false, at(200));
        unheard.see(&gone, false, at(210));
        assert_eq!(unheard.awaited(PATIENCE, at(214)), Some((&"a".into(), Some(at(215)))));
        assert_eq!(unheard.awaited(PATIENCE, at(215)), None);
        // It has not heard, and lives: there is no end to that.
        unheard.see(&both, false, at(216));
        assert_eq!(unheard.awaited(PATIENCE, at(999)), Some((&"a".into(), None)));
        unheard.see(&view(&[("a", heard), standby]), false, at(1000));
        assert_eq!(unheard.awaited(PATIENCE, at(1000)), None);
    }
}
