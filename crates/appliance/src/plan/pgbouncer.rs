//! PgBouncer's two files, and PAM's one.

use super::{Plan, Section, Settings};
use crate::source::Source;
use crate::variables::Values;

pub(super) fn write(values: &Values, settings: &Settings, plan: &mut Plan) {
    if let Some(text) = values.filled("PGBOUNCER_CONFIGURATION") {
        let path = format!("{}/pgbouncer/pgbouncer.ini", settings.rw_dir);
        plan.write_secret(Section::Pgbouncer, path, text.value, 0o600, text.source);
    }
    let users = ["PGBOUNCER_AUTHENTICATION", "PGBOUNCER_AUTH"].into_iter().find(|name| values.has(name));
    if let Some(text) = users.and_then(|name| values.filled(name)) {
        let path = format!("{}/pgbouncer/userlist.txt", settings.rw_dir);
        plan.write_secret(Section::Pgbouncer, path, text.value, 0o600, text.source);
    }
}

/// Only for an https address with arguments behind it.
pub(super) fn write_pam(values: &Values, settings: &Settings, plan: &mut Plan) {
    let Some(given) = values.filled("PAM_OAUTH2") else { return };
    let mut words = given.value.split_whitespace();
    let is_https = words.next().is_some_and(|address| address.starts_with("https://"));
    if words.next().is_none() {
        return plan.note("PAM_OAUTH2 has no arguments behind its address: no file for PAM");
    }
    if !is_https {
        return plan.warn("PAM_OAUTH2 does not begin with an https:// address: no file for PAM");
    }
    let arguments = given.value.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = format!("auth sufficient pam_oauth2.so {arguments}\naccount sufficient pam_oauth2.so\n");
    let path = format!("{}/pam.d-postgresql", settings.rw_dir);
    plan.write(Section::PamOauth2, path, text, 0o644, Source::clone(&given.source));
}
