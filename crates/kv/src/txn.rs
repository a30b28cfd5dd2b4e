//! Transactions: all comparisons first, of the nested ones too, then the operations in their order.

use std::cmp::Ordering;

use bytes::Bytes;

use crate::error::Refused;
use crate::history::History;
use crate::keys::KeyRange;
use crate::rpc::{Compare, CompareResult, CompareTarget, KeyValue, RequestOp, ResponseHeader, ResponseOp};
use crate::rpc::{TxnRequest, TxnResponse};
use crate::store::{Store, Writing};

/// A transaction whose comparisons are done: the operations that shall be carried out.
pub(crate) struct Plan<'a> {
    succeeded: bool,
    steps: Vec<Step<'a>>,
}

enum Step<'a> {
    One(&'a RequestOp),
    Nested(Plan<'a>),
}

impl<'a> Plan<'a> {
    pub fn new(history: &History, revision: i64, request: &'a TxnRequest) -> Plan<'a> {
        let succeeded = request.compare.iter().all(|compare| holds(history, revision, compare));
        let branch = if succeeded { &request.success } else { &request.failure };
        let step = |op: &'a RequestOp| match &op.request_txn {
            Some(nested) => Step::Nested(Plan::new(history, revision, nested)),
            None => Step::One(op),
        };
        Plan { succeeded, steps: branch.iter().map(step).collect() }
    }

    /// Nothing of a transaction is done unless all of it can be. Its puts are looked at before its reads.
    pub fn check(&self, store: &Store) -> Result<(), Refused> {
        self.each(&mut |op| op.request_put.as_ref().map_or(Ok(()), |put| store.check_put(put)))?;
        self.each(&mut |op| op.request_range.as_ref().map_or(Ok(()), |range| store.check_range(range)))
    }

    fn each(&self, look: &mut impl FnMut(&RequestOp) -> Result<(), Refused>) -> Result<(), Refused> {
        self.steps.iter().try_for_each(|step| match step {
            Step::Nested(plan) => plan.each(look),
            Step::One(op) => look(op),
        })
    }

    /// A plan without writes.
    pub fn read(self, store: &Store) -> TxnResponse {
        let responses = self.steps.into_iter().map(|step| step.read(store)).collect();
        TxnResponse { header: Some(ResponseHeader::default()), succeeded: self.succeeded, responses }
    }

    pub fn carry_out(self, writing: &mut Writing<'_>) -> TxnResponse {
        let responses = self.steps.into_iter().map(|step| step.carry_out(writing)).collect();
        TxnResponse { header: Some(ResponseHeader::default()), succeeded: self.succeeded, responses }
    }
}

impl Step<'_> {
    fn read(self, store: &Store) -> ResponseOp {
        match self {
            Step::Nested(plan) => ResponseOp { response_txn: Some(plan.read(store)), ..ResponseOp::default() },
            Step::One(op) => {
                let response_range = op.request_range.as_ref().and_then(|request| store.range(request).ok());
                ResponseOp { response_range, ..ResponseOp::default() }
            }
        }
    }

    fn carry_out(self, writing: &mut Writing<'_>) -> ResponseOp {
        let mut answer = ResponseOp::default();
        match self {
            Step::Nested(plan) => answer.response_txn = Some(plan.carry_out(writing)),
            Step::One(op) => {
                if let Some(request) = &op.request_range {
                    answer.response_range = Some(writing.range(request));
                } else if let Some(request) = &op.request_put {
                    answer.response_put = Some(writing.put(request));
                } else if let Some(request) = &op.request_delete_range {
                    answer.response_delete_range = Some(writing.delete_range(request));
                }
            }
        }
        answer
    }
}

/// A comparison over a range holds when it does for every key there; without any, for one that does not exist.
fn holds(history: &History, revision: i64, compare: &Compare) -> bool {
    let range = KeyRange::new(&compare.key, &compare.range_end);
    let mut found = history.range(&range, revision).peekable();
    if found.peek().is_some() {
        return found.all(|kv| holds_for(&kv, compare));
    }
    // The value of a key that does not exist equals nothing, not even nothing.
    compare.target != CompareTarget::Value as i32 && holds_for(&KeyValue::default(), compare)
}

fn holds_for(kv: &KeyValue, compare: &Compare) -> bool {
    let ordering = match CompareTarget::try_from(compare.target) {
        Ok(CompareTarget::Value) => kv.value.cmp(compare.value.as_ref().unwrap_or(&Bytes::new())),
        Ok(CompareTarget::Version) => kv.version.cmp(&compare.version.unwrap_or(0)),
        Ok(CompareTarget::Create) => kv.create_revision.cmp(&compare.create_revision.unwrap_or(0)),
        Ok(CompareTarget::Mod) => kv.mod_revision.cmp(&compare.mod_revision.unwrap_or(0)),
        Ok(CompareTarget::Lease) => kv.lease.cmp(&compare.lease.unwrap_or(0)),
        Err(_) => Ordering::Equal,
    };
    match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => ordering.is_eq(),
        Ok(CompareResult::NotEqual) => ordering.is_ne(),
        Ok(CompareResult::Greater) => ordering.is_gt(),
        Ok(CompareResult::Less) => ordering.is_lt(),
        Err(_) => true,
    }
}
