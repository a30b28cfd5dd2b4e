//! Writes to the store as data: what is written, on which condition, and what came of it.

use super::{Key, Revision, Session};

/// What must hold of a key for a write to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    Always,
    /// The key does not exist.
    Absent,
    /// The key still has the revision under which it was read.
    Unchanged(Revision),
}

impl Condition {
    /// The condition "as I read it": unchanged, or still absent.
    pub fn as_read(revision: Option<&Revision>) -> Condition {
        revision.map_or(Condition::Absent, |r| Condition::Unchanged(r.clone()))
    }
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub key: Key,
    /// `None` deletes the key.
    pub value: Option<String>,
    pub condition: Condition,
    /// Binds the key to a session, so that it goes when the session ends (member keys).
    pub session: Option<Session>,
    /// Only while the leader key is this incarnation (its `created` revision): status, history and
    /// failsafe are the lock holder's.
    pub only_while_leader: Option<Revision>,
}

impl Write {
    pub fn put(key: Key, value: impl Into<String>) -> Write {
        let condition = Condition::Always;
        Write { key, value: Some(value.into()), condition, session: None, only_while_leader: None }
    }

    pub fn delete(key: Key) -> Write {
        Write { key, value: None, condition: Condition::Always, session: None, only_while_leader: None }
    }

    pub fn when(mut self, condition: Condition) -> Write {
        self.condition = condition;
        self
    }

    pub fn while_leader(mut self, created: &Revision) -> Write {
        self.only_while_leader = Some(created.clone());
        self
    }

    pub fn on_session(mut self, session: &Session) -> Write {
        self.session = Some(session.clone());
        self
    }
}

/// What came of a write that the store answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    Done {
        revision: Revision,
    },
    /// A condition did not hold; nothing was changed.
    Conflict,
    /// The session that the key was to be bound to has ended; nothing was changed.
    SessionGone,
}

/// The revisions on which the decision to take the lock was made. All are compared in the same
/// transaction as the taking, where the store can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expect {
    pub leader: Condition,
    pub sync: Condition,
    pub failover: Condition,
    pub initialize: Condition,
}

impl Expect {
    /// Nothing but the leader key's absence.
    pub fn free() -> Expect {
        Expect {
            leader: Condition::Absent,
            sync: Condition::Always,
            failover: Condition::Always,
            initialize: Condition::Always,
        }
    }
}
