//! JSON bodies: when one is demanded, and what is made of none.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use serde_json::{Map, Value};

use super::answer::Answer;

/// More than any store keeps in one key.
const LARGEST: usize = 2 << 20;

/// A requester that announces a body and does not send it is not waited for longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A body that must be a JSON object with something in it.
pub(super) async fn demanded(headers: &HeaderMap, body: Body) -> Result<Map<String, Value>, Answer> {
    let Some(length) = announced(headers)? else { return Err(Answer::error(411)) };
    let object = read(length, body).await?;
    if object.is_empty() { Err(Answer::error(400)) } else { Ok(object) }
}

/// A body that may be missing.
pub(super) async fn optional(headers: &HeaderMap, body: Body) -> Result<Map<String, Value>, Answer> {
    match announced(headers)? {
        None | Some(0) => Ok(Map::new()),
        Some(length) => read(length, body).await,
    }
}

fn announced(headers: &HeaderMap) -> Result<Option<usize>, Answer> {
    let Some(length) = headers.get(CONTENT_LENGTH) else { return Ok(None) };
    let length = length.to_str().ok().and_then(|text| text.trim().parse().ok());
    length.map(Some).ok_or_else(|| Answer::error(400))
}

async fn read(length: usize, body: Body) -> Result<Map<String, Value>, Answer> {
    if length > LARGEST {
        return Err(Answer::error_because(400, "The body is larger than any store would keep"));
    }
    let bytes = tokio::time::timeout(PATIENCE, to_bytes(body, LARGEST)).await;
    let Ok(Ok(bytes)) = bytes else { return Err(Answer::error(400)) };
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) | Err(_) => Err(Answer::error(400)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn headers(length: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(length) = length {
            headers.insert(CONTENT_LENGTH, length.parse().expect("a header value"));
        }
        headers
    }

    #[tokio::test]
    async fn what_is_made_of_a_body() {
        for (length, text, demanded_is, optional_is) in [
            (None, "", Err(411), Ok(json!({}))),
            (Some("0"), "", Err(400), Ok(json!({}))),
            (Some("2"), "{}", Err(400), Ok(json!({}))),
            (Some("7"), r#"{"a":1}"#, Ok(json!({"a": 1})), Ok(json!({"a": 1}))),
            (Some("3"), "[1]", Err(400), Err(400)),
            (Some("1"), "{", Err(400), Err(400)),
            (Some("x"), "{}", Err(400), Err(400)),
            (Some("99999999"), "{}", Err(400), Err(400)),
        ] {
            let shown = |result: Result<Map<String, Value>, Answer>| result.map(Value::Object).map_err(|a| a.status());
            assert_eq!(shown(demanded(&headers(length), Body::from(text)).await), demanded_is, "{length:?} {text}");
            assert_eq!(shown(optional(&headers(length), Body::from(text)).await), optional_is, "{length:?} {text}");
        }
    }
}
