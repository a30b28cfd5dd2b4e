//! `POST /reinitialize`: make our data directory anew from another member.

use jogi_config::postgres::units::parse_bool;
use jogi_core::ha::Request;
use serde_json::{Map, Value};

use super::answer::Answer;
use super::api::{Api, CORE_PATIENCE};

pub(super) async fn post(api: &Api, body: Map<String, Value>) -> Answer {
    let flag = |name: &str| body.get(name).and_then(parse_bool).unwrap_or(false);
    let request = Request::Reinitialize { force: flag("force"), from_leader: flag("from_leader") };
    api.ask(request, CORE_PATIENCE).await.into()
}
