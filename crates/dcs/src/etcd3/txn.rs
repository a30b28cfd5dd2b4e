//! Transactions: how they are written, and what their answers mean.
//!
//! A transaction reads in its failure branch what it compared. So a conflict can be told from the effect of
//! an earlier try of ours whose answer was lost: that one has left our value, on our lease.
//!
//! One case stays unknown: a key created without a session (`initialize`) that is there afterwards with our
//! value. Another member may have written the same text at the same moment, and both would believe that
//! they may bootstrap. That answer is [`Meaning::Unknown`], and the caller's error.

use jogi_core::view::{Condition, Expect, Key, Revision, Session, Write, Written};
use serde_json::{Value, json};

use super::knowledge::revision;
use super::wire::{Kv, TxnAnswer, encode};
use crate::Acquired;

/// Makes transactions over one cluster's keys, for one member.
pub(super) struct Keys<'a> {
    /// The cluster's base path with a slash.
    pub prefix: &'a str,
    /// The leader key's value when it is ours.
    pub name: &'a str,
}

/// What the answer to a transaction means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning<T> {
    Known(T),
    /// It was applied, or somebody else did the same.
    Unknown,
}

#[derive(Default)]
struct Txn {
    compare: Vec<Value>,
    success: Vec<Value>,
    failure: Vec<Value>,
}

impl Txn {
    fn into_body(self) -> Value {
        json!({"compare": self.compare, "success": self.success, "failure": self.failure})
    }
}

/// A revision that is no number of etcd's can never be met again.
struct NeverMet;

