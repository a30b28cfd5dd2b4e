//! What the trait asks for, in the words of etcd's v2 API.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jogi_core::view::{Cluster, Condition, Expect, Key, Revision, Session, Write, Written};
use jogi_net::boot_now;
use reqwest::Method;
use tokio::sync::mpsc;

use super::book::Holding;
use super::wire::{Event, Node, index};
use super::{Etcd2, watch};
use crate::deadline::Left;
use crate::rest::{Ask, Failed, Reply, escape};
use crate::tries::Answer;
use crate::{Acquired, Beat, Dcs, DcsError, Freshness, LeaderKey, SetupError, View, WatchEvent};

/// etcd looks for keys whose time has run out twice a second.
const SMALLEST_TTL: Duration = Duration::from_secs(1);
/// A renewal of the leader key may come between reading it and deleting it.
const RELEASE_TRIES: usize = 3;
/// An earlier renewal of ours may come between reading the leader key and renewing it.
const RENEW_TRIES: usize = 3;

/// What etcd made of a change.
enum Changed {
    Done(Node),
    /// Its condition did not hold, or the key is not there.
    Refused {
        absent: bool,
    },
}

fn seconds(ttl: Duration) -> u128 {
    ttl.max(SMALLEST_TTL).as_millis().div_ceil(1000)
}

fn number(revision: &Revision) -> Option<u64> {
    revision.0.parse().ok().filter(|n| *n > 0)
}

/// A proxy, or an etcd without its v2 API, says 404 of any path: that no key is there is etcd's to say.
fn etcds_own(reply: &Reply) -> Result<(), String> {
    let said = reply.number("x-etcd-index").map(|_| ());
    said.ok_or_else(|| format!("{} without X-Etcd-Index: the answer is not that of etcd's v2 API", reply.status))
}

impl Etcd2 {
    pub(super) fn ask(
        &self,
        operation: &'static str,
        method: Method,
        path: &str,
        query: &str,
        body: String,
        answers: &'static [u16],
    ) -> Ask {
        let slash = if path.is_empty() { "" } else { "/" };
        Ask {
            operation,
            method,
            path: format!("{}{slash}{}{query}", self.shared.keys, escape(path)),
            content_type: "application/x-www-form-urlencoded",
            body: Bytes::from(body),
            header: self.shared.authorization.clone().map(|basic| ("Authorization", basic)),
            answers,
        }
    }

    async fn call<T>(
        &self,
        ask: &Ask,
        deadline: Duration,
        read: impl Fn(Reply) -> Result<T, String> + Sync,
    ) -> Result<Answer<T>, Failed> {
        self.rest.call(ask, &|| self.shared.ring(), deadline, read).await
    }

    pub(super) async fn read_all(&self, freshness: Freshness, deadline: Duration) -> Result<(View, u64), DcsError> {
        let query = match freshness {
            Freshness::Linearizable => "?recursive=true&quorum=true",
            Freshness::Any => "?recursive=true",
        };
        let ask = self.ask("read the cluster", Method::GET, "", query, String::new(), &[200, 404]);
        let read_at = boot_now();
        let read = |reply: Reply| {
            let index = reply.number("x-etcd-index").ok_or(
                "an answer without X-Etcd-Index: etcd 3.4 and 3.5 have their v2 API only with --enable-v2, 3.6 has none; use the section etcd3",
            )?;
            let mut keys = Vec::new();
            if reply.status == 200 {
                reply.json::<Event>()?.node.keys(&self.shared.base, &self.shared.book, &mut keys);
            }
            Ok((Arc::new(Cluster::from_keys(keys)), index))
        };
        let (cluster, index) = self.call(&ask, deadline, read).await?.value;
        Ok((View { cluster, read_at }, index))
    }

    async fn key(&self, key: &Key, deadline: Duration) -> Result<Option<Node>, DcsError> {
        let ask = self.ask("read a key", Method::GET, &key.path(), "?quorum=true", String::new(), &[200, 404]);
        let read = |reply: Reply| match reply.status {
            404 => etcds_own(&reply).map(|()| None),
            _ => reply.json::<Event>().map(|event| Some(event.node)),
        };
        Ok(self.call(&ask, deadline, read).await?.value)
    }

