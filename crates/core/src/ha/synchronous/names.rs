//! `synchronous_standby_names` of the own server: putting names in force, and which names the files get.

use std::time::Duration;

use super::super::flight::Purpose;
use super::super::machine::Ha;
use super::super::note::NoteLevel;
use super::super::timer::Timer;
use super::super::{Act, Lane, Mode, Outcome, Setup};
use crate::sync::{Kind, Names, StandbyNames};
use crate::view::SyncMode;
use crate::{Lsn, Tick, Wall};

/// How long it may take until every process of the server works by other names. A checkpointer that waits for a slow
/// disk takes them late, and until then commits wait for nobody.
const NAMES: Duration = Duration::from_secs(10);
const NAMES_AGAIN: Duration = Duration::from_secs(1);

/// Names by which every process of the server works.
#[derive(Clone, Debug)]
pub(super) struct InForce {
    pub text: String,
    pub since: Tick,
    /// The server on which they are.
    pub started: Option<Wall>,
    /// Where the primary was at the first look that showed them.
    pub base: Option<Lsn>,
    /// Who has caught up with that.
    pub ready: Names,
}

impl Ha {
    pub(super) fn put_names(&mut self, names: StandbyNames, mode: Mode) {
        if self.now.boot < self.sync.names_again {
            self.timers.set_earlier(Timer::Again, self.sync.names_again);
            return;
        }
        let text = names.to_string();
        let setup = Setup {
            mode,
            dynamic: std::sync::Arc::clone(&self.dynamic),
            synchronous_standby_names: Some(text.clone()),
            feedback: false,
        };
        let limit = NAMES.min(self.settings.ttl);
        if self.issue(Lane::Server, Act::SyncNames { setup }, limit, Purpose::SyncNames(text)).is_some() {
            self.sync.asked = Some(names);
            self.sync.force = None;
        }
    }

    pub(in crate::ha) fn names_put(&mut self, text: String, outcome: Outcome) {
        self.sync.rest = None;
        match outcome {
            Ok(_) => {
                let since = self.now.boot;
                let ready = Names::new();
                self.sync.force = Some(InForce { text, since, started: None, base: None, ready });
                self.sync.names_failed = 0;
                self.sync.waits_since = None;
            }
            Err(failure) => {
                self.sync.names_failed += 1;
                self.sync.names_again = self.now.boot + NAMES_AGAIN;
                let text = format!("synchronous_standby_names = '{text}' is not in force: {failure}; trying again");
                self.note(NoteLevel::Warning, text);
            }
        }
        self.look();
    }

    /// `synchronous_standby_names` for the configuration files: ours while the mode governs them.
    pub(in crate::ha) fn names_for(&self, mode: &Mode) -> Option<String> {
        let sync = self.settings.is_sync();
        match mode {
            // Nobody waits on a standby; a new leader sets them before it is promoted.
            Mode::Standby { .. } => sync.then(String::new),
            Mode::Primary if self.lease.lock.is_none() => sync.then(|| self.names_in_use().to_string()),
            Mode::Primary => {
                let key = self.sync_key();
                let ours = key.leader.as_ref() == Some(self.me());
                (sync || ours).then(|| self.names_in_use().to_string())
            }
        }
    }

    /// What was last asked for; else what the server shows; else what the key says that commits wait for.
    fn names_in_use(&self) -> StandbyNames {
        if let Some(asked) = &self.sync.asked {
            return asked.clone();
        }
        let shown = self.row().filter(|row| !row.in_recovery).map(|row| row.synchronous_standby_names.as_str());
        if let Some(names) = shown.and_then(|text| StandbyNames::parse(text).ok()) {
            return names;
        }
        let key = self.sync_key();
        let standbys: Names = key.standbys.iter().cloned().collect();
        let bootstrap = self.lease.lock.is_none();
        match (self.settings.sync_mode, key.leader.as_ref() == Some(self.me())) {
            (SyncMode::Quorum, true) if !standbys.is_empty() => {
                let voters = u32::try_from(standbys.len()).unwrap_or(u32::MAX);
                StandbyNames::any(voters.saturating_sub(key.quorum), standbys)
            }
            (SyncMode::Off | SyncMode::Priority, true) if !standbys.is_empty() => StandbyNames::all(standbys),
            (_, _) if bootstrap || !self.settings.sync_strict => StandbyNames::off(),
            (_, _) => self.held_names(),
        }
    }

    pub(super) fn held_names(&self) -> StandbyNames {
        match self.settings.sync_mode {
            SyncMode::Quorum => StandbyNames::held(Kind::Quorum),
            SyncMode::Off | SyncMode::Priority => StandbyNames::held(Kind::Priority),
        }
    }
}
