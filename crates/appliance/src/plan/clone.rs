//! A new cluster from another one.
//!
//! The hazard: a clone that is asked for without all that it takes would become an empty cluster, and
//! nobody would notice until the old one is gone. So it is refused, unless there is data already.

use serde_json::json;

use super::archive::{self, Role};
use super::location::named;
use super::quote::{quoted, word};
use super::{Plan, Section, Settings};
use crate::document::Document;
use crate::facts::Facts;
use crate::source::Source;
use crate::variables::{Problem, Sourced, Values};

/// Puts what a clone needs; whether one was asked for.
pub(super) fn decide(
    values: &Values,
    facts: &Facts,
    settings: &Settings,
    config: &mut Document,
    plan: &mut Plan,
    problems: &mut Vec<Problem>,
) -> bool {
    let missing = match values.get("CLONE_METHOD") {
        Some("CLONE_WITH_WALG") => of_archive(values),
        Some("CLONE_WITH_BASEBACKUP") => of_base_backup(values),
        Some(_) | None => return false,
    };
    if settings.demo {
        plan.warn("DEMO is true: the clone is not made");
        return true;
    }
    if missing.is_empty() {
        match values.get("CLONE_METHOD") {
            Some("CLONE_WITH_WALG") => put_archive(values, settings, config),
            Some(_) | None => put_base_backup(values, settings, config, plan),
        }
        return true;
    }
    let what = format!("the clone lacks {}", missing.join(" and "));
    match facts.data_version {
        Some(_) => plan.warn(format!("{what}; it is not needed, as there is data already")),
        None => problems.push(Problem::missing(
            values.source("CLONE_METHOD").to_string(),
            format!("{what}; without it an empty cluster would be created"),
        )),
    }
    true
}

fn of_archive(values: &Values) -> Vec<String> {
    match named(values, Role::Clone) {
        Some(named) if named.whole.is_some() || values.filled("CLONE_SCOPE").is_some() => Vec::new(),
        Some(_) => vec!["CLONE_SCOPE".to_owned()],
        None => vec![
            "a location (CLONE_WALG_S3_PREFIX, CLONE_WALG_GS_PREFIX, CLONE_WALG_AZ_PREFIX or CLONE_WALG_SWIFT_PREFIX, \
             or CLONE_SCOPE with CLONE_WAL_S3_BUCKET, CLONE_WAL_GS_BUCKET, CLONE_WAL_AZ_BUCKET or \
             CLONE_WAL_SWIFT_BUCKET)"
                .to_owned(),
        ],
    }
}

fn of_base_backup(values: &Values) -> Vec<String> {
    let needed = ["CLONE_SCOPE", "CLONE_HOST", "CLONE_USER", "CLONE_PASSWORD"];
    needed.into_iter().filter(|name| values.filled(name).is_none()).map(str::to_owned).collect()
}

fn put_archive(values: &Values, settings: &Settings, config: &mut Document) {
    let Some(archive) = archive::of(values, settings, Role::Clone) else { return };
    let method = values.source("CLONE_METHOD");
    config.put(&["bootstrap", "method"], "clone_with_walg", method.clone());
    let at = |key| ["bootstrap", "clone_with_walg", key];
    let time = values.text("CLONE_TARGET_TIME", "");
    let command = format!(
        "envdir {} python3 /scripts/clone_with_walg.py --recovery-target-time={}",
        quoted(&archive.directory),
        quoted(&time.value)
    );
    config.put(&at("command"), command, Source::of(&[&archive.source, &time.source]));
    let recovery = |key| ["bootstrap", "clone_with_walg", "recovery_conf", key];
    let restore = archive::restore_command(values, &archive.directory);
    config.put(&recovery("restore_command"), restore, archive.source);
    let timeline = values.text("CLONE_TARGET_TIMELINE", "latest");
    config.put_sourced(&recovery("recovery_target_timeline"), timeline);
    let pause = values.flag("USE_PAUSE_AT_RECOVERY_TARGET", false);
    let action = pause.map(|pause| if pause { "pause" } else { "promote" });
    config.put_sourced(&recovery("recovery_target_action"), action);
    if !time.value.is_empty() {
        config.put_sourced(&recovery("recovery_target_time"), time);
    }
    let inclusive = values.flag("CLONE_TARGET_INCLUSIVE", true);
    if !inclusive.value {
        config.put_sourced(&recovery("recovery_target_inclusive"), inclusive);
    }
}

fn put_base_backup(values: &Values, settings: &Settings, config: &mut Document, plan: &mut Plan) {
    let text = |name| values.text(name, "").value;
    let port = values.text("CLONE_PORT", "5432");
    let default = format!("{}/.pgpass_{}", settings.home.value, text("CLONE_SCOPE"));
    let file = values.filled("CLONE_PGPASS").unwrap_or_else(|| Sourced::new(default, values.source("CLONE_SCOPE")));
    config.put(&["bootstrap", "method"], "clone_with_basebackup", values.source("CLONE_METHOD"));
    let command = format!(
        "python3 /scripts/clone_with_basebackup.py {} {} {} --user={}",
        word(&format!("--pgpass={}", file.value)),
        word(&format!("--host={}", text("CLONE_HOST"))),
        word(&format!("--port={}", port.value)),
        quoted(&text("CLONE_USER")),
    );
    let parts = ["CLONE_HOST", "CLONE_USER"].map(|name| values.source(name));
    let source = Source::of(&[&parts[0], &parts[1], &port.source]);
    config.put(&["bootstrap", "clone_with_basebackup", "command"], json!(command), source);
    let field = |text: &str| text.replace('\\', "\\\\").replace(':', "\\:");
    let line = format!(
        "{}:{}:*:{}:{}\n",
        field(&text("CLONE_HOST")),
        port.value,
        field(&text("CLONE_USER")),
        field(&text("CLONE_PASSWORD"))
    );
    plan.write_secret(Section::Bootstrap, file.value, line, 0o600, values.source("CLONE_PASSWORD"));
}
