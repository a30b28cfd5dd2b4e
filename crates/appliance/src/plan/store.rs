//! Which store keeps the state.

use serde_json::Value;

use super::{Plan, Settings, kubernetes};
use crate::document::Document;
use crate::facts::{Facts, Provider};
use crate::source::Source;
use crate::variables::{Values, hosts, is_service_link};

/// By precedence; the Kubernetes API comes before all of them.
const STORES: [&str; 5] = ["zookeeper", "exhibitor", "consul", "etcd3", "etcd"];

/// Sections of a configuration that are stores.
const SECTIONS: [&str; 7] = ["kubernetes", "zookeeper", "exhibitor", "consul", "etcd3", "etcd", "raft"];

pub(super) fn put(values: &Values, settings: &Settings, config: &mut Document, plan: &mut Plan) {
    let given: Vec<&str> = STORES.into_iter().filter(|store| options(values, store).next().is_some()).collect();
    if values.flag("DCS_ENABLE_KUBERNETES_API", false).value && !settings.kubernetes {
        plan.warn(
            "DCS_ENABLE_KUBERNETES_API counts only inside Kubernetes, and there is no KUBERNETES_SERVICE_HOST: \
             another store is used",
        );
    }
    if settings.native {
        kubernetes::put(values, settings, config);
        if !given.is_empty() {
            plan.warn(format!("the Kubernetes API is the store; the variables of {} are not used", given.join(", ")));
        }
        return;
    }
    let Some((store, others)) = given.split_first() else { return };
    if !others.is_empty() {
        plan.warn(format!("{store} is the store; the variables of {} are not used", others.join(", ")));
    }
    for (key, name) in options(values, store) {
        let text = values.get(name).unwrap_or_default();
        let (key, value) = match key.as_str() {
            // What is no list has been refused.
            "hosts" => (key, hosts(text).unwrap_or(Value::Null)),
            "discovery_domain" => ("discovery_srv".to_owned(), text.into()),
            _ => (key, text.into()),
        };
        config.put(&[*store, key.as_str()], value, values.source(name));
    }
}

/// Option and variable. What Kubernetes sets for a service of that name is no option.
pub(super) fn options<'a>(values: &'a Values, store: &'a str) -> impl Iterator<Item = (String, &'a str)> {
    values.names().filter_map(move |(name, _)| {
        let (first, rest) = name.split_once('_')?;
        let is_option = first.eq_ignore_ascii_case(store) && !rest.is_empty() && !is_service_link(name);
        (is_option && !is_port_link(rest, values.get(name))).then(|| (rest.to_ascii_lowercase(), name))
    })
}

/// `ETCD_PORT=tcp://10.0.0.1:2379` is a link too.
fn is_port_link(rest: &str, text: Option<&str>) -> bool {
    rest.eq_ignore_ascii_case("PORT") && text.is_some_and(|text| text.contains("://"))
}

/// A machine at nobody's cloud without any store has an etcd of its own in the container.
pub(super) fn fall_back(facts: &Facts, config: &mut Document, plan: &mut Plan) {
    let has_one = SECTIONS.iter().any(|section| config.root().contains_key(*section));
    if has_one {
        return;
    }
    if facts.provider == Provider::Local {
        config.put(&["etcd", "host"], "127.0.0.1:2379", Source::Machine("no store was given: the container's own"));
        plan.warn(
            "no store is configured: the configuration names an etcd inside the container, at 127.0.0.1:2379, which \
             nothing starts yet",
        );
    } else {
        plan.warn(format!(
            "no store is configured, and on {} there is none in the container: set ETCD3_HOSTS, another store's \
             variables, or a section of SPILO_CONFIGURATION",
            facts.provider.name()
        ));
    }
}
