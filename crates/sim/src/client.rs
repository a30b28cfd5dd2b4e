//! Clients of the application: they write rows and remember which commits were acknowledged.

use std::time::Duration;

use crate::clock::Moment;
use crate::net::{HostId, Node};
use crate::postgres::sync_commit::Committed;
use crate::postgres::{Hang, News, Phase};
use crate::wal::RecordId;
use crate::world::{Happening, World};

/// One client with one connection.
#[derive(Clone, Debug)]
pub struct Client {
    /// Time between two writes.
    pub every: Duration,
    session: Option<Session>,
    /// It has committed on this session and waits for the answer.
    waits: Option<Moment>,
    /// Commits that the client was told are done, in the order of the answers.
    pub acked: Vec<Acked>,
    pub last_ack: Option<Moment>,
    /// The longest time between two acknowledgements since it was last reset.
    pub widest_gap: Duration,
    pub stopped: bool,
}

/// A commit of which its client was told that it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acked {
    pub record: RecordId,
    pub at: Moment,
    /// By whom.
    pub host: HostId,
    /// Standbys had confirmed it, as `synchronous_standby_names` of that moment said.
    pub synchronous: bool,
    /// By a server that somebody else has started and that does not lead: its agent closes it as soon as it can.
    pub unled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    host: HostId,
    server: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Write,
    /// The record of a commit has got to the disk.
    Flushed {
        session: Session,
        bytes: u64,
    },
    Acked {
        session: Session,
        record: RecordId,
        synchronous: bool,
    },
}

/// How long a client waits before it looks for the primary again.
const RECONNECT: Duration = Duration::from_millis(10);
/// How long a client waits for the answer to a commit before it gives the connection up. The commit goes on waiting.
const PATIENCE: Duration = Duration::from_secs(10);
/// A commit writes about so much WAL.
const COMMIT_BYTES: (u64, u64) = (80, 400);

impl World {
    pub fn add_client(&mut self, every: Duration) {
        let client = Client {
            every,
            session: None,
            waits: None,
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
            Step::Flushed { session, bytes } => self.client_commits(client, session, bytes),
            Step::Acked { session, record, synchronous } => self.client_hears(client, session, record, synchronous),
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
            Some(session) if self.clients[client].waits.is_none() => {
                let bytes = self.rng.range(COMMIT_BYTES.0, COMMIT_BYTES.1);
                let World { hosts, rng, .. } = self;
                let flush = hosts[session.host].pg.flush_time(rng);
                self.clients[client].waits = Some(self.now);
                match flush {
                    None => self.client_commits(client, session, bytes),
                    Some(flush) => {
                        self.schedule(flush, Happening::Client { client, step: Step::Flushed { session, bytes } });
                    }
                }
                self.clients[client].every
            }
            Some(_) => self.clients[client].every,
        };
        self.schedule(wait, Happening::Client { client, step: Step::Write });
    }

    fn client_commits(&mut self, client: usize, session: Session, bytes: u64) {
        let World { hosts, wal, .. } = self;
        if hosts[session.host].pg.server != session.server {
            return;
        }
        let Some(committed) = hosts[session.host].pg.commit_for(wal, bytes, client) else {
            return self.postgres_news(session.host, vec![News::Changed]);
        };
        self.commits += 1;
        match committed {
            Committed::Acknowledged { record, synchronous } => {
                self.answer_client(client, session, record, synchronous);
            }
            Committed::Waits(_) | Committed::NeverTold(_) => {}
        }
        self.wal_grew(session.host);
    }

    fn answer_client(&mut self, client: usize, session: Session, record: RecordId, synchronous: bool) {
        let wait = self.rng.millis(0, 3);
        self.schedule(wait, Happening::Client { client, step: Step::Acked { session, record, synchronous } });
    }

    /// Commits that waited on this host for standbys, and do not any more.
    pub fn answer_waiters(&mut self, host: HostId) {
        if !self.hosts[host].pg.sync.waits() {
            return;
        }
        let released = self.release_waiters(host);
        let session = Session { host, server: self.hosts[host].pg.server };
        for (waiting, synchronous) in released {
            self.answer_client(waiting.client, session, waiting.record, synchronous);
        }
    }

    /// The client's statement is cancelled while it waits for standbys: it is told that its commit is done, with a
    /// warning. No promise goes with that, so it is not among the acknowledged.
    pub fn cancel_statement(&mut self, client: usize) {
        let Some(session) = self.clients[client].session else { return };
        if self.hosts[session.host].pg.cancel_wait(client).is_some() {
            self.clients[client].waits = None;
        }
    }

    /// The open session, or a new one to whoever is primary.
    fn session_for(&mut self, client: usize) -> Option<Session> {
        let now = self.now;
        let patient = self.clients[client].waits.is_none_or(|since| now.since(since) < PATIENCE);
        if let Some(session) = self.clients[client].session.filter(|s| patient && self.session_lives(*s)) {
            return Some(session);
        }
        let primary = (0..self.hosts.len()).find(|&host| {
            let pg = &self.hosts[host].pg;
            pg.phase() == Some(Phase::Primary) && pg.accepts() && self.net.connected(Node::Clients, Node::Host(host))
        });
        let session = primary.map(|host| Session { host, server: self.hosts[host].pg.server });
        let client = &mut self.clients[client];
        client.session = session;
        client.waits = None;
        session
    }

    fn client_hears(&mut self, client: usize, session: Session, record: RecordId, synchronous: bool) {
        let ours = self.clients[client].session == Some(session) && self.clients[client].waits.is_some();
        if !ours || !self.session_lives(session) {
            return;
        }
        let now = self.now;
        let host = &self.hosts[session.host];
        let unled = host.stray && self.store.leader() != Some(host.name.as_str());
        let client = &mut self.clients[client];
        client.waits = None;
        client.acked.push(Acked { record, at: now, host: session.host, synchronous, unled });
        if let Some(last) = client.last_ack {
            client.widest_gap = client.widest_gap.max(now.since(last));
        }
        client.last_ack = Some(now);
    }

    /// Acknowledged commits that the log ending in `tip` does not contain.
    pub fn lost_in(&self, tip: RecordId) -> Vec<RecordId> {
        let kept: std::collections::BTreeSet<RecordId> = self.wal.back_from(tip).collect();
        let acked = self.clients.iter().flat_map(|c| &c.acked).map(|acked| acked.record);
        acked.filter(|record| !kept.contains(record)).collect()
    }
}
