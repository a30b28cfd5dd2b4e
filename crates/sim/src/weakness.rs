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

    /// What the core and the guard are built with.
    pub fn of_core(weakness: Option<Weakness>) -> Weaken {
        match weakness {
            Some(Weakness::Known(known)) => Weaken::only(known),
            Some(
                Weakness::GuardIsLate
                | Weakness::GuardPermitsAll
                | Weakness::GuardNeverKills
                | Weakness::PromoteUnarmed
                | Weakness::NoIntent
                | Weakness::FenceAtOnce
                | Weakness::NoReserve
                | Weakness::IgnoreConflict
                | Weakness::AcquireUncompared,
            )
            | None => Weaken::default(),
        }
    }
}
