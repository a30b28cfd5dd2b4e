//! `POST /switchover`, `POST /failover` and `DELETE /switchover` (rest-api 8).
//!
//! What can be judged from the body and the clock is judged here, in Patroni's order; the core judges the rest,
//! writes the request and answers when another leader is in place.

use jogi_config::python;
use jogi_core::ha::Request;
use serde_json::{Map, Value};

use super::answer::Answer;
use super::api::{Api, CORE_PATIENCE, OPERATION_PATIENCE};
use super::body::text;
use super::schedule;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Switchover,
    Failover,
}

pub(super) async fn post(api: &Api, action: Action, body: Map<String, Value>) -> Answer {
    match request(api, action, &body) {
        Ok(request) => api.ask(request, OPERATION_PATIENCE).await.into(),
        Err(refusal) => refusal,
    }
}

fn request(api: &Api, action: Action, body: &Map<String, Value>) -> Result<Request, Answer> {
    let leader = text(body, "leader")?;
    let candidate = text(body, "candidate")?.or(text(body, "member")?);
    let scheduled_at = body.get("scheduled_at").filter(|value| python::is_true(value));
    tracing::info!(
        "received {action:?} request with leader={leader:?} candidate={candidate:?} scheduled_at={scheduled_at:?}"
    );
    let refuse = |text: &str| Err(Answer::text(400, text));
    match action {
        Action::Failover if candidate.is_none() => {
            return refuse("Failover could be performed only to a specific candidate");
        }
        Action::Switchover if leader.is_none() => {
            return refuse("Switchover could be performed only from a specific leader");
        }
        Action::Failover if scheduled_at.is_some() => return refuse("Failover can't be scheduled"),
        Action::Failover | Action::Switchover => {}
    }
    let scheduled_at = match scheduled_at {
        Some(_) if api.snapshot().settings.pause => {
            return refuse("Can't schedule switchover in the paused state");
        }
        Some(value) => Some(schedule::parse(value, "switchover", api.now().wall)?),
        None => None,
    };
    let manual_failover = action == Action::Failover && leader.is_none();
    if action == Action::Failover && !manual_failover {
        tracing::warn!("received failover request with leader specified - performing switchover instead");
    }
    Ok(Request::Switchover { manual_failover, leader, candidate, scheduled_at })
}

pub(super) async fn delete(api: &Api) -> Answer {
    let reply = api.ask(Request::CancelSwitchover, CORE_PATIENCE).await;
    match reply.status {
        409 => Answer::error_because(409, &reply.text),
        _ => reply.into(),
    }
}
