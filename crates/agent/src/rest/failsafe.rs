//! `GET /failsafe`: who has to be reached while the store is gone. `POST /failsafe`: a leader says that it lives.

use http::HeaderName;
use jogi_core::ha::Request;
use serde_json::{Map, Value};

use super::answer::Answer;
use super::api::{Api, CORE_PATIENCE};
use super::body::text;

pub(super) fn get(api: &Api) -> Answer {
    let snapshot = api.snapshot();
    match &snapshot.failsafe_topology {
        Some(failsafe) => {
            let members = failsafe.iter().map(|(name, url)| (name.to_string(), Value::from(url.as_str())));
            Answer::json(200, &Value::Object(members.collect()))
        }
        None => Answer::error(502),
    }
}

/// Whether a POST is listened to at all.
pub(super) fn is_enabled(api: &Api) -> bool {
    api.snapshot().settings.failsafe_mode
}

/// Answered with our last position in the header `lsn`, so that the leader can advance our slot.
pub(super) async fn post(api: &Api, body: Map<String, Value>) -> Result<Answer, Answer> {
    for field in ["name", "conn_url", "api_url"] {
        text(&body, field)?;
    }
    let Some(request) = Request::failsafe(&Value::Object(body)) else {
        return Err(Answer::error_because(400, "name, conn_url and api_url of the leader are needed"));
    };
    let reply = api.ask(request, CORE_PATIENCE).await;
    let accepted = reply.status == 200;
    let answer = Answer::from(reply);
    let position = api.snapshot().position;
    Ok(match accepted && position.is_valid() {
        true => answer.with(HeaderName::from_static("lsn"), position.0.to_string()),
        false => answer,
    })
}
