//! Answers in the form of Python's `http.server`, which Patroni's clients know.
//!
//! HTTP/1.0, one answer per connection, its end is the end of the connection: no `Content-Length` but on error pages.
//! `Server`, `Date` and `Content-Type` come first, in this order, then the configured headers.
//!
//! A client that can keep its connection is answered in HTTP/1.1 with a `Content-Length` at the end of the same head, so
//! that a check each second, or thousands of them, cost no connection each ([`Wire`]).

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use futures_util::stream;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, SERVER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version};
use jogi_config::local::{RestApi, ServerTokens};
use jogi_config::python;
use serde_json::Value;

use super::wall;
use crate::local::VERSION;

/// What a handler answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// A status line and nothing else.
    Bare(u16),
    Full {
        status: u16,
        content_type: &'static str,
        headers: Vec<(HeaderName, String)>,
        body: Bytes,
    },
    /// The HTML page that Python's server makes of an error that a handler raises.
    ErrorPage {
        status: u16,
        message: Option<String>,
        explain: Option<String>,
    },
}

const HTML: &str = "text/html";
const JSON: &str = "application/json";
const PLAIN: &str = "text/plain";

impl Answer {
    pub fn text(status: u16, text: impl Into<String>) -> Answer {
        Answer::Full { status, content_type: HTML, headers: Vec::new(), body: text.into().into() }
    }

    pub fn json(status: u16, document: &Value) -> Answer {
        Answer::document(status, python::json(document).into())
    }

    /// A JSON document in its bytes.
    pub fn document(status: u16, body: Bytes) -> Answer {
        Answer::Full { status, content_type: JSON, headers: Vec::new(), body }
    }

    pub fn plain(text: String) -> Answer {
        Answer::Full { status: 200, content_type: PLAIN, headers: Vec::new(), body: text.into() }
    }

    pub fn error(status: u16) -> Answer {
        Answer::ErrorPage { status, message: None, explain: None }
    }

    /// An error page that says why.
    pub fn error_because(status: u16, why: &str) -> Answer {
        Answer::ErrorPage { status, message: None, explain: Some(why.to_owned()) }
    }

    pub fn unauthorized(why: &str) -> Answer {
        Answer::text(401, why).with(WWW_AUTHENTICATE, "Basic realm=\"Patroni\"".into())
    }

    pub fn with(mut self, name: HeaderName, value: String) -> Answer {
        match &mut self {
            Answer::Full { headers, .. } => headers.push((name, value)),
            Answer::Bare(_) | Answer::ErrorPage { .. } => {}
        }
        self
    }

    #[cfg(test)]
    pub fn status(&self) -> u16 {
        match self {
            Answer::Bare(status) | Answer::Full { status, .. } | Answer::ErrorPage { status, .. } => *status,
        }
    }

    pub fn render(self, fixed: &Headers, wire: Wire) -> Response<Body> {
        match self {
            Answer::Bare(status) => wire.response(status, None),
            Answer::Full { status, content_type, headers, body } => {
                let mut response = wire.response(status, Some(body));
                fixed.begin(&mut response);
                for (name, value) in headers {
                    append(&mut response, name, &value);
                }
                append(&mut response, CONTENT_TYPE, content_type);
                for (name, value) in &fixed.extra {
                    response.headers_mut().append(name, value.clone());
                }
                response
            }
            Answer::ErrorPage { status, message, explain } => {
                let page = Bytes::from(error_page(status, message.as_deref(), explain.as_deref()));
                let length = page.len();
                let mut response = Wire::CLOSES.response(status, Some(page).filter(|_| !wire.head_only));
                fixed.begin(&mut response);
                append(&mut response, CONNECTION, "close");
                append(&mut response, CONTENT_TYPE, "text/html;charset=utf-8");
                append(&mut response, CONTENT_LENGTH, &length.to_string());
                response
            }
        }
    }
}

fn append(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().append(name, value);
    }
}

/// The form in which a client takes its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wire {
    keeps: bool,
    head_only: bool,
}

impl Wire {
    /// As Patroni answers everybody.
    const CLOSES: Wire = Wire { keeps: false, head_only: false };

