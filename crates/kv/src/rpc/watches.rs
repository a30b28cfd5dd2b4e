//! Watches, members, status.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Event, ResponseHeader};
use crate::json::{self, named_enum};

/// What a watch leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum FilterType {
    Noput = 0,
    Nodelete = 1,
}

named_enum!(filter_type_names, FilterType { Noput = "NOPUT", Nodelete = "NODELETE" });

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct WatchCreateRequest {
    #[prost(bytes = "bytes", tag = "1")]
    #[serde(with = "json::base64", skip_serializing_if = "Bytes::is_empty")]
    pub key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    #[serde(alias = "rangeEnd", with = "json::base64", skip_serializing_if = "Bytes::is_empty")]
    pub range_end: Bytes,
    #[prost(int64, tag = "3")]
    #[serde(alias = "startRevision", with = "json::integer", skip_serializing_if = "json::is_default")]
    pub start_revision: i64,
    #[prost(bool, tag = "4")]
    #[serde(alias = "progressNotify", skip_serializing_if = "json::is_default")]
    pub progress_notify: bool,
    #[prost(enumeration = "FilterType", repeated, tag = "5")]
    #[serde(with = "filter_list", skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<i32>,
    #[prost(bool, tag = "6")]
    #[serde(alias = "prevKv", skip_serializing_if = "json::is_default")]
    pub prev_kv: bool,
    #[prost(int64, tag = "7")]
    #[serde(alias = "watchId", with = "json::integer", skip_serializing_if = "json::is_default")]
    pub watch_id: i64,
    #[prost(bool, tag = "8")]
    #[serde(skip_serializing_if = "json::is_default")]
    pub fragment: bool,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct WatchCancelRequest {
    #[prost(int64, tag = "1")]
    #[serde(alias = "watchId", with = "json::integer", skip_serializing_if = "json::is_default")]
    pub watch_id: i64,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct WatchProgressRequest {}

/// One of the three.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct WatchRequest {
    #[prost(message, optional, tag = "1")]
    #[serde(alias = "createRequest", skip_serializing_if = "Option::is_none")]
    pub create_request: Option<WatchCreateRequest>,
    #[prost(message, optional, tag = "2")]
    #[serde(alias = "cancelRequest", skip_serializing_if = "Option::is_none")]
    pub cancel_request: Option<WatchCancelRequest>,
    #[prost(message, optional, tag = "3")]
    #[serde(alias = "progressRequest", skip_serializing_if = "Option::is_none")]
    pub progress_request: Option<WatchProgressRequest>,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct WatchResponse {
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<ResponseHeader>,
    #[prost(int64, tag = "2")]
    #[serde(alias = "watchId", with = "json::integer", skip_serializing_if = "json::is_default")]
    pub watch_id: i64,
    #[prost(bool, tag = "3")]
    #[serde(skip_serializing_if = "json::is_default")]
    pub created: bool,
    #[prost(bool, tag = "4")]
    #[serde(skip_serializing_if = "json::is_default")]
    pub canceled: bool,
    #[prost(int64, tag = "5")]
    #[serde(alias = "compactRevision", with = "json::integer", skip_serializing_if = "json::is_default")]
    pub compact_revision: i64,
    #[prost(string, tag = "6")]
    #[serde(alias = "cancelReason", skip_serializing_if = "json::is_default")]
    pub cancel_reason: String,
    #[prost(bool, tag = "7")]
    #[serde(skip_serializing_if = "json::is_default")]
    pub fragment: bool,
    #[prost(message, repeated, tag = "11")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Event>,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct MemberListRequest {}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct Member {
    #[prost(uint64, tag = "1")]
    #[serde(rename = "ID", with = "json::unsigned", skip_serializing_if = "json::is_default")]
    pub id: u64,
    #[prost(string, tag = "2")]
    #[serde(skip_serializing_if = "json::is_default")]
    pub name: String,
    #[prost(string, repeated, tag = "3")]
    #[serde(rename = "peerURLs", skip_serializing_if = "Vec::is_empty")]
    pub peer_urls: Vec<String>,
    #[prost(string, repeated, tag = "4")]
    #[serde(rename = "clientURLs", skip_serializing_if = "Vec::is_empty")]
    pub client_urls: Vec<String>,
    #[prost(bool, tag = "5")]
    #[serde(rename = "isLearner", skip_serializing_if = "json::is_default")]
    pub is_learner: bool,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct MemberListResponse {
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<ResponseHeader>,
    #[prost(message, repeated, tag = "2")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<Member>,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct StatusRequest {}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<ResponseHeader>,
    #[prost(string, tag = "2")]
    #[serde(skip_serializing_if = "json::is_default")]
    pub version: String,
    #[prost(int64, tag = "3")]
    #[serde(rename = "dbSize", with = "json::integer", skip_serializing_if = "json::is_default")]
    pub db_size: i64,
    #[prost(uint64, tag = "4")]
    #[serde(with = "json::unsigned", skip_serializing_if = "json::is_default")]
    pub leader: u64,
    #[prost(uint64, tag = "5")]
    #[serde(rename = "raftIndex", with = "json::unsigned", skip_serializing_if = "json::is_default")]
    pub raft_index: u64,
    #[prost(uint64, tag = "6")]
    #[serde(rename = "raftTerm", with = "json::unsigned", skip_serializing_if = "json::is_default")]
    pub raft_term: u64,
    #[prost(uint64, tag = "7")]
    #[serde(rename = "raftAppliedIndex", with = "json::unsigned", skip_serializing_if = "json::is_default")]
    pub raft_applied_index: u64,
    #[prost(string, repeated, tag = "8")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
    #[prost(int64, tag = "9")]
    #[serde(rename = "dbSizeInUse", with = "json::integer", skip_serializing_if = "json::is_default")]
    pub db_size_in_use: i64,
    #[prost(bool, tag = "10")]
    #[serde(rename = "isLearner", skip_serializing_if = "json::is_default")]
    pub is_learner: bool,
}

mod filter_list {
    use super::{Deserialize, filter_type_names};
    use serde::{Deserializer, Serialize, Serializer};

    #[derive(Deserialize, Serialize)]
    struct Filter(#[serde(with = "filter_type_names")] i32);

    pub(super) fn serialize<S: Serializer>(filters: &[i32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(filters.iter().copied().map(Filter))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<i32>, D::Error> {
        Ok(Vec::<Filter>::deserialize(deserializer)?.into_iter().map(|filter| filter.0).collect())
    }
}
