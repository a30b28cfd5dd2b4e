//! The `sync` key: who is a legal successor in the synchronous modes.

use serde_json::{Value, json};

use super::{Revision, compact, integer};
use crate::MemberName;

/// The published synchronous state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncState {
    /// Who last maintained synchronous replication; `None` while the feature is off or inactive.
    pub leader: Option<MemberName>,
    /// Votes needed beside the candidate's own (quorum mode); zero in priority mode.
    pub quorum: u32,
    pub standbys: Vec<MemberName>,
    /// `None` when the key does not exist.
    pub revision: Option<Revision>,
}

impl SyncState {
    pub fn parse(text: &str, revision: Option<Revision>) -> SyncState {
        let Ok(Value::Object(object)) = serde_json::from_str::<Value>(text) else {
            return SyncState { revision, ..SyncState::default() };
        };
        let leader = object.get("leader").and_then(Value::as_str).filter(|s| !s.is_empty()).map(MemberName::from);
        let quorum = object.get("quorum").and_then(integer).and_then(|q| u32::try_from(q).ok()).unwrap_or(0);
        let standbys = object.get("sync_standby").and_then(Value::as_str).unwrap_or("");
        let standbys = standbys.split(',').map(str::trim).filter(|s| !s.is_empty()).map(MemberName::from);
        SyncState { quorum: if leader.is_some() { quorum } else { 0 }, standbys: standbys.collect(), leader, revision }
    }

    /// Whether `name` may succeed: the synchronous leader or one of the standbys.
    pub fn names(&self, name: &MemberName) -> bool {
        self.leader.as_ref().is_some_and(|l| l.matches(name.as_str())) || self.is_standby(name)
    }

    pub fn is_standby(&self, name: &MemberName) -> bool {
        self.standbys.iter().any(|s| s.matches(name.as_str()))
    }

    pub fn to_text(&self) -> String {
        let mut names: Vec<&str> = self.standbys.iter().map(MemberName::as_str).collect();
        names.sort_unstable();
        let standbys = if names.is_empty() { Value::Null } else { names.join(",").into() };
        let leader = self.leader.as_ref().map(|l| l.as_str());
        compact(&json!({"leader": leader, "quorum": self.quorum, "sync_standby": standbys}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_patronis_form() {
        for text in [
            r#"{"leader":"node-0","quorum":1,"sync_standby":"node-1,node-2"}"#,
            r#"{"leader":"node-2","quorum":0,"sync_standby":null}"#,
        ] {
            assert_eq!(SyncState::parse(text, None).to_text(), text);
        }
        let state = SyncState::parse(r#"{"leader":"A","sync_standby":" b ,,C"}"#, None);
        assert!(state.names(&"a".into()) && state.is_standby(&"B".into()) && state.is_standby(&"c".into()));
        assert!(!state.names(&"d".into()));
    }
}
