//! `GET /liveness`: whether the decision loop turns.

use super::answer::Answer;
use super::api::Api;

/// 200 in pause, or when the next turn is not overdue by more than a ttl (on a running primary; twice that elsewhere,
/// where nothing is lost by patience).
pub(super) fn get(api: &Api) -> Answer {
    let snapshot = api.snapshot();
    if snapshot.settings.pause {
        return Answer::Bare(200);
    }
    let is_primary = matches!(snapshot.role, "primary" | "promoted")
        && snapshot.server.as_ref().is_some_and(|server| server.process.is_running());
    let patience = snapshot.settings.ttl * if is_primary { 1 } else { 2 };
    let next_turn = snapshot.next_turn.unwrap_or(snapshot.taken_at.boot);
    Answer::Bare(if next_turn + patience > api.now().boot { 200 } else { 503 })
}
