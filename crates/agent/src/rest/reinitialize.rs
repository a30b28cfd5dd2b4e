//! `POST /reinitialize`: make our data directory anew from another member.

use jogi_core::ha::Request;
use serde_json::{Map, Value};

use super::answer::Answer;
use super::api::{Api, CORE_PATIENCE};
use super::body::flag;

pub(super) async fn post(api: &Api, body: Map<String, Value>) -> Result<Answer, Answer> {
    let request = Request::Reinitialize { force: flag(&body, "force")?, from_leader: flag(&body, "from_leader")? };
    Ok(api.ask(request, CORE_PATIENCE).await.into())
}
