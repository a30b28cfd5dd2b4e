//! The user's own mapping, `SPILO_CONFIGURATION` or else `PATRONI_CONFIGURATION`.

use serde_json::{Map, Value};

use crate::source::Source;
use crate::variables::{Values, mapping as read};

/// What cannot be read has been refused.
pub(super) fn mapping(values: &Values) -> Option<(Map<String, Value>, Source)> {
    let name = ["SPILO_CONFIGURATION", "PATRONI_CONFIGURATION"].into_iter().find(|name| values.has(name))?;
    let mapping = read(values.get(name)?).ok()?;
    Some((mapping, values.source(name)))
}
