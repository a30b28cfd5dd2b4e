//! The lock: taken, renewed, moved and given up by changes of one object, each on the resourceVersion that was judged.
//!
//! What Kubernetes cannot compare together with it (the other objects) is read just before the lock is taken and again
//! after it; if it changed in between, the lock is given back.

use std::time::Duration;

use jogi_core::Tick;
use jogi_core::view::{Condition, Expect, Key, Revision, Session};
use jogi_net::{boot_now, wall_now};
use serde_json::{Value, json};
use tracing::debug;

use super::Kubernetes;
use super::call::{Answer, Request, unexpected};
use super::knowledge::{List, session_of};
use super::objects::{
    ACQUIRED, Annotations, LEADER, LOCK, Lock, Object, Part, RENEWED, TRANSITIONS, TTL, annotations_for, revision_of,
};
use crate::deadline::Left;
use crate::{Acquired, Beat, DcsError, Freshness, LeaderKey};

/// What came of one conditional change of the leader object.
pub(super) enum Changed {
    Done(Object),
    /// Somebody else was quicker; this is the object now.
    Conflict {
        now: Option<Object>,
        doubtful: bool,
    },
}

impl Kubernetes {
    fn me(&self) -> &str {
        self.shared.options.name.as_str()
    }

    /// The lock, if it is ours on this session.
    fn ours_on(&self, object: Option<&Object>, session: &Session) -> Option<Lock> {
        object.and_then(Lock::of).filter(|lock| lock.name == self.me() && session_of(lock) == *session)
    }

    /// The lock, if it is ours and this holding.
    fn ours_as(&self, object: Option<&Object>, created: &Revision) -> Option<Lock> {
        object.and_then(Lock::of).filter(|lock| lock.name == self.me() && lock.created() == *created)
    }

    /// The annotations of a holding of ours that is renewed now (dcs-layout 12.5). One that goes on keeps its name.
    fn holding(&self, session: &Session, ttl: Duration, before: Option<&Object>) -> Annotations {
        let now = isotime(wall_now().0);
        let goes_on = before.and_then(Lock::of).filter(|lock| lock.name == self.me());
        let (acquired, transitions) = match (&goes_on, before) {
            (Some(lock), _) if lock.acquired.is_empty() => (now.clone(), lock.transitions.clone()),
            (Some(lock), _) => (lock.acquired.clone(), lock.transitions.clone()),
            (None, Some(object)) => {
                let count: u64 = object.annotation(TRANSITIONS).and_then(|text| text.parse().ok()).unwrap_or(0);
                // An object that was never a lock has changed hands for the first time: Patroni begins with 0 there.
                let first = object.annotation(TRANSITIONS).is_none() && object.annotation(ACQUIRED).is_none();
                (now.clone(), if first { 0 } else { count + 1 }.to_string())
            }
            (None, None) => (now.clone(), "0".to_owned()),
        };
        let texts = [
            (LEADER, self.me().to_owned()),
            (TTL, ttl.as_secs().to_string()),
            (LOCK, format!("{}@{now}", session.0)),
            (RENEWED, now),
            (ACQUIRED, acquired),
            (TRANSITIONS, transitions),
        ];
        texts.into_iter().map(|(name, text)| (name.to_owned(), Some(text))).collect()
    }

