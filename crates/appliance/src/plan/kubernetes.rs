//! The Kubernetes API as the store.

use serde_json::{Map, Value, json};

use super::{Settings, store};
use crate::document::Document;
use crate::variables::{Sourced, Values, json_texts};

pub(super) fn put(values: &Values, settings: &Settings, config: &mut Document) {
    for (key, name) in store::options(values, "kubernetes") {
        config.put(&["kubernetes", key.as_str()], values.get(name).unwrap_or_default(), values.source(name));
    }
    let labels = |name, default| values.text(name, default).map(|text| object(&text));
    config.put_sourced(&["kubernetes", "labels"], labels("KUBERNETES_LABELS", r#"{"application": "spilo"}"#));
    config.put_sourced(&["kubernetes", "bootstrap_labels"], labels("KUBERNETES_BOOTSTRAP_LABELS", "{}"));
    for (key, name, default) in [
        ("scope_label", "KUBERNETES_SCOPE_LABEL", "version"),
        ("role_label", "KUBERNETES_ROLE_LABEL", "spilo-role"),
        ("leader_label_value", "KUBERNETES_LEADER_LABEL_VALUE", "master"),
        ("standby_leader_label_value", "KUBERNETES_STANDBY_LEADER_LABEL_VALUE", "master"),
    ] {
        config.put_sourced(&["kubernetes", key], values.text(name, default));
    }
    let configmaps = values.flag("KUBERNETES_USE_CONFIGMAPS", false);
    config.remove(&["kubernetes", "use_configmaps"]);
    if !configmaps.value {
        config.put(&["kubernetes", "use_endpoints"], true, configmaps.source.clone());
        config.put_sourced(&["kubernetes", "pod_ip"], settings.ip.clone());
        let ports = json!([{"name": "postgresql", "port": 5432}]);
        config.put(&["kubernetes", "ports"], ports, configmaps.source);
    }
    let bypass = values.text("KUBERNETES_BYPASS_API_SERVICE", "true");
    config.remove(&["kubernetes", "bypass_api_service"]);
    if bypass.value.eq_ignore_ascii_case("true") {
        config.put_sourced(&["kubernetes", "bypass_api_service"], Sourced::new(true, bypass.source));
    }
}

/// Anything else has been refused.
fn object(text: &str) -> Value {
    let pairs = json_texts(text).unwrap_or_default();
    Value::Object(pairs.into_iter().map(|(key, value)| (key, value.into())).collect::<Map<_, _>>())
}
