//! What the trait asks for, in Consul's words.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jogi_config::local::Consistency;
use jogi_core::view::{Cluster, Condition, Expect, Key, Revision, Session, Write, Written};
use jogi_net::boot_now;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tracing::warn;

use super::txn::{Kv, NeverMet, Outcome, Txn, TxnAnswer, revision};
use super::{Consul, watch};
use crate::deadline::Left;
use crate::rest::{Ask, Failed, Failure, Reply, escape};
use crate::tries::Answer;
use crate::{Acquired, Beat, Dcs, DcsError, Freshness, LeaderKey, SetupError, View, WatchEvent};

impl Consul {
    pub(super) fn ask(&self, operation: &'static str, method: Method, path: &str, query: &str) -> Ask {
        let dc = self.shared.section.dc.as_deref().map(|dc| format!("&dc={}", escape(dc)));
        Ask {
            operation,
            method,
            path: format!("/v1/{path}?{query}{}", dc.unwrap_or_default()).replace("?&", "?"),
            content_type: "application/json",
            body: Bytes::new(),
            header: self.shared.section.token.as_ref().map(|t| ("X-Consul-Token", t.expose().to_owned())),
            answers: &[200],
        }
    }

    pub(super) async fn call<T>(
        &self,
        ask: &Ask,
        deadline: Duration,
        read: impl Fn(Reply) -> Result<T, String> + Sync,
    ) -> Result<Answer<T>, Failed> {
        self.rest.call(ask, &|| self.shared.ring(), deadline, read).await
    }

    /// The request for all keys.
    pub(super) fn read_request(&self, query: &str) -> Ask {
        let path = format!("kv/{}", escape(&self.shared.prefix));
        let ask = self.ask("read the cluster", Method::GET, &path, &format!("recurse{query}"));
        Ask { answers: &[200, 404], ..ask }
    }

    /// All keys, and the index as of which they are so.
    pub(super) fn cluster(&self, reply: &Reply) -> Result<(Arc<Cluster>, u64), String> {
        let index = reply.number("x-consul-index").ok_or("an answer without X-Consul-Index")?;
        let kvs: Vec<Kv> = if reply.status == 404 { Vec::new() } else { reply.json()? };
        let keys = kvs.into_iter().filter_map(|kv| kv.key_value(&self.shared.prefix));
        Ok((Arc::new(Cluster::from_keys(keys)), index))
    }

    pub(super) async fn read_all(&self, freshness: Freshness, deadline: Duration) -> Result<(View, u64), DcsError> {
        let query = match (freshness, self.shared.section.consistency) {
            (Freshness::Linearizable, _) | (Freshness::Any, Consistency::Consistent) => "&consistent",
            (Freshness::Any, Consistency::Default) => "",
            (Freshness::Any, Consistency::Stale) => "&stale",
        };
        let read_at = boot_now();
        let answer = self.call(&self.read_request(query), deadline, |reply| self.cluster(&reply)).await?;
        let (cluster, index) = answer.value;
        Ok((View { cluster, read_at }, index))
    }

    /// One key by a consistent read.
    async fn key(&self, key: &Key, deadline: Duration) -> Result<Option<Kv>, DcsError> {
        let path = format!("kv/{}", escape(&format!("{}{}", self.shared.prefix, key.path())));
        let ask = Ask { answers: &[200, 404], ..self.ask("read a key", Method::GET, &path, "consistent") };
        let read = |reply: Reply| match reply.status {
            404 => Ok(None),
            _ => reply.json::<Vec<Kv>>().map(|kvs| kvs.into_iter().next()),
        };
        Ok(self.call(&ask, deadline, read).await?.value)
    }

    async fn leader_key(&self, deadline: Duration) -> Result<Option<Kv>, DcsError> {
        let kv = self.key(&Key::Leader, deadline).await?;
        let ours = kv.as_ref().filter(|kv| kv.value == self.shared.name);
        self.saw_leader(ours.map(|kv| (revision(kv.create_index), kv.modify_index)));
        Ok(kv)
    }

    fn saw_leader(&self, seen: Option<(Revision, u64)>) {
        *self.shared.leader.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }

