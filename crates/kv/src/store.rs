//! The state, and what commands make of it.

use bytes::Bytes;

use crate::command::{Command, Operation};
use crate::error::Refused;
use crate::history::{Content, History, Place, Version};
use crate::keys::KeyRange;
use crate::lease::Leases;
use crate::range;
use crate::rpc::*;
use crate::txn::Plan;

/// Milliseconds of the store's own clock, which stands in the log and in no other.
pub type Millis = u64;

/// Seconds. etcd's is 2 at its default election timeout, and longer ones raise it.
pub const MIN_LEASE_TTL: i64 = 1;
/// Seconds; etcd's limit.
pub const MAX_LEASE_TTL: i64 = 9_000_000_000;

/// The whole state of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    pub(crate) history: History,
    pub(crate) leases: Leases,
    pub(crate) revision: i64,
    /// -1: never compacted.
    pub(crate) compacted: i64,
    pub(crate) clock: Millis,
}

/// The answer to a command. Headers hold the revision alone: which server answered, and in which term, is the caller's.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Put(PutResponse),
    DeleteRange(DeleteRangeResponse),
    Txn(TxnResponse),
    Compact(CompactionResponse),
    Grant(LeaseGrantResponse),
    Revoke(LeaseRevokeResponse),
    KeepAlive(Vec<LeaseKeepAliveResponse>),
    /// The leases that ended.
    Expired(Vec<i64>),
    Nothing,
}

impl Default for Store {
    fn default() -> Store {
        Store { history: History::default(), leases: Leases::default(), revision: 1, compacted: -1, clock: 0 }
    }
}

impl Store {
    /// The revision of the last change.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The revision up to which history is forgotten; -1 when it never was.
    pub fn compacted(&self) -> i64 {
        self.compacted
    }

    /// The time of the last command.
    pub fn clock(&self) -> Millis {
        self.clock
    }

    /// About what the keys and their history take.
    pub fn bytes(&self) -> u64 {
        self.history.bytes()
    }

    /// When the next lease ends unless it is kept alive: an [`Operation::Expire`] is due then.
    pub fn next_lease_deadline(&self) -> Option<Millis> {
        self.leases.next_deadline()
    }

    pub fn has_lease(&self, id: i64) -> bool {
        self.leases.all.contains_key(&id)
    }

    /// The same on every voter. A command that is refused leaves nothing but its time.
    pub fn apply(&mut self, command: &Command) -> Result<Answer, Refused> {
        self.clock = self.clock.max(command.at);
        match &command.operation {
            Operation::Put(request) => {
                // Alone, etcd looks for the lease first; in a transaction, for the key.
                self.check_lease(request)?;
                self.check_put(request)?;
                Ok(Answer::Put(self.writing(|writing| writing.put(request))))
            }
            Operation::DeleteRange(request) => {
                Ok(Answer::DeleteRange(self.writing(|writing| writing.delete_range(request))))
            }
            Operation::Txn(request) => self.txn(request).map(Answer::Txn),
            Operation::Compact(request) => self.compact(request.revision).map(Answer::Compact),
            Operation::Grant(request) => self.grant(request).map(Answer::Grant),
            Operation::Revoke(request) => {
                self.revoke(request.id)?;
                Ok(Answer::Revoke(LeaseRevokeResponse { header: self.header() }))
            }
            Operation::KeepAlive(ids) => Ok(Answer::KeepAlive(ids.iter().map(|id| self.keep_alive(*id)).collect())),
            Operation::Expire => Ok(Answer::Expired(self.expire())),
            Operation::Nothing => Ok(Answer::Nothing),
        }
    }

    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, Refused> {
        let revision = self.readable(request.revision)?;
        Ok(RangeResponse { header: self.header(), ..range::read(&self.history, request, revision) })
    }

    /// A transaction that only reads needs no log. `None`: it may write.
    pub fn read_txn(&self, request: &TxnRequest) -> Option<Result<TxnResponse, Refused>> {
        reads_only(request).then(|| self.reading_txn(request))
    }

