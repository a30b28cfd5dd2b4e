//! A cluster that follows another one.

use serde_json::json;

use super::archive::{self, Role};
use super::quote::quoted;
use super::{Plan, Settings, patroni};
use crate::document::Document;
use crate::source::Source;
use crate::variables::{Sourced, Values};

/// The operator writes this name into the store: it stays.
const METHOD: &str = "bootstrap_standby_with_wale";

pub(super) fn decide(values: &Values, settings: &Settings, config: &mut Document, plan: &mut Plan) {
    let archive = archive::of(values, settings, Role::Standby);
    let archive = archive.filter(|archive| archive.named.whole.is_some() || values.filled("STANDBY_SCOPE").is_some());
    let host = values.filled("STANDBY_HOST");
    let wanted = match values.has("STANDBY_CLUSTER") {
        true => values.flag("STANDBY_CLUSTER", false),
        false => Sourced::new(archive.is_some() || host.is_some(), Source::Default),
    };
    if settings.demo {
        if wanted.value {
            plan.warn("DEMO is true: this is no standby cluster");
        }
        return;
    }
    if !wanted.value {
        return;
    }
    if archive.is_none() && host.is_none() {
        plan.warn("STANDBY_CLUSTER asks for a standby cluster, but neither STANDBY_HOST nor an archive is given");
    }
    let at = |key| ["bootstrap", "dcs", "standby_cluster", key];
    let methods = match &archive {
        Some(_) => json!([METHOD, "basebackup_fast_xlog"]),
        None => json!(["basebackup_fast_xlog"]),
    };
    let source = archive.as_ref().map_or(Source::Default, |archive| archive.source.clone());
    config.put(&at("create_replica_methods"), methods, source.clone());
    if let Some(archive) = archive {
        let restore = archive::restore_command(values, &archive.directory);
        config.put(&at("restore_command"), restore, source.clone());
        let command = format!("envdir {} bash /scripts/walg_restore.sh", quoted(&archive.directory));
        patroni::restore_method(values, &["postgresql", METHOD], command, source, config);
    }
    for (key, name) in
        [("host", "STANDBY_HOST"), ("port", "STANDBY_PORT"), ("primary_slot_name", "STANDBY_PRIMARY_SLOT_NAME")]
    {
        if let Some(value) = values.filled(name) {
            config.put_sourced(&at(key), value);
        }
    }
}