    /// The index of the leader key while it is the incarnation `created`, and ours.
    async fn leader_index(&self, created: &Revision, deadline: Duration) -> Result<Option<u64>, DcsError> {
        let known = self.shared.leader.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, index)) = known.filter(|(seen, _)| seen == created) {
            return Ok(Some(index));
        }
        let kv = self.leader_key(deadline).await?;
        let ours = kv.filter(|kv| revision(kv.create_index) == *created && kv.value == self.shared.name);
        Ok(ours.map(|kv| kv.modify_index))
    }

    /// `true` beside the outcome: an earlier try may have been applied.
    async fn txn(&self, operation: &'static str, txn: Txn<'_>, left: Left) -> Result<(Outcome, bool), DcsError> {
        let body = Bytes::from(txn.into_body().to_string());
        let ask = Ask { body, answers: &[200, 409], ..self.ask(operation, Method::PUT, "txn", "") };
        let answer = self.call(&ask, left.time(), |reply| reply.json::<TxnAnswer>()).await?;
        let outcome = answer.value.outcome().map_err(|cause| {
            let (operation, endpoint) = (ask.operation, answer.host.url.clone());
            match cause.contains("Permission denied") {
                true => DcsError::Denied { operation, endpoint, cause },
                false => DcsError::Server { operation, endpoint, cause },
            }
        })?;
        Ok((outcome, answer.doubtful))
    }

    /// What a transaction that puts the leader key on `session` has come to, by the key itself when it conflicts.
    async fn locked(&self, outcome: (Outcome, bool), session: &Session, left: Left) -> Result<Acquired, DcsError> {
        match outcome {
            (Outcome::Done { created, modified }, _) => {
                self.saw_leader(Some((revision(created), modified)));
                Ok(Acquired::Yes { created: revision(created), revision: revision(modified) })
            }
            (Outcome::SessionGone, _) => Ok(Acquired::SessionGone),
            (Outcome::Conflict, false) => Ok(Acquired::Conflict),
            (Outcome::Conflict, true) => Ok(match self.leader_key(left.time()).await? {
                Some(kv) if kv.value == self.shared.name && kv.session().as_ref() == Some(session) => {
                    Acquired::Yes { created: revision(kv.create_index), revision: revision(kv.modify_index) }
                }
                Some(_) | None => Acquired::Conflict,
            }),
        }
    }

    async fn write_once(&self, write: &Write, replace: bool, left: Left) -> Result<(Outcome, bool), DcsError> {
        let mut txn = Txn::new(&self.shared.prefix);
        if let Err(NeverMet) = txn.condition(&write.key, &write.condition) {
            return Ok((Outcome::Conflict, false));
        }
        if let Some(created) = &write.only_while_leader {
            let Some(index) = self.leader_index(created, left.time()).await? else {
                return Ok((Outcome::Conflict, false));
            };
            txn.unchanged(&Key::Leader, index);
        }
        match (&write.value, &write.session) {
            (None, _) => txn.delete(&write.key),
            (Some(value), None) => txn.set(&write.key, value),
            (Some(value), Some(session)) => {
                if replace {
                    txn.delete(&write.key);
                }
                txn.lock(&write.key, value, session);
            }
        }
        self.txn("write a key", txn, left).await
    }

    /// After a try that may have been applied, the key itself says whether it was.
    async fn was_written(&self, write: &Write, left: Left) -> Result<Written, DcsError> {
        let found = self.key(&write.key, left.time()).await?;
        match (&write.value, found) {
            (None, None) => Ok(Written::Done { revision: revision(0) }),
            (Some(value), Some(kv)) if kv.value == *value && kv.session() == write.session => {
                match (&write.condition, &write.session) {
                    // Another may have created the same at the same moment, and both would believe in it.
                    (Condition::Absent, None) => Err(DcsError::Timeout {
                        operation: "write a key",
                        endpoint: self.shared.hosts.describe(),
                        waited: Duration::ZERO,
                    }),
                    (Condition::Always | Condition::Absent | Condition::Unchanged(_), _) => {
                        Ok(Written::Done { revision: revision(kv.modify_index) })
                    }
                }
            }
            (None, Some(_)) | (Some(_), _) => Ok(Written::Conflict),
        }
    }

    async fn create_session(&self, ttl: Duration, deadline: Duration) -> Result<Session, Failed> {
        #[derive(Deserialize)]
        struct Created {
            #[serde(rename = "ID")]
            id: String,
        }
        let checks = &self.shared.section.checks;
        let body = json!({
            "Name": self.shared.session_name, "Checks": checks, "NodeChecks": checks,
            "LockDelay": "1ms", "Behavior": "delete", "TTL": format!("{}ms", (ttl / 2).as_millis()),
        });
        let ask = self.ask("open a session", Method::PUT, "session/create", "");
        let ask = Ask { body: Bytes::from(body.to_string()), ..ask };
        let answer = self.call(&ask, deadline, |reply| reply.json::<Created>()).await?;
        Ok(Session(answer.value.id.into()))
    }
}

