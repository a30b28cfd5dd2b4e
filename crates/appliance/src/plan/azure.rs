//! Azure: one of three ways to prove who one is, or the machine's identity.

use super::Plan;
use super::archive::EnvDir;

const COPIED: [&str; 4] =
    ["AZURE_STORAGE_ACCOUNT", "WALG_AZURE_BUFFER_SIZE", "WALG_AZURE_MAX_BUFFERS", "AZURE_ENVIRONMENT_NAME"];

/// The first complete one is written.
const LOGINS: [&[&str]; 3] = [
    &["AZURE_STORAGE_ACCESS_KEY"],
    &["AZURE_STORAGE_SAS_TOKEN"],
    &["AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_TENANT_ID"],
];

pub(super) fn put(dir: &mut EnvDir<'_>, plan: &mut Plan) {
    dir.copy(&COPIED);
    let complete: Vec<&[&str]> =
        LOGINS.into_iter().filter(|login| login.iter().all(|name| dir.given(name).is_some())).collect();
    let Some((first, others)) = complete.split_first() else { return };
    dir.copy(first);
    if !others.is_empty() {
        plan.warn(format!(
            "several ways to log in to Azure are given; {} is used",
            first.iter().map(|name| format!("{}{name}", dir.role.prefix())).collect::<Vec<_>>().join(", ")
        ));
    }
}