    /// One change of the leader object: a patch on its version, or its creation.
    pub(super) async fn change_leader(
        &self,
        operation: &'static str,
        before: Option<&Object>,
        annotations: &Annotations,
        subsets: Option<Value>,
        deadline: Duration,
    ) -> Result<Changed, DcsError> {
        let left = Left::of(deadline);
        let mut body = self.body(Part::Leader, annotations, before.map(|object| object.version.as_str()));
        if let Some(subsets) =
            subsets.filter(|subsets| before.is_none_or(|object| !same_subsets(&object.subsets, subsets)))
        {
            body["subsets"] = subsets;
        }
        let path = match before {
            Some(_) => self.shared.object_path(Part::Leader),
            None => self.shared.path(self.shared.kind()),
        };
        let mut request = match before {
            Some(_) => Request::patch(operation, &path, &body),
            None => Request::post(operation, &path, &body),
        };
        request.retry_forbidden =
            before.is_some_and(|object| Lock::of(object).is_some_and(|lock| lock.name == self.me()));
        let answered = self.call(&request, deadline).await?;
        match answered.answer {
            Answer::Ok(value) => Ok(Changed::Done(self.take(operation, List::Objects, &value)?)),
            Answer::Missing(cause) if before.is_none() => Err(unexpected(operation, &self.shared, &cause)),
            Answer::Conflict | Answer::Missing(_) => {
                let now = self.read_part(Part::Leader, left.time()).await?;
                if now.as_ref().is_some_and(|now| now.says(annotations)) {
                    // An earlier try of ours, whose answer was lost. Its time is in it, so it is nobody else's.
                    return now.map(Changed::Done).ok_or_else(|| unexpected(operation, &self.shared, "no object"));
                }
                Ok(Changed::Conflict { now, doubtful: answered.doubtful })
            }
            Answer::Gone => Err(unexpected(operation, &self.shared, "a change cannot be 410 Gone")),
        }
    }

    /// The body of a change: metadata alone.
    pub(super) fn body(&self, part: Part, annotations: &Annotations, version: Option<&str>) -> Value {
        let options = &self.shared.options;
        let mut metadata = json!({
            "name": self.knowledge().names.of(part),
            "namespace": options.namespace,
            "labels": options.labels,
            "annotations": annotations,
        });
        if let Some(version) = version {
            metadata["resourceVersion"] = version.into();
        }
        json!({"metadata": metadata})
    }

    fn our_subsets(&self) -> Option<Value> {
        let options = &self.shared.options;
        let pod = self.knowledge().pod(self.me());
        options.use_endpoints.then(|| options.subsets(pod.as_ref())).flatten()
    }

    pub(super) async fn take_lock(
        &self,
        session: &Session,
        expect: &Expect,
        deadline: Duration,
    ) -> Result<Acquired, DcsError> {
        let left = Left::of(deadline);
        let Some(ttl) = self.shared.sessions.alive(session, boot_now()) else { return Ok(Acquired::SessionGone) };
        self.read_list(List::Objects, Freshness::Linearizable, left.time()).await?;
        let mut before = self.knowledge().object(Part::Leader);
        loop {
            if self.ours_on(before.as_ref(), session).is_none() && !self.holds(&Key::Leader, &expect.leader, boot_now())
            {
                return Ok(Acquired::Conflict);
            }
            if !self.others_hold(expect) {
                return Ok(Acquired::Conflict);
            }
            let (sent, annotations) = (boot_now(), self.holding(session, ttl, before.as_ref()));
            let subsets = self.our_subsets();
            self.shared.sessions.takes(session);
            let operation = "take the leader lock";
            match self.change_leader(operation, before.as_ref(), &annotations, subsets, left.time()).await? {
                Changed::Done(object) => {
                    self.shared.sessions.extend(session, sent);
                    return self.confirm(session, object, expect, left).await;
                }
                // Its position or a foreign annotation may have changed, and not the lock.
                Changed::Conflict { now, .. } if !left.time().is_zero() => before = now,
                Changed::Conflict { .. } => return Ok(Acquired::Conflict),
            }
        }
    }

    /// Looks once more at what could not be compared with the taking.
    async fn confirm(
        &self,
        session: &Session,
        object: Object,
        expect: &Expect,
        left: Left,
    ) -> Result<Acquired, DcsError> {
        let Some(lock) = self.ours_on(Some(&object), session) else { return Ok(Acquired::Conflict) };
        let conditional = [&expect.sync, &expect.failover, &expect.initialize];
        if conditional.iter().any(|condition| **condition != Condition::Always) {
            self.read_list(List::Objects, Freshness::Linearizable, left.time()).await?;
            if !self.others_hold(expect) {
                debug!("what the decision to lead was made on has changed meanwhile: giving the lock back");
                self.give_up(&lock.created(), None, left.time()).await?;
                return Ok(Acquired::Conflict);
            }
        }
        self.shared.sessions.confirmed(session);
        let revision = revision_of(&Key::Leader, &object).unwrap_or_default();
        Ok(Acquired::Yes { created: lock.created(), revision })
    }