/// `Invalid Session TTL '5000000000', must be between [10s=24h0m0s]`: the least of them.
fn least_session(failure: &Failure) -> Option<Duration> {
    let Failure::Status { message, .. } = failure else { return None };
    let (_, limits) = message.strip_prefix("Invalid Session TTL")?.split_once('[')?;
    go_duration(limits.split('=').next()?)
}

/// A duration as Go prints it: `1h0m0s`, `10s`, `500ms`.
fn go_duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(unit_at);
        let unit_ends = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, next) = tail.split_at(unit_ends);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            _ => return None,
        };
        total += Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        rest = next;
    }
    (!text.is_empty()).then_some(total)
}

#[async_trait]
impl Dcs for Consul {
    fn smallest_ttl(&self) -> Duration {
        Duration::from_millis(self.shared.floor_ms.load(Ordering::Relaxed))
    }

    fn describe(&self) -> String {
        format!("Consul at {}", self.shared.hosts.describe())
    }

    fn sibling(&self) -> Result<Arc<dyn Dcs>, SetupError> {
        Ok(Arc::new(Consul::on(self.shared.clone())?))
    }

    async fn load(&self, freshness: Freshness, deadline: Duration) -> Result<View, DcsError> {
        Ok(self.read_all(freshness, deadline).await?.0)
    }

    fn watch(self: Arc<Self>) -> mpsc::Receiver<WatchEvent> {
        watch::start(self)
    }

