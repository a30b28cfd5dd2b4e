//! `GET /history`: the timelines of the cluster.

use serde_json::{Value, json};

use super::answer::Answer;
use super::api::{Api, store_failed};

pub(super) async fn get(api: &Api) -> Answer {
    let cached = api.snapshot().cluster.clone();
    let cluster = match cached {
        Some(cluster) => cluster,
        None => match api.read_cluster().await {
            Ok(cluster) => cluster,
            Err(error) => return store_failed(&error),
        },
    };
    let history = cluster.history.as_ref().map(|history| history.value.to_text());
    let lines = history.and_then(|text| serde_json::from_str::<Value>(&text).ok());
    Answer::json(200, &lines.unwrap_or(json!([])))
}