impl Keys<'_> {
    fn key(&self, key: &Key) -> String {
        encode(&format!("{}{}", self.prefix, key.path()))
    }

    fn leader(&self) -> String {
        self.key(&Key::Leader)
    }

    fn condition(&self, key: &Key, condition: &Condition) -> Result<Option<Value>, NeverMet> {
        Ok(match condition {
            Condition::Always => None,
            Condition::Absent => Some(json!({"key": self.key(key), "target": "CREATE", "create_revision": "0"})),
            Condition::Unchanged(revision) => {
                Some(json!({"key": self.key(key), "target": "MOD", "mod_revision": number(revision)?}))
            }
        })
    }

    /// The leader key is the incarnation `created`, and ours.
    fn is_ours(&self, created: &Revision) -> Result<[Value; 2], NeverMet> {
        Ok([
            json!({"key": self.leader(), "target": "CREATE", "create_revision": number(created)?}),
            json!({"key": self.leader(), "target": "VALUE", "value": encode(self.name)}),
        ])
    }

    /// The leader key's request; also what a heartbeat asks.
    pub(super) fn leader_range(&self) -> Value {
        json!({"key": self.leader()})
    }

    /// `None`: the conditions can never be met.
    pub(super) fn acquire(&self, session: &Session, expect: &Expect) -> Option<Value> {
        let conditions = [
            (Key::Leader, &expect.leader),
            (Key::Sync, &expect.sync),
            (Key::Failover, &expect.failover),
            (Key::Initialize, &expect.initialize),
        ];
        let mut txn = self.lock(session);
        for (key, condition) in conditions {
            txn.compare.extend(self.condition(&key, condition).ok()?);
        }
        Some(txn.into_body())
    }

    pub(super) fn reattach(&self, session: &Session, created: &Revision) -> Option<Value> {
        let mut txn = self.lock(session);
        txn.compare.extend(self.is_ours(created).ok()?);
        Some(txn.into_body())
    }

    /// Puts the leader key on our lease; either way the answer shows the key as it then is.
    fn lock(&self, session: &Session) -> Txn {
        let read = json!({"request_range": self.leader_range()});
        let put = json!({"request_put": {"key": self.leader(), "value": encode(self.name), "lease": session.0}});
        Txn { compare: Vec::new(), success: vec![put, read.clone()], failure: vec![read] }
    }

    /// A key that is ours on our lease is the lock, by whichever try it came there.
    pub(super) fn acquired(&self, session: &Session, answer: &TxnAnswer) -> Acquired {
        match ranges(answer).next().flatten() {
            Some(kv) if kv.value == self.name && kv.lease.to_string() == session.0 => {
                Acquired::Yes { created: revision(kv.create_revision), revision: revision(kv.mod_revision) }
            }
            Some(_) | None => Acquired::Conflict,
        }
    }

    pub(super) fn release(&self, created: &Revision, status: Option<&str>) -> Option<Value> {
        let mut txn = Txn { compare: self.is_ours(created).ok()?.into(), ..Txn::default() };
        let key = self.key(&Key::Status);
        txn.success.push(json!({"request_delete_range": self.leader_range()}));
        if let Some(status) = status {
            txn.success.push(json!({"request_put": {"key": key, "value": encode(status)}}));
        }
        txn.failure.push(json!({"request_range": self.leader_range()}));
        txn.failure.push(json!({"request_range": {"key": key}}));
        Some(txn.into_body())
    }

    /// After a try that may have been applied, released means: our incarnation is gone and the status is there.
    pub(super) fn released(
        &self,
        created: &Revision,
        status: Option<&str>,
        answer: &TxnAnswer,
        doubtful: bool,
    ) -> bool {
        if answer.succeeded || !doubtful {
            return answer.succeeded;
        }
        let mut ranges = ranges(answer);
        let leader = ranges.next().flatten();
        let written = ranges.next().flatten().map(|kv| kv.value.as_str());
        leader.is_none_or(|kv| kv.create_revision.to_string() != created.0) && (status.is_none() || written == status)
    }

    pub(super) fn write(&self, write: &Write) -> Option<Value> {
        let mut txn = Txn::default();
        txn.compare.extend(self.condition(&write.key, &write.condition).ok()?);
        if let Some(created) = &write.only_while_leader {
            txn.compare.extend(self.is_ours(created).ok()?);
        }
        let key = self.key(&write.key);
        txn.success.push(match (&write.value, &write.session) {
            (None, _) => json!({"request_delete_range": {"key": key}}),
            (Some(value), None) => json!({"request_put": {"key": key, "value": encode(value)}}),
            (Some(value), Some(session)) => {
                json!({"request_put": {"key": key, "value": encode(value), "lease": session.0}})
            }
        });
        txn.failure.push(json!({"request_range": {"key": key}}));
        Some(txn.into_body())
    }

    pub(super) fn written(&self, write: &Write, answer: &TxnAnswer, doubtful: bool) -> Meaning<Written> {
        if answer.succeeded {
            return Meaning::Known(Written::Done { revision: revision(answer.header.revision) });
        }
        if !doubtful {
            return Meaning::Known(Written::Conflict);
        }
        let found = ranges(answer).next().flatten();
        match (&write.value, found) {
            (None, None) => Meaning::Known(Written::Done { revision: revision(answer.header.revision) }),
            (Some(value), Some(kv)) if kv.value == *value && on_session(kv, write.session.as_ref()) => {
                match (&write.condition, &write.session) {
                    (Condition::Absent, None) => Meaning::Unknown,
                    (Condition::Always | Condition::Absent | Condition::Unchanged(_), _) => {
                        Meaning::Known(Written::Done { revision: revision(kv.mod_revision) })
                    }
                }
            }
            (None, Some(_)) | (Some(_), _) => Meaning::Known(Written::Conflict),
        }
    }
}

fn on_session(kv: &Kv, session: Option<&Session>) -> bool {
    match session {
        Some(session) => kv.lease.to_string() == session.0,
        None => kv.lease == 0,
    }
}

/// The keys that a transaction's reads found, in order.
fn ranges(answer: &TxnAnswer) -> impl Iterator<Item = Option<&Kv>> {
    answer.responses.iter().filter_map(|op| op.response_range.as_ref()).map(|range| range.kvs.first())
}

