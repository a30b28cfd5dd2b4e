//! Protections that can be switched off, to see that a check notices: a check that never fails proves nothing.

use jogi_core::Weaken;

/// One protection that does not work in this world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weakness {
    /// One that the agent and the guard know themselves; only in builds with debug assertions.
    Known(jogi_core::Weakness),
    /// The guard acts one and a half seconds after its deadlines.
    GuardIsLate,
    /// The guard promotes and starts whatever it is told, lease or not.
    GuardPermitsAll,
    /// Nothing is written down before the data directory changes, and half a copy looks like a whole one.
    NoIntent,
}

impl Weakness {
    /// By the name that `JOGI_TEST_WEAKEN` knows, or our own.
    pub fn named(name: &str) -> Option<Weakness> {
        match name {
            "guard-is-late" => Some(Weakness::GuardIsLate),
            "guard-permits-all" => Some(Weakness::GuardPermitsAll),
            "no-intent" => Some(Weakness::NoIntent),
            known => {
                let set = Weaken::parse(known).ok()?;
                KNOWN.into_iter().find(|w| set == Weaken::only(*w)).map(Weakness::Known)
            }
        }
    }

    /// What the core and the guard are built with.
    pub fn of_core(weakness: Option<Weakness>) -> Weaken {
        match weakness {
            Some(Weakness::Known(known)) => Weaken::only(known),
            Some(Weakness::GuardIsLate | Weakness::GuardPermitsAll | Weakness::NoIntent) | None => Weaken::default(),
        }
    }
}

const KNOWN: [jogi_core::Weakness; 13] = [
    jogi_core::Weakness::InitdbAgain,
    jogi_core::Weakness::IgnoreHung,
    jogi_core::Weakness::ActAfterStall,
    jogi_core::Weakness::KeepUnleased,
    jogi_core::Weakness::CountErrors,
    jogi_core::Weakness::NoDeadlines,
    jogi_core::Weakness::FenceByPostmaster,
    jogi_core::Weakness::NoParentDeathSignal,
    jogi_core::Weakness::StartHalfCopies,
    jogi_core::Weakness::NamesBeforeSync,
    jogi_core::Weakness::SyncBeforeNames,
    jogi_core::Weakness::IgnoreSync,
    jogi_core::Weakness::FailsafeMajority,
];
