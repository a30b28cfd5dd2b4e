//! `GET /cluster`: the members as the store has them at this moment (rest-api 5).

use jogi_core::Lsn;
use jogi_core::view::{Cluster, Member, Settings, SyncMode};
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::api::{Api, store_failed};

pub(super) async fn get(api: &Api) -> Answer {
    let snapshot = api.snapshot();
    match api.read_cluster().await {
        Ok(cluster) => {
            let settings = cluster.settings().unwrap_or_else(|| (*snapshot.settings).clone());
            Answer::json(200, &document(&cluster, &settings, &snapshot.local.scope))
        }
        Err(error) => store_failed(&error),
    }
}

/// The document in Patroni's order of fields.
fn document(cluster: &Cluster, settings: &Settings, scope: &str) -> Value {
    let mut doc = Map::new();
    let members = cluster.members.values().map(|m| member(cluster, settings, m));
    doc.insert("members".into(), members.collect());
    if settings.pause {
        doc.insert("pause".into(), true.into());
    }
    if let Some(failover) = cluster.failover.as_ref().map(|f| &f.value)
        && let Some(at) = &failover.scheduled_at
    {
        let mut scheduled = Map::new();
        scheduled.insert("at".into(), at.as_str().into());
        if let Some(from) = &failover.leader {
            scheduled.insert("from".into(), from.as_str().into());
        }
        if let Some(to) = &failover.member {
            scheduled.insert("to".into(), to.as_str().into());
        }
        doc.insert("scheduled_switchover".into(), Value::Object(scheduled));
    }
    doc.insert("scope".into(), scope.into());
    Value::Object(doc)
}

fn member(cluster: &Cluster, settings: &Settings, member: &Member) -> Value {
    let is_leader = cluster.is_leader(&member.name);
    let role = role(cluster, settings, member);
    let data = &member.data;
    let replication = data.replication_state().filter(|_| role != "leader");
    let state = replication.or_else(|| data.0.get("state").and_then(Value::as_str)).unwrap_or("");
    let mut doc = Map::new();
    doc.insert("name".into(), member.name.as_str().into());
    doc.insert("role".into(), role.into());
    doc.insert("state".into(), state.into());
    doc.insert("api_url".into(), data.api_url().into());
    if let Some((host, port)) = data.address() {
        doc.insert("host".into(), host.into());
        doc.insert("port".into(), port.into());
    }
    for field in ["timeline", "pending_restart", "pending_restart_reason", "scheduled_restart", "tags"] {
        if let Some(value) = data.0.get(field) {
            doc.insert(field.into(), value.clone());
        }
    }
    if !is_leader {
        let end = cluster.status.optime;
        insert_position(&mut doc, "receive_", data.receive_lsn(), end);
        insert_position(&mut doc, "replay_", data.replay_lsn(), end);
        insert_position(&mut doc, "", data.xlog_location(), end);
    }
    Value::Object(doc)
}

fn role(cluster: &Cluster, settings: &Settings, member: &Member) -> &'static str {
    let is_standby = settings.is_sync() && cluster.sync.is_standby(&member.name);
    match settings.sync_mode {
        _ if cluster.is_leader(&member.name) && settings.standby_cluster.is_some() => "standby_leader",
        _ if cluster.is_leader(&member.name) => "leader",
        SyncMode::Priority if is_standby => "sync_standby",
        SyncMode::Quorum if is_standby => "quorum_standby",
        SyncMode::Off | SyncMode::Priority | SyncMode::Quorum => "replica",
    }
}

/// `…lag` and `…lsn`, in the order in which Patroni happens to write them.
fn insert_position(doc: &mut Map<String, Value>, prefix: &str, lsn: Option<Lsn>, end: Lsn) {
    let (lag_field, lsn_field) = (format!("{prefix}lag"), format!("{prefix}lsn"));
    match lsn.filter(|lsn| lsn.is_valid()) {
        Some(lsn) => {
            doc.insert(lag_field, json!(end.ahead_of(lsn)));
            doc.insert(lsn_field, json!(lsn.to_string()));
        }
        None => {
            doc.insert(lsn_field, json!("unknown"));
            doc.insert(lag_field, json!("unknown"));
        }
    }
}

