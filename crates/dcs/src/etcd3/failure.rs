//! Every way in which one request to one server can fail, and its mapping to [`DcsError`].
//!
//! Two questions matter. Was the request perhaps applied? Only a connection that was never made says no.
//! Is another try worth it? Yes, unless the server understood and refused. No list of error codes decides
//! whether the store is "down" (that list was never complete): whatever is not an answer is a failure.

use std::time::Duration;

use serde::Deserialize;

use crate::DcsError;
use crate::tries::Failing;

/// One request to one server that brought no usable answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// No connection: nothing was sent.
    #[error("{0}")]
    Connect(String),
    /// The connection broke before the answer was complete.
    #[error("{0}")]
    Broken(String),
    /// No answer in the time that was left.
    #[error("no answer")]
    Silent,
    /// The server answered with an error. `code` is gRPC's, or -1 when it gave none.
    #[error("{message} (HTTP status {http}, code {code})")]
    Server { http: u16, code: i64, message: String },
    /// Our credentials were refused.
    #[error("credentials refused: {0}")]
    Denied(String),
    /// An answer that is not this protocol.
    #[error("{0}")]
    Garbled(String),
    /// A server of another cluster, or one that is behind what we have seen.
    #[error("{0}")]
    Stale(String),
}

/// gRPC status codes that say: the request itself is at fault, or its precondition; trying it again as
/// it is brings the same answer.
const INVALID_ARGUMENT: i64 = 3;
const NOT_FOUND: i64 = 5;
const ALREADY_EXISTS: i64 = 6;
const PERMISSION_DENIED: i64 = 7;
const OUT_OF_RANGE: i64 = 11;
const UNIMPLEMENTED: i64 = 12;
const UNAUTHENTICATED: i64 = 16;

/// How much of an unknown answer an error quotes.
const QUOTED: usize = 200;

/// The gateway's error body: flat, or wrapped in `error` inside streams; names differ between versions.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ErrorBody {
    code: Option<i64>,
    grpc_code: Option<i64>,
    message: Option<String>,
    error: Option<ErrorField>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ErrorField {
    Text(String),
    Nested(Box<ErrorBody>),
}

impl ErrorBody {
    fn flatten(self) -> (i64, String) {
        match self.error {
            Some(ErrorField::Nested(nested)) => nested.flatten(),
            Some(ErrorField::Text(text)) => {
                (self.code.or(self.grpc_code).unwrap_or(-1), self.message.filter(|m| !m.is_empty()).unwrap_or(text))
            }
            None => (self.code.or(self.grpc_code).unwrap_or(-1), self.message.unwrap_or_default()),
        }
    }
}

impl Failure {
    /// From an answer whose status is not 200, whatever it says.
    pub(super) fn from_answer(http: u16, body: &[u8]) -> Failure {
        match serde_json::from_slice::<ErrorBody>(body) {
            Ok(error) => {
                let (code, message) = error.flatten();
                let message = if message.is_empty() { quote(body) } else { quote(message.as_bytes()) };
                Failure::Server { http, code, message }
            }
            Err(_) => Failure::Server { http, code: -1, message: quote(body) },
        }
    }

    /// From the `error` of a stream's message.
    pub(super) fn from_stream(error: &serde_json::Value) -> Failure {
        let body = serde_json::json!({ "error": error });
        Failure::from_answer(200, body.to_string().as_bytes())
    }

    /// From an error of the HTTP client. `connecting`: nothing can have been sent.
    pub(super) fn from_http(error: &reqwest::Error) -> Failure {
        let cause = jogi_net::http::describe(error);
        if error.is_connect() || error.is_builder() { Failure::Connect(cause) } else { Failure::Broken(cause) }
    }

    /// The gateway has no such path: another version of etcd.
    pub(super) fn is_unknown_path(&self) -> bool {
        matches!(self, Failure::Server { http: 404, code: -1, .. })
    }

    pub(super) fn is_lease_gone(&self) -> bool {
        self.says(NOT_FOUND, "requested lease not found")
    }

    pub(super) fn is_lease_known(&self) -> bool {
        matches!(self, Failure::Server { message, .. } if message.contains("lease already exists"))
    }

    pub(super) fn is_auth_off(&self) -> bool {
        matches!(self, Failure::Server { message, .. } if message.contains("authentication is not enabled"))
    }

    /// Errors that a new login may cure (Patroni: the same list, and code 16 for those not listed).
    pub(super) fn needs_login(&self) -> bool {
        let Failure::Server { code, message, .. } = self else { return false };
        *code == UNAUTHENTICATED
            || *code == PERMISSION_DENIED
            || ["user name is empty", "permission denied", "invalid auth token", "revision of auth store is old"]
                .iter()
                .any(|text| message.contains(text))
    }

    fn says(&self, wanted: i64, text: &str) -> bool {
        matches!(self, Failure::Server { code, message, .. } if (*code == wanted || *code == -1) && message.contains(text))
    }

