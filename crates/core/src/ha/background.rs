//! What is kept in order beside the rules: keys of the store, slots, the checkpoint after a promotion.

use std::time::Duration;

use super::basis::Basis;
use super::flight::{Purpose, SHORT};
use super::machine::Ha;
use super::server::DataDir;
use super::{Act, Lane, Lineage, Outcome, Yield};
use crate::view::{Condition, HistoryEntry, HistoryKey, Key, Status, Write};
use crate::{Lsn, Timeline};

const POST_PROMOTE_CHECKPOINT: Duration = Duration::from_secs(3600);

impl Ha {
    pub(super) fn background(&mut self) {
        if self.exited {
            return;
        }
        self.publish_member();
        self.scheduled_restart_turn();
        self.apply_reload();
        if self.view.is_none() {
            return;
        }
        if self.lease.lock.is_some() {
            self.lead_in_background();
        }
        self.slots_turn();
        self.copies_turn();
    }

    fn lead_in_background(&mut self) {
        self.publish_identity();
        self.publish_topology();
        self.clear_failover();
        if !self.is_writable() {
            if self.is_standby_cluster() {
                self.lead_standby_in_background();
            }
            return;
        }
        let timeline = self.row().and_then(|row| row.timeline);
        if let Some(timeline) = timeline {
            self.checkpoint_after_promotion(timeline);
            self.publish_history(timeline);
        }
        self.synchronous_turn();
        self.publish_status();
    }

    /// A leader that finds identity or configuration missing writes its own (ha-rules 2, step 6).
    fn publish_identity(&mut self) {
        let Some(cluster) = self.cluster().cloned() else { return };
        if cluster.system_identifier().is_none()
            && let Some(id) = self.system_identifier()
        {
            let condition = Condition::as_read(cluster.initialize.as_ref().map(|i| &i.revision));
            let write = Write::put(Key::Initialize, id).when(condition);
            self.issue(Lane::Store, Act::Write(write), SHORT, Purpose::Initialize);
        }
        let empty = cluster.config.as_ref().is_none_or(|c| c.value.as_object().is_none_or(|o| o.is_empty()));
        if empty && self.dynamic.as_object().is_some_and(|o| !o.is_empty()) {
            let text = crate::view::compact(&*self.dynamic);
            let condition = Condition::as_read(cluster.config.as_ref().map(|c| &c.revision));
            let write = Write::put(Key::Config, text).when(condition);
            self.issue(Lane::Store, Act::Write(write), SHORT, Purpose::Config);
        }
    }

    /// A request is over once its new leader holds the lock.
    fn clear_failover(&mut self) {
        let Some(failover) = self.cluster().and_then(|c| c.failover.clone()) else { return };
        if !failover.value.is_request()
            || !self.carried_out(&failover.value)
            || self.published.failover_cleared.as_ref() == Some(&failover.revision)
        {
            return;
        }
        let write = Write::put(Key::Failover, "{}").when(Condition::Unchanged(failover.revision.clone()));
        if self.issue(Lane::Store, Act::Write(write), SHORT, Purpose::ClearFailover).is_some() {
            self.published.failover_cleared = Some(failover.revision);
        }
    }

    /// Members may rewind from us only after a checkpoint on the new timeline (ha-rules 13.6).
    fn checkpoint_after_promotion(&mut self, timeline: Timeline) {
        if self.checkpointed == Some(timeline) || self.op.is_some() {
            return;
        }
        let control = match self.server.as_ref().map(|s| &s.data) {
            Some(DataDir::Present(control)) => control.timeline,
            Some(DataDir::Empty | DataDir::Unusable(_) | DataDir::Broken(_)) | None => return,
        };
        if control == timeline {
            self.checkpointed = Some(timeline);
            return;
        }
        let purpose = Purpose::PostPromoteCheckpoint(timeline);
        self.issue(Lane::Sql, Act::Checkpoint, POST_PROMOTE_CHECKPOINT, purpose);
    }

    // ---- status

    pub(super) fn publish_status(&mut self) {
        let due = self.positions_are_due(self.published.status_look);
        let stands = |basis: &Basis| !due && basis.stands_but_for_positions(self);
        if !self.published.status_made.as_ref().is_some_and(|(basis, _)| stands(basis)) {
            let Some(mut status) = self.status_now() else { return };
            if !due && let Some(published) = self.published.status.as_ref().filter(|p| p.differs_in_positions(&status))
            {
                status = published.clone();
            } else if let Some(server) = &self.server {
                self.published.status_look = server.looked_at;
            }
            self.published.status_made = Some((Basis::now(self), status));
        }
        let Some((_, status)) = &self.published.status_made else { return };
        let is_published = match (&self.published.status, self.cluster()) {
            (Some(published), _) => published == status,
            (None, Some(cluster)) => cluster.status == *status,
            (None, None) => *status == Status::default(),
        };
        if is_published || self.lanes.contains_key(&Lane::Store) {
            return;
        }
        let Some(lock) = &self.lease.lock else { return };
        let write = Write::put(Key::Status, status.to_text()).while_leader(&lock.created);
        let purpose = Purpose::Status(Box::new(status.clone()));
        self.issue(Lane::Store, Act::Write(write), SHORT, purpose);
    }

    fn status_now(&mut self) -> Option<Status> {
        let server = self.server.clone()?;
        let row = server.row.as_ref()?;
        let optime = row.position();
        let (slots, retain_slots) = self.status_slots(row);
        // What we announced counts before a look at our server, or the watch, shows it.
        let shown = self.cluster().and_then(|c| c.status.opened);
        let opened = row.timeline.into_iter().chain(shown).chain(self.raced_beside).max();
        Some(Status { optime, slots, retain_slots, opened })
    }