#[cfg(test)]
mod tests {
    use jogi_config::python;
    use jogi_core::view::{KeyValue, Revision};

    use super::*;

    fn cluster(keys: &[(&str, &str)]) -> Cluster {
        let kv = |(path, value): &(&str, &str)| KeyValue {
            path: (*path).into(),
            value: (*value).into(),
            revision: Revision("2".into()),
            created: Revision("1".into()),
            session: None,
        };
        Cluster::from_keys(keys.iter().map(kv))
    }

    const A: &str = r#"{"conn_url":"postgres://10.0.0.4:5432/postgres","api_url":"http://10.0.0.4:8008/patroni","state":"running","role":"primary","version":"4.1.5","xlog_location":67109000,"timeline":2}"#;
    const B: &str = r#"{"conn_url":"postgres://10.0.0.5:5432/postgres","api_url":"http://10.0.0.5:8008/patroni","state":"running","role":"replica","version":"4.1.5","tags":{"clonefrom":true},"xlog_location":67108960,"replay_lsn":67108960,"receive_lsn":67108960,"replication_state":"streaming","timeline":2}"#;

    #[test]
    fn the_document_of_a_synchronous_pair_is_patronis() {
        let cluster = cluster(&[
            ("leader", "node-0"),
            ("members/node-0", A),
            ("members/node-1", B),
            ("members/node-2", r#"{"state":"stopped"}"#),
            ("status", r#"{"optime":67108960}"#),
            ("sync", r#"{"leader":"node-0","quorum":0,"sync_standby":"node-1"}"#),
            ("config", r#"{"synchronous_mode":true,"pause":true}"#),
            ("failover", r#"{"leader":"node-0","scheduled_at":"2026-11-22T23:00:00+00:00"}"#),
        ]);
        let settings = cluster.settings().expect("settings");
        assert_eq!(
            python::json(&document(&cluster, &settings, "demo")),
            concat!(
                r#"{"members": [{"name": "node-0", "role": "leader", "state": "running", "api_url": "http://10.0.0.4:8008/patroni", "host": "10.0.0.4", "port": 5432, "timeline": 2}, "#,
                r#"{"name": "node-1", "role": "sync_standby", "state": "streaming", "api_url": "http://10.0.0.5:8008/patroni", "host": "10.0.0.5", "port": 5432, "timeline": 2, "tags": {"clonefrom": true}, "receive_lag": 0, "receive_lsn": "0/4000060", "replay_lag": 0, "replay_lsn": "0/4000060", "lag": 0, "lsn": "0/4000060"}, "#,
                r#"{"name": "node-2", "role": "replica", "state": "stopped", "api_url": null, "receive_lsn": "unknown", "receive_lag": "unknown", "replay_lsn": "unknown", "replay_lag": "unknown", "lsn": "unknown", "lag": "unknown"}], "#,
                r#""pause": true, "scheduled_switchover": {"at": "2026-11-22T23:00:00+00:00", "from": "node-0"}, "scope": "demo"}"#
            )
        );
    }

    #[test]
    fn roles_follow_the_mode() {
        for (config, sync, role) in [
            (r#"{"synchronous_mode":"quorum"}"#, "node-1", "quorum_standby"),
            (r#"{"synchronous_mode":true}"#, "node-9", "replica"),
            (r#"{}"#, "node-1", "replica"),
        ] {
            let sync = format!(r#"{{"leader":"node-0","quorum":0,"sync_standby":"{sync}"}}"#);
            let cluster = cluster(&[
                ("leader", "node-0"),
                ("members/node-0", A),
                ("members/node-1", B),
                ("sync", &sync),
                ("config", config),
            ]);
            let settings = cluster.settings().expect("settings");
            let document = document(&cluster, &settings, "demo");
            assert_eq!(document["members"][1]["role"], role, "{config}");
        }
    }
}