    /// Whoever speaks HTTP/1.1 keeps the connection unless it says `close`; HTTP/1.0 keeps it when it says
    /// `keep-alive`. `may_keep`: the endpoint allows it.
    pub fn of(version: Version, method: &Method, headers: &HeaderMap, may_keep: bool) -> Wire {
        let wishes = match version {
            Version::HTTP_11 => !says(headers, "close"),
            _ => says(headers, "keep-alive"),
        };
        Wire { keeps: may_keep && wishes, head_only: method == Method::HEAD }
    }

    fn response(self, status: u16, body: Option<Bytes>) -> Response<Body> {
        let (version, body) = match self.keeps {
            // Its length is known, and told.
            true => (Version::HTTP_11, body.map_or_else(Body::empty, Body::from)),
            // A body whose length is not told, so that none is written into the head.
            false => {
                let chunks = body.map(Ok::<_, Infallible>);
                (Version::HTTP_10, Body::from_stream(stream::iter(chunks)))
            }
        };
        let mut response = Response::new(body);
        *response.version_mut() = version;
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response
    }
}

/// Whether the client's `Connection` header has this word.
fn says(headers: &HeaderMap, word: &str) -> bool {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|said| said.trim().eq_ignore_ascii_case(word))
}

/// The headers that the configuration decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Headers {
    server: String,
    extra: Vec<(HeaderName, HeaderValue)>,
}

impl Headers {
    pub fn new(restapi: &RestApi) -> Headers {
        let server = match restapi.server_tokens {
            ServerTokens::Original => concat!("jogi/", env!("CARGO_PKG_VERSION")).to_owned(),
            ServerTokens::Minimal => format!("Patroni/{VERSION}"),
            ServerTokens::ProductOnly => "Patroni".to_owned(),
        };
        let mut configured = restapi.http_extra_headers.clone();
        if restapi.certfile.is_some() {
            for (name, value) in &restapi.https_extra_headers {
                configured.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
                configured.push((name.clone(), value.clone()));
            }
        }
        let mut extra = Vec::new();
        for (name, value) in configured {
            match (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str())) {
                (Ok(name), Ok(value)) => extra.push((name, value)),
                _ => tracing::warn!("restapi: the extra header {name:?} cannot be sent: not a header's name or value"),
            }
        }
        Headers { server, extra }
    }

    fn begin(&self, response: &mut Response<Body>) {
        append(response, SERVER, &self.server);
        append(response, DATE, &wall::http_date(jogi_net::wall_now()));
    }
}

fn error_page(status: u16, message: Option<&str>, explain: Option<&str>) -> String {
    let (short, long) = match status {
        400 => ("Bad Request", "Bad request syntax or unsupported method"),
        409 => ("Conflict", "Request conflict"),
        411 => ("Length Required", "Client must specify Content-Length"),
        501 => ("Not Implemented", "Server does not support this operation"),
        502 => ("Bad Gateway", "Invalid responses from another server/proxy"),
        503 => ("Service Unavailable", "The server cannot process the request due to a high load"),
        _ => ("???", "???"),
    };
    let message = escaped(message.unwrap_or(short));
    let explain = escaped(explain.unwrap_or(long));
    format!(
        "<!DOCTYPE HTML>\n<html lang=\"en\">\n    <head>\n        <meta charset=\"utf-8\">\n        \
         <title>Error response</title>\n    </head>\n    <body>\n        <h1>Error response</h1>\n        \
         <p>Error code: {status}</p>\n        <p>Message: {message}.</p>\n        \
         <p>Error code explanation: {status} - {explain}.</p>\n    </body>\n</html>\n"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_page_is_pythons() {
        let page = error_page(501, Some("Unsupported method ('POST')"), None);
        assert_eq!(
            page,
            r#"<!DOCTYPE HTML>
<html lang="en">
    <head>
        <meta charset="utf-8">
        <title>Error response</title>
    </head>
    <body>
        <h1>Error response</h1>
        <p>Error code: 501</p>
        <p>Message: Unsupported method ('POST').</p>
        <p>Error code explanation: 501 - Server does not support this operation.</p>
    </body>
</html>
"#
        );
        assert!(error_page(503, None, Some("<b> & c")).contains("503 - &lt;b&gt; &amp; c."));
    }

    #[test]
    fn a_bare_answer_has_no_headers() {
        let response = Answer::Bare(503).render(&Headers::default(), Wire::CLOSES);
        assert_eq!((response.status().as_u16(), response.headers().len()), (503, 0));
        assert_eq!(response.version(), Version::HTTP_10);
    }
}
