//! Streaming replication between the models: one stream per standby.
//!
//! Connected by PostgreSQL's rules (who takes connections, whose history fits, whose slot exists); what arrives is
//! what the log really contains. A cut network does not end a stream, as TCP would not notice for a minute either.

use std::time::Duration;

use crate::clock::Moment;
use crate::net::{HostId, Node};
use crate::postgres::sync_commit::{Standing, Waiting};
use crate::postgres::{Hang, Phase, start};
use crate::wal::RecordId;
use crate::world::{Happening, World};

/// The stream that feeds one standby, with what its walsender knows.
#[derive(Clone, Debug)]
pub struct Stream {
    pub upstream: HostId,
    pub connection: u64,
    upstream_server: u64,
    standby_server: u64,
    in_flight: bool,
    sent: RecordId,
    /// Everything that there was has been sent once: `streaming` from then on, `catchup` before.
    pub caught_up: bool,
    /// What the standby has confirmed as written, and as on its disk. Nothing before its first answer.
    pub written: Option<RecordId>,
    pub flushed: Option<RecordId>,
    /// Since when nothing gets through.
    blocked: Option<Moment>,
}

/// `wal_retrieve_retry_interval`.
const RETRY: Duration = Duration::from_secs(5);
/// How often a blocked connection sends again.
const RETRANSMIT: Duration = Duration::from_millis(400);
/// A standby tells where it is when its stream has begun, before anything has come.
const FIRST_ANSWER: Duration = Duration::from_millis(10);
/// `wal_sender_timeout` and `wal_receiver_timeout`.
const TIMEOUT: Duration = Duration::from_secs(60);

impl World {
    /// Whom the standby's configuration names, if that is a member.
    fn upstream_of(&self, standby: HostId) -> Option<HostId> {
        let data = self.hosts[standby].pg.data()?;
        match &data.upstream {
            Some(name) => self.host_named(name.as_str()),
            None => self.remote_to_reach(&data.remotes),
        }
    }

    fn stream_holds(&self, standby: HostId, stream: &Stream) -> bool {
        let (down, up) = (&self.hosts[standby].pg, &self.hosts[stream.upstream].pg);
        down.receives()
            && up.sends()
            && down.server == stream.standby_server
            && up.server == stream.upstream_server
            && self.upstream_of(standby) == Some(stream.upstream)
    }

    fn may_connect(&self, standby: HostId, upstream: HostId) -> bool {
        let (down, up) = (&self.hosts[standby].pg, &self.hosts[upstream].pg);
        let (Some(ours), Some(theirs)) = (down.data(), up.data()) else { return false };
        let slot = ours.slot.as_ref().is_none_or(|slot| theirs.slots.contains_key(slot));
        slot && start::may_stream(theirs, ours, &self.wal)
    }

    /// A receiver connects: before it asks for WAL it fetches the history files that it has not got. False when there is
    /// no connection, or it ends with that.
    fn introduce(&mut self, standby: HostId, upstream: HostId) -> bool {
        let (down, up) = (&self.hosts[standby].pg, &self.hosts[upstream].pg);
        let (Some(ours), Some(theirs)) = (down.data(), up.data()) else { return false };
        let connects = standby != upstream
            && down.receives()
            && down.phase() != Some(Phase::Recovering)
            && !down.disk_full
            && up.accepts()
            && self.net.connected(Node::Host(standby), Node::Host(upstream));
        if !connects {
            return false;
        }
        let Some(files) = start::fetched(theirs, ours, &self.wal) else { return false };
        if let Some(data) = self.hosts[standby].pg.data_mut() {
            data.histories.extend(files);
        }
        true
    }

    /// Something changed on this host: its own stream and those that it feeds are looked at.
    pub fn look_at_streams(&mut self, host: HostId) {
        for standby in 0..self.hosts.len() {
            let fed = self.streams[standby].as_ref().is_some_and(|s| s.upstream == host);
            if standby == host || fed || self.streams[standby].is_none() {
                self.look_at_stream(standby);
            }
        }
        self.drain(host);
    }