    /// One change of one key; `true` beside it: an earlier try may have been applied.
    async fn change(
        &self,
        operation: &'static str,
        method: Method,
        key: &Key,
        fields: &[(&str, String)],
        left: Left,
    ) -> Result<(Changed, bool), DcsError> {
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", escape(value))).collect();
        let fields = fields.join("&");
        let (query, body) = match method {
            Method::DELETE if fields.is_empty() => (String::new(), String::new()),
            Method::DELETE => (format!("?{fields}"), String::new()),
            _ => (String::new(), fields),
        };
        let ask = self.ask(operation, method, &key.path(), &query, body, &[200, 201, 404, 412]);
        let read = |reply: Reply| match reply.status {
            404 => etcds_own(&reply).map(|()| Changed::Refused { absent: true }),
            412 => etcds_own(&reply).map(|()| Changed::Refused { absent: false }),
            _ => reply.json::<Event>().map(|event| Changed::Done(event.node)),
        };
        let answer = self.call(&ask, left.time(), read).await?;
        Ok((answer.value, answer.doubtful))
    }

    /// The leader key while it is ours and this incarnation.
    async fn our_leader(&self, created: &Revision, left: Left) -> Result<Option<Node>, DcsError> {
        let found = self.key(&Key::Leader, left.time()).await?;
        let name = self.shared.name.as_str();
        Ok(found.filter(|node| index(node.created_index) == *created && node.value.as_deref() == Some(name)))
    }

    async fn holds(&self, key: &Key, condition: &Condition, left: Left) -> Result<bool, DcsError> {
        if *condition == Condition::Always {
            return Ok(true);
        }
        let found = self.key(key, left.time()).await?;
        Ok(match (condition, found) {
            (Condition::Always, _) => true,
            (Condition::Absent, found) => found.is_none(),
            (Condition::Unchanged(read), found) => found.is_some_and(|node| index(node.modified_index) == *read),
        })
    }

    /// The lock is ours by what the key says.
    fn took(&self, session: &Session, node: &Node) -> Acquired {
        self.shared.book.leads(session, node.holding());
        Acquired::Yes { created: index(node.created_index), revision: index(node.created_index) }
    }

    /// Renews this holding for the time of `ttl` from now, or answers what is there instead. On the index that was last
    /// seen: etcd counts the time from when a request came to it, and one that it applies late would take time back.
    async fn renew_leader(&self, holding: Holding, ttl: Duration, left: Left) -> Result<Option<Node>, DcsError> {
        let operation = "renew the leader lock";
        let mut holding = holding;
        for _ in 0..RENEW_TRIES {
            let fields = [
                ("prevValue", self.shared.name.as_str().to_owned()),
                ("prevIndex", holding.modified.to_string()),
                ("refresh", "true".into()),
                ("ttl", seconds(ttl).to_string()),
            ];
            if let Changed::Done(node) = self.change(operation, Method::PUT, &Key::Leader, &fields, left).await?.0 {
                return Ok(Some(node));
            }
            match self.key(&Key::Leader, left.time()).await? {
                Some(node) if node.created_index == holding.created => holding = node.holding(),
                other => return Ok(other),
            }
        }
        // It is there, and no renewal of it was answered.
        Err(DcsError::Timeout { operation, endpoint: self.shared.hosts.describe(), waited: Duration::ZERO })
    }

