//! etcd's messages, with the field numbers of its `rpc.proto` and `kv.proto` and the JSON of its gateway.
//!
//! Written by hand (prost derives both encodings), so that no protobuf compiler is needed. The log holds them as clients
//! send them: field numbers never change their meaning.

mod keys;
mod leases;
mod watches;

use serde::{Deserialize, Serialize};

pub use self::keys::*;
pub use self::leases::*;
pub use self::watches::*;
use crate::json;

/// Stands in every answer.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct ResponseHeader {
    #[prost(uint64, tag = "1")]
    #[serde(alias = "clusterId", with = "json::unsigned", skip_serializing_if = "json::is_default")]
    pub cluster_id: u64,
    #[prost(uint64, tag = "2")]
    #[serde(alias = "memberId", with = "json::unsigned", skip_serializing_if = "json::is_default")]
    pub member_id: u64,
    #[prost(int64, tag = "3")]
    #[serde(with = "json::integer", skip_serializing_if = "json::is_default")]
    pub revision: i64,
    #[prost(uint64, tag = "4")]
    #[serde(alias = "raftTerm", with = "json::unsigned", skip_serializing_if = "json::is_default")]
    pub raft_term: u64,
}
