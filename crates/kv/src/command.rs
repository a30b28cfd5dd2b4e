//! What stands in the log.

use prost::Message;

use crate::error::Refused;
use crate::rpc::{
    CompactionRequest, DeleteRangeRequest, LeaseGrantRequest, LeaseRevokeRequest, PutRequest, TxnRequest,
};

/// A change, with the store's time at which its leader put it into the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// Milliseconds of the store's own clock; one that lies behind counts as now.
    pub at: u64,
    pub operation: Operation,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    Put(PutRequest),
    DeleteRange(DeleteRangeRequest),
    Txn(TxnRequest),
    Compact(CompactionRequest),
    /// Its id is chosen by then, its TTL at least the smallest.
    Grant(LeaseGrantRequest),
    Revoke(LeaseRevokeRequest),
    /// Many at once: they are the most frequent.
    KeepAlive(Vec<i64>),
    /// Ends the leases whose time is over.
    Expire,
    /// Moves the time alone.
    Nothing,
}

#[derive(Clone, PartialEq, Message)]
struct Encoded {
    #[prost(uint64, tag = "1")]
    at: u64,
    #[prost(oneof = "EncodedOperation", tags = "2, 3, 4, 5, 6, 7, 8, 9, 10")]
    operation: Option<EncodedOperation>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum EncodedOperation {
    #[prost(message, tag = "2")]
    Put(PutRequest),
    #[prost(message, tag = "3")]
    DeleteRange(DeleteRangeRequest),
    #[prost(message, tag = "4")]
    Txn(TxnRequest),
    #[prost(message, tag = "5")]
    Compact(CompactionRequest),
    #[prost(message, tag = "6")]
    Grant(LeaseGrantRequest),
    #[prost(message, tag = "7")]
    Revoke(LeaseRevokeRequest),
    #[prost(message, tag = "8")]
    KeepAlive(Ids),
    #[prost(bool, tag = "9")]
    Expire(bool),
    #[prost(bool, tag = "10")]
    Nothing(bool),
}

#[derive(Clone, PartialEq, Message)]
struct Ids {
    #[prost(int64, repeated, tag = "1")]
    ids: Vec<i64>,
}

impl Operation {
    /// About what it takes in the log, in bytes.
    pub fn size(&self) -> usize {
        /// The longest varint.
        const ID: usize = 10;
        match self {
            Operation::Put(request) => request.encoded_len(),
            Operation::DeleteRange(request) => request.encoded_len(),
            Operation::Txn(request) => request.encoded_len(),
            Operation::Compact(request) => request.encoded_len(),
            Operation::Grant(request) => request.encoded_len(),
            Operation::Revoke(request) => request.encoded_len(),
            Operation::KeepAlive(ids) => ids.len() * ID,
            Operation::Expire | Operation::Nothing => 0,
        }
    }
}

impl Command {
    pub fn encode(self) -> Vec<u8> {
        let operation = match self.operation {
            Operation::Put(request) => EncodedOperation::Put(request),
            Operation::DeleteRange(request) => EncodedOperation::DeleteRange(request),
            Operation::Txn(request) => EncodedOperation::Txn(request),
            Operation::Compact(request) => EncodedOperation::Compact(request),
            Operation::Grant(request) => EncodedOperation::Grant(request),
            Operation::Revoke(request) => EncodedOperation::Revoke(request),
            Operation::KeepAlive(ids) => EncodedOperation::KeepAlive(Ids { ids }),
            Operation::Expire => EncodedOperation::Expire(true),
            Operation::Nothing => EncodedOperation::Nothing(true),
        };
        Encoded { at: self.at, operation: Some(operation) }.encode_to_vec()
    }

    /// An operation of a newer version is an error: to pass over it would part this voter's state from the others'.
    pub fn decode(bytes: &[u8]) -> Result<Command, Refused> {
        let encoded = Encoded::decode(bytes).map_err(|e| Refused::Malformed(format!("a command of the log: {e}")))?;
        let operation = match encoded.operation {
            Some(EncodedOperation::Put(request)) => Operation::Put(request),
            Some(EncodedOperation::DeleteRange(request)) => Operation::DeleteRange(request),
            Some(EncodedOperation::Txn(request)) => Operation::Txn(request),
            Some(EncodedOperation::Compact(request)) => Operation::Compact(request),
            Some(EncodedOperation::Grant(request)) => Operation::Grant(request),
            Some(EncodedOperation::Revoke(request)) => Operation::Revoke(request),
            Some(EncodedOperation::KeepAlive(ids)) => Operation::KeepAlive(ids.ids),
            Some(EncodedOperation::Expire(_)) => Operation::Expire,
            Some(EncodedOperation::Nothing(_)) => Operation::Nothing,
            None => return Err(Refused::Malformed("a command of the log is of a newer version".into())),
        };
        Ok(Command { at: encoded.at, operation })
    }
}
