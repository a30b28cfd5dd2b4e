//! Names of members and of the replication slots derived from them.

use std::borrow::Borrow;
use std::fmt;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

/// The name of a member, unique in its cluster; the last component of its key in the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MemberName(pub SmolStr);

impl MemberName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Synchronous standby names are compared without regard to case (PostgreSQL folds
    /// `application_name` comparisons in `synchronous_standby_names`).
    pub fn matches(&self, other: &str) -> bool {
        self.0.eq_ignore_ascii_case(other.trim())
    }

    /// The slot that this member streams from on its upstream.
    pub fn slot(&self) -> SlotName {
        SlotName::of_member(&self.0)
    }
}

impl fmt::Display for MemberName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for MemberName {
    fn from(name: &str) -> Self {
        MemberName(name.into())
    }
}

impl From<String> for MemberName {
    fn from(name: String) -> Self {
        MemberName(name.into())
    }
}

impl Borrow<str> for MemberName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The name of a replication slot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SlotName(pub SmolStr);

/// `NAMEDATALEN - 1`: PostgreSQL's limit for a slot's name.
const SLOT_NAME_MAX: usize = 63;

impl SlotName {
    /// Patroni's mangling: lower case; `-` and `.` become `_`; any other character outside
    /// `[a-z0-9_]` becomes `u` and its code point in at least four decimal digits; 63 characters.
    pub fn of_member(member: &str) -> SlotName {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if member.len() <= SLOT_NAME_MAX && member.bytes().all(plain) {
            return SlotName(member.into());
        }
        let mut slot = String::new();
        for c in member.to_lowercase().chars() {
            match c {
                'a'..='z' | '0'..='9' | '_' => slot.push(c),
                '-' | '.' => slot.push('_'),
                other => slot.push_str(&format!("u{:04}", u32::from(other))),
            }
        }
        slot.truncate(SLOT_NAME_MAX);
        SlotName(slot.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SlotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slot_names_are_mangled_as_patroni_does() {
        for (member, slot) in
            [("Node-1.example", "node_1_example"), ("a b", "au0032b"), ("ж", "u1078"), ("pg_1", "pg_1")]
        {
            assert_eq!(SlotName::of_member(member).as_str(), slot);
        }
        assert_eq!(SlotName::of_member(&"x".repeat(80)).as_str().len(), 63);
    }
}
