//! The `sync` key: read, written under our own lock on the revision that was read, and doubted when it is not known
//! whether a write was done.

use super::super::flight::{Purpose, SHORT};
use super::super::machine::Ha;
use super::super::note::NoteLevel;
use super::super::{Act, Lane, Outcome, Yield};
use crate::MemberName;
use crate::view::{Condition, Key, Revision, SyncMode, SyncState, Write, Written};

/// Revisions of the key that our own writes have replaced: as many as a late view could still show.
const SUPERSEDED_MAX: usize = 16;

/// The key as we last wrote it.
#[derive(Clone, Debug)]
pub(super) struct OwnKey {
    state: SyncState,
    superseded: Vec<Option<Revision>>,
}

impl Ha {
    /// The key as it stands, as far as we know: our own last write counts until the view has it.
    pub(in crate::ha) fn sync_key(&self) -> SyncState {
        let seen = self.cluster().map(|c| c.sync.clone()).unwrap_or_default();
        match &self.sync.own {
            Some(own) if own.superseded.contains(&seen.revision) => own.state.clone(),
            Some(_) | None => seen,
        }
    }

    pub(super) fn key_is_known(&mut self) -> bool {
        let Some(after) = self.sync.read_after else { return true };
        let read = self.view.as_ref().is_some_and(|seen| seen.linearizable && seen.read_at >= after);
        if !read {
            self.load();
            return false;
        }
        self.sync.read_after = None;
        let revision = self.view.as_ref().and_then(|seen| seen.cluster.sync.revision.clone());
        if self.sync.doubt.as_ref().is_some_and(|before| *before != revision) {
            self.sync.doubt = None;
        }
        true
    }

    pub(super) fn write_sync_key(&mut self, state: SyncState) {
        let before = self.sync_key();
        let write = Write::put(Key::Sync, state.to_text()).when(Condition::as_read(before.revision.as_ref()));
        if self.change_key(write, &before, state.clone()) {
            self.say_key(&before, &state);
        }
    }

    pub(super) fn delete_sync_key(&mut self, before: &SyncState) {
        let write = Write::delete(Key::Sync).when(Condition::as_read(before.revision.as_ref()));
        if self.change_key(write, before, SyncState::default()) {
            self.note(NoteLevel::Info, "Disabled synchronous replication");
        }
    }

    fn change_key(&mut self, write: Write, before: &SyncState, after: SyncState) -> bool {
        let Some(lock) = self.lock().cloned() else { return false };
        let purpose = Purpose::SyncKey { before: before.revision.clone(), after: Box::new(after) };
        let act = Act::Write(write.while_leader(&lock.created));
        self.issue(Lane::Store, act, SHORT, purpose).is_some()
    }

    pub(in crate::ha) fn sync_key_written(&mut self, before: Option<Revision>, after: SyncState, outcome: Outcome) {
        self.sync.rest = None;
        match outcome {
            Ok(Yield::Wrote(Written::Done { revision })) => {
                let deleted = after.leader.is_none();
                let revision = (!deleted).then_some(revision);
                let mut superseded = self.sync.own.take().map(|own| own.superseded).unwrap_or_default();
                superseded.retain(|old| *old != revision);
                superseded.push(before);
                let surplus = superseded.len().saturating_sub(SUPERSEDED_MAX);
                superseded.drain(..surplus);
                self.sync.own = Some(OwnKey { state: SyncState { revision, ..after }, superseded });
                self.sync.doubt = None;
            }
            Ok(_) => {
                self.sync.own = None;
                self.sync.read_after = Some(self.now.boot);
                self.load();
            }
            Err(_) => {
                self.sync.doubt = Some(before);
                self.sync.read_after = Some(self.now.boot);
                self.load();
            }
        }
    }

    fn say_key(&mut self, before: &SyncState, after: &SyncState) {
        let list = |state: &SyncState| {
            let names: Vec<&str> = state.standbys.iter().map(MemberName::as_str).collect();
            names.join(", ")
        };
        if before.leader.is_none() {
            return self.note(NoteLevel::Info, "Enabled synchronous replication");
        }
        if before.standbys == after.standbys && before.quorum == after.quorum {
            return;
        }
        if after.standbys.is_empty() && !self.settings.sync_strict {
            let text = format!(
                "no synchronous standby is left ({} was): commits do not wait any longer, and until one is back nobody \
                 but this member may lead",
                list(before)
            );
            return self.note(NoteLevel::Warning, text);
        }
        let text = match self.settings.sync_mode {
            SyncMode::Quorum => format!("the quorum is {} of {} ({})", after.quorum, after.standbys.len(), list(after)),
            SyncMode::Off | SyncMode::Priority => format!("Synchronous standby status assigned to {}", list(after)),
        };
        self.note(NoteLevel::Info, text);
    }
}
