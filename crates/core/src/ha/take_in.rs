//! Taking in: what an event changes in what this member knows, before anything is decided.
//!
//! The hazard is time that has passed unseen: after a stall, what was decided before may stand on a world that is gone.
//! Effects that were not handed out yet are dropped, and nothing is decided before a reading of the store that began
//! afterwards.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::divergence::Divergence;
use super::flight::{Purpose, SHORT};
use super::machine::Ha;
use super::note::NoteLevel;
use super::op::Op;
use super::server::Process;
use super::slots::Configured;
use super::state::{Phase, Seen};
use super::timer::Timer;
use super::{Act, CallbackLane, Event, Failure, Found, GuardNews, Lane, Lease};
use crate::view::{Cluster, Revision, Settings};
use crate::{Now, Tick, Weakness};

impl Ha {
    /// A pause of more than `ttl/4` beyond the heartbeat that should have come: what was decided before may
    /// stand on a world that is gone.
    pub(super) fn enter(&mut self, now: Now) {
        self.now = now;
        let pause = now.boot.since(self.last_turn);
        self.forgive(pause.saturating_sub(self.heartbeat()));
        let looks_back = !self.weaken.has(Weakness::ActAfterStall);
        if looks_back && self.last_turn != Tick::ZERO && pause > self.heartbeat() + self.settings.ttl / 4 {
            self.stalled(pause);
        }
        self.last_turn = now.boot;
    }

    /// A server that nobody asked did not leave anybody without an answer: what of a pause goes beyond a heartbeat is
    /// no silence of the server.
    fn forgive(&mut self, unasked: Duration) {
        self.answered_at = (self.answered_at + unasked).min(self.now.boot);
        self.shut_since = self.shut_since.map(|since| (since + unasked).min(self.now.boot));
    }

    fn stalled(&mut self, pause: Duration) {
        self.note(
            NoteLevel::Warning,
            format!("nothing was decided for {} ms: looking again before acting", pause.as_millis()),
        );
        for effect in std::mem::take(&mut self.queue) {
            let purpose = self.inflight.get(&effect.id).map(|f| f.purpose.clone());
            match purpose {
                // Answers, notes and the end itself stand on no view.
                None | Some(Purpose::Unattended) => self.queue.push_back(effect),
                Some(purpose) => {
                    self.inflight.remove(&effect.id);
                    self.lanes.retain(|_, id| *id != effect.id);
                    match (&purpose, &mut self.op) {
                        (Purpose::Op, Some(op)) => op.dropped(effect.id),
                        (_, _) => self.ended(effect.id, purpose, Err(Failure::Cancelled)),
                    }
                }
            }
        }
        self.round = None;
        self.fresh_after = Some(self.now.boot);
    }

    pub(super) fn take_in(&mut self, event: Event) {
        match event {
            Event::Began(found) => self.begin(found),
            Event::View { cluster, read_at, linearizable } => self.see(cluster, read_at, linearizable),
            Event::StoreLost(why) => {
                if self.store_error.is_none() {
                    self.note(NoteLevel::Warning, format!("the store does not answer: {why}"));
                }
                self.store_error = Some(why);
            }
            Event::Lease(lease) => self.leased(lease),
            Event::PostmasterExited { pid, status } => self.postmaster_exited(pid, &status),
            Event::Guard(news) => self.guard_news(news),
            Event::Request(id, request) => self.request(id, request),
            Event::Done { id, outcome } => self.done(id, outcome),
            Event::Freed { id } => self.lanes.retain(|_, held| *held != id),
            Event::Configured(local) => {
                self.local = Arc::new(*local);
                self.followed = None;
                self.reload_asked = true;
            }
        }
    }

    fn begin(&mut self, found: Found) {
        self.began = true;
        self.began_at = self.now.boot;
        self.armed = found.armed;
        if found.armed.is_some() {
            self.failsafe.found_leading();
        }
        if let Some(dynamic) = &found.dynamic {
            self.go_by(Arc::new(dynamic.clone()));
        } else if !self.local.bootstrap_dcs.is_null() {
            self.go_by(Arc::new(self.local.bootstrap_dcs.clone()));
        }
        self.found = found;
        self.answered_at = self.now.boot;
        self.divergence.suspect();
        self.fresh_after = Some(self.now.boot);
    }

