//! The store's operations: reads, leases and transactions.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jogi_core::view::{Expect, Revision, Session, Write, Written};
use jogi_net::{boot_now, random_u64};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::warn;

use super::Etcd3;
use super::call::{Failed, Request};
use super::failure::Failure;
use super::knowledge::{Standing, revision, session};
use super::txn::{Keys, Meaning};
use super::watch;
use super::wire::{GrantAnswer, Header, HeaderAnswer, KeepAliveAnswer, Kv, RangeAnswer, TxnAnswer, prefix_range};
use crate::deadline::Left;
use crate::hosts::Host;
use crate::tries::Answer;
use crate::{Acquired, Beat, Dcs, DcsError, Freshness, LeaderKey, SetupError, View, WatchEvent};

/// etcd raises a shorter lease to this (with its default election timeout).
const SMALLEST_TTL: Duration = Duration::from_secs(2);

impl Etcd3 {
    fn keys(&self) -> Keys<'_> {
        Keys { prefix: self.shared.knowledge.prefix(), name: self.shared.options.name.as_str() }
    }

    /// A linearizable or local reading of all keys: the newest view, its server and its revision.
    pub(super) async fn read_all(
        &self,
        freshness: Freshness,
        deadline: Duration,
    ) -> Result<(View, Answer<Header>), DcsError> {
        let mut body = prefix_range(self.shared.knowledge.prefix());
        let standing = match freshness {
            Freshness::Linearizable => Standing::Quorum,
            Freshness::Any => {
                body["serializable"] = json!(true);
                Standing::Local
            }
        };
        let request = Request { operation: "read the cluster", path: "/kv/range", body, standing, stream: false };
        let read_at = boot_now();
        let Answer { value, host, doubtful } = self.call::<RangeAnswer>(&request, deadline).await?;
        let cluster = self.shared.knowledge.replace(value.kvs, value.header.revision);
        Ok((View { cluster, read_at }, Answer { value: value.header, host, doubtful }))
    }

    async fn txn(&self, operation: &'static str, body: Value, deadline: Duration) -> Result<Answer<TxnAnswer>, Failed> {
        let standing = Standing::Quorum;
        let request = Request { operation, path: "/kv/txn", body, standing, stream: false };
        let answer = self.call::<TxnAnswer>(&request, deadline).await?;
        if answer.value.succeeded && !answer.value.deleted_nothing() {
            self.changed(answer.value.header.revision);
        }
        Ok(answer)
    }

    /// Tells the watch what it has to bring.
    fn changed(&self, revision: i64) {
        self.shared.knowledge.expect_change(revision);
        self.shared.ring();
    }

    /// The Raft term in which the lease was renewed; `None`: there is no such lease.
    async fn keep_alive(&self, session: &Session, deadline: Duration) -> Result<Option<u64>, DcsError> {
        let request = Request {
            operation: "renew the lease",
            path: "/lease/keepalive",
            body: json!({"ID": session.0}),
            standing: Standing::Forwarded,
            stream: true,
        };
        match self.call::<KeepAliveAnswer>(&request, deadline).await {
            Ok(answer) => Ok((answer.value.ttl > 0).then_some(answer.value.header.raft_term)),
            Err(failed) if failed.failure().is_lease_gone() => Ok(None),
            Err(failed) => Err(failed.into()),
        }
    }

    /// The leader key by a linearizable read.
    async fn leader_key(&self, deadline: Duration) -> Result<Answer<RangeAnswer>, DcsError> {
        let request = self.leader_key_request();
        Ok(self.call::<RangeAnswer>(&request, deadline).await?)
    }

    /// The leader key by a linearizable read on just one server.
    pub(super) async fn leader_key_on(&self, host: &Arc<Host>) -> Result<Option<Kv>, Failure> {
        let request = self.leader_key_request();
        let body = Bytes::from(request.body.to_string());
        let answer = self.attempt::<RangeAnswer>(host, &request, body).await?;
        Ok(answer.kvs.into_iter().next())
    }

    fn leader_key_request(&self) -> Request {
        Request {
            operation: "read the leader key",
            path: "/kv/range",
            body: self.keys().leader_range(),
            standing: Standing::Quorum,
            stream: false,
        }
    }

    /// A leader that has just been elected may not have applied the grant of a lease yet and says that
    /// there is none. After a linearizable read it has.
    async fn is_lease_gone(&self, session: &Session, left: Left) -> Result<bool, DcsError> {
        self.leader_key(left.time()).await?;
        Ok(self.keep_alive(session, left.time()).await?.is_none())
    }
}

fn leader_key(kv: Kv) -> LeaderKey {
    LeaderKey {
        name: kv.value.into(),
        session: session(kv.lease),
        created: revision(kv.create_revision),
        revision: revision(kv.mod_revision),
    }
}

#[async_trait]
impl Dcs for Etcd3 {
    fn smallest_ttl(&self) -> Duration {
        SMALLEST_TTL
    }

    fn describe(&self) -> String {
        format!("etcd at {}", self.shared.hosts.describe())
    }

    fn sibling(&self) -> Result<Arc<dyn Dcs>, SetupError> {
        Ok(Arc::new(self.twin()?))
    }

    async fn load(&self, freshness: Freshness, deadline: Duration) -> Result<View, DcsError> {
        Ok(self.read_all(freshness, deadline).await?.0)
    }

    fn watch(self: Arc<Self>) -> mpsc::Receiver<WatchEvent> {
        watch::start((*self).clone())
    }

