//! Our own member key (dcs-layout 2.6) and Patroni's words for the state of PostgreSQL.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::basis::same;
use super::flight::{Purpose, SHORT};
use super::machine::Ha;
use super::op::Kind;
use super::server::{Accepting, DataDir, Process, Row};
use super::state::Phase;
use super::{Act, Lane, Local, Restart, Server};
use crate::Tick;
use crate::view::{Key, Member, MemberData, Revision, Write};

/// The number of what members of this program say to each other beyond Patroni's protocol.
const PROTOCOL: u32 = 1;

impl Ha {
    /// Whether a routine look has brought positions that a key, written with those of an earlier `look`, does not have.
    pub(super) fn positions_are_due(&self, look: Tick) -> bool {
        let due = self.published.positions_due;
        look < due && self.server.as_ref().is_some_and(|server| server.looked_at >= due)
    }

    pub(super) fn state_word(&self) -> &'static str {
        match self.phase {
            Phase::InitializingCluster => "initializing new cluster",
            Phase::InitdbFailed => "initdb failed",
            Phase::CreatingReplica => "creating replica",
            Phase::Starting => "starting",
            Phase::StartFailed => "start failed",
            Phase::Restarting => "restarting",
            Phase::RestartFailed => "restart failed",
            Phase::Stopping => "stopping",
            Phase::Crashed => "crashed",
            Phase::AsSeen => self.state_as_seen(),
        }
    }

    fn state_as_seen(&self) -> &'static str {
        let Some(server) = &self.server else { return "stopped" };
        match (&server.process, &server.data) {
            (Process::Running { accepting: Accepting::NotYet, .. }, _) if server.row.is_none() => "starting",
            (Process::Running { .. }, _) => "running",
            (Process::Stopped | Process::Leftovers, DataDir::Empty) => match self.op.as_ref().map(|op| op.kind) {
                Some(Kind::Bootstrap) => "initializing new cluster",
                Some(Kind::Clone | Kind::Reinitialize) => "creating replica",
                Some(_) | None => "stopped",
            },
            (Process::Stopped | Process::Leftovers, _) => "stopped",
        }
    }

    /// The member key as a member leaves it: it stays until its session ends (dcs-layout 2.6).
    pub(super) fn last_member_write(&self) -> Option<Write> {
        let session = self.lease.session.as_ref()?;
        Some(Write::put(Key::Member(self.me().clone()), data(self).to_text()).on_session(session))
    }

    /// Writes the member key when its content, or the session it lives on, has changed. Positions alone are
    /// written with the routine look only.
    pub(super) fn publish_member(&mut self) {
        let Some(session) = &self.lease.session else { return };
        let Some(seen) = self.view.as_ref() else { return };
        let stored = seen.cluster.members.get(self.me()).filter(|m| m.session.as_ref() == Some(session));
        let due = self.positions_are_due(self.published.member_look);
        let shown =
            |m: &Member| self.published.shown.as_ref().is_some_and(|shown| shown.stands(self, &m.revision, due));
        if stored.is_some_and(shown) || self.lanes.contains_key(&Lane::Member) {
            return;
        }
        let made = self.published.member_made.take().filter(|made| made.of.stands(self, due));
        let made = made.unwrap_or_else(|| Made::now(self));
        if let Some(server) = &made.of.server {
            self.published.member_look = server.looked_at;
        }
        if let Some(member) = stored.filter(|m| m.data == made.data) {
            self.published.shown = Some(Shown { revision: member.revision.clone(), of: made.of.clone() });
            self.published.member_made = Some(made);
            return;
        }
        // Our own last write may be newer than the view.
        let wrote = self.published.member.as_ref() == Some(&made.text)
            && self.published.member_session.as_ref() == Some(session);
        let written_lately = wrote && self.now.boot.since(self.published.member_at) < SHORT;
        if !written_lately {
            let (session, text) = (session.clone(), made.text.clone());
            let write = Write::put(Key::Member(self.me().clone()), text.clone()).on_session(&session);
            if self.issue(Lane::Member, Act::Write(write), SHORT, Purpose::Member { text }).is_some() {
                self.published.member_session = Some(session);
                self.published.member_at = self.now.boot;
            }
        }
        self.published.member_made = Some(made);
    }
}

/// The revision of the key that was found to say just what it should, and of what that was made: while none of it
/// changes there is nothing to compare.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    revision: Revision,
    of: Parts,
}

impl Shown {
    fn stands(&self, ha: &Ha, revision: &Revision, positions: bool) -> bool {
        self.revision == *revision && self.of.stands(ha, positions)
    }
}

/// The content of the member key.
#[derive(Clone, Debug)]
pub(super) struct Made {
    of: Parts,
    data: MemberData,
    text: String,
}

impl Made {
    fn now(ha: &Ha) -> Made {
        let data = data(ha);
        Made { of: Parts::now(ha), text: data.to_text(), data }
    }
}

/// Everything that the member key is made of.
#[derive(Clone, Debug)]
struct Parts {
    state: &'static str,
    role: &'static str,
    checkpoint_due: bool,
    leaving: bool,
    paused: bool,
    restart: Option<Restart>,
    local: Arc<Local>,
    server: Option<Arc<Server>>,
}

