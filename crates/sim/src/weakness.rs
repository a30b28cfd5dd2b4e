//! Protections that can be switched off, to see that a check notices: a check that never fails proves nothing.

use jogi_core::Weaken;
use jogi_core::weaken::ALL as KNOWN;

/// One protection that does not work in this world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weakness {
    /// One that the agent and the guard know themselves; only in builds with debug assertions.
    Known(jogi_core::Weakness),
    /// The guard acts one and a half seconds after its deadlines.
    GuardIsLate,
    /// The guard promotes and starts whatever it is told, lease or not.
    GuardPermitsAll,
    /// The guard never goes beyond a fast shutdown.
    GuardNeverKills,
    /// A promotion and a start as primary do not arm the guard; that comes with a later command.
    PromoteUnarmed,
    /// Nothing is written down before the data directory changes, and half a copy looks like a whole one.
    NoIntent,
    /// A fence is reported as done at once, whatever is left.
    FenceAtOnce,
    /// Timelines that others have opened are not kept free.
    NoReserve,
    /// A write whose condition failed is reported as written.
    IgnoreConflict,
    /// The store takes the lock from whoever has it: the conditions of an acquisition are not compared.
    AcquireUncompared,
}

const OURS: [(Weakness, &str); 9] = [
    (Weakness::GuardIsLate, "guard-is-late"),
    (Weakness::GuardPermitsAll, "guard-permits-all"),
    (Weakness::GuardNeverKills, "guard-never-kills"),
    (Weakness::PromoteUnarmed, "promote-unarmed"),
    (Weakness::NoIntent, "no-intent"),
    (Weakness::FenceAtOnce, "fence-at-once"),
    (Weakness::NoReserve, "no-reserve"),
    (Weakness::IgnoreConflict, "ignore-conflict"),
    (Weakness::AcquireUncompared, "acquire-uncompared"),
];

impl Weakness {
    /// All that there are, with their names.
    pub fn all() -> impl Iterator<Item = (Weakness, &'static str)> {
        OURS.into_iter().chain(KNOWN.into_iter().map(|(known, name)| (Weakness::Known(known), name)))
    }

    /// By the name that `JOGI_TEST_WEAKEN` knows, or our own.
    pub fn named(name: &str) -> Option<Weakness> {
        Weakness::all().find(|(_, word)| *word == name).map(|(weakness, _)| weakness)
    }
}

/// The protections that do not work in a world: mostly one; two where each alone is enough to avert the harm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weaknesses {
    core: Weaken,
    ours: u16,
}

impl Weaknesses {
    /// Reads comma-separated names.
    pub fn named(names: &str) -> Option<Weaknesses> {
        let parts = names.split(',').map(str::trim).filter(|name| !name.is_empty());
        parts.map(Weakness::named).try_fold(Weaknesses::default(), |all, one| Some(all.and(one?)))
    }

    fn and(self, one: Weakness) -> Weaknesses {
        match one {
            Weakness::Known(known) => Weaknesses { core: self.core.and(known), ..self },
            Weakness::GuardIsLate
            | Weakness::GuardPermitsAll
            | Weakness::GuardNeverKills
            | Weakness::PromoteUnarmed
            | Weakness::NoIntent
            | Weakness::FenceAtOnce
            | Weakness::NoReserve
            | Weakness::IgnoreConflict
            | Weakness::AcquireUncompared => Weaknesses { ours: self.ours | bit(one), ..self },
        }
    }

    pub fn is_empty(self) -> bool {
        self == Weaknesses::default()
    }

    pub fn has(self, one: Weakness) -> bool {
        match one {
            Weakness::Known(known) => self.core.has(known),
            Weakness::GuardIsLate
            | Weakness::GuardPermitsAll
            | Weakness::GuardNeverKills
            | Weakness::PromoteUnarmed
            | Weakness::NoIntent
            | Weakness::FenceAtOnce
            | Weakness::NoReserve
            | Weakness::IgnoreConflict
            | Weakness::AcquireUncompared => self.ours & bit(one) != 0,
        }
    }

    /// What the core and the guard are built with.
    pub fn of_core(self) -> Weaken {
        self.core
    }
}

impl From<Weakness> for Weaknesses {
    fn from(one: Weakness) -> Weaknesses {
        Weaknesses::default().and(one)
    }
}

/// The place in [`OURS`].
fn bit(one: Weakness) -> u16 {
    OURS.iter().position(|(weakness, _)| *weakness == one).map_or(0, |place| 1 << place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_read_by_its_names() {
        let pair = Weaknesses::named("no-intent, promote-unread").expect("known names");
        assert!(pair.has(Weakness::NoIntent) && pair.has(Weakness::Known(jogi_core::Weakness::PromoteUnread)));
        assert!(!pair.has(Weakness::NoReserve) && !pair.is_empty());
        assert_eq!(Weaknesses::named("no-intent,nonsense"), None);
    }
}