    async fn open_session(&self, ttl: Duration, deadline: Duration) -> Result<Session, DcsError> {
        if ttl < SMALLEST_TTL {
            warn!(ttl_ms = ttl.as_millis() as u64, "etcd keeps no lease shorter than {} s", SMALLEST_TTL.as_secs());
        }
        let seconds = ttl.max(SMALLEST_TTL).as_millis().div_ceil(1000);
        // We choose the id, so that a second try asks for the same lease.
        let id = (random_u64() >> 1).max(1).to_string();
        let request = Request {
            operation: "open a lease",
            path: "/lease/grant",
            body: json!({"ID": id, "TTL": seconds.to_string()}),
            standing: Standing::Forwarded,
            stream: false,
        };
        match self.call::<GrantAnswer>(&request, deadline).await {
            Ok(answer) if answer.value.ttl <= 0 => Err(DcsError::Garbled {
                operation: request.operation,
                endpoint: answer.host.url.clone(),
                cause: "a lease without a ttl".into(),
            }),
            Ok(_) => Ok(Session(id.into())),
            Err(failed) if failed.doubtful && failed.failure().is_lease_known() => Ok(Session(id.into())),
            Err(failed) => Err(failed.into()),
        }
    }

    /// The read begins after the renewal was answered, on purpose: a leader of etcd that has been voted out
    /// and does not know it yet still renews leases, in vain. When the later read, which a quorum stood
    /// behind, is of the same Raft term as the renewal, then whoever renewed was the leader.
    async fn beat(&self, session: &Session, read_leader: bool, deadline: Duration) -> Result<Beat, DcsError> {
        let left = Left::of(deadline);
        let Some(term) = self.keep_alive(session, deadline).await? else {
            return match self.is_lease_gone(session, left).await? {
                true => Ok(Beat::SessionGone),
                false => self.beat(session, read_leader, left.time()).await,
            };
        };
        if !read_leader {
            return Ok(Beat::Extended { leader: None });
        }
        let read = self.leader_key(left.time()).await?;
        let read_term = read.value.header.raft_term;
        if term != read_term {
            return Err(DcsError::Server {
                operation: "renew the lease",
                endpoint: read.host.url.clone(),
                cause: format!("etcd elected a leader meanwhile (Raft term {term}, then {read_term}): renew again"),
            });
        }
        let leader = read.value.kvs.into_iter().next();
        if let Some(kv) = &leader {
            self.changed(kv.mod_revision);
        }
        Ok(Beat::Extended { leader: leader.map(leader_key) })
    }

    async fn close_session(&self, session: &Session, deadline: Duration) -> Result<(), DcsError> {
        let request = Request {
            operation: "end the lease",
            path: "/lease/revoke",
            body: json!({"ID": session.0}),
            standing: Standing::Forwarded,
            stream: false,
        };
        match self.call::<HeaderAnswer>(&request, deadline).await {
            Ok(_) => Ok(()),
            Err(failed) if failed.failure().is_lease_gone() => Ok(()),
            Err(failed) => Err(failed.into()),
        }
    }

    async fn acquire(&self, session: &Session, expect: &Expect, deadline: Duration) -> Result<Acquired, DcsError> {
        let Some(body) = self.keys().acquire(session, expect) else { return Ok(Acquired::Conflict) };
        match self.txn("take the leader lock", body, deadline).await {
            Ok(answer) => Ok(self.keys().acquired(session, &answer.value)),
            Err(failed) if failed.failure().is_lease_gone() => Ok(Acquired::SessionGone),
            Err(failed) => Err(failed.into()),
        }
    }

    async fn reattach(&self, session: &Session, created: &Revision, deadline: Duration) -> Result<Acquired, DcsError> {
        let Some(body) = self.keys().reattach(session, created) else { return Ok(Acquired::Conflict) };
        match self.txn("move the leader lock to another lease", body, deadline).await {
            Ok(answer) => Ok(self.keys().acquired(session, &answer.value)),
            Err(failed) if failed.failure().is_lease_gone() => Ok(Acquired::SessionGone),
            Err(failed) => Err(failed.into()),
        }
    }

    async fn release(&self, created: &Revision, status: Option<&str>, deadline: Duration) -> Result<bool, DcsError> {
        let Some(body) = self.keys().release(created, status) else { return Ok(false) };
        let answer = self.txn("release the leader lock", body, deadline).await?;
        Ok(self.keys().released(created, status, &answer.value, answer.doubtful))
    }

    async fn write(&self, write: &Write, deadline: Duration) -> Result<Written, DcsError> {
        let Some(body) = self.keys().write(write) else { return Ok(Written::Conflict) };
        let started = Instant::now();
        let answer = match self.txn("write a key", body, deadline).await {
            Ok(answer) => answer,
            Err(failed) if failed.failure().is_lease_gone() => return Ok(Written::SessionGone),
            Err(failed) => return Err(failed.into()),
        };
        match self.keys().written(write, &answer.value, answer.doubtful) {
            Meaning::Known(written) => Ok(written),
            Meaning::Unknown => {
                Err(Failure::Silent.into_error("write a key", answer.host.url.clone(), started.elapsed()))
            }
        }
    }

    async fn remove_cluster(&self, deadline: Duration) -> Result<(), DcsError> {
        let request = Request {
            operation: "remove the cluster's keys",
            path: "/kv/deleterange",
            body: prefix_range(self.shared.knowledge.prefix()),
            standing: Standing::Quorum,
            stream: false,
        };
        self.call::<HeaderAnswer>(&request, deadline).await?;
        Ok(())
    }
}