impl Parts {
    fn now(ha: &Ha) -> Parts {
        Parts {
            state: ha.state_word(),
            role: ha.role.word(),
            checkpoint_due: checkpoint_due(ha),
            leaving: ha.sync.leaving.is_some(),
            paused: ha.paused(),
            restart: ha.scheduled_restart.clone(),
            local: ha.local.clone(),
            server: ha.server.clone(),
        }
    }

    /// `positions`: those of an earlier look do not do.
    fn stands(&self, ha: &Ha, positions: bool) -> bool {
        (same(self.server.as_ref(), ha.server.as_ref()) || !positions && self.differs_in_positions(ha))
            && Arc::ptr_eq(&self.local, &ha.local)
            && (self.state, self.role) == (ha.state_word(), ha.role.word())
            && (self.checkpoint_due, self.leaving) == (checkpoint_due(ha), ha.sync.leaving.is_some())
            && self.paused == ha.paused()
            && self.restart == ha.scheduled_restart
    }

    /// Whether all that the newest look has to add is how far the server has come.
    fn differs_in_positions(&self, ha: &Ha) -> bool {
        let steady = |row: &Row| (row.in_recovery, row.timeline, row.replication_state(), row.pending_restart.clone());
        match (self.server.as_ref().and_then(|server| server.row.as_ref()), ha.row()) {
            (Some(then), Some(now)) => {
                let reports = |row: &Row| (row.replayed.is_valid(), row.received.is_valid());
                steady(then) == steady(now) && reports(then) == reports(now)
            }
            (None, None) => true,
            (None, Some(_)) | (Some(_), None) => false,
        }
    }
}

fn checkpoint_due(ha: &Ha) -> bool {
    let timeline = ha.row().and_then(|r| r.timeline);
    // Nobody rewinds from a server that is being stopped, and it makes no such checkpoint any more.
    let stays = ha.phase != Phase::Stopping;
    stays && ha.lease.lock.is_some() && ha.role.is_primary() && (timeline.is_none() || ha.checkpointed != timeline)
}

/// The member key as it should be.
pub(super) fn data(ha: &Ha) -> MemberData {
    let local = &ha.local;
    let state = ha.state_word();
    let mut o = Map::new();
    o.insert("conn_url".into(), local.conn_url.as_str().into());
    o.insert("api_url".into(), local.api_url.as_str().into());
    o.insert("state".into(), state.into());
    o.insert("role".into(), ha.role.word().into());
    o.insert("version".into(), local.version.into());
    if let Some(proxy) = &local.proxy_url {
        o.insert("proxy_url".into(), proxy.as_str().into());
    }
    let row = ha.row();
    if checkpoint_due(ha) {
        o.insert("checkpoint_after_promote".into(), false.into());
    }
    let mut tags = local.tags.effective();
    if ha.sync.leaving.is_some() {
        tags.insert("nosync".into(), true.into());
        tags.insert("sync_priority".into(), 0.into());
    }
    if !tags.is_empty() {
        o.insert("tags".into(), Value::Object(tags));
    }
    if let Some(row) = row
        && !row.pending_restart.is_empty()
    {
        o.insert("pending_restart".into(), true.into());
        let reasons = row.pending_restart.iter();
        let reasons = reasons.map(|(name, (old, new))| (name.clone(), json!({"old_value": old, "new_value": new})));
        o.insert("pending_restart_reason".into(), Value::Object(reasons.collect()));
    }
    if let Some(row) = row.filter(|_| matches!(state, "running" | "restarting" | "starting")) {
        o.insert("xlog_location".into(), row.position().0.into());
        if row.in_recovery {
            if row.replayed.is_valid() {
                o.insert("replay_lsn".into(), row.replayed.0.into());
            }
            if row.received.is_valid() {
                o.insert("receive_lsn".into(), row.received.0.into());
            }
        }
        if let Some(state) = row.replication_state() {
            o.insert("replication_state".into(), state.into());
        }
        if let Some(timeline) = row.timeline {
            o.insert("timeline".into(), timeline.0.into());
        }
    }
    if let Some(restart) = &ha.scheduled_restart {
        o.insert("scheduled_restart".into(), scheduled(restart));
    }
    if ha.paused() {
        o.insert("pause".into(), true.into());
    }
    o.insert("jogi".into(), json!({"version": env!("CARGO_PKG_VERSION"), "protocol": PROTOCOL}));
    o.into()
}

fn scheduled(restart: &super::Restart) -> Value {
    let mut o = Map::new();
    if let Some(when) = &restart.schedule {
        o.insert("schedule".into(), when.text.as_str().into());
    }
    if let Some(role) = &restart.role {
        o.insert("role".into(), role.as_str().into());
    }
    if let Some(version) = &restart.postgres_version {
        o.insert("postgres_version".into(), version.as_str().into());
    }
    if restart.only_pending {
        o.insert("restart_pending".into(), true.into());
    }
    if let Some(timeout) = restart.timeout {
        o.insert("timeout".into(), timeout.into());
    }
    if let Some(start) = restart.postmaster_start {
        o.insert("postmaster_start_time".into(), super::schedule::print(start).into());
    }
    Value::Object(o)
}
