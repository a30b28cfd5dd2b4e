//! `GET /incident`: what this member saw, decided and did. Ours alone.

use serde_json::json;

use super::answer::Answer;
use super::api::Api;

pub(super) fn get(api: &Api) -> Answer {
    let name = api.snapshot().local.name.clone();
    Answer::json(200, &json!({"name": name, "moments": api.record.all()}))
}
