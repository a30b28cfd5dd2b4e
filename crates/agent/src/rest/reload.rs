//! `POST /reload`: the same as SIGHUP.

use jogi_core::ha::Request;

use super::answer::Answer;
use super::api::{Api, CORE_PATIENCE};

pub(super) async fn post(api: &Api) -> Answer {
    api.ask(Request::Reload, CORE_PATIENCE).await.into()
}
