//! Who may connect.

use serde_json::{Value, json};

use super::Settings;
use crate::document::Document;
use crate::source::Source;
use crate::variables::{Sourced, Values};

/// The lines of pg_hba, in their order.
pub(super) fn lines(values: &Values, settings: &Settings) -> Sourced<Value> {
    let method = values.filled("JOGI_HBA_METHOD").unwrap_or_else(|| Sourced::new("md5".into(), Source::Default));
    let standby = values.text("PGUSER_STANDBY", "standby");
    let pam = values.filled("PAM_OAUTH2");
    let allow_plain = values.flag("ALLOW_NOSSL", false);
    let (method_name, replica, people) = (&method.value, name(&standby.value), &settings.human_role.value);
    let people = name(people);
    let with_pam =
        |connection: &str, address: &str| pam.as_ref().map(|_| format!("{connection} all +{people} {address} pam"));
    let last = if allow_plain.value { "host" } else { "hostssl" };
    let lines = [
        Some("local all all trust".to_owned()),
        with_pam("hostssl", "127.0.0.1/32"),
        Some(format!("host all all 127.0.0.1/32 {method_name}")),
        with_pam("hostssl", "::1/128"),
        Some(format!("host all all ::1/128 {method_name}")),
        Some(format!("local replication {replica} trust")),
        Some(format!("hostssl replication {replica} all {method_name}")),
        (!allow_plain.value).then(|| "hostnossl all all all reject".to_owned()),
        with_pam("hostssl", "all"),
        Some(format!("{last} all all all {method_name}")),
    ];
    let pam_source = pam.as_ref().map_or(Source::Default, |pam| pam.source.clone());
    let source =
        Source::of(&[&method.source, &standby.source, &pam_source, &allow_plain.source, &settings.human_role.source]);
    Sourced::new(json!(lines.into_iter().flatten().collect::<Vec<String>>()), source)
}

/// A role's name, in quotes where pg_hba would read something else.
fn name(role: &str) -> String {
    let plain = !role.is_empty() && role.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-' || c == '.');
    let keyword = matches!(role, "all" | "replication" | "sameuser" | "samerole");
    match plain && !keyword {
        true => role.to_owned(),
        false => format!("\"{}\"", role.replace('"', "\"\"")),
    }
}

/// The user's `bootstrap.pg_hba` without a line for replication gets one.
pub(super) fn let_replicas_in(config: &mut Document) {
    let path = ["bootstrap", "pg_hba"];
    let Some(Value::Array(lines)) = config.get(&path) else { return };
    if lines.iter().any(|line| line.as_str().is_some_and(|line| line.contains("replication"))) {
        return;
    }
    let role = config.text(&["postgresql", "authentication", "replication", "username"]).unwrap_or("standby");
    let line = Value::from(format!("hostssl replication {} all md5", name(role)));
    let lines: Vec<Value> = std::iter::once(line).chain(lines.iter().cloned()).collect();
    let source = config.source(&path).cloned().unwrap_or(Source::Default);
    config.put(&path, lines, source);
}
