//! Log shipping: its env directory.

use super::archive::env_file;
use super::{Plan, Section, Settings, s3};
use crate::facts::Facts;
use crate::source::Source;
use crate::variables::{Sourced, Values, json_texts};

/// The instance's role, static keys and web identities all work.
const CREDENTIALS: [&str; 5] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_STS_REGIONAL_ENDPOINTS",
];

pub(super) fn directory(values: &Values, settings: &Settings) -> String {
    values.text("LOG_ENV_DIR", format!("{}/etc/log.d/env", settings.rw_dir)).value
}

pub(super) fn write(values: &Values, facts: &Facts, settings: &Settings, plan: &mut Plan) {
    let Some(bucket) = values.filled("LOG_S3_BUCKET") else { return };
    let mut files: Vec<(&str, Sourced<String>)> = vec![
        ("LOG_TMPDIR", values.filled("LOG_TMPDIR").unwrap_or_else(|| settings.tmp())),
        ("LOG_S3_KEY", key(values, settings)),
        ("LOG_S3_BUCKET", bucket),
        ("PGLOG", settings.log.clone()),
    ];
    files.extend(["LOG_SHIP_HOURLY", "LOG_S3_ENDPOINT"].map(|name| (name, values.text(name, ""))));
    files.push(("LOG_AWS_REGION", region(values, facts, plan)));
    files.push(("LOG_S3_TAGS", tags(values, plan)));
    if values.flag("LOG_GROUP_BY_DATE", false).value {
        files.push(("LOG_GROUP_BY_DATE", Sourced::new("true".into(), values.source("LOG_GROUP_BY_DATE"))));
    }
    files.extend(CREDENTIALS.map(|name| (name, values.text(name, ""))));
    for name in s3::METADATA {
        let is_address = !name.ends_with("_MODE");
        let slash =
            |text: String| if is_address && !text.is_empty() && !text.ends_with('/') { text + "/" } else { text };
        files.push((name, values.text(name, "").map(slash)));
    }
    let directory = directory(values, settings);
    for (name, value) in files {
        if !value.value.is_empty() {
            let file = env_file(Section::Log, &directory, name, value, plan);
            plan.files.push(file);
        }
    }
}

/// `spilo/<prefix><scope><suffix>/log/[{DATE}/]<instance>`
fn key(values: &Values, settings: &Settings) -> Sourced<String> {
    let before = match values.has("LOG_BUCKET_SCOPE_PREFIX") {
        true => values.text("LOG_BUCKET_SCOPE_PREFIX", ""),
        false => settings.scope_prefix(),
    };
    let behind = values.text("LOG_BUCKET_SCOPE_SUFFIX", "");
    let by_date = values.flag("LOG_GROUP_BY_DATE", false);
    let date = if by_date.value { "{DATE}/" } else { "" };
    let (scope, name) = (&settings.scope, &settings.name);
    let text = format!("spilo/{}{}{}/log/{date}{}", before.value, scope.value, behind.value, name.value);
    Sourced::new(text, Source::of(&[&before.source, &scope.source, &behind.source, &by_date.source, &name.source]))
}

fn region(values: &Values, facts: &Facts, plan: &mut Plan) -> Sourced<String> {
    if let Some(region) = values.filled("AWS_REGION") {
        return region;
    }
    if let Some(region) = s3::zone_region(facts) {
        return Sourced::new(region, Source::Machine("the instance's availability zone"));
    }
    if values.filled("LOG_S3_ENDPOINT").is_none() {
        plan.warn("the region of the log bucket is not known: set AWS_REGION or LOG_S3_ENDPOINT");
    }
    Sourced::new(String::new(), Source::Default)
}

/// Tag to variable becomes `tag=value&tag=value`.
fn tags(values: &Values, plan: &mut Plan) -> Sourced<String> {
    let given = values.text("LOG_S3_TAGS", "{}");
    let mut pairs = Vec::new();
    for (tag, variable) in json_texts(&given.value).unwrap_or_default() {
        match values.get(&variable) {
            Some(value) => pairs.push(format!("{}={}", escaped(&tag), escaped(value))),
            None => plan.warn(format!("LOG_S3_TAGS: the tag {tag} wants the variable {variable}, which is not set")),
        }
    }
    Sourced::new(pairs.join("&"), given.source)
}

/// As a query of an address wants it.
fn escaped(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
