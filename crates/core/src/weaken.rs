//! Deliberate weaknesses, for tests that must be seen red: each takes one protection away.
//!
//! A release build has none of them: [`Weaken::has`] is false there whatever was asked for. The edge reads the
//! wish (`JOGI_TEST_WEAKEN`, comma-separated names) and hands it in; nothing here reads the environment.

use std::fmt;

/// One protection taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Weakness {
    /// A member with an empty data directory makes a cluster whatever others show of one (F8).
    InitdbAgain,
    /// A primary that answers no query is left alone (F9).
    IgnoreHung,
    /// After a stall the view from before is acted on (F11).
    ActAfterStall,
    /// A server that is writable without a lease is left alone (F16).
    KeepUnleased,
    /// Any answer of the store, errors included, counts as a renewal (F12).
    CountErrors,
    /// The guard holds no deadline (F1, a frozen or killed agent).
    NoDeadlines,
    /// A server counts as fenced once its postmaster is gone, whatever backends are left (F10).
    FenceByPostmaster,
    /// The postmaster outlives its guard (agent and guard killed together).
    NoParentDeathSignal,
    /// A half-made copy is started like any other data directory.
    StartHalfCopies,
    /// A new leader promotes on the view on which it took the lock (F6).
    PromoteUnread,
    /// The leader stops waiting for a synchronous standby before the store has forgotten it as a successor.
    NamesBeforeSync,
    /// A standby is published as synchronous before commits wait for it (F3).
    SyncBeforeNames,
    /// Who may succeed in the synchronous modes is not looked at in a race (F4).
    IgnoreSync,
    /// A leader without the store leads on when most members let it, not all (failsafe mode).
    FailsafeMajority,
    /// The server is closed when the lease ends, not before.
    FenceAtTtl,
    /// The lease is counted from the answer to a renewal, not from its sending.
    LeaseFromAnswer,
    /// A renewal counts although the leader key was read and is not ours.
    BeatWithoutKey,
    /// In a race the position decides, whatever the timeline (F5).
    LsnBeforeLineage,
    /// Nobody lags too much to lead.
    IgnoreLag,
    /// A new leader opens whatever timeline comes next, and tells nobody before (F6).
    OpenUnannounced,
    /// On a switchover the lock is released, and the winner chosen, before the shutdown checkpoint (F2).
    ReleaseBeforeStop,
}

/// All of them, with their names.
pub const ALL: [(Weakness, &str); 21] = [
    (Weakness::InitdbAgain, "initdb-again"),
    (Weakness::IgnoreHung, "ignore-hung"),
    (Weakness::ActAfterStall, "act-after-stall"),
    (Weakness::KeepUnleased, "keep-unleased"),
    (Weakness::CountErrors, "count-errors"),
    (Weakness::NoDeadlines, "no-deadlines"),
    (Weakness::FenceByPostmaster, "fence-by-postmaster"),
    (Weakness::NoParentDeathSignal, "no-parent-death-signal"),
    (Weakness::StartHalfCopies, "start-half-copies"),
    (Weakness::PromoteUnread, "promote-unread"),
    (Weakness::NamesBeforeSync, "names-before-sync"),
    (Weakness::SyncBeforeNames, "sync-before-names"),
    (Weakness::IgnoreSync, "ignore-sync"),
    (Weakness::FailsafeMajority, "failsafe-majority"),
    (Weakness::FenceAtTtl, "fence-at-ttl"),
    (Weakness::LeaseFromAnswer, "lease-from-answer"),
    (Weakness::BeatWithoutKey, "beat-without-key"),
    (Weakness::LsnBeforeLineage, "lsn-before-lineage"),
    (Weakness::IgnoreLag, "ignore-lag"),
    (Weakness::OpenUnannounced, "open-unannounced"),
    (Weakness::ReleaseBeforeStop, "release-before-stop"),
];

/// The environment variable that the edge reads in debug builds.
pub const VARIABLE: &str = "JOGI_TEST_WEAKEN";

/// A set of weaknesses; empty unless a test asks.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Weaken(u32);

impl Weaken {
    /// Reads comma-separated names. `Err` names the first that is unknown: a test that weakens nothing would
    /// prove nothing.
    pub fn parse(names: &str) -> Result<Weaken, String> {
        let mut set = Weaken::default();
        for name in names.split(',').map(str::trim).filter(|n| !n.is_empty()) {
            let known = ALL.iter().find(|(_, word)| *word == name);
            let (weakness, _) = known.ok_or_else(|| format!("there is no weakness called '{name}'"))?;
            set.0 |= 1 << *weakness as u8;
        }
        Ok(set)
    }

    pub fn only(weakness: Weakness) -> Weaken {
        Weaken(1 << weakness as u8)
    }

    /// One more.
    pub fn and(self, weakness: Weakness) -> Weaken {
        Weaken(self.0 | 1 << weakness as u8)
    }

    pub fn has(self, weakness: Weakness) -> bool {
        cfg!(debug_assertions) && self.0 & (1 << weakness as u8) != 0
    }

    pub fn is_empty(self) -> bool {
        !cfg!(debug_assertions) || self.0 == 0
    }
}

impl fmt::Debug for Weaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(ALL.iter().filter(|(w, _)| self.has(*w)).map(|(_, word)| word)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_unknown_ones_refused() {
        let set = Weaken::parse("ignore-hung, no-deadlines").expect("known names");
        assert!(set.has(Weakness::IgnoreHung) && set.has(Weakness::NoDeadlines) && !set.has(Weakness::InitdbAgain));
        assert!(Weaken::parse("nonsense").is_err());
        assert!(Weaken::parse("").expect("nothing").is_empty());
    }
}