    pub fn look_at_stream(&mut self, standby: HostId) {
        if let Some(stream) = &self.streams[standby] {
            if self.stream_holds(standby, stream) {
                return self.send_wal(standby);
            }
            self.end_stream(standby);
        }
        let Some(upstream) = self.upstream_of(standby) else { return };
        self.lay_ghosts(standby);
        if self.introduce(standby, upstream) && self.may_connect(standby, upstream) {
            self.connect(standby, upstream);
        } else if self.hosts[standby].pg.receives() {
            self.retry_stream(standby, RETRY);
        }
    }

    /// A standby whose host has lost power says no farewell: its walsender stays until it has waited long enough.
    fn end_stream(&mut self, standby: HostId) {
        let Some(stream) = self.streams[standby].take() else { return };
        let (upstream, connection) = (stream.upstream, stream.connection);
        if !self.hosts[standby].powered && self.sender_lives(&stream) {
            self.ghosts.push((standby, stream));
            self.schedule(TIMEOUT, Happening::StreamEnds { connection });
        }
        self.drain(upstream);
    }

    fn sender_lives(&self, stream: &Stream) -> bool {
        let up = &self.hosts[stream.upstream].pg;
        up.server == stream.upstream_server && up.running.is_some()
    }

    pub fn ghost_ends(&mut self, connection: u64) {
        let Some(place) = self.ghosts.iter().position(|(_, stream)| stream.connection == connection) else { return };
        let (_, stream) = self.ghosts.remove(place);
        self.drain(stream.upstream);
    }

    /// The host is back: what it knows nothing of is refused, and the walsender hears that.
    fn lay_ghosts(&mut self, standby: HostId) {
        let World { ghosts, net, hosts, .. } = self;
        if hosts[standby].powered {
            ghosts.retain(|(of, s)| *of != standby || !net.connected(Node::Host(standby), Node::Host(s.upstream)));
        }
    }

    /// The walsenders of a host with the standbys that they feed, in the order in which they connected.
    pub fn fed_by(&self, host: HostId) -> Vec<(HostId, &Stream)> {
        let live = self.streams.iter().enumerate().filter_map(|(standby, s)| Some((standby, s.as_ref()?)));
        let ghosts = self.ghosts.iter().map(|(standby, stream)| (*standby, stream));
        let ghosts = ghosts.filter(|(_, stream)| self.sender_lives(stream));
        let mut fed: Vec<(HostId, &Stream)> = live.chain(ghosts).filter(|(_, s)| s.upstream == host).collect();
        fed.sort_by_key(|(_, stream)| stream.connection);
        fed
    }

    /// The same as synchronous commit sees them. A server in recovery has no synchronous standbys.
    pub fn standings(&self, host: HostId, fed: &[(HostId, &Stream)]) -> Vec<Standing> {
        let pg = &self.hosts[host].pg;
        let primary = pg.phase() == Some(Phase::Primary);
        let standing = |(standby, stream): &(HostId, &Stream)| Standing {
            priority: if primary { pg.sync.priority(self.hosts[*standby].name.as_str()) } else { 0 },
            streaming: stream.caught_up,
            flushed: stream.flushed.map(|record| self.wal.end(record)),
        };
        fed.iter().map(standing).collect()
    }

    /// The commits that need not wait on this host any more, and whether standbys have them.
    pub(crate) fn release_waiters(&mut self, host: HostId) -> Vec<(Waiting, bool)> {
        let standings = self.standings(host, &self.fed_by(host));
        self.hosts[host].pg.release_waiters(&standings)
    }

    /// `synchronous_standby_names` of a running server, in its files and in force from this instant.
    pub fn set_sync_names(&mut self, host: HostId, names: &str) -> Result<(), String> {
        self.hosts[host].pg.set_sync_names(names)?;
        self.answer_waiters(host);
        Ok(())
    }

