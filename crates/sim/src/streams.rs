//! Streaming replication between the models: one stream per standby.
//!
//! Connected by PostgreSQL's rules (who takes connections, whose history fits, whose slot exists); what arrives is
//! what the log really contains. A cut network does not end a stream, as TCP would not notice for a minute either.

use std::time::Duration;

use crate::net::{HostId, Node};
use crate::postgres::{Phase, start};
use crate::wal::RecordId;
use crate::world::{Happening, World};

/// The stream that feeds one standby.
#[derive(Clone, Debug)]
pub struct Stream {
    pub upstream: HostId,
    pub connection: u64,
    upstream_server: u64,
    standby_server: u64,
    in_flight: bool,
    sent: RecordId,
    /// What the standby has confirmed as flushed.
    pub acked: RecordId,
}

/// `wal_retrieve_retry_interval`.
const RETRY: Duration = Duration::from_secs(5);
/// How often a blocked connection sends again.
const RETRANSMIT: Duration = Duration::from_millis(400);

impl World {
    /// Whom the standby's configuration names, if that is a member.
    fn upstream_of(&self, standby: HostId) -> Option<HostId> {
        let name = self.hosts[standby].pg.data()?.upstream.as_ref()?;
        self.host_named(name.as_str())
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
        standby != upstream
            && down.receives()
            && down.phase() != Some(Phase::Recovering)
            && up.accepts()
            && slot
            && self.net.connected(Node::Host(standby), Node::Host(upstream))
            && start::may_stream(theirs, ours, &self.wal)
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
            let upstream = stream.upstream;
            self.streams[standby] = None;
            self.drain(upstream);
        }
        let Some(upstream) = self.upstream_of(standby) else { return };
        if self.may_connect(standby, upstream) {
            self.connect(standby, upstream);
        } else if self.hosts[standby].pg.receives() {
            self.retry_stream(standby, RETRY);
        }
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
            acked: tip,
        });
        self.send_wal(standby);
    }

    /// Sends what the standby does not have, one message at a time.
    fn send_wal(&mut self, standby: HostId) {
        let Some(stream) = &self.streams[standby] else { return };
        let Some(tip) = self.hosts[stream.upstream].pg.data().map(|d| d.tip) else { return };
        if stream.in_flight || stream.sent == tip {
            return;
        }
        let (upstream, connection) = (stream.upstream, stream.connection);
        match self.net.send(Node::Host(upstream), Node::Host(standby), &mut self.rng) {
            None => self.retry_stream(standby, RETRANSMIT),
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
        stream.in_flight = false;
        let upstream = stream.upstream;
        if !self.net.reaches(Node::Host(upstream), Node::Host(standby)) || !self.hosts[standby].pg.receives() {
            return self.retry_stream(standby, RETRANSMIT);
        }
        let switches =
            self.hosts[standby].pg.data().is_none_or(|d| start::may_switch(d, self.wal.timeline(tip), &self.wal));
        if !switches {
            self.streams[standby] = None;
            return self.retry_stream(standby, RETRY);
        }
        if let Some(stream) = self.streams[standby].as_mut() {
            stream.sent = tip;
        }
        let World { hosts, wal, .. } = self;
        let news = hosts[standby].pg.receive(tip, wal);
        self.postgres_news(standby, news);
        match self.net.send(Node::Host(standby), Node::Host(upstream), &mut self.rng) {
            Some(delay) => self.schedule(delay, Happening::StreamAcked { standby, connection, tip }),
            None => self.schedule(RETRANSMIT, Happening::StreamAcked { standby, connection, tip }),
        }
        self.send_wal(standby);
        self.look_at_cascade(standby);
    }

    fn look_at_cascade(&mut self, host: HostId) {
        for standby in 0..self.hosts.len() {
            if self.streams[standby].as_ref().is_some_and(|s| s.upstream == host) {
                self.send_wal(standby);
            }
        }
    }

    pub fn stream_acked(&mut self, standby: HostId, connection: u64, tip: RecordId) {
        let Some(stream) = self.streams[standby].as_mut().filter(|s| s.connection == connection) else { return };
        let upstream = stream.upstream;
        if !self.net.reaches(Node::Host(standby), Node::Host(upstream)) {
            return self.schedule(RETRANSMIT, Happening::StreamAcked { standby, connection, tip });
        }
        if let Some(stream) = self.streams[standby].as_mut() {
            stream.acked = stream.acked.max(tip);
        }
        let World { hosts, wal, .. } = self;
        let slot = hosts[standby].pg.data().and_then(|d| d.slot.clone());
        if let (Some(slot), Some(data)) = (slot, hosts[upstream].pg.data_mut())
            && let Some(at) = data.slots.get_mut(&slot)
        {
            *at = (*at).max(wal.end(tip));
        }
        self.drain(upstream);
    }

    /// A server that shuts down ends when its walsenders have nothing left to send.
    fn drain(&mut self, upstream: HostId) {
        let pg = &self.hosts[upstream].pg;
        let Some(tip) = pg.data().map(|d| d.tip).filter(|_| pg.phase() == Some(Phase::Draining)) else { return };
        let waits = self.streams.iter().flatten().any(|s| s.upstream == upstream && s.acked != tip);
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