    fn others_hold(&self, expect: &Expect) -> bool {
        let now = boot_now();
        self.holds(&Key::Sync, &expect.sync, now)
            && self.holds(&Key::Failover, &expect.failover, now)
            && self.holds(&Key::Initialize, &expect.initialize, now)
    }

    /// Whether the condition holds of what is known now.
    pub(super) fn holds(&self, key: &Key, condition: &Condition, now: Tick) -> bool {
        match condition {
            Condition::Always => true,
            Condition::Absent => self.knowledge().revision(key, now).is_none(),
            Condition::Unchanged(revision) => self.knowledge().revision(key, now).as_ref() == Some(revision),
        }
    }

    /// Who holds no lock asks nothing of Kubernetes to stay a member.
    pub(super) async fn renew(
        &self,
        session: &Session,
        read_leader: bool,
        deadline: Duration,
    ) -> Result<Beat, DcsError> {
        let left = Left::of(deadline);
        let Some(ttl) = self.shared.sessions.alive(session, boot_now()) else { return Ok(Beat::SessionGone) };
        if self.shared.sessions.is_unconfirmed(session) {
            return self.renew_unconfirmed(session, read_leader, left).await;
        }
        let mut object = self.knowledge().object(Part::Leader);
        if self.ours_on(object.as_ref(), session).is_none() {
            let sent = boot_now();
            if read_leader {
                object = self.read_part(Part::Leader, left.time()).await?;
            }
            if self.ours_on(object.as_ref(), session).is_none() {
                self.shared.sessions.extend(session, sent);
                return Ok(Beat::Extended { leader: object.as_ref().filter(|_| read_leader).and_then(leader_key) });
            }
        }
        loop {
            let (sent, annotations) = (boot_now(), self.holding(session, ttl, object.as_ref()));
            let subsets = self.our_subsets();
            let operation = "renew the leader lock";
            match self.change_leader(operation, object.as_ref(), &annotations, subsets, left.time()).await? {
                Changed::Done(object) => {
                    self.shared.sessions.extend(session, sent);
                    return Ok(Beat::Extended { leader: leader_key(&object).filter(|_| read_leader) });
                }
                Changed::Conflict { now, .. } if self.ours_on(now.as_ref(), session).is_some() => object = now,
                Changed::Conflict { now, .. } => {
                    self.shared.sessions.extend(session, sent);
                    return Ok(Beat::Extended { leader: now.as_ref().filter(|_| read_leader).and_then(leader_key) });
                }
            }
        }
    }

    /// The last taking has no good end: a lock of ours on this session is shown as one of nobody's session, and is not
    /// renewed, so that it is not believed in and is given up.
    async fn renew_unconfirmed(&self, session: &Session, read_leader: bool, left: Left) -> Result<Beat, DcsError> {
        let sent = boot_now();
        let object = if read_leader { self.read_part(Part::Leader, left.time()).await? } else { None };
        let leader = object
            .as_ref()
            .and_then(leader_key)
            .map(|key| LeaderKey { session: key.session.filter(|on| on != session), ..key });
        self.shared.sessions.extend(session, sent);
        Ok(Beat::Extended { leader })
    }

    pub(super) async fn move_lock(
        &self,
        session: &Session,
        created: &Revision,
        deadline: Duration,
    ) -> Result<Acquired, DcsError> {
        let left = Left::of(deadline);
        let Some(ttl) = self.shared.sessions.alive(session, boot_now()) else { return Ok(Acquired::SessionGone) };
        let mut object = self.read_part(Part::Leader, left.time()).await?;
        while self.ours_as(object.as_ref(), created).is_some() {
            let (sent, annotations) = (boot_now(), self.holding(session, ttl, object.as_ref()));
            let operation = "move the leader lock to another session";
            match self.change_leader(operation, object.as_ref(), &annotations, None, left.time()).await? {
                Changed::Done(object) => {
                    self.shared.sessions.extend(session, sent);
                    let revision = revision_of(&Key::Leader, &object).unwrap_or_default();
                    return Ok(Acquired::Yes { created: created.clone(), revision });
                }
                Changed::Conflict { now, .. } => object = now,
            }
        }
        Ok(Acquired::Conflict)
    }