    fn retry_stream(&mut self, standby: HostId, wait: Duration) {
        if !self.stream_retry[standby] {
            self.stream_retry[standby] = true;
            self.schedule(wait, Happening::StreamRetry { standby });
        }
    }

    pub fn stream_retries(&mut self, standby: HostId) {
        self.stream_retry[standby] = false;
        self.look_at_stream(standby);
    }

    fn connect(&mut self, standby: HostId, upstream: HostId) {
        let Some(tip) = self.hosts[standby].pg.data().map(|d| d.tip) else { return };
        self.connections += 1;
        self.streams[standby] = Some(Stream {
            upstream,
            connection: self.connections,
            upstream_server: self.hosts[upstream].pg.server,
            standby_server: self.hosts[standby].pg.server,
            in_flight: false,
            sent: tip,
            caught_up: false,
            written: None,
            flushed: None,
            blocked: None,
        });
        let connection = self.connections;
        self.schedule(FIRST_ANSWER, Happening::StreamAcked { standby, connection, tip, flushed: true });
        self.send_wal(standby);
    }

    /// Nothing gets through to a standby, or back from it. True when that has lasted until both ends have given up.
    fn blocked(&mut self, standby: HostId) -> bool {
        let now = self.now;
        let Some(stream) = self.streams[standby].as_mut() else { return true };
        let since = *stream.blocked.get_or_insert(now);
        let over = now.since(since) >= TIMEOUT;
        if over {
            self.end_stream(standby);
            self.retry_stream(standby, RETRY);
        }
        over
    }

    /// Sends what the standby does not have, one message at a time.
    fn send_wal(&mut self, standby: HostId) {
        let Some(stream) = &self.streams[standby] else { return };
        let Some(tip) = self.hosts[stream.upstream].pg.data().map(|d| d.tip) else { return };
        if stream.in_flight {
            return;
        }
        if stream.sent == tip {
            if let Some(stream) = self.streams[standby].as_mut() {
                stream.caught_up = true;
            }
            return;
        }
        let (upstream, connection) = (stream.upstream, stream.connection);
        match self.net.send(Node::Host(upstream), Node::Host(standby), &mut self.rng) {
            None => {
                if !self.blocked(standby) {
                    self.retry_stream(standby, RETRANSMIT);
                }
            }
            Some(delay) => {
                if let Some(stream) = self.streams[standby].as_mut() {
                    stream.in_flight = true;
                }
                let delay = delay + self.replication_delay;
                self.schedule(delay, Happening::StreamArrives { standby, connection, tip });
            }
        }
    }

    pub fn stream_arrives(&mut self, standby: HostId, connection: u64, tip: RecordId) {
        let Some(stream) = self.streams[standby].as_mut().filter(|s| s.connection == connection) else { return };
        let upstream = stream.upstream;
        if !self.net.reaches(Node::Host(upstream), Node::Host(standby)) || !self.hosts[standby].pg.receives() {
            stream.in_flight = false;
            if !self.blocked(standby) {
                self.retry_stream(standby, RETRANSMIT);
            }
            return;
        }
        let switches = self.hosts[standby].pg.data().is_none_or(|d| start::may_go_on(d, tip, &self.wal));
        // Where the upstream's timeline has ended, the receiver introduces itself anew.
        let same = self.hosts[standby].pg.data().is_some_and(|d| self.wal.timeline(d.tip) == self.wal.timeline(tip));
        if !switches || !(same || self.introduce(standby, upstream)) {
            self.end_stream(standby);
            return self.retry_stream(standby, RETRY);
        }
        let World { hosts, rng, .. } = self;
        match hosts[standby].pg.flush_time(rng) {
            None => self.stream_flushed(standby, connection, tip),
            Some(flush) => {
                self.answer_stream(standby, connection, tip, false);
                self.schedule(flush, Happening::StreamFlushed { standby, connection, tip });
            }
        }
    }