    pub fn time_to_live(&self, request: &LeaseTimeToLiveRequest, now: Millis) -> LeaseTimeToLiveResponse {
        let (id, header) = (request.id, self.header());
        let Ok(lease) = self.leases.get(id) else {
            return LeaseTimeToLiveResponse { header, id, ttl: -1, ..LeaseTimeToLiveResponse::default() };
        };
        let keys = if request.keys { lease.keys.iter().cloned().collect() } else { Vec::new() };
        let ttl = lease.left(now.max(self.clock));
        LeaseTimeToLiveResponse { header, id, ttl, granted_ttl: lease.ttl, keys }
    }

    /// The one that ends first comes first.
    pub fn leases(&self) -> LeaseLeasesResponse {
        let mut ends: Vec<_> = self.leases.all.iter().map(|(id, lease)| (lease.deadline, *id)).collect();
        ends.sort_unstable();
        let leases = ends.into_iter().map(|(_, id)| LeaseStatus { id }).collect();
        LeaseLeasesResponse { header: self.header(), leases }
    }

    pub(crate) fn header(&self) -> Option<ResponseHeader> {
        Some(ResponseHeader { revision: self.revision, ..ResponseHeader::default() })
    }

    /// The revision that a read asks for, 0 being the newest.
    pub(crate) fn readable(&self, revision: i64) -> Result<i64, Refused> {
        match revision {
            future if future > self.revision => Err(Refused::FutureRevision),
            newest if newest <= 0 => Ok(self.revision),
            old if old < self.compacted => Err(Refused::Compacted),
            known => Ok(known),
        }
    }

    /// Within a transaction, a negative revision is one before the history's begin.
    pub(crate) fn check_range(&self, request: &RangeRequest) -> Result<(), Refused> {
        match request.revision {
            0 => Ok(()),
            old if old < self.compacted => Err(Refused::Compacted),
            known => self.readable(known).map(|_| ()),
        }
    }

    pub(crate) fn check_put(&self, request: &PutRequest) -> Result<(), Refused> {
        if (request.ignore_value || request.ignore_lease) && self.history.newest(&request.key).is_none() {
            return Err(Refused::KeyNotFound);
        }
        self.check_lease(request)
    }

    fn check_lease(&self, request: &PutRequest) -> Result<(), Refused> {
        if request.lease == 0 { Ok(()) } else { self.leases.get(request.lease).map(|_| ()) }
    }

