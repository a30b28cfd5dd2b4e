//! S3: endpoint, region, credentials, encryption at rest.

use super::Plan;
use super::archive::{Archive, EnvDir};
use crate::facts::{Facts, Provider};
use crate::source::Source;
use crate::variables::Sourced;

const COPIED: [&str; 8] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_INSTANCE_PROFILE",
    "WALG_S3_SSE_KMS_ID",
    "AWS_S3_FORCE_PATH_STYLE",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_STS_REGIONAL_ENDPOINTS",
];

/// Where the credentials of an instance come from: the machine's, so never with a prefix.
pub(super) const METADATA: [&str; 2] = ["AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"];

pub(super) fn put(facts: &Facts, archive: &Archive, prefix: &str, dir: &mut EnvDir<'_>, plan: &mut Plan) {
    dir.copy(&COPIED);
    for name in METADATA {
        if let Some(value) = dir.values.filled(name) {
            dir.put(name, value);
        }
    }
    if dir.given("AWS_ACCESS_KEY_ID").is_none() || dir.given("AWS_SECRET_ACCESS_KEY").is_none() {
        dir.put_text("AWS_INSTANCE_PROFILE", "true", Source::Derived("no key pair".into()));
    }
    let endpoint = endpoint(dir, plan);
    if let Some(region) = dir.given("AWS_REGION") {
        dir.put("AWS_REGION", region);
    } else if !endpoint {
        let named = archive.named.bucket.as_ref().filter(|_| archive.named.whole.is_none());
        let named = named.map_or(prefix, |bucket| bucket.value.as_str());
        match region_in(named) {
            Some(region) => dir.put_text("AWS_REGION", &region, archive.source.clone()),
            None => region_of_zone(facts, dir, plan),
        }
    }
    encryption(endpoint, dir);
}

/// Both spellings of the endpoint, and the convention that it asks for.
fn endpoint(dir: &mut EnvDir<'_>, plan: &mut Plan) -> bool {
    let (plain, with_convention) = (dir.given("AWS_ENDPOINT"), dir.given("WALG_S3_ENDPOINT"));
    let (plain, with_convention, convention) = match (plain, with_convention) {
        (None, None) => return false,
        (Some(plain), None) => {
            let derived = plain.clone().map(|text| text.replacen("://", "+path://", 1));
            (plain, derived, "path".to_owned())
        }
        (plain, Some(given)) => match split(&given.value) {
            Some((bare, convention)) => {
                let bare = Sourced::new(bare, given.source.clone());
                (plain.unwrap_or(bare), given, convention)
            }
            None => {
                plan.warn(format!(
                    "{} is not protocol+convention://host:port (such as https+path://minio:9000); it is used as it is, \
                     with the convention path",
                    given.source
                ));
                (plain.unwrap_or_else(|| given.clone()), given, "path".to_owned())
            }
        },
    };
    let path_style = if convention == "path" { "true" } else { "false" };
    dir.put_text("AWS_S3_FORCE_PATH_STYLE", path_style, with_convention.source.clone());
    dir.put("AWS_ENDPOINT", plain);
    dir.put("WALG_S3_ENDPOINT", with_convention);
    true
}

/// `https+path://host:port` as `https://host:port` and `path`.
fn split(endpoint: &str) -> Option<(String, String)> {
    let (scheme, rest) = endpoint.split_once("://")?;
    let (protocol, convention) = scheme.split_once('+')?;
    let fits = !protocol.is_empty() && !convention.is_empty() && !rest.is_empty();
    fits.then(|| (format!("{protocol}://{rest}"), convention.to_owned()))
}

/// What looks like a region in a name: `eu-central-1` in `backups-eu-central-1-prod`; the last one counts.
pub(super) fn region_in(name: &str) -> Option<String> {
    let words: Vec<&str> = name.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').collect();
    words.iter().rev().find_map(|word| {
        let parts: Vec<&str> = word.split('-').collect();
        let is_region = |at: &[&str]| {
            let letters = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase());
            let digit = |text: &str| text.len() == 1 && text.bytes().all(|b| b.is_ascii_digit());
            at[0].len() == 2 && letters(at[0]) && letters(at[1]) && digit(at[2])
        };
        // Something must follow its dash.
        let found = parts.windows(4).rev().find(|parts| is_region(parts))?;
        Some(found[..3].join("-"))
    })
}

/// An availability zone of AWS is a region and a letter; zones of others are not.
pub(super) fn zone_region(facts: &Facts) -> Option<String> {
    let zone = facts.instance.zone.as_deref().filter(|_| facts.provider == Provider::Aws)?;
    let region = zone.strip_suffix(|c: char| c.is_ascii_lowercase())?;
    region.ends_with(|c: char| c.is_ascii_digit()).then(|| region.to_owned())
}

fn region_of_zone(facts: &Facts, dir: &mut EnvDir<'_>, plan: &mut Plan) {
    match zone_region(facts) {
        Some(region) => dir.put_text("AWS_REGION", &region, Source::Machine("the instance's availability zone")),
        None => plan.warn(format!(
            "the region of the S3 bucket is not known: set {}AWS_REGION (or an endpoint)",
            dir.role.prefix()
        )),
    }
}

/// Stores with an endpoint of their own often refuse it: then only when it is asked for.
fn encryption(endpoint: bool, dir: &mut EnvDir<'_>) {
    dir.copy(&["WALG_DISABLE_S3_SSE", "WALG_S3_SSE"]);
    let (disabled, chosen) = (dir.given("WALG_DISABLE_S3_SSE"), dir.given("WALG_S3_SSE"));
    if endpoint && disabled.is_none() && chosen.is_none() {
        return dir.put_text("WALG_DISABLE_S3_SSE", "true", Source::Derived("an endpoint of its own".into()));
    }
    let off = disabled.is_some_and(|disabled| disabled.value.eq_ignore_ascii_case("true"));
    if !off && chosen.is_none() {
        dir.put_text("WALG_S3_SSE", "AES256", Source::Default);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_found_in_names() {
        for (name, region) in [
            ("zalando-spilo-eu-central-1-prod", Some("eu-central-1")),
            ("s3://b-us-east-2-x/spilo", Some("us-east-2")),
            ("eu-central-1", None),
            ("backups", None),
            ("a-us-east-1-b-eu-west-3-c", Some("eu-west-3")),
        ] {
            assert_eq!(region_in(name).as_deref(), region, "{name}");
        }
    }
}
