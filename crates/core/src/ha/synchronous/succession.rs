//! A new leader settles its succession before it is promoted, while nothing can be committed here yet; a promotion that
//! did not happen takes it back.

use super::super::Mode;
use super::super::machine::Ha;
use super::super::op::Stand;
use crate::sync::quorum::before_promotion;
use crate::sync::{Names, StandbyNames};
use crate::view::{SyncMode, SyncState};

/// What a new leader needs before it is promoted.
pub(super) struct Succession {
    key: Option<SyncState>,
    names: Option<StandbyNames>,
}

impl Ha {
    /// Before promotion (ha-rules 11.4): who may succeed from now on, and who is waited for, is settled while nothing
    /// can be committed here yet.
    pub(in crate::ha) fn succession_stands(&mut self) -> Stand {
        if self.sync_busy() || !self.key_is_known() {
            return Stand::Waiting;
        }
        let key = self.sync_key();
        let wanted = self.succession(&key);
        if let Some(state) = wanted.key {
            let same = SyncState { revision: key.revision.clone(), ..state.clone() } == key;
            if !same || self.sync.doubt.is_some() {
                if self.sync.former.is_none() {
                    self.sync.former = Some(key.clone());
                }
                match state.leader.is_some() {
                    true => self.write_sync_key(state),
                    false => self.delete_sync_key(&key),
                }
                return Stand::Waiting;
            }
        }
        let Some(names) = wanted.names else { return Stand::Over };
        let text = names.to_string();
        let shown = self.row().is_some_and(|row| row.synchronous_standby_names == text);
        let certain = self.sync.force.as_ref().is_some_and(|force| force.text == text);
        // With nobody else who may succeed nothing can be missed; then it is enough to have tried.
        let alone = key.standbys.is_empty() && key.leader.as_ref() == Some(self.me());
        if certain || (shown && names == StandbyNames::off()) || (alone && self.sync.names_failed >= 2) {
            self.sync.asked = Some(names);
            return Stand::Over;
        }
        self.put_names(names, Mode::Standby { upstream: self.upstream() });
        Stand::Waiting
    }

    fn succession(&self, key: &SyncState) -> Succession {
        let me = self.me().clone();
        let alone = SyncState { leader: Some(me.clone()), ..SyncState::default() };
        let nobody = if self.settings.sync_strict { self.held_names() } else { StandbyNames::off() };
        if !self.settings.is_sync() {
            let stale = key.leader.is_some() || !key.standbys.is_empty();
            return Succession { key: stale.then(SyncState::default), names: None };
        }
        match self.settings.sync_mode {
            SyncMode::Off | SyncMode::Priority => Succession { key: Some(alone), names: Some(nobody) },
            // Nobody can say when the server will work by the names: then nobody else may succeed.
            SyncMode::Quorum if self.sync.names_failed >= 2 => Succession { key: Some(alone), names: Some(nobody) },
            SyncMode::Quorum => {
                let voters: Names = key.standbys.iter().cloned().collect();
                let Some(leader) = &key.leader else { return Succession { key: None, names: Some(nobody) } };
                let names = before_promotion(&me, Some(leader), key.quorum, &voters).unwrap_or_default();
                let standbys = voters.iter().chain([leader]).filter(|name| **name != me).cloned();
                let standbys: Names = standbys.collect();
                let standbys = standbys.into_iter().collect();
                let state = SyncState { leader: Some(me), quorum: key.quorum, standbys, revision: None };
                Succession { key: Some(state), names: Some(names) }
            }
        }
    }

    /// This member was not promoted: nothing was committed here, and the successors of before have everything.
    pub(in crate::ha) fn retract_stands(&mut self) -> Stand {
        if self.lock().is_none() {
            return Stand::Over;
        }
        if self.sync_busy() {
            return Stand::Waiting;
        }
        match self.sync.former.take() {
            Some(former) if former.leader.is_some() => {
                self.write_sync_key(former);
                Stand::Waiting
            }
            Some(_) | None => Stand::Over,
        }
    }

    pub(in crate::ha) fn succeeded(&mut self) {
        self.sync.rest = None;
        self.sync.former = None;
        self.sync.patient_until = Some(self.now.boot + self.settings.loop_wait);
    }
}
