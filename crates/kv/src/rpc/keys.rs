//! Keys: ranges, puts, deletions, transactions, compaction.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::ResponseHeader;
use crate::json::{self, named_enum};

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum EventType {
    Put = 0,
    Delete = 1,
}

/// The order of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum SortOrder {
    None = 0,
    Ascend = 1,
    Descend = 2,
}

/// What a range is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum SortTarget {
    Key = 0,
    Version = 1,
    Create = 2,
    Mod = 3,
    Value = 4,
}

/// How a comparison shall come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum CompareResult {
    Equal = 0,
    Greater = 1,
    Less = 2,
    NotEqual = 3,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum CompareTarget {
    Version = 0,
    Create = 1,
    Mod = 2,
    Value = 3,
    Lease = 4,
}

named_enum!(event_type_names, EventType { Put = "PUT", Delete = "DELETE" });
named_enum!(sort_order_names, SortOrder { None = "NONE", Ascend = "ASCEND", Descend = "DESCEND" });
named_enum!(sort_target_names, SortTarget { Key = "KEY", Version = "VERSION", Create = "CREATE", Mod = "MOD", Value = "VALUE" });
named_enum!(compare_result_names, CompareResult { Equal = "EQUAL", Greater = "GREATER", Less = "LESS", NotEqual = "NOT_EQUAL" });
named_enum!(compare_target_names, CompareTarget { Version = "VERSION", Create = "CREATE", Mod = "MOD", Value = "VALUE", Lease = "LEASE" });

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct KeyValue {
    #[prost(bytes = "bytes", tag = "1")]
    #[serde(with = "json::base64", skip_serializing_if = "Bytes::is_empty")]
    pub key: Bytes,
    #[prost(int64, tag = "2")]
    #[serde(alias = "createRevision", with = "json::integer", skip_serializing_if = "json::is_default")]
    pub create_revision: i64,
    #[prost(int64, tag = "3")]
    #[serde(alias = "modRevision", with = "json::integer", skip_serializing_if = "json::is_default")]
    pub mod_revision: i64,
    #[prost(int64, tag = "4")]
    #[serde(with = "json::integer", skip_serializing_if = "json::is_default")]
    pub version: i64,
    #[prost(bytes = "bytes", tag = "5")]
    #[serde(with = "json::base64", skip_serializing_if = "Bytes::is_empty")]
    pub value: Bytes,
    #[prost(int64, tag = "6")]
    #[serde(with = "json::integer", skip_serializing_if = "json::is_default")]
    pub lease: i64,
}

