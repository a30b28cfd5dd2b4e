//! The last look: the agent's own reader at the whole configuration.

use jogi_config::{Local, yaml};
use serde_json::Value;

use super::Plan;
use crate::document::Document;
use crate::source::Source;
use crate::variables::{Problem, Values, is_secret, looks_secret};

/// What the agent would refuse is refused now, by the name of the variable that it came from; what it
/// would warn of is a warning now.
pub(super) fn check(_values: &Values, config: &Document, plan: &mut Plan, problems: &mut Vec<Problem>) {
    let name = "postgres.yml".to_owned();
    let text = yaml::dump(&Value::Object(config.root().clone()));
    match Local::load(&[(name, text)], &Default::default()) {
        Ok(loaded) => loaded.warnings.into_iter().for_each(|warning| plan.warn(warning)),
        Err(refused) => problems.extend(refused.problems.into_iter().filter_map(|problem| {
            // Without a store it says so itself; that has been told, with what to set.
            if problem.place.is_empty() && !has_store(config) {
                return None;
            }
            let path: Vec<&str> = problem.place.split('.').collect();
            let named = match config.source(&path) {
                Some(Source::Variable(name)) => name.clone(),
                Some(_) | None => "the configuration".to_owned(),
            };
            let last = path.last().copied().unwrap_or_default();
            let hidden = is_secret(&named) && !named.ends_with("_CONFIGURATION") || looks_secret(last);
            let value = config.get(&path).filter(|value| !value.is_object()).map(|value| match hidden {
                true => "***".to_owned(),
                false => value.as_str().map_or_else(|| value.to_string(), str::to_owned),
            });
            let what = format!("{}: {}", problem.place, problem.message);
            Some(match value {
                Some(value) if named != "the configuration" && !named.ends_with("_CONFIGURATION") => {
                    Problem { name: named, value: Some(value), expected: format!("what {what}") }
                }
                Some(_) | None => Problem::missing(named, what),
            })
        })),
    }
}

fn has_store(config: &Document) -> bool {
    ["kubernetes", "zookeeper", "exhibitor", "consul", "etcd3", "etcd", "raft"]
        .iter()
        .any(|section| config.root().contains_key(*section))
}
