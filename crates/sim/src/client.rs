//! Clients of the application: they write rows and remember which commits were acknowledged.

use std::time::Duration;

use crate::clock::Moment;
use crate::net::{HostId, Node};
use crate::postgres::{Hang, Phase};
use crate::wal::RecordId;
use crate::world::{Happening, World};

/// One client with one connection.
#[derive(Clone, Debug)]
pub struct Client {
    /// Time between two writes.
    pub every: Duration,
    session: Option<Session>,
    /// Commits that the client was told are done, in the order of the answers.
    pub acked: Vec<RecordId>,
    pub last_ack: Option<Moment>,
    /// The longest time between two acknowledgements since it was last reset.
    pub widest_gap: Duration,
    pub stopped: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Session {
    host: HostId,
    server: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Write,
    Acked { host: HostId, server: u64, record: RecordId },
}

/// How long a client waits before it looks for the primary again.
const RECONNECT: Duration = Duration::from_millis(10);
/// A commit writes about so much WAL.
const COMMIT_BYTES: (u64, u64) = (80, 400);

impl World {
    pub fn add_client(&mut self, every: Duration) {
        let client = Client {
            every,
            session: None,
            acked: Vec::new(),
            last_ack: None,
            widest_gap: Duration::ZERO,
            stopped: false,
        };
        self.clients.push(client);
        let client = self.clients.len() - 1;
        self.schedule(Duration::ZERO, Happening::Client { client, step: Step::Write });
    }

    pub fn client_steps(&mut self, client: usize, step: Step) {
        match step {
            Step::Write => self.client_writes(client),
            Step::Acked { host, server, record } => self.client_hears(client, host, server, record),
        }
    }

    fn session_lives(&self, session: Session) -> bool {
        let host = &self.hosts[session.host];
        host.powered
            && host.pg.server == session.server
            && (host.pg.can_commit() || host.pg.hang() == Hang::Everything)
            && self.net.connected(Node::Clients, Node::Host(session.host))
    }

    fn client_writes(&mut self, client: usize) {
        if self.clients[client].stopped {
            return;
        }
        let wait = match self.session_for(client) {
            None => RECONNECT.max(self.clients[client].every / 10),
            Some(session) => {
                let bytes = self.rng.range(COMMIT_BYTES.0, COMMIT_BYTES.1);
                let World { hosts, wal, .. } = self;
                if let Some(record) = hosts[session.host].pg.commit(wal, bytes) {
                    self.commits += 1;
                    let step = Step::Acked { host: session.host, server: session.server, record };
                    let wait = self.rng.millis(0, 3);
                    self.schedule(wait, Happening::Client { client, step });
                    self.wal_grew(session.host);
                }
                self.clients[client].every
            }
        };
        self.schedule(wait, Happening::Client { client, step: Step::Write });
    }

    /// The open session, or a new one to whoever is primary.
    fn session_for(&mut self, client: usize) -> Option<Session> {
        if let Some(session) = self.clients[client].session.filter(|s| self.session_lives(*s)) {
            return Some(session);
        }
        let primary = (0..self.hosts.len()).find(|&host| {
            let pg = &self.hosts[host].pg;
            pg.phase() == Some(Phase::Primary) && pg.accepts() && self.net.connected(Node::Clients, Node::Host(host))
        });
        let session = primary.map(|host| Session { host, server: self.hosts[host].pg.server });
        self.clients[client].session = session;
        session
    }

    fn client_hears(&mut self, client: usize, host: HostId, server: u64, record: RecordId) {
        if !self.session_lives(Session { host, server }) {
            return;
        }
        let now = self.now;
        let client = &mut self.clients[client];
        client.acked.push(record);
        if let Some(last) = client.last_ack {
            client.widest_gap = client.widest_gap.max(now.since(last));
        }
        client.last_ack = Some(now);
    }

    /// Acknowledged commits that the log ending in `tip` does not contain.
    pub fn lost_in(&self, tip: RecordId) -> Vec<RecordId> {
        let kept: std::collections::BTreeSet<RecordId> = self.wal.back_from(tip).collect();
        let acked = self.clients.iter().flat_map(|c| &c.acked);
        acked.filter(|record| !kept.contains(record)).copied().collect()
    }
}
