//! The dynamic configuration: the store's `config` key, as people change it.

use serde_json::{Map, Value};

use crate::python;

/// Merges a patch as `PATCH /config` and `edit-config --apply` do: null deletes, an object goes into an
/// object, scalars are compared as texts (`"1"` over `1` is no change), anything else replaces.
/// True when something changed.
pub fn patch(config: &mut Value, changes: &Value) -> bool {
    match (config, changes) {
        (Value::Object(config), Value::Object(changes)) => patch_map(config, changes),
        (config, changes) if python::same(config, changes) => false,
        (config, changes) => {
            *config = changes.clone();
            true
        }
    }
}

/// [`patch`] of objects.
pub fn patch_map(config: &mut Map<String, Value>, changes: &Map<String, Value>) -> bool {
    let mut changed = false;
    for (key, value) in changes {
        changed |= match (config.get_mut(key), value) {
            (old, Value::Null) => {
                let existed = old.is_some_and(|old| !old.is_null());
                config.shift_remove(key);
                existed
            }
            (Some(Value::Object(old)), Value::Object(new)) => patch_map(old, new),
            (Some(old), new) if !new.is_object() && python::same(old, new) => false,
            (Some(old), new) => {
                *old = new.clone();
                true
            }
            (None, new) => {
                config.insert(key.clone(), new.clone());
                true
            }
        };
    }
    changed
}

/// Why an `-s` or `-p` argument was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    #[error("Invalid parameter setting {0}")]
    NoEquals(String),
    #[error("Invalid parameter setting {setting}: {source}")]
    BadValue { setting: String, source: crate::yaml::YamlError },
}

/// One `-s PATH=VALUE`: dots separate keys, below `postgresql.parameters` the rest is one name; the value
/// is YAML; null deletes; objects that become empty are removed.
pub fn set(config: &mut Value, setting: &str) -> Result<(), SetError> {
    let (path, text) = setting.split_once('=').ok_or_else(|| SetError::NoEquals(setting.to_owned()))?;
    let value =
        crate::yaml::parse(text).map_err(|source| SetError::BadValue { setting: setting.to_owned(), source })?;
    let path: Vec<&str> = match path.trim().strip_prefix("postgresql.parameters.") {
        Some(parameter) => vec!["postgresql", "parameters", parameter],
        None => path.trim().split('.').collect(),
    };
    if !config.is_object() {
        *config = Value::Object(Map::new());
    }
    if let (Some(config), Some((key, rest))) = (config.as_object_mut(), path.split_first()) {
        set_path(config, key, rest, value);
    }
    Ok(())
}

fn set_path(config: &mut Map<String, Value>, key: &str, rest: &[&str], value: Value) {
    let Some((next, rest)) = rest.split_first() else {
        match value {
            Value::Null => {
                config.shift_remove(key);
            }
            value => {
                config.insert(key.to_owned(), value);
            }
        }
        return;
    };
    let below = config.entry(key).or_insert_with(|| Value::Object(Map::new()));
    if !below.is_object() {
        *below = Value::Object(Map::new());
    }
    if let Value::Object(below) = below {
        set_path(below, next, rest, value);
        if below.is_empty() {
            config.shift_remove(key);
        }
    }
}

/// One `-p PARAMETER=VALUE`, short for `-s postgresql.parameters.PARAMETER=VALUE`.
pub fn set_parameter(config: &mut Value, setting: &str) -> Result<(), SetError> {
    match setting.contains('=') {
        true => set(config, &format!("postgresql.parameters.{}", setting.trim_start())),
        // Told as it was understood, which is how patronictl tells it.
        false => Err(SetError::NoEquals(format!("postgresql.parameters.{setting}"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn patches_merge_as_the_rest_api_says() {
        for (before, changes, after, changed) in [
            (json!({"ttl": 30}), json!({"ttl": "30"}), json!({"ttl": 30}), false),
            (json!({"ttl": 30}), json!({"ttl": 20}), json!({"ttl": 20}), true),
            (json!({"a": {"b": 1, "c": 2}}), json!({"a": {"b": null}}), json!({"a": {"c": 2}}), true),
            (json!({"a": 1}), json!({"b": null}), json!({"a": 1}), false),
            (json!({"a": null}), json!({"a": null}), json!({}), false),
            (json!({"a": 1}), json!({"a": {"b": null}}), json!({"a": {"b": null}}), true),
            (json!({"a": {"b": 1}}), json!({"a": 1}), json!({"a": 1}), true),
            (json!({"a": [1]}), json!({"a": [1]}), json!({"a": [1]}), false),
            (json!({"a": [1]}), json!({"a": "[1]"}), json!({"a": [1]}), false),
            (json!({"a": true}), json!({"a": "True"}), json!({"a": true}), false),
            (json!({"a": {}}), json!({"a": {}}), json!({"a": {}}), false),
        ] {
            let mut config = before.clone();
            assert_eq!((patch(&mut config, &changes), config), (changed, after), "{before} {changes}");
        }
    }

    #[test]
    fn settings_are_paths_and_yaml() {
        let mut config = json!({"ttl": 30, "postgresql": {"parameters": {"a": 1}}});
        for setting in
            ["ttl=20", "postgresql.parameters.pg_stat_statements.max=5", "pause = on", "standby_cluster.host=h"]
        {
            set(&mut config, setting).expect(setting);
        }
        set(&mut config, "standby_cluster.host=null").expect("delete");
        set_parameter(&mut config, "work_mem=4MB").expect("a parameter");
        set_parameter(&mut config, "a=").expect("empty is null");
        assert_eq!(
            config,
            json!({"ttl": 20, "postgresql": {"parameters": {"pg_stat_statements.max": 5, "work_mem": "4MB"}}, "pause": true})
        );
    }

    #[test]
    fn bad_settings_are_refused() {
        let mut config = json!({});
        assert_eq!(set(&mut config, "ttl").map_err(|e| e.to_string()), Err("Invalid parameter setting ttl".into()));
        assert!(matches!(set_parameter(&mut config, "x=[1"), Err(SetError::BadValue { .. })));
        assert!(set_parameter(&mut config, "x").is_err());
    }
}
