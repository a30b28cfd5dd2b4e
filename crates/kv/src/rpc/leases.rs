//! Leases.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::ResponseHeader;
use crate::json;

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct LeaseGrantRequest {
    #[prost(int64, tag = "1")]
    #[serde(rename = "TTL", with = "json::integer", skip_serializing_if = "json::is_default")]
    pub ttl: i64,
    #[prost(int64, tag = "2")]
    #[serde(rename = "ID", with = "json::integer", skip_serializing_if = "json::is_default")]
    pub id: i64,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct LeaseGrantResponse {
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<ResponseHeader>,
    #[prost(int64, tag = "2")]
    #[serde(rename = "ID", with = "json::integer", skip_serializing_if = "json::is_default")]
    pub id: i64,
    #[prost(int64, tag = "3")]
    #[serde(rename = "TTL", with = "json::integer", skip_serializing_if = "json::is_default")]
    pub ttl: i64,
    #[prost(string, tag = "4")]
    #[serde(skip_serializing_if = "json::is_default")]
    pub error: String,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct LeaseRevokeRequest {
    #[prost(int64, tag = "1")]
    #[serde(rename = "ID", with = "json::integer", skip_serializing_if = "json::is_default")]
    pub id: i64,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct LeaseRevokeResponse {
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<ResponseHeader>,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct LeaseKeepAliveRequest {
    #[prost(int64, tag = "1")]
    #[serde(rename = "ID", with = "json::integer", skip_serializing_if = "json::is_default")]
    pub id: i64,
}

/// Without a TTL: there is no such lease.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct LeaseKeepAliveResponse {
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<ResponseHeader>,
    #[prost(int64, tag = "2")]
    #[serde(rename = "ID", with = "json::integer", skip_serializing_if = "json::is_default")]
    pub id: i64,
    #[prost(int64, tag = "3")]
    #[serde(rename = "TTL", with = "json::integer", skip_serializing_if = "json::is_default")]
    pub ttl: i64,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct LeaseTimeToLiveRequest {
    #[prost(int64, tag = "1")]
    #[serde(rename = "ID", with = "json::integer", skip_serializing_if = "json::is_default")]
    pub id: i64,
    #[prost(bool, tag = "2")]
    #[serde(skip_serializing_if = "json::is_default")]
    pub keys: bool,
}

/// The TTL of a lease that is not there is -1.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct LeaseTimeToLiveResponse {
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<ResponseHeader>,
    #[prost(int64, tag = "2")]
    #[serde(rename = "ID", with = "json::integer", skip_serializing_if = "json::is_default")]
    pub id: i64,
    #[prost(int64, tag = "3")]
    #[serde(rename = "TTL", with = "json::integer", skip_serializing_if = "json::is_default")]
    pub ttl: i64,
    #[prost(int64, tag = "4")]
    #[serde(rename = "grantedTTL", with = "json::integer", skip_serializing_if = "json::is_default")]
    pub granted_ttl: i64,
    #[prost(bytes = "bytes", repeated, tag = "5")]
    #[serde(with = "base64_list", skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<Bytes>,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct LeaseLeasesRequest {}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct LeaseStatus {
    #[prost(int64, tag = "1")]
    #[serde(rename = "ID", with = "json::integer", skip_serializing_if = "json::is_default")]
    pub id: i64,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct LeaseLeasesResponse {
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<ResponseHeader>,
    #[prost(message, repeated, tag = "2")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub leases: Vec<LeaseStatus>,
}

mod base64_list {
    use super::{Bytes, Deserialize, json};
    use serde::{Deserializer, Serialize, Serializer};

    #[derive(Deserialize, Serialize)]
    struct Key(#[serde(with = "json::base64")] Bytes);

    pub(super) fn serialize<S: Serializer>(keys: &[Bytes], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(keys.iter().cloned().map(Key))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Bytes>, D::Error> {
        Ok(Vec::<Key>::deserialize(deserializer)?.into_iter().map(|key| key.0).collect())
    }
}
