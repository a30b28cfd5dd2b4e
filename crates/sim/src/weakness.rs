//! Protections that can be switched off, to see that a check notices: a check that never fails proves nothing.

/// One protection that does not work in this world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weakness {
    /// The guard watches and does nothing.
    GuardSleeps,
    /// The guard acts one and a half seconds after its deadlines.
    GuardIsLate,
    /// At `hard` the guard kills the postmaster and leaves the backends alone.
    GuardKillsPostmasterOnly,
    /// The postmaster has no parent-death signal.
    NoParentDeathSignal,
    /// Nothing is written down before the data directory changes, and half a copy looks like a whole one.
    NoIntent,
    /// The guard promotes and starts whatever it is told, lease or not, and the lease ran out long ago as far as
    /// the store is concerned.
    GuardPermitsAll,
}

impl Weakness {
    pub const ALL: [Weakness; 6] = [
        Weakness::GuardSleeps,
        Weakness::GuardIsLate,
        Weakness::GuardKillsPostmasterOnly,
        Weakness::NoParentDeathSignal,
        Weakness::NoIntent,
        Weakness::GuardPermitsAll,
    ];
}
