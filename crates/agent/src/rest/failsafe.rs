//! `GET /failsafe`: who has to be reached while the store is gone. `POST /failsafe`: a leader says that it lives.

use std::collections::BTreeMap;

use http::HeaderName;
use jogi_core::MemberName;
use jogi_core::ha::Request;
use serde_json::{Map, Value};

use super::answer::Answer;
use super::api::{Api, CORE_PATIENCE};

pub(super) fn get(api: &Api) -> Answer {
    let snapshot = api.snapshot();
    match snapshot.cluster.as_ref().and_then(|cluster| cluster.failsafe.as_ref()) {
        Some(failsafe) => {
            let members = failsafe.iter().map(|(name, url)| (name.0.clone(), Value::from(url.as_str())));
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
pub(super) async fn post(api: &Api, body: Map<String, Value>) -> Answer {
    let text = |field: &str| body.get(field).and_then(Value::as_str).map(str::to_owned);
    let (Some(name), Some(conn_url), Some(api_url)) = (text("name"), text("conn_url"), text("api_url")) else {
        return Answer::error_because(400, "name, conn_url and api_url of the leader are needed");
    };
    let request = Request::Failsafe { name: MemberName(name), conn_url, api_url, slots: slots(&body) };
    let reply = api.ask(request, CORE_PATIENCE).await;
    let accepted = reply.status == 200;
    let answer = Answer::from(reply);
    let position = api.snapshot().position;
    match accepted && position.is_valid() {
        true => answer.with(HeaderName::from_static("lsn"), position.0.to_string()),
        false => answer,
    }
}

fn slots(body: &Map<String, Value>) -> BTreeMap<String, u64> {
    let slots = body.get("slots").and_then(Value::as_object);
    let slots = slots.into_iter().flatten().filter_map(|(name, lsn)| Some((name.clone(), lsn.as_u64()?)));
    slots.collect()
}