/// etcd's revisions are positive; 0 would mean "absent".
fn number(revision: &Revision) -> Result<String, NeverMet> {
    match revision.0.parse::<i64>() {
        Ok(n) if n > 0 => Ok(n.to_string()),
        Ok(_) | Err(_) => Err(NeverMet),
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::{Header, OpAnswer, RangeAnswer};
    use super::*;

    const KEYS: Keys<'static> = Keys { prefix: "/s/d/", name: "a" };

    fn answer(succeeded: bool, found: &[Option<Kv>]) -> TxnAnswer {
        let range = |kv: &Option<Kv>| OpAnswer {
            response_range: Some(RangeAnswer { kvs: kv.iter().cloned().collect(), ..RangeAnswer::default() }),
            response_delete_range: None,
        };
        let header = Header { revision: 50, ..Header::default() };
        TxnAnswer { header, succeeded, responses: found.iter().map(range).collect() }
    }

    fn kv(value: &str, created: i64, modified: i64, lease: i64) -> Option<Kv> {
        Some(Kv { value: value.into(), create_revision: created, mod_revision: modified, lease, ..Kv::default() })
    }

    #[test]
    fn the_lock_is_ours_when_it_is_there_on_our_lease() {
        let session = Session("7".into());
        let yes = Acquired::Yes { created: revision(40), revision: revision(41) };
        for (found, succeeded, expected) in [
            (kv("a", 40, 41, 7), true, yes.clone()),
            (kv("a", 40, 41, 7), false, yes),
            (kv("a", 40, 41, 8), false, Acquired::Conflict),
            (kv("b", 40, 41, 7), false, Acquired::Conflict),
            (None, false, Acquired::Conflict),
        ] {
            assert_eq!(KEYS.acquired(&session, &answer(succeeded, &[found])), expected);
        }
    }

    #[test]
    fn a_write_whose_first_answer_was_lost() {
        let done = |n| Meaning::Known(Written::Done { revision: revision(n) });
        let conflict = || Meaning::Known(Written::Conflict);
        let sync = || Write::put(Key::Sync, "x").when(Condition::Unchanged(revision(9)));
        let initialize = || Write::put(Key::Initialize, "").when(Condition::Absent);
        let member =
            || Write::put(Key::Member("a".into()), "x").when(Condition::Absent).on_session(&Session("7".into()));
        let delete = || Write::delete(Key::Sync).when(Condition::Unchanged(revision(9)));
        for (name, write, found, doubtful, expected) in [
            ("ours is there", sync(), kv("x", 1, 44, 0), true, done(44)),
            ("no earlier try", sync(), kv("x", 1, 44, 0), false, conflict()),
            ("another's is there", sync(), kv("y", 1, 44, 0), true, conflict()),
            ("nothing is there", sync(), None, true, conflict()),
            ("ours or another's claim", initialize(), kv("", 44, 44, 0), true, Meaning::Unknown),
            ("another's claim", initialize(), kv("", 44, 44, 0), false, conflict()),
            ("ours on our lease", member(), kv("x", 44, 44, 7), true, done(44)),
            ("on another's lease", member(), kv("x", 44, 44, 8), true, conflict()),
            ("deleted", delete(), None, true, done(50)),
            ("not deleted", delete(), kv("y", 1, 44, 0), true, conflict()),
        ] {
            assert_eq!(KEYS.written(&write, &answer(false, &[found]), doubtful), expected, "{name}");
        }
    }

    #[test]
    fn a_release_whose_first_answer_was_lost() {
        let created = revision(40);
        let status = Some("{}");
        for (name, leader, written, doubtful, released) in [
            ("gone with its status", None, kv("{}", 1, 44, 0), true, true),
            ("gone, the next one is there", kv("b", 45, 45, 9), kv("{}", 1, 44, 0), true, true),
            ("gone by itself, without our status", None, kv("old", 1, 30, 0), true, false),
            ("gone before", None, kv("{}", 1, 44, 0), false, false),
            ("another's value", kv("b", 40, 45, 9), kv("{}", 1, 44, 0), true, false),
        ] {
            let answer = answer(false, &[leader, written]);
            assert_eq!(KEYS.released(&created, status, &answer, doubtful), released, "{name}");
        }
    }

    #[test]
    fn a_revision_of_another_store_is_never_met() {
        for text in ["", "0", "-1", "x", "99999999999999999999"] {
            let write = Write::put(Key::Sync, "x").when(Condition::Unchanged(Revision(text.into())));
            assert_eq!(KEYS.write(&write), None, "{text:?}");
        }
    }

    #[test]
    fn taking_the_lock_compares_all_that_was_read() {
        let expect = Expect {
            leader: Condition::Absent,
            sync: Condition::Unchanged(revision(5)),
            failover: Condition::Always,
            initialize: Condition::Unchanged(revision(6)),
        };
        let body = KEYS.acquire(&Session("7".into()), &expect).expect("revisions");
        let targets: Vec<_> = body["compare"].as_array().expect("list").iter().map(|c| c["target"].clone()).collect();
        assert_eq!(targets, ["CREATE", "MOD", "MOD"]);
        assert_eq!(body["success"][0]["request_put"]["lease"], "7");
    }
}
