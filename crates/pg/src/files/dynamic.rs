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