    fn writing<T>(&mut self, work: impl FnOnce(&mut Writing<'_>) -> T) -> T {
        let mut writing = Writing { store: self, changes: 0 };
        let result = work(&mut writing);
        let revision = writing.revision();
        self.revision = revision;
        result
    }

    fn txn(&mut self, request: &TxnRequest) -> Result<TxnResponse, Refused> {
        let plan = Plan::new(&self.history, self.revision, request);
        plan.check(self)?;
        let answer = self.writing(|writing| plan.carry_out(writing));
        Ok(TxnResponse { header: self.header(), ..answer })
    }

    /// A transaction without writes, on what is there.
    fn reading_txn(&self, request: &TxnRequest) -> Result<TxnResponse, Refused> {
        let plan = Plan::new(&self.history, self.revision, request);
        plan.check(self)?;
        let answer = plan.read(self);
        Ok(TxnResponse { header: self.header(), ..answer })
    }

    fn compact(&mut self, revision: i64) -> Result<CompactionResponse, Refused> {
        if revision <= self.compacted {
            return Err(Refused::Compacted);
        }
        if revision > self.revision {
            return Err(Refused::FutureRevision);
        }
        self.compacted = revision;
        self.history.compact(revision);
        Ok(CompactionResponse { header: self.header() })
    }

    fn grant(&mut self, request: &LeaseGrantRequest) -> Result<LeaseGrantResponse, Refused> {
        let ttl = request.ttl.clamp(MIN_LEASE_TTL, MAX_LEASE_TTL);
        self.leases.grant(request.id, ttl, self.clock)?;
        Ok(LeaseGrantResponse { header: self.header(), id: request.id, ttl, error: String::new() })
    }

    fn keep_alive(&mut self, id: i64) -> LeaseKeepAliveResponse {
        let ttl = self.leases.keep_alive(id, self.clock).unwrap_or(0);
        LeaseKeepAliveResponse { header: self.header(), id, ttl }
    }

    /// Its keys go in one revision.
    fn revoke(&mut self, id: i64) -> Result<(), Refused> {
        let keys = self.leases.get(id)?.keys.clone();
        self.writing(|writing| keys.iter().for_each(|key| writing.delete(key)));
        self.leases.all.remove(&id);
        Ok(())
    }

    fn expire(&mut self) -> Vec<i64> {
        let mut over = self.leases.expired(self.clock);
        over.retain(|id| self.revoke(*id).is_ok());
        over
    }
}

fn reads_only(request: &TxnRequest) -> bool {
    request.success.iter().chain(&request.failure).all(|op| match &op.request_txn {
        Some(nested) => reads_only(nested),
        None => op.request_range.is_some(),
    })
}

/// One revision in the making.
pub(crate) struct Writing<'a> {
    store: &'a mut Store,
    changes: i64,
}

impl Writing<'_> {
    /// The one that reads see: the new one once something has changed.
    fn revision(&self) -> i64 {
        self.store.revision + i64::from(self.changes > 0)
    }

    fn header(&self) -> Option<ResponseHeader> {
        Some(ResponseHeader { revision: self.revision(), ..ResponseHeader::default() })
    }

    /// Checked before the first change. What came of the transaction's own changes is seen.
    pub fn range(&self, request: &RangeRequest) -> RangeResponse {
        let revision = if request.revision <= 0 { self.revision() } else { request.revision };
        RangeResponse { header: self.header(), ..range::read(&self.store.history, request, revision) }
    }

    pub fn put(&mut self, request: &PutRequest) -> PutResponse {
        let old = self.store.history.newest(&request.key);
        let (created, version) =
            old.as_ref().map_or((self.store.revision + 1, 1), |kv| (kv.create_revision, kv.version + 1));
        let old_lease = old.as_ref().map_or(0, |kv| kv.lease);
        let lease = if request.ignore_lease { old_lease } else { request.lease };
        let kept = old.as_ref().filter(|_| request.ignore_value).map(|kv| kv.value.clone());
        let value = kept.unwrap_or_else(|| request.value.clone());
        self.change(&request.key, Some(Content { value, created, version, lease }));
        self.store.leases.move_key(&request.key, old_lease, lease);
        PutResponse { header: self.header(), prev_kv: old.filter(|_| request.prev_kv) }
    }

    pub fn delete_range(&mut self, request: &DeleteRangeRequest) -> DeleteRangeResponse {
        let range = KeyRange::new(&request.key, &request.range_end);
        let old: Vec<KeyValue> = self.store.history.range(&range, i64::MAX).collect();
        old.iter().for_each(|kv| self.delete(&kv.key));
        let deleted = i64::try_from(old.len()).unwrap_or(i64::MAX);
        let prev_kvs = if request.prev_kv { old } else { Vec::new() };
        DeleteRangeResponse { header: self.header(), deleted, prev_kvs }
    }

    pub fn delete(&mut self, key: &Bytes) {
        if let Some(old) = self.store.history.newest(key) {
            self.change(key, None);
            self.store.leases.move_key(key, old.lease, 0);
        }
    }

    fn change(&mut self, key: &Bytes, content: Option<Content>) {
        let place = Place { main: self.store.revision + 1, sub: self.changes };
        self.store.history.push(key, Version { place, content });
        self.changes += 1;
    }
}
