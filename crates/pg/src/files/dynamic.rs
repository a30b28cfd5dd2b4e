//! `patroni.dynamic.json`: the dynamic configuration beside the data, for as long as the store is silent.

use std::path::Path;

use serde_json::Value;

use super::{FileError, write};

const NAME: &str = "patroni.dynamic.json";

/// Keeps the file current. Blocking. Does nothing while there is no data directory.
pub fn save_dynamic(data_dir: &Path, config: &Value) -> Result<(), FileError> {
    if !data_dir.join("PG_VERSION").exists() {
        return Ok(());
    }
    let text = jogi_config::python::json(config);
    write::replace(&data_dir.join(NAME), text.as_bytes(), write::mode_inside(data_dir)).map(|_| ())
}

/// The dynamic configuration as last saved; `None` when there is none or it cannot be read.
pub fn load_dynamic(data_dir: &Path) -> Option<Value> {
    let text = std::fs::read_to_string(data_dir.join(NAME)).ok()?;
    serde_json::from_str(&text).ok().filter(Value::is_object)
}

/// Forgets what another cluster saved into a copied data directory.
pub(crate) fn forget_dynamic(data_dir: &Path) -> Result<(), FileError> {
    write::remove(&data_dir.join(NAME)).map(|_| ())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_file_reads_as_patroni_writes_it() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let config = json!({"ttl": 30, "postgresql": {"parameters": {"a": "é"}}});
        save_dynamic(dir.path(), &config).expect("nothing to do");
        assert_eq!(load_dynamic(dir.path()), None, "there are no data yet");
        std::fs::write(dir.path().join("PG_VERSION"), "15\n").expect("written");
        save_dynamic(dir.path(), &config).expect("saved");
        let text = std::fs::read_to_string(dir.path().join(NAME)).expect("the file");
        assert_eq!(text, r#"{"ttl": 30, "postgresql": {"parameters": {"a": "\u00e9"}}}"#);
        assert_eq!(load_dynamic(dir.path()), Some(config));
        std::fs::write(dir.path().join(NAME), "[1]").expect("written");
        assert_eq!(load_dynamic(dir.path()), None, "what is no configuration is none");
        forget_dynamic(dir.path()).expect("removed");
        assert!(!dir.path().join(NAME).exists());
    }
}
