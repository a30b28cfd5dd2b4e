//! What a look at the own server changes. A look that began before something that we know of shows the server as it was
//! and is made again.

use std::sync::Arc;
use std::time::Duration;

use super::machine::Ha;
use super::note::NoteLevel;
use super::server::{DataDir, Server};
use super::state::{Phase, Role};
use super::timer::Timer;
use super::{Outcome, Yield};

impl Ha {
    pub(super) fn looked(&mut self, outcome: Outcome) {
        let server = match outcome {
            Ok(Yield::Looked(server)) => *server,
            Ok(_) => return,
            Err(failure) => {
                self.note(NoteLevel::Warning, format!("could not look at our own server: {failure}"));
                self.timers.set(Timer::Look, self.now.boot + Duration::from_secs(1));
                return self.unseen(failure.to_string());
            }
        };
        if server.looked_at < self.changed_at {
            // It shows the server as it was before something that we know of.
            return self.look();
        }
        if server.row.is_some() {
            self.answered_at = self.now.boot;
        }
        match server.fresh {
            Some(false) => _ = self.shut_since.get_or_insert(self.now.boot),
            Some(true) => self.shut_since = None,
            None if !server.process.is_running() => self.shut_since = None,
            None => {}
        }
        if !server.process.is_running() && self.phase == Phase::AsSeen && self.role.is_primary() && self.op.is_none() {
            self.phase = Phase::Crashed;
            self.died_as_primary = self.lease.lock.is_some();
        }
        let before = self.row().map(super::server::Row::position);
        if before.is_some_and(|before| server.row.as_ref().is_some_and(|row| row.position() > before)) {
            self.grew_at = server.looked_at;
        }
        self.server = Some(Arc::new(server));
        self.role_as_seen();
    }

    /// A look that did not end is no answer of the server.
    fn unseen(&mut self, why: String) {
        if let Some(server) = &mut self.server {
            let server = Arc::make_mut(server);
            server.row = None;
            server.silent = Some(why);
        }
    }

    /// What is known of the server was true before this moment: looks that began earlier do not count.
    pub(super) fn server_changed(&mut self, change: impl FnOnce(&mut Server)) {
        self.changed_at = self.now.boot;
        if let Some(server) = &mut self.server {
            change(Arc::make_mut(server));
        }
    }

    /// Keeps the role in memory in step with what the server is.
    fn role_as_seen(&mut self) {
        let Some(server) = &self.server else { return };
        if let Some(row) = &server.row {
            self.role = match (row.in_recovery, self.role) {
                (false, _) => Role::Primary,
                (true, Role::Promoted) if self.promoting() => Role::Promoted,
                // Until it is told that it leads no more.
                (true, Role::StandbyLeader) => Role::StandbyLeader,
                (true, _) => Role::Replica,
            };
            if self.op.is_none() {
                self.phase = Phase::AsSeen;
            }
        } else if matches!(server.data, DataDir::Empty) && self.op.is_none() {
            self.role = Role::Uninitialized;
        }
    }
}