    /// What has arrived is on the standby's disk: it is part of its log from now on.
    pub fn stream_flushed(&mut self, standby: HostId, connection: u64, tip: RecordId) {
        let Some(stream) = self.streams[standby].as_mut().filter(|s| s.connection == connection) else { return };
        stream.in_flight = false;
        if !self.hosts[standby].pg.receives() {
            return self.retry_stream(standby, RETRANSMIT);
        }
        if self.hosts[standby].pg.disk_full {
            self.end_stream(standby);
            return self.retry_stream(standby, RETRY);
        }
        stream.sent = tip;
        stream.blocked = None;
        let World { hosts, wal, .. } = self;
        let news = hosts[standby].pg.receive(tip, wal);
        self.postgres_news(standby, news);
        self.answer_stream(standby, connection, tip, true);
        self.send_wal(standby);
        self.look_at_cascade(standby);
    }

    fn answer_stream(&mut self, standby: HostId, connection: u64, tip: RecordId, flushed: bool) {
        let Some(upstream) = self.streams[standby].as_ref().map(|s| s.upstream) else { return };
        let delay = self.net.send(Node::Host(standby), Node::Host(upstream), &mut self.rng);
        let wait = delay.unwrap_or(RETRANSMIT);
        self.schedule(wait, Happening::StreamAcked { standby, connection, tip, flushed });
    }

    fn look_at_cascade(&mut self, host: HostId) {
        for standby in 0..self.hosts.len() {
            if self.streams[standby].as_ref().is_some_and(|s| s.upstream == host) {
                self.send_wal(standby);
            }
        }
    }

    pub fn stream_acked(&mut self, standby: HostId, connection: u64, tip: RecordId, flushed: bool) {
        let Some(stream) = self.streams[standby].as_mut().filter(|s| s.connection == connection) else { return };
        let upstream = stream.upstream;
        let cut = !self.net.reaches(Node::Host(standby), Node::Host(upstream));
        if cut || self.hosts[upstream].pg.hang() == Hang::Everything {
            if !cut || !self.blocked(standby) {
                self.schedule(RETRANSMIT, Happening::StreamAcked { standby, connection, tip, flushed });
            }
            return;
        }
        if let Some(stream) = self.streams[standby].as_mut() {
            stream.written = stream.written.max(Some(tip));
            stream.blocked = None;
        }
        if flushed {
            self.standby_has(standby, upstream, tip);
        }
    }

    fn standby_has(&mut self, standby: HostId, upstream: HostId, tip: RecordId) {
        if let Some(stream) = self.streams[standby].as_mut() {
            stream.flushed = stream.flushed.max(Some(tip));
        }
        let World { hosts, wal, .. } = self;
        let slot = hosts[standby].pg.data().and_then(|d| d.slot.clone());
        if let (Some(slot), Some(data)) = (slot, hosts[upstream].pg.data_mut())
            && let Some(at) = data.slots.get_mut(&slot)
        {
            *at = (*at).max(wal.end(tip));
        }
        self.answer_waiters(upstream);
        self.drain(upstream);
    }

    /// A server that shuts down ends when its walsenders have nothing left to send.
    fn drain(&mut self, upstream: HostId) {
        let pg = &self.hosts[upstream].pg;
        let Some(tip) = pg.data().map(|d| d.tip).filter(|_| pg.phase() == Some(Phase::Draining)) else { return };
        let waits = self.fed_by(upstream).iter().any(|(_, stream)| stream.flushed != Some(tip));
        if !waits {
            let World { hosts, rng, .. } = self;
            hosts[upstream].pg.drained(rng);
            self.settle_postgres(upstream);
        }
    }

    /// New WAL on this host: to whom it may concern.
    pub fn wal_grew(&mut self, host: HostId) {
        self.look_at_cascade(host);
    }
}