    async fn open_session(&self, ttl: Duration, deadline: Duration) -> Result<Session, DcsError> {
        let left = Left::of(deadline);
        self.shared.ttl_ms.store(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        let failed = match self.create_session(ttl, deadline).await {
            Ok(session) => return Ok(session),
            Err(failed) => failed,
        };
        let Some(least) = failed.failure.as_ref().and_then(least_session) else { return Err(failed.into()) };
        let floor = least * 2;
        self.shared.floor_ms.store(u64::try_from(floor.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        warn!(
            ttl_ms = ttl.as_millis() as u64,
            "Consul keeps no session shorter than {} s (session_ttl_min), which it ends after twice that time: a lock is free {} s after its last renewal. Set ttl to that, or session_ttl_min in Consul's servers",
            least.as_secs_f64(),
            floor.as_secs_f64()
        );
        Ok(self.create_session(floor, left.time()).await?)
    }

    /// The read begins after the renewal was answered, and Consul's leader asks a quorum whether it leads before it
    /// answers it. A new leader lets every session live for its full time from its election on.
    async fn beat(&self, session: &Session, read_leader: bool, deadline: Duration) -> Result<Beat, DcsError> {
        let left = Left::of(deadline);
        let path = format!("session/renew/{}", escape(&session.0));
        let ask = Ask { answers: &[200, 404], ..self.ask("renew the session", Method::PUT, &path, "") };
        let renewed = self.call(&ask, deadline, |reply| match reply.status {
            404 => Ok(false),
            _ => reply.json::<Value>().map(|list| list.get(0).is_some()),
        });
        if !renewed.await?.value {
            return Ok(Beat::SessionGone);
        }
        if !read_leader {
            return Ok(Beat::Extended { leader: None });
        }
        let leader = self.leader_key(left.time()).await?.map(|kv| LeaderKey {
            session: kv.session(),
            created: revision(kv.create_index),
            revision: revision(kv.modify_index),
            name: kv.value.into(),
        });
        Ok(Beat::Extended { leader })
    }

    async fn close_session(&self, session: &Session, deadline: Duration) -> Result<(), DcsError> {
        let path = format!("session/destroy/{}", escape(&session.0));
        self.call(&self.ask("end the session", Method::PUT, &path, ""), deadline, |_| Ok(())).await?;
        Ok(())
    }

    async fn acquire(&self, session: &Session, expect: &Expect, deadline: Duration) -> Result<Acquired, DcsError> {
        let left = Left::of(deadline);
        let mut txn = Txn::new(&self.shared.prefix);
        let conditions = [
            (Key::Leader, &expect.leader),
            (Key::Sync, &expect.sync),
            (Key::Failover, &expect.failover),
            (Key::Initialize, &expect.initialize),
        ];
        for (key, condition) in conditions {
            if let Err(NeverMet) = txn.condition(&key, condition) {
                return Ok(Acquired::Conflict);
            }
        }
        // Our own lock of an earlier session is still that session's: it goes, and the lock is new.
        if let Condition::Unchanged(_) = &expect.leader {
            txn.delete(&Key::Leader);
        }
        txn.lock(&Key::Leader, &self.shared.name, session);
        let outcome = self.txn("take the leader lock", txn, left).await?;
        self.locked(outcome, session, left).await
    }

    async fn reattach(&self, session: &Session, created: &Revision, deadline: Duration) -> Result<Acquired, DcsError> {
        let left = Left::of(deadline);
        let operation = "move the leader lock to another session";
        let found = self.leader_key(deadline).await?;
        let ours = found.filter(|kv| revision(kv.create_index) == *created && kv.value == self.shared.name);
        let mut txn = Txn::new(&self.shared.prefix);
        if let Some(kv) = &ours {
            txn.unchanged(&Key::Leader, kv.modify_index);
            if let Some(holder) = kv.session() {
                txn.unlock(&Key::Leader, &self.shared.name, &holder);
            }
            txn.lock(&Key::Leader, &self.shared.name, session);
            let outcome = self.txn(operation, txn, left).await?;
            return self.locked(outcome, session, left).await;
        }
        Ok(Acquired::Conflict)
    }

    async fn release(&self, created: &Revision, status: Option<&str>, deadline: Duration) -> Result<bool, DcsError> {
        let left = Left::of(deadline);
        let Some(index) = self.leader_index(created, deadline).await? else { return Ok(false) };
        let mut txn = Txn::new(&self.shared.prefix);
        txn.unchanged(&Key::Leader, index);
        txn.delete(&Key::Leader);
        if let Some(status) = status {
            txn.set(&Key::Status, status);
        }
        let (outcome, doubtful) = self.txn("release the leader lock", txn, left).await?;
        self.saw_leader(None);
        if outcome != Outcome::Conflict || !doubtful {
            return Ok(matches!(outcome, Outcome::Done { .. }));
        }
        let still = self.leader_key(left.time()).await?.is_some_and(|kv| revision(kv.create_index) == *created);
        let written = match status {
            Some(_) => self.key(&Key::Status, left.time()).await?.map(|kv| kv.value),
            None => None,
        };
        Ok(!still && written.as_deref() == status)
    }

    async fn write(&self, write: &Write, deadline: Duration) -> Result<Written, DcsError> {
        let left = Left::of(deadline);
        let (mut outcome, mut doubtful) = self.write_once(write, false, left).await?;
        if outcome == Outcome::Conflict && !doubtful {
            if write.only_while_leader.is_some() {
                // The key may have moved to another session of ours: once more by what it is now.
                self.saw_leader(None);
                (outcome, doubtful) = self.write_once(write, false, left).await?;
            } else if write.session.is_some() && write.condition == Condition::Always {
                // The key of an earlier session of ours.
                (outcome, doubtful) = self.write_once(write, true, left).await?;
            }
        }
        let written = match outcome {
            Outcome::Done { modified, .. } => Written::Done { revision: revision(modified) },
            Outcome::SessionGone => Written::SessionGone,
            Outcome::Conflict if doubtful => self.was_written(write, left).await?,
            Outcome::Conflict => Written::Conflict,
        };
        if let (Key::Member(name), Some(member), Written::Done { .. }) = (&write.key, &write.value, &written)
            && name.as_str() == self.shared.name
        {
            self.keep_service(member, left.time()).await;
        }
        Ok(written)
    }

    async fn remove_cluster(&self, deadline: Duration) -> Result<(), DcsError> {
        let path = format!("kv/{}", escape(&self.shared.prefix));
        let ask = self.ask("remove the cluster's keys", Method::DELETE, &path, "recurse");
        self.call(&ask, deadline, |_| Ok(())).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consul_says_what_its_shortest_session_is() {
        let status = |message: &str| Failure::Status { http: 500, message: message.into() };
        let said = status("Invalid Session TTL '500000000', must be between [10s=24h0m0s]");
        assert_eq!(least_session(&said), Some(Duration::from_secs(10)));
        assert_eq!(least_session(&status("No cluster leader")), None);
        for (text, ms) in [("10s", 10_000), ("1m30s", 90_000), ("24h0m0s", 86_400_000), ("500ms", 500), ("1.5s", 1500)]
        {
            assert_eq!(go_duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "10", "x", "10y"] {
            assert_eq!(go_duration(text), None, "{text}");
        }
    }
}