    pub(super) async fn give_up(
        &self,
        created: &Revision,
        status: Option<&str>,
        deadline: Duration,
    ) -> Result<bool, DcsError> {
        let left = Left::of(deadline);
        let mut wanted = match status {
            Some(status) => annotations_for(&Key::Status, Some(status)),
            None => Annotations::new(),
        };
        wanted.insert(LEADER.into(), None);
        wanted.insert(LOCK.into(), None);
        let empty = self.shared.options.use_endpoints.then(|| json!([]));
        let mut object = self.knowledge().object(Part::Leader);
        if self.ours_as(object.as_ref(), created).is_none() {
            object = self.read_part(Part::Leader, left.time()).await?;
        }
        let mut tried = false;
        while self.ours_as(object.as_ref(), created).is_some() {
            let operation = "release the leader lock";
            match self.change_leader(operation, object.as_ref(), &wanted, empty.clone(), left.time()).await? {
                Changed::Done(_) => return Ok(true),
                Changed::Conflict { now, doubtful } => {
                    tried |= doubtful;
                    object = now;
                }
            }
        }
        // The next holder may be there already; our own words are then what our lost try has left.
        let left_ours = |object: &Object| status.is_some() && object.says(&annotations_for(&Key::Status, status));
        Ok(tried && object.as_ref().is_some_and(left_ours))
    }

    /// Ends a session, and the lock that is held on it.
    pub(super) async fn end(&self, session: &Session, deadline: Duration) -> Result<(), DcsError> {
        let left = Left::of(deadline);
        let object = self.read_part(Part::Leader, left.time()).await?;
        if let Some(lock) = self.ours_on(object.as_ref(), session) {
            self.give_up(&lock.created(), None, left.time()).await?;
        }
        self.shared.sessions.close(session);
        self.knowledge().session_ended(session);
        Ok(())
    }
}

fn leader_key(object: &Object) -> Option<LeaderKey> {
    let lock = Lock::of(object)?;
    let revision = revision_of(&Key::Leader, object)?;
    let (session, created) = (Some(session_of(&lock)), lock.created());
    Some(LeaderKey { name: lock.name.into(), session, created, revision })
}

/// Whether the address and the ports are the same; what else the API server adds does not count.
fn same_subsets(have: &Value, want: &Value) -> bool {
    // Addresses and ports, one text per subset.
    let essence = |subsets: &Value| -> Vec<String> {
        let list = |value: &Value, field: &str| value[field].as_array().cloned().unwrap_or_default();
        let subset = |subset: &Value| {
            let ips: Vec<Value> = list(subset, "addresses").iter().map(|address| address["ip"].clone()).collect();
            let port = |port: &Value| json!([port["port"], port["name"].as_str().unwrap_or_default()]);
            json!([ips, list(subset, "ports").iter().map(port).collect::<Vec<_>>()]).to_string()
        };
        subsets.as_array().into_iter().flatten().map(subset).collect()
    };
    essence(have) == essence(want)
}

/// Python's `isoformat` of a moment in UTC: what Patroni writes. To the microsecond always, so that no two are alike.
fn isotime(micros: i64) -> String {
    let (seconds, fraction) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:06}+00:00")
}

/// Year, month and day of a day since 1970 (Hinnant's algorithm of eras of 400 years).
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let (era, doe) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_patroni_writes_them() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00.000000+00:00"),
            (1_795_484_345_020_007, "2026-11-24T01:39:05.020007+00:00"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000000+00:00"),
            (-1, "1969-12-31T23:59:59.999999+00:00"),
        ] {
            assert_eq!(isotime(micros), text);
        }
    }

    #[test]
    fn endpoints_are_compared_by_address_and_port() {
        let ours = json!([{"addresses": [{"ip": "10.0.0.1", "hostname": "a"}], "ports": [{"port": 5432}]}]);
        let stored = json!([{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 5432, "protocol": "TCP"}]}]);
        assert!(same_subsets(&stored, &ours));
        assert!(!same_subsets(&Value::Null, &ours) && same_subsets(&Value::Null, &json!([])));
    }
}
