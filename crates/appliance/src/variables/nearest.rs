//! Names that nobody reads, and what was probably meant.

use super::{COPIES, Values, all, find};

/// Variables that begin like this are meant for the appliance.
const OURS: [&str; 21] = [
    "BACKUP_",
    "BGMON_",
    "CALLBACK_",
    "CLONE_",
    "ENABLE_",
    "HUMAN_",
    "INITDB_",
    "LOG_",
    "PAM_",
    "PGBOUNCER_",
    "PGPASSWORD_",
    "PGUSER_",
    "SPILO_",
    "SSL_",
    "STANDBY_",
    "USE_",
    "WAL_",
    "WALE_",
    "WALG_",
    "ALLOW_",
    "EIP_",
];

/// These are used by others as well: only a slip of the pen is told.
const SHARED: [&str; 9] = ["AWS_", "AZURE_", "GOOGLE_", "PG", "POD_", "SSH_", "SWIFT_", "DCS_", "KUBERNETES_"];

/// A slip of the pen: so many letters at most.
const SLIP: usize = 2;

/// One sentence for each name of the environment that nobody reads but that looks as if it should be.
pub(crate) fn unknown(values: &Values) -> Vec<String> {
    values.names().filter_map(|(today, written)| tell(today, written)).collect()
}

fn tell(today: &str, written: &str) -> Option<String> {
    if find(today).is_some() || is_service_link(today) {
        return None;
    }
    let ours = OURS.iter().any(|prefix| today.starts_with(prefix));
    let shared = SHARED.iter().any(|prefix| today.starts_with(prefix));
    let (name, distance) = nearest(today)?;
    let slip = shared && distance <= SLIP;
    if !(ours || slip) {
        return None;
    }
    Some(format!(
        "{written} is not a variable of the appliance and counts for nothing; the nearest known name is {name}"
    ))
}

fn nearest(name: &str) -> Option<(String, usize)> {
    let copies = all().iter().filter(|row| row.copied);
    let copies = copies.flat_map(|row| COPIES.map(|prefix| format!("{prefix}{}", row.name)));
    let names = all().iter().map(|row| row.name.to_owned()).chain(copies);
    names
        .map(|known| (strsim::damerau_levenshtein(name, &known), known))
        .min_by(|(one, a), (other, b)| {
            one.cmp(other).then_with(|| strsim::jaro_winkler(name, b).total_cmp(&strsim::jaro_winkler(name, a)))
        })
        .map(|(distance, known)| (known, distance))
}

/// What Kubernetes sets for every service of the namespace: `LOG_STORE_SERVICE_HOST`, `LOG_STORE_PORT_80_TCP_ADDR`.
pub(crate) fn is_service_link(name: &str) -> bool {
    if name.ends_with("_SERVICE_HOST") || name.contains("_SERVICE_PORT") {
        return true;
    }
    let Some((_, port)) = name.split_once("_PORT_") else { return false };
    port.contains("_TCP") || port.contains("_UDP")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_nearly_right_is_told_with_the_right_one() {
        for (name, nearest) in [
            ("WAL_S3_BUKET", Some("WAL_S3_BUCKET")),
            ("PGPASSWORD_SUPERUSR", Some("PGPASSWORD_SUPERUSER")),
            ("CLONE_AWS_REGIN", Some("CLONE_AWS_REGION")),
            ("AWS_RGION", Some("AWS_REGION")),
            ("AWS_DEFAULT_OUTPUT", None),
            ("PGAPPNAME", None),
            ("LOG_STORE_SERVICE_HOST", None),
            ("LOG_STORE_PORT_80_TCP_ADDR", None),
            ("PATH", None),
        ] {
            let told = tell(name, name);
            assert_eq!(told.is_some(), nearest.is_some(), "{name}: {told:?}");
            assert!(nearest.is_none_or(|known| told.is_some_and(|told| told.ends_with(known))), "{name}");
        }
    }
}
