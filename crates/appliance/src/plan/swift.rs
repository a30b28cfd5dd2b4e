//! Swift: the documented names, and the OpenStack names that WAL-G reads.

use super::archive::EnvDir;

/// Ours and OpenStack's; where two of ours mean the same, the later one counts.
const NAMES: [(&str, &str); 17] = [
    ("SWIFT_AUTHURL", "OS_AUTH_URL"),
    ("SWIFT_TENANT", "OS_TENANT_NAME"),
    ("SWIFT_TENANT_ID", "OS_TENANT_ID"),
    ("SWIFT_USER", "OS_USERNAME"),
    ("SWIFT_USER_ID", "OS_USER_ID"),
    ("SWIFT_DOMAIN_NAME", "OS_USER_DOMAIN_NAME"),
    ("SWIFT_USER_DOMAIN_NAME", "OS_USER_DOMAIN_NAME"),
    ("SWIFT_DOMAIN_ID", "OS_USER_DOMAIN_ID"),
    ("SWIFT_USER_DOMAIN_ID", "OS_USER_DOMAIN_ID"),
    ("SWIFT_PASSWORD", "OS_PASSWORD"),
    ("SWIFT_AUTH_VERSION", "ST_AUTH_VERSION"),
    ("SWIFT_ENDPOINT_TYPE", "OS_ENDPOINT_TYPE"),
    ("SWIFT_REGION", "OS_REGION_NAME"),
    ("SWIFT_PROJECT_NAME", "OS_PROJECT_NAME"),
    ("SWIFT_PROJECT_ID", "OS_PROJECT_ID"),
    ("SWIFT_PROJECT_DOMAIN_NAME", "OS_PROJECT_DOMAIN_NAME"),
    ("SWIFT_PROJECT_DOMAIN_ID", "OS_PROJECT_DOMAIN_ID"),
];

pub(super) fn put(dir: &mut EnvDir<'_>) {
    for (ours, openstack) in NAMES {
        if let Some(value) = dir.given(ours) {
            dir.put(ours, value.clone());
            dir.put(openstack, value);
        }
    }
}
