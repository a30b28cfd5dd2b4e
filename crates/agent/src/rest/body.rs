//! JSON bodies: when one is demanded, what is made of none, and fields of the wrong type.
//!
//! Patroni uses what Python makes of any value. A list for a name, or a word for a truth, is a mistake of the requester:
//! it is answered with 400 and the field, before anything is done.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use jogi_config::postgres::units::parse_bool;
use jogi_config::python;
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

/// A text, as which a number counts too; `None` when it is missing or empty.
pub(super) fn text(body: &Map<String, Value>, name: &str) -> Result<Option<String>, Answer> {
    match body.get(name) {
        None => Ok(None),
        Some(value) if !python::is_true(value) => Ok(None),
        Some(value @ (Value::String(_) | Value::Number(_))) => Ok(Some(python::str(value))),
        Some(value) => Err(wrong(name, "a string", value)),
    }
}

/// A truth in one of PostgreSQL's words; `false` when it is missing.
pub(super) fn flag(body: &Map<String, Value>, name: &str) -> Result<bool, Answer> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(value) => parse_bool(value).ok_or_else(|| wrong(name, "true or false", value)),
    }
}

fn wrong(name: &str, kind: &str, value: &Value) -> Answer {
    Answer::text(400, format!("The field \"{name}\" should be {kind}, not {}", python::json(value)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_have_types() {
        let body = json!({"a": "x", "b": 1, "c": "", "d": null, "e": ["x"], "f": "on", "g": "maybe", "h": true});
        let Value::Object(body) = body else { panic!("an object") };
        let refused = |why: &str| Err(Answer::text(400, why));
        for (name, expected) in [
            ("a", Ok(Some("x".to_owned()))),
            ("b", Ok(Some("1".to_owned()))),
            ("c", Ok(None)),
            ("d", Ok(None)),
            ("z", Ok(None)),
            ("e", refused(r#"The field "e" should be a string, not ["x"]"#)),
            ("h", refused(r#"The field "h" should be a string, not true"#)),
        ] {
            assert_eq!(text(&body, name), expected, "{name}");
        }
        for (name, expected) in [
            ("h", Ok(true)),
            ("f", Ok(true)),
            ("z", Ok(false)),
            ("d", Ok(false)),
            ("g", Err(Answer::text(400, r#"The field "g" should be true or false, not "maybe""#))),
            ("e", Err(Answer::text(400, r#"The field "e" should be true or false, not ["x"]"#))),
        ] {
            assert_eq!(flag(&body, name), expected, "{name}");
        }
    }

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