    /// What could not be compared with the taking, looked at.
    async fn others_hold(&self, expect: &Expect, left: Left) -> Result<bool, DcsError> {
        for (key, condition) in
            [(Key::Sync, &expect.sync), (Key::Failover, &expect.failover), (Key::Initialize, &expect.initialize)]
        {
            if !self.holds(&key, condition, left).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Looks once more at what the decision was made on. A taking is believed, and renewed, only after this.
    async fn confirm(&self, session: &Session, node: &Node, expect: &Expect, left: Left) -> Result<Acquired, DcsError> {
        if self.others_hold(expect, left).await? {
            return Ok(self.took(session, node));
        }
        let fields = [("prevIndex", node.modified_index.to_string())];
        self.change("give the leader lock back", Method::DELETE, &Key::Leader, &fields, left).await?;
        Ok(Acquired::Conflict)
    }

    async fn renew_member(&self, path: &str, value: &str, ttl: Duration, left: Left) -> Result<(), DcsError> {
        let Some(key) = Key::parse(path) else { return Ok(()) };
        let ttl = ("ttl", seconds(ttl).to_string());
        let fields = [("prevValue", value.to_owned()), ("refresh", "true".into()), ttl.clone()];
        let operation = "renew the member's key";
        match self.change(operation, Method::PUT, &key, &fields, left).await?.0 {
            Changed::Done(_) | Changed::Refused { absent: false } => {}
            Changed::Refused { absent: true } => {
                self.change(operation, Method::PUT, &key, &[("value", value.to_owned()), ttl], left).await?;
            }
        }
        Ok(())
    }

    async fn was_written(&self, write: &Write, left: Left) -> Result<Written, DcsError> {
        match (&write.value, self.key(&write.key, left.time()).await?) {
            (None, None) => Ok(Written::Done { revision: index(0) }),
            (Some(value), Some(node)) if node.value.as_deref().unwrap_or_default() == value => {
                match (&write.condition, &write.session) {
                    // Another may have created the same at the same moment, and both would believe in it.
                    (Condition::Absent, None) => Err(DcsError::Timeout {
                        operation: "write a key",
                        endpoint: self.shared.hosts.describe(),
                        waited: Duration::ZERO,
                    }),
                    (Condition::Always | Condition::Absent | Condition::Unchanged(_), _) => {
                        Ok(Written::Done { revision: index(node.modified_index) })
                    }
                }
            }
            (None, Some(_)) | (Some(_), _) => Ok(Written::Conflict),
        }
    }
}

#[async_trait]
impl Dcs for Etcd2 {
    fn smallest_ttl(&self) -> Duration {
        SMALLEST_TTL
    }

    fn describe(&self) -> String {
        format!("etcd (v2) at {}", self.shared.hosts.describe())
    }

    fn sibling(&self) -> Result<Arc<dyn Dcs>, SetupError> {
        Ok(Arc::new(Etcd2::on(self.shared.clone())?))
    }

    async fn load(&self, freshness: Freshness, deadline: Duration) -> Result<View, DcsError> {
        Ok(self.read_all(freshness, deadline).await?.0)
    }

    fn watch(self: Arc<Self>) -> mpsc::Receiver<WatchEvent> {
        watch::start(self)
    }

    /// Nothing is kept in etcd for it; the reading shows that etcd answers.
    async fn open_session(&self, ttl: Duration, deadline: Duration) -> Result<Session, DcsError> {
        let now = boot_now();
        self.key(&Key::Leader, deadline).await?;
        Ok(self.shared.book.open(ttl.max(SMALLEST_TTL), now))
    }

    async fn beat(&self, session: &Session, read_leader: bool, deadline: Duration) -> Result<Beat, DcsError> {
        let (left, sent) = (Left::of(deadline), boot_now());
        let Some(held) = self.shared.book.living(session, sent) else { return Ok(Beat::SessionGone) };
        let leader = match held.leader {
            Some(holding) => self.renew_leader(holding, held.ttl, left).await?,
            None => self.key(&Key::Leader, left.time()).await?,
        };
        let is_held = |node: &&Node| held.leader.is_some_and(|of| of.created == node.created_index);
        if let Some(node) = leader.as_ref().filter(is_held) {
            self.shared.book.leads(session, node.holding());
        }
        if let Some((path, value)) = &held.member {
            self.renew_member(path, value, held.ttl, left).await?;
        }
        if !self.shared.book.extend(session, sent, boot_now()) {
            return Ok(Beat::SessionGone);
        }
        let leader = leader.filter(|_| read_leader).map(|node| LeaderKey {
            session: self.shared.book.of_leader(node.created_index),
            created: index(node.created_index),
            revision: index(node.created_index),
            name: node.value.unwrap_or_default().into(),
        });
        Ok(Beat::Extended { leader })
    }

    async fn close_session(&self, session: &Session, deadline: Duration) -> Result<(), DcsError> {
        let left = Left::of(deadline);
        let Some(held) = self.shared.book.end(session) else { return Ok(()) };
        if let Some(created) = held.leader {
            self.release(&index(created.created), None, left.time()).await?;
        }
        if let Some((path, value)) = held.member
            && let Some(key) = Key::parse(&path)
        {
            let only_ours = [("prevValue", value)];
            self.change("end the session", Method::DELETE, &key, &only_ours, left).await?;
        }
        Ok(())
    }

    async fn acquire(&self, session: &Session, expect: &Expect, deadline: Duration) -> Result<Acquired, DcsError> {
        let left = Left::of(deadline);
        let Some(held) = self.shared.book.living(session, boot_now()) else { return Ok(Acquired::SessionGone) };
        if !self.others_hold(expect, left).await? {
            return Ok(Acquired::Conflict);
        }
        let name = self.shared.name.as_str();
        let ours = match &expect.leader {
            Condition::Always | Condition::Absent => None,
            Condition::Unchanged(created) => Some(self.our_leader(created, left).await?),
        };
        let mut fields = vec![("value", name.to_owned()), ("ttl", seconds(held.ttl).to_string())];
        match ours {
            Some(None) => return Ok(Acquired::Conflict),
            Some(Some(node)) => fields.push(("prevIndex", node.modified_index.to_string())),
            None => fields.push(("prevExist", "false".into())),
        }
        match self.change("take the leader lock", Method::PUT, &Key::Leader, &fields, left).await? {
            (Changed::Done(node), _) => self.confirm(session, &node, expect, left).await,
            (Changed::Refused { .. }, false) => Ok(Acquired::Conflict),
            // A try whose answer was lost has left our name there, where nobody's or an older one of ours was. Whose time
            // it runs on is not known: ours begins with a renewal.
            (Changed::Refused { .. }, true) => match self.key(&Key::Leader, left.time()).await? {
                Some(node) if node.value.as_deref() == Some(name) => {
                    match self.renew_leader(node.holding(), held.ttl, left).await? {
                        Some(renewed) if renewed.created_index == node.created_index => {
                            self.confirm(session, &renewed, expect, left).await
                        }
                        Some(_) | None => Ok(Acquired::Conflict),
                    }
                }
                Some(_) | None => Ok(Acquired::Conflict),
            },
        }
    }

    async fn reattach(&self, session: &Session, created: &Revision, deadline: Duration) -> Result<Acquired, DcsError> {
        let left = Left::of(deadline);
        let Some(held) = self.shared.book.living(session, boot_now()) else { return Ok(Acquired::SessionGone) };
        let Some(node) = self.our_leader(created, left).await? else { return Ok(Acquired::Conflict) };
        match self.renew_leader(node.holding(), held.ttl, left).await? {
            Some(node) if index(node.created_index) == *created => Ok(self.took(session, &node)),
            Some(_) | None => Ok(Acquired::Conflict),
        }
    }

    /// The status first, while the lock is still ours: there is no transaction over both.
    async fn release(&self, created: &Revision, status: Option<&str>, deadline: Duration) -> Result<bool, DcsError> {
        let left = Left::of(deadline);
        if self.our_leader(created, left).await?.is_none() {
            return Ok(false);
        }
        if let Some(status) = status {
            // On what is there: one that comes late does not replace the next leader's.
            let stands = match self.key(&Key::Status, left.time()).await? {
                Some(node) => ("prevIndex", node.modified_index.to_string()),
                None => ("prevExist", "false".to_owned()),
            };
            let fields = [("value", status.to_owned()), stands];
            self.change("write the status at the release", Method::PUT, &Key::Status, &fields, left).await?;
        }
        for _ in 0..RELEASE_TRIES {
            // Gone by our own earlier try, or run out: either way it is not ours any more.
            let Some(node) = self.our_leader(created, left).await? else { return Ok(true) };
            let fields = [("prevIndex", node.modified_index.to_string())];
            let operation = "release the leader lock";
            let (changed, _) = self.change(operation, Method::DELETE, &Key::Leader, &fields, left).await?;
            if let Changed::Done(_) = changed {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn write(&self, write: &Write, deadline: Duration) -> Result<Written, DcsError> {
        let left = Left::of(deadline);
        let mut fields = Vec::new();
        match &write.condition {
            Condition::Always => {}
            Condition::Absent => fields.push(("prevExist", "false".to_owned())),
            Condition::Unchanged(read) => match number(read) {
                Some(read) => fields.push(("prevIndex", read.to_string())),
                None => return Ok(Written::Conflict),
            },
        }
        if let Some(session) = &write.session {
            let Some(held) = self.shared.book.living(session, boot_now()) else { return Ok(Written::SessionGone) };
            fields.push(("ttl", seconds(held.ttl).to_string()));
        }
        if let Some(created) = &write.only_while_leader
            && self.our_leader(created, left).await?.is_none()
        {
            return Ok(Written::Conflict);
        }
        let method = match &write.value {
            None => Method::DELETE,
            Some(value) => {
                fields.push(("value", value.clone()));
                Method::PUT
            }
        };
        let written = match self.change("write a key", method, &write.key, &fields, left).await? {
            (Changed::Done(node), _) => Written::Done { revision: index(node.modified_index) },
            (Changed::Refused { absent: true }, _) if write.value.is_none() && write.condition == Condition::Always => {
                Written::Done { revision: index(0) }
            }
            (Changed::Refused { .. }, true) => self.was_written(write, left).await?,
            (Changed::Refused { .. }, false) => Written::Conflict,
        };
        if let (Some(session), Some(value), Written::Done { .. }) = (&write.session, &write.value, &written) {
            let member = (write.key.path(), value.clone());
            self.shared.book.change(session, |held| held.member = Some(member));
        }
        Ok(written)
    }

    async fn remove_cluster(&self, deadline: Duration) -> Result<(), DcsError> {
        let operation = "remove the cluster's keys";
        let ask = self.ask(operation, Method::DELETE, "", "?recursive=true", String::new(), &[200, 404]);
        self.call(&ask, deadline, |_| Ok(())).await?;
        Ok(())
    }
}