    fn see(&mut self, cluster: Arc<Cluster>, read_at: Tick, linearizable: bool) {
        self.store_error = None;
        self.store_last_seen = self.now.wall;
        self.aside = false;
        if linearizable && self.fresh_after.is_some_and(|after| read_at >= after) {
            self.fresh_after = None;
        }
        if self.view.as_ref().is_some_and(|seen| seen.read_at > read_at) {
            return;
        }
        if let Some(config) = &cluster.config
            && config.value.as_object().is_some_and(|o| !o.is_empty())
            && self.dynamic_saved.as_ref() != Some(&config.revision)
        {
            self.adopt_dynamic(&config.value, config.revision.clone());
        }
        self.note_who_has_heard(&cluster);
        if let Some(leader) = &cluster.leader {
            if leader.name != self.local.name {
                self.handed_over_at = None;
            }
            self.old_view = Some(cluster.clone());
            self.unlocked_since = None;
        } else if self.unlocked_since.is_none() {
            self.unlocked_since = Some(self.now.boot);
        }
        self.view = Some(Seen { cluster, read_at, linearizable });
        self.switchover_progress();
    }

    fn go_by(&mut self, dynamic: Arc<Value>) {
        self.settings = Arc::new(Settings::from_value(&dynamic));
        self.permanent = Arc::new(Configured::of(&dynamic));
        self.dynamic = dynamic;
    }

    fn adopt_dynamic(&mut self, value: &Arc<Value>, revision: Revision) {
        let old = self.settings.clone();
        self.go_by(Arc::clone(value));
        self.dynamic_saved = Some(revision);
        if old.failsafe_mode && !self.settings.failsafe_mode {
            self.failsafe.switched_off(self.now.boot);
        }
        if old.standby_cluster != self.settings.standby_cluster {
            self.another_remote();
        }
        if old.pause && !self.settings.pause {
            if !self.divergence.must() {
                self.divergence = Divergence::default();
            }
            self.followed = None;
        }
        let config = self.dynamic.clone();
        if self.has_data() {
            self.fire(Lane::Callback(CallbackLane::Reload), Act::SaveDynamic { config }, SHORT, Purpose::Unattended);
        }
    }

    fn leased(&mut self, lease: Lease) {
        let held = lease.lock.is_some();
        if held != self.lease.lock.is_some() {
            self.published.status = None;
            self.sync_lock_ended();
        }
        self.lease = lease;
        self.lock_told = self.lease.lock.as_ref().map(|lock| lock.generation).or(self.lock_told);
        match self.lease.lock.as_ref().map(|lock| lock.soft) {
            Some(soft) => self.timers.set(Timer::Soft, soft),
            None => self.timers.clear(Timer::Soft),
        }
    }

    fn postmaster_exited(&mut self, pid: u32, status: &str) {
        let Some(server) = self.server.clone() else { return };
        let Process::Running { pid: known, .. } = server.process else { return };
        if known != pid {
            return;
        }
        let expected = self.op.as_ref().is_some_and(Op::stops_server);
        if !expected {
            self.note(NoteLevel::Error, format!("the postmaster (pid {pid}) ended by itself: {status}"));
            // In pause people stop servers by hand.
            self.phase = if self.paused() { Phase::AsSeen } else { Phase::Crashed };
        }
        self.died_as_primary = !expected && self.role.is_primary() && self.lease.lock.is_some();
        self.armed = None;
        // Whether backends are left is what a fence finds out; until then nothing says that it is stopped.
        self.server_changed(|server| {
            server.process = Process::Leftovers;
            server.row = None;
        });
        if !expected {
            self.timers.set(Timer::Look, self.now.boot);
        }
    }

    fn guard_news(&mut self, news: GuardNews) {
        match news {
            GuardNews::ClosedAtSoft => {
                self.guard.last = Some("closed at soft");
                self.note(NoteLevel::Error, "the lease ran out: the guard has begun a fast shutdown");
            }
            GuardNews::KilledAtHard => {
                self.guard.last = Some("killed at hard");
                self.note(
                    NoteLevel::Error,
                    "the fast shutdown did not end before the lease did: the guard killed the server; rows \
                     acknowledged in its last moments may not have reached a standby",
                );
            }
            GuardNews::Died => {
                self.guard.last = Some("died");
                self.armed = None;
                self.note(NoteLevel::Error, "the guard died, and with it its postmaster");
            }
            GuardNews::Adopted(adopted) => self.guard.adopted = adopted,
        }
        self.timers.set(Timer::Look, self.now.boot);
    }
}