/// One change of one key. A deletion has the key and its `mod_revision` alone.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct Event {
    #[prost(enumeration = "EventType", tag = "1")]
    #[serde(rename = "type", with = "event_type_names", skip_serializing_if = "json::is_default")]
    pub kind: i32,
    #[prost(message, optional, tag = "2")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv: Option<KeyValue>,
    #[prost(message, optional, tag = "3")]
    #[serde(alias = "prevKv", skip_serializing_if = "Option::is_none")]
    pub prev_kv: Option<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct RangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    #[serde(with = "json::base64", skip_serializing_if = "Bytes::is_empty")]
    pub key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    #[serde(alias = "rangeEnd", with = "json::base64", skip_serializing_if = "Bytes::is_empty")]
    pub range_end: Bytes,
    #[prost(int64, tag = "3")]
    #[serde(with = "json::integer", skip_serializing_if = "json::is_default")]
    pub limit: i64,
    #[prost(int64, tag = "4")]
    #[serde(with = "json::integer", skip_serializing_if = "json::is_default")]
    pub revision: i64,
    #[prost(enumeration = "SortOrder", tag = "5")]
    #[serde(alias = "sortOrder", with = "sort_order_names", skip_serializing_if = "json::is_default")]
    pub sort_order: i32,
    #[prost(enumeration = "SortTarget", tag = "6")]
    #[serde(alias = "sortTarget", with = "sort_target_names", skip_serializing_if = "json::is_default")]
    pub sort_target: i32,
    #[prost(bool, tag = "7")]
    #[serde(skip_serializing_if = "json::is_default")]
    pub serializable: bool,
    #[prost(bool, tag = "8")]
    #[serde(alias = "keysOnly", skip_serializing_if = "json::is_default")]
    pub keys_only: bool,
    #[prost(bool, tag = "9")]
    #[serde(alias = "countOnly", skip_serializing_if = "json::is_default")]
    pub count_only: bool,
    #[prost(int64, tag = "10")]
    #[serde(alias = "minModRevision", with = "json::integer", skip_serializing_if = "json::is_default")]
    pub min_mod_revision: i64,
    #[prost(int64, tag = "11")]
    #[serde(alias = "maxModRevision", with = "json::integer", skip_serializing_if = "json::is_default")]
    pub max_mod_revision: i64,
    #[prost(int64, tag = "12")]
    #[serde(alias = "minCreateRevision", with = "json::integer", skip_serializing_if = "json::is_default")]
    pub min_create_revision: i64,
    #[prost(int64, tag = "13")]
    #[serde(alias = "maxCreateRevision", with = "json::integer", skip_serializing_if = "json::is_default")]
    pub max_create_revision: i64,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct RangeResponse {
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<ResponseHeader>,
    #[prost(message, repeated, tag = "2")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kvs: Vec<KeyValue>,
    #[prost(bool, tag = "3")]
    #[serde(skip_serializing_if = "json::is_default")]
    pub more: bool,
    #[prost(int64, tag = "4")]
    #[serde(with = "json::integer", skip_serializing_if = "json::is_default")]
    pub count: i64,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct PutRequest {
    #[prost(bytes = "bytes", tag = "1")]
    #[serde(with = "json::base64", skip_serializing_if = "Bytes::is_empty")]
    pub key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    #[serde(with = "json::base64", skip_serializing_if = "Bytes::is_empty")]
    pub value: Bytes,
    #[prost(int64, tag = "3")]
    #[serde(with = "json::integer", skip_serializing_if = "json::is_default")]
    pub lease: i64,
    #[prost(bool, tag = "4")]
    #[serde(alias = "prevKv", skip_serializing_if = "json::is_default")]
    pub prev_kv: bool,
    #[prost(bool, tag = "5")]
    #[serde(alias = "ignoreValue", skip_serializing_if = "json::is_default")]
    pub ignore_value: bool,
    #[prost(bool, tag = "6")]
    #[serde(alias = "ignoreLease", skip_serializing_if = "json::is_default")]
    pub ignore_lease: bool,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct PutResponse {
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<ResponseHeader>,
    #[prost(message, optional, tag = "2")]
    #[serde(alias = "prevKv", skip_serializing_if = "Option::is_none")]
    pub prev_kv: Option<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct DeleteRangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    #[serde(with = "json::base64", skip_serializing_if = "Bytes::is_empty")]
    pub key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    #[serde(alias = "rangeEnd", with = "json::base64", skip_serializing_if = "Bytes::is_empty")]
    pub range_end: Bytes,
    #[prost(bool, tag = "3")]
    #[serde(alias = "prevKv", skip_serializing_if = "json::is_default")]
    pub prev_kv: bool,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct DeleteRangeResponse {
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<ResponseHeader>,
    #[prost(int64, tag = "2")]
    #[serde(with = "json::integer", skip_serializing_if = "json::is_default")]
    pub deleted: i64,
    #[prost(message, repeated, tag = "3")]
    #[serde(alias = "prevKvs", skip_serializing_if = "Vec::is_empty")]
    pub prev_kvs: Vec<KeyValue>,
}

/// One comparison; over all keys of a range when `range_end` is there. At most one of the five values is set.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct Compare {
    #[prost(enumeration = "CompareResult", tag = "1")]
    #[serde(with = "compare_result_names", skip_serializing_if = "json::is_default")]
    pub result: i32,
    #[prost(enumeration = "CompareTarget", tag = "2")]
    #[serde(with = "compare_target_names", skip_serializing_if = "json::is_default")]
    pub target: i32,
    #[prost(bytes = "bytes", tag = "3")]
    #[serde(with = "json::base64", skip_serializing_if = "Bytes::is_empty")]
    pub key: Bytes,
    #[prost(int64, optional, tag = "4")]
    #[serde(with = "json::integer_option", skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    #[prost(int64, optional, tag = "5")]
    #[serde(alias = "createRevision", with = "json::integer_option", skip_serializing_if = "Option::is_none")]
    pub create_revision: Option<i64>,
    #[prost(int64, optional, tag = "6")]
    #[serde(alias = "modRevision", with = "json::integer_option", skip_serializing_if = "Option::is_none")]
    pub mod_revision: Option<i64>,
    #[prost(bytes = "bytes", optional, tag = "7")]
    #[serde(with = "json::base64_option", skip_serializing_if = "Option::is_none")]
    pub value: Option<Bytes>,
    #[prost(int64, optional, tag = "8")]
    #[serde(with = "json::integer_option", skip_serializing_if = "Option::is_none")]
    pub lease: Option<i64>,
    #[prost(bytes = "bytes", tag = "64")]
    #[serde(alias = "rangeEnd", with = "json::base64", skip_serializing_if = "Bytes::is_empty")]
    pub range_end: Bytes,
}

/// One of the four (a `oneof` on the wire, which is the same as four optional fields).
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct RequestOp {
    #[prost(message, optional, tag = "1")]
    #[serde(alias = "requestRange", skip_serializing_if = "Option::is_none")]
    pub request_range: Option<RangeRequest>,
    #[prost(message, optional, tag = "2")]
    #[serde(alias = "requestPut", skip_serializing_if = "Option::is_none")]
    pub request_put: Option<PutRequest>,
    #[prost(message, optional, tag = "3")]
    #[serde(alias = "requestDeleteRange", skip_serializing_if = "Option::is_none")]
    pub request_delete_range: Option<DeleteRangeRequest>,
    #[prost(message, optional, tag = "4")]
    #[serde(alias = "requestTxn", skip_serializing_if = "Option::is_none")]
    pub request_txn: Option<TxnRequest>,
}

/// The one that answers the operation.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct ResponseOp {
    #[prost(message, optional, tag = "1")]
    #[serde(alias = "responseRange", skip_serializing_if = "Option::is_none")]
    pub response_range: Option<RangeResponse>,
    #[prost(message, optional, tag = "2")]
    #[serde(alias = "responsePut", skip_serializing_if = "Option::is_none")]
    pub response_put: Option<PutResponse>,
    #[prost(message, optional, tag = "3")]
    #[serde(alias = "responseDeleteRange", skip_serializing_if = "Option::is_none")]
    pub response_delete_range: Option<DeleteRangeResponse>,
    #[prost(message, optional, tag = "4")]
    #[serde(alias = "responseTxn", skip_serializing_if = "Option::is_none")]
    pub response_txn: Option<TxnResponse>,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct TxnRequest {
    #[prost(message, repeated, tag = "1")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub compare: Vec<Compare>,
    #[prost(message, repeated, tag = "2")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub success: Vec<RequestOp>,
    #[prost(message, repeated, tag = "3")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failure: Vec<RequestOp>,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct TxnResponse {
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<ResponseHeader>,
    #[prost(bool, tag = "2")]
    #[serde(skip_serializing_if = "json::is_default")]
    pub succeeded: bool,
    #[prost(message, repeated, tag = "3")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub responses: Vec<ResponseOp>,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct CompactionRequest {
    #[prost(int64, tag = "1")]
    #[serde(with = "json::integer", skip_serializing_if = "json::is_default")]
    pub revision: i64,
    #[prost(bool, tag = "2")]
    #[serde(skip_serializing_if = "json::is_default")]
    pub physical: bool,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct CompactionResponse {
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<ResponseHeader>,
}
