//! `GET`, `PATCH` and `PUT /config`: the dynamic configuration in the store (rest-api 7).
//!
//! Neither keys nor values are validated here, as in Patroni: what a member cannot use it warns of when it follows.

use std::time::Duration;

use jogi_config::{dynamic, python};
use jogi_core::ha::Request;
use jogi_core::view::{Cluster, Condition, Key, Write, Written, compact};
use serde_json::{Map, Value};

use super::answer::Answer;
use super::api::{Api, CORE_PATIENCE, store_failed};

const WRITE_PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn get(api: &Api) -> Answer {
    let cached = api.snapshot().cluster.clone();
    let cluster = match cached {
        Some(cluster) => cluster,
        None => match api.read_cluster().await {
            Ok(cluster) => cluster,
            Err(error) => return store_failed(&error),
        },
    };
    match &cluster.config {
        Some(config) => Answer::json(200, &config.value),
        None => Answer::error(502),
    }
}

/// Merges into what the store has now; conflicting changes are answered with 409 and change nothing.
pub(super) async fn patch(api: &Api, changes: Map<String, Value>) -> Answer {
    let cluster = match api.read_cluster().await {
        Ok(cluster) => cluster,
        Err(error) => return store_failed(&error),
    };
    let Some(config) = &cluster.config else { return Answer::error(503) };
    let mut value = Value::clone(&config.value);
    if dynamic::patch(&mut value, &Value::Object(changes)) {
        let condition = Condition::Unchanged(config.revision.clone());
        match api.dcs.write(&write(&value, condition), WRITE_PATIENCE).await {
            Ok(Written::Done { .. }) => {}
            Ok(Written::Conflict | Written::SessionGone) => return Answer::error(409),
            Err(error) => return store_failed(&error),
        }
    }
    wake(api).await;
    Answer::json(200, &value)
}

/// Replaces everything, whatever was there.
pub(super) async fn put(api: &Api, value: Map<String, Value>) -> Answer {
    let value = Value::Object(value);
    let cluster = match api.read_cluster().await {
        Ok(cluster) => cluster,
        Err(error) => return store_failed(&error),
    };
    if !is_same(&cluster, &value) {
        match api.dcs.write(&write(&value, Condition::Always), WRITE_PATIENCE).await {
            Ok(Written::Done { .. }) => {}
            Ok(Written::Conflict | Written::SessionGone) => return Answer::error(502),
            Err(error) => {
                tracing::warn!("REST: {error}");
                return Answer::error_because(502, &error.to_string());
            }
        }
        wake(api).await;
    }
    Answer::json(200, &value)
}

fn write(value: &Value, condition: Condition) -> Write {
    Write::put(Key::Config, compact(value)).when(condition)
}

/// The same keys, and values that print alike.
fn is_same(cluster: &Cluster, value: &Value) -> bool {
    cluster.config.as_ref().is_some_and(|config| alike(&config.value, value))
}

fn alike(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, value)| b.get(key).is_some_and(|other| alike(value, other)))
        }
        (a, b) => python::same(a, b),
    }
}

/// The loop looks at once. It sees the change by its watch as well, so its answer is not waited for.
async fn wake(api: &Api) {
    let _ = api.ask(Request::Wake, CORE_PATIENCE.min(Duration::from_secs(1))).await;
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_that_prints_alike_is_not_written_again() {
        for (a, b, same) in [
            (json!({"ttl": 30}), json!({"ttl": "30"}), true),
            (json!({"a": {"b": 1}, "c": 2}), json!({"c": 2, "a": {"b": 1}}), true),
            (json!({"a": 1}), json!({"a": 1, "b": 2}), false),
            (json!({"a": {"b": 1}}), json!({"a": {"b": 2}}), false),
        ] {
            assert_eq!(alike(&a, &b), same, "{a} {b}");
        }
    }
}