    /// The status that names the timeline that is about to be opened.
    pub(super) fn announcement(&self, status: &Status) -> Option<Write> {
        let lock = self.lock()?;
        Some(Write::put(Key::Status, status.to_text()).while_leader(&lock.created))
    }

    /// The status text that goes with the release of the lock: where our WAL ended.
    pub(super) fn last_status(&self) -> Option<String> {
        let optime = match (&self.last_end, self.server.as_ref().map(|s| &s.data)) {
            (Some(last), _) => Some(last.end),
            (None, Some(DataDir::Present(control))) => control.shutdown_optime.or(Some(control.checkpoint)),
            (None, _) => None,
        };
        let mut status = self.published.status.clone().or_else(|| self.cluster().map(|c| c.status.clone()))?;
        let optime = optime.filter(|lsn| lsn.is_valid())?;
        // A status may never be ahead of what exists; and a hand-over never takes it back.
        status.optime = status.optime.max(optime);
        if let Some(slots) = &mut status.slots {
            slots.insert(self.me().slot(), optime);
        }
        Some(status.to_text())
    }

    // ---- history

    fn publish_history(&mut self, timeline: Timeline) {
        if self.history_written == Some(timeline) {
            return;
        }
        let Some(cluster) = self.cluster().cloned() else { return };
        if timeline.0 <= 1 {
            self.history_written = Some(timeline);
            if cluster.history.as_ref().is_some_and(|h| !h.value.0.is_empty()) {
                self.write_history(timeline, &HistoryKey::default());
            }
            return;
        }
        let last = cluster.history.as_ref().and_then(|h| h.value.0.last().cloned());
        let complete = last.is_some_and(|e| e.parent.0 + 1 == timeline.0 && e.new_leader.is_some());
        if complete {
            self.history_written = Some(timeline);
            return;
        }
        // Read when it can be written: while the store is silent it would be read again and again.
        if self.is_open(&Lane::Store) {
            self.issue(Lane::Archive, Act::ReadHistory { timeline }, SHORT, Purpose::HistoryRead(timeline));
        }
    }

    pub(super) fn history_read(&mut self, timeline: Timeline, outcome: Outcome) {
        let Ok(Yield::Lineage(lineage)) = outcome else { return };
        let key = self.enriched(&lineage);
        self.write_history(timeline, &key);
    }

    /// The file's entries, with what was published of them before, and ourselves as the newest leader.
    fn enriched(&self, lineage: &Lineage) -> HistoryKey {
        let known = self.cluster().and_then(|c| c.history.clone()).map(|h| h.value.0).unwrap_or_default();
        let mut entries: Vec<HistoryEntry> = lineage
            .history
            .0
            .iter()
            .map(|s| {
                let old = known.iter().find(|k| k.parent == s.parent && k.switched_at == s.switched_at);
                HistoryEntry {
                    parent: s.parent,
                    switched_at: s.switched_at,
                    reason: s.reason.clone(),
                    at: old.and_then(|o| o.at.clone()),
                    new_leader: old.and_then(|o| o.new_leader.clone()),
                }
            })
            .collect();
        if let Some(newest) = entries.last_mut()
            && newest.new_leader.is_none()
        {
            newest.at = lineage.modified.clone();
            newest.new_leader = newest.at.as_ref().map(|_| self.me().to_string());
        }
        let keep = self.settings.max_timelines_history;
        if keep > 0 && entries.len() > keep {
            entries.drain(..entries.len() - keep);
        }
        HistoryKey(entries)
    }

    fn write_history(&mut self, timeline: Timeline, key: &HistoryKey) {
        let Some(lock) = self.lease.lock.clone() else { return };
        let write = Write::put(Key::History, key.to_text()).while_leader(&lock.created);
        if self.issue(Lane::Store, Act::Write(write), SHORT, Purpose::History(timeline)).is_some() {
            self.history_written = Some(timeline);
        } else {
            self.history_written = None;
        }
    }

    // ---- configuration

    /// A new configuration takes effect on the primary, too.
    fn apply_reload(&mut self) {
        let resting = self.now.boot < self.failures.retry_at;
        // A promotion can be over without a primary: a crash inside the server begins recovery anew. Taking its signal
        // file away then would have it come up writable on its old timeline.
        let guessed = self.server.as_ref().is_some_and(|server| server.looked_at < self.changed_at);
        if self.op.is_some() || !self.is_running() || self.row().is_none() || resting || guessed {
            return;
        }
        let leads = self.is_writable() && (self.lock().is_some() || self.paused());
        let primary_changed = leads && self.configured.as_ref() != Some(&self.dynamic_saved);
        if !primary_changed && !(self.reload_asked && (leads || !self.is_writable())) {
            return;
        }
        let mode =
            if self.is_writable() { super::Mode::Primary } else { super::Mode::Standby { upstream: self.upstream() } };
        self.reload_asked = false;
        self.configured = Some(self.dynamic_saved.clone());
        let steps = [super::op::Step::Configure(mode), super::op::Step::Apply];
        self.begin_op(super::op::Op::new(super::op::Kind::Follow, "the configuration has changed", steps));
        self.op_advance();
    }

    pub(super) fn round_positions(&self) -> Vec<Lsn> {
        self.round.as_ref().map(|r| r.positions()).unwrap_or_default()
    }
}