    /// The error for the caller.
    pub(super) fn into_error(self, operation: &'static str, endpoint: String, waited: Duration) -> DcsError {
        match self {
            Failure::Connect(cause) | Failure::Broken(cause) => DcsError::Unreachable { operation, endpoint, cause },
            Failure::Silent => DcsError::Timeout { operation, endpoint, waited },
            Failure::Server { http, code, message } => {
                let cause = match code {
                    -1 => format!("{message} (HTTP status {http})"),
                    code => format!("{message} (code {code})"),
                };
                DcsError::Server { operation, endpoint, cause }
            }
            Failure::Denied(cause) => DcsError::Denied { operation, endpoint, cause },
            Failure::Garbled(cause) => DcsError::Garbled { operation, endpoint, cause },
            Failure::Stale(cause) => DcsError::Server { operation, endpoint, cause },
        }
    }
}

impl Failing for Failure {
    fn perhaps_applied(&self) -> bool {
        match self {
            Failure::Connect(_) | Failure::Denied(_) => false,
            Failure::Server { .. } => self.worth_another_try(),
            Failure::Broken(_) | Failure::Silent | Failure::Garbled(_) | Failure::Stale(_) => true,
        }
    }

    fn worth_another_try(&self) -> bool {
        match self {
            Failure::Connect(_) | Failure::Broken(_) | Failure::Silent | Failure::Garbled(_) | Failure::Stale(_) => {
                true
            }
            Failure::Denied(_) => false,
            Failure::Server { code, .. } => !matches!(
                *code,
                INVALID_ARGUMENT | NOT_FOUND | ALREADY_EXISTS | PERMISSION_DENIED | OUT_OF_RANGE | UNIMPLEMENTED
            ),
        }
    }
}

/// The beginning of a text that somebody else wrote, on one line.
pub(crate) fn quote(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let line: String = text.trim().chars().take(QUOTED).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.is_empty() { "an empty answer".to_owned() } else { line }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn errors_read_alike_in_every_version_of_the_gateway() {
        for (body, code, message) in [
            (
                r#"{"error":"etcdserver: requested lease not found","code":5}"#,
                5,
                "etcdserver: requested lease not found",
            ),
            (r#"{"error":"e","message":"m","code":14}"#, 14, "m"),
            (r#"{"code":3,"message":"m","details":[]}"#, 3, "m"),
            (r#"{"error":{"grpc_code":2,"http_code":500,"message":"m","http_status":"x"}}"#, 2, "m"),
            (r#"{"error":{"code":9,"message":"m"}}"#, 9, "m"),
            ("upstream connect error\n", -1, "upstream connect error"),
            ("", -1, "an empty answer"),
            ("[]", -1, "[]"),
            ("{}", -1, "{}"),
        ] {
            let Failure::Server { code: found, message: text, .. } = Failure::from_answer(503, body.as_bytes()) else {
                panic!("{body}");
            };
            assert_eq!((found, text.as_str()), (code, message), "{body}");
        }
    }

    #[test]
    fn a_refusal_is_not_tried_again_and_everything_else_is() {
        for code in -1..40 {
            let failure = Failure::Server { http: 500, code, message: "etcdserver: something".into() };
            let refusal = [3, 5, 6, 7, 11, 12].contains(&code);
            assert_eq!(failure.worth_another_try(), !refusal, "{code}");
        }
    }

    proptest! {
        #[test]
        fn any_status_and_body_is_an_error_with_a_text(http in 0u16..1000, body in prop::collection::vec(any::<u8>(), 0..400)) {
            let failure = Failure::from_answer(http, &body);
            let error = failure.into_error("read", "http://e:2379".into(), Duration::from_millis(5));
            let text = error.to_string();
            prop_assert!(text.starts_with("read: http://e:2379 answered with an error: "), "{text}");
            prop_assert!(text.chars().count() < 400 && !text.chars().any(char::is_control));
        }

        #[test]
        fn any_code_and_message_is_an_error_with_that_message(http in 0u16..1000, code in any::<i64>(), message in "[ -~]{1,80}") {
            let body = serde_json::json!({"error": message, "code": code}).to_string();
            let failure = Failure::from_answer(http, body.as_bytes());
            let Failure::Server { code: found, message: text, .. } = &failure else { panic!() };
            prop_assert_eq!(*found, code);
            prop_assert!(message.trim().is_empty() || text.contains(message.trim()));
            let _ = (failure.needs_login(), failure.is_lease_gone(), failure.perhaps_applied());
        }

        #[test]
        fn any_json_is_an_error(http in 0u16..1000, code in any::<i32>(), nested in any::<bool>()) {
            let inner = serde_json::json!({"grpc_code": code, "message": null, "x": [1, {}]});
            let body = if nested { serde_json::json!({"error": inner}) } else { inner };
            let is_server_error = matches!(Failure::from_answer(http, body.to_string().as_bytes()), Failure::Server { .. });
            prop_assert!(is_server_error);
        }
    }
}
