//! etcd's JSON gateway: `/v3/…`, the same under `/v3beta`, `/version`, `/health`, `/metrics`.
//!
//! Bodies, texts, codes and HTTP statuses are those of etcd 3.4, with one difference: a request's body is read whole
//! before the first answer, also that of a watch.

mod calls;
mod metrics;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use jogi_kv::rpc::ResponseHeader;
use jogi_kv::{Code, Refused, check, encode_error};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::node::Handle;

/// Base64 makes of three bytes four; keys, names and braces come on top.
const MAX_BODY: usize = check::MAX_REQUEST_BYTES / 3 * 4 + 64 * 1024;
/// A body that has not come by then does not come.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// etcd's limit for a request without one of its own; a disk that hangs must not hang clients for ever.
const ANSWER_WITHIN: Duration = Duration::from_secs(7);
/// As which version of etcd we answer: clients choose paths by it.
const VERSION: &str = "3.4.0";

pub(crate) struct Api {
    pub node: Handle,
    pub client_urls: Vec<String>,
    /// Watches end with the server.
    pub stop: tokio::sync::watch::Receiver<bool>,
}

/// An answer that is refused, with the status that grpc-gateway gives its code.
pub(crate) struct Failed {
    code: Code,
    text: String,
}

impl From<Refused> for Failed {
    fn from(refused: Refused) -> Failed {
        Failed { code: refused.code(), text: refused.to_string() }
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let status = match self.code {
            Code::InvalidArgument | Code::OutOfRange => StatusCode::BAD_REQUEST,
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::PermissionDenied => StatusCode::FORBIDDEN,
            Code::FailedPrecondition => StatusCode::PRECONDITION_FAILED,
            Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
            Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            Code::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, answer(&encode_error(self.code, &self.text))).into_response()
    }
}

fn answer<T: Serialize>(message: &T) -> Response {
    match serde_json::to_vec(message) {
        Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => Failed { code: Code::Unknown, text: error.to_string() }.into_response(),
    }
}

pub(crate) fn router(api: Api) -> Router {
    let api = Arc::new(api);
    let v3 = v3();
    Router::new()
        .nest("/v3", v3.clone())
        .nest("/v3beta", v3)
        .route("/version", get(version))
        .route("/health", get(health))
        .route("/metrics", get(metrics::metrics))
        .fallback(|| async { (StatusCode::NOT_FOUND, "Not Found") })
        .with_state(api)
}

fn v3() -> Router<Arc<Api>> {
    Router::new()
        .route("/kv/range", post(calls::range))
        .route("/kv/put", post(calls::put))
        .route("/kv/deleterange", post(calls::delete_range))
        .route("/kv/txn", post(calls::txn))
        .route("/kv/compaction", post(calls::compaction))
        .route("/lease/grant", post(calls::grant))
        .route("/lease/revoke", post(calls::revoke))
        .route("/kv/lease/revoke", post(calls::revoke))
        .route("/lease/keepalive", post(calls::keep_alive))
        .route("/lease/timetolive", post(calls::time_to_live))
        .route("/kv/lease/timetolive", post(calls::time_to_live))
        .route("/lease/leases", post(calls::leases))
        .route("/kv/lease/leases", post(calls::leases))
        .route("/watch", post(watch::watch))
        .route("/cluster/member/list", post(calls::member_list))
        .route("/maintenance/status", post(calls::status))
        .route("/auth/authenticate", post(calls::authenticate))
        .route("/auth/{*call}", post(unsupported))
        .route("/cluster/{*call}", post(unsupported))
        .route("/maintenance/{*call}", post(unsupported))
        .route("/election/{*call}", post(unsupported))
        .route("/lock/{*call}", post(unsupported))
        .method_not_allowed_fallback(|| async { (StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed") })
}

async fn unsupported(uri: axum::http::Uri) -> Failed {
    Refused::Unsupported(uri.path().to_owned()).into()
}

async fn version() -> Response {
    answer(&json!({"etcdserver": VERSION, "etcdcluster": VERSION, "jogi": env!("CARGO_PKG_VERSION")}))
}

/// Well is who can write, as etcd also asks.
async fn health(State(api): State<Arc<Api>>) -> Response {
    let written = within(api.node.propose(jogi_kv::Operation::Nothing)).await;
    match written {
        Ok(_) => ([(header::CONTENT_TYPE, "application/json")], r#"{"health":"true"}"#).into_response(),
        Err(failed) => {
            let body = json!({"health": "false", "reason": failed.text}).to_string();
            (StatusCode::SERVICE_UNAVAILABLE, [(header::CONTENT_TYPE, "application/json")], body).into_response()
        }
    }
}

/// Waits for an answer as long as etcd does.
async fn within<T>(work: impl Future<Output = Result<T, Refused>>) -> Result<T, Failed> {
    match tokio::time::timeout(ANSWER_WITHIN, work).await {
        Ok(result) => result.map_err(Failed::from),
        Err(_) => Err(Refused::TimedOut.into()),
    }
}

async fn body(body: Body) -> Result<Bytes, Failed> {
    match tokio::time::timeout(BODY_WITHIN, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refused::TooLarge.into()),
        Ok(Err(error)) => Err(Refused::Malformed(error.to_string()).into()),
        Err(_) => Err(Refused::Malformed("the request did not come in time".into()).into()),
    }
}

/// One message; nothing at all is an empty one.
async fn message<T: DeserializeOwned + Default>(request: Body) -> Result<T, Failed> {
    let body = body(request).await?;
    if body.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(&body).map_err(|e| Refused::Malformed(e.to_string()).into())
}

/// Messages one after the other, as streams take them.
async fn messages<T: DeserializeOwned>(request: Body) -> Result<Vec<T>, Failed> {
    let body = body(request).await?;
    let messages = serde_json::Deserializer::from_slice(&body).into_iter();
    messages.collect::<Result<_, _>>().map_err(|e| Refused::Malformed(e.to_string()).into())
}

/// One line of a stream.
fn line<T: Serialize>(result: &T) -> Bytes {
    let mut line = serde_json::to_vec(&json!({ "result": result })).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

impl Api {
    fn header(&self, header: Option<ResponseHeader>) -> Option<ResponseHeader> {
        self.node.header(header)
    }
}
