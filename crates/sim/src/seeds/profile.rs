//! Profiles: what a seed does to its herd more often than anything else.

use super::kind::{Group, Kind};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    /// One fault at a time, of a kind that may lose nothing; the herd heals before the next one, and no acknowledged row
    /// may be missing.
    Calm,
    Network,
    Store,
    Process,
    Disk,
    Clock,
    Operator,
    /// Anything at any time.
    Everything,
}

impl Profile {
    pub const ALL: [Profile; 8] = [
        Profile::Calm,
        Profile::Network,
        Profile::Store,
        Profile::Process,
        Profile::Disk,
        Profile::Clock,
        Profile::Operator,
        Profile::Everything,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Profile::Calm => "calm",
            Profile::Network => "network",
            Profile::Store => "store",
            Profile::Process => "process",
            Profile::Disk => "disk",
            Profile::Clock => "clock",
            Profile::Operator => "operator",
            Profile::Everything => "everything",
        }
    }

    pub fn named(word: &str) -> Option<Profile> {
        Profile::ALL.into_iter().find(|profile| profile.word() == word)
    }

    /// How often a kind is chosen, beside the others.
    pub fn weight(self, kind: Kind) -> u64 {
        let preferred = match self {
            Profile::Calm => return u64::from(kind.is_harmless()),
            Profile::Everything => return 2,
            Profile::Network => Group::Network,
            Profile::Store => Group::Store,
            Profile::Process => Group::Process,
            Profile::Disk => Group::Disk,
            Profile::Clock => Group::Clock,
            Profile::Operator => Group::Operator,
        };
        if kind.group() == preferred { 8 } else { 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for profile in Profile::ALL {
            assert_eq!(Profile::named(profile.word()), Some(profile));
            assert!(Kind::ALL.iter().any(|kind| profile.weight(*kind) > 0));
        }
        assert_eq!(Profile::named("nonsense"), None);
    }
}
