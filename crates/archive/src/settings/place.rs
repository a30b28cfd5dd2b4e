//! Which storage, and where in it.

use std::fmt;
use std::path::PathBuf;

use super::{SettingsError, Variables, bad};

/// Uploaded at once: three of them on their way, and one being filled, per object.
const PIECE: u64 = 8 << 20;
/// S3's smallest part of an upload in several.
const PIECE_MIN: u64 = 5 << 20;
const PIECE_MAX: u64 = 256 << 20;
/// Google takes multiples of this.
const GOOGLE_STEP: u64 = 256 << 10;

#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    Directory(PathBuf),
    S3(S3Place),
    Google(GooglePlace),
    Azure(AzurePlace),
}

#[derive(Clone, PartialEq, Eq)]
pub struct S3Place {
    pub bucket: String,
    pub root: String,
    pub region: String,
    pub endpoint: Option<String>,
    pub path_style: bool,
    /// Without them: profile, web identity, container or instance, in this order.
    pub keys: Option<(String, String)>,
    pub session_token: Option<String>,
    pub ca_file: Option<PathBuf>,
    pub storage_class: Option<String>,
    pub encryption: Option<String>,
    pub kms_key: Option<String>,
    pub piece_bytes: usize,
}

#[derive(Clone, PartialEq, Eq)]
pub struct GooglePlace {
    pub bucket: String,
    pub root: String,
    pub endpoint: Option<String>,
    /// A file. Without it: the instance's or workload's identity.
    pub credentials: Option<String>,
    pub piece_bytes: usize,
}

#[derive(Clone, PartialEq, Eq)]
pub struct AzurePlace {
    pub container: String,
    pub root: String,
    pub endpoint: String,
    pub account: String,
    /// Without key and token: service principal, workload or managed identity.
    pub key: Option<String>,
    pub sas_token: Option<String>,
    pub piece_bytes: usize,
}

/// For people; secrets are left out.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Directory(path) => write!(f, "the directory {}", path.display()),
            Location::S3(s3) => {
                write!(f, "s3://{}/{}", s3.bucket, s3.root)?;
                let at = s3.endpoint.as_deref().map_or_else(|| format!("region {}", s3.region), |e| format!("at {e}"));
                write!(f, " ({at})")
            }
            Location::Google(google) => write!(f, "gs://{}/{}", google.bucket, google.root),
            Location::Azure(azure) => {
                write!(f, "azure://{}/{} (account {})", azure.container, azure.root, azure.account)
            }
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The first that is configured counts, in WAL-G's order.
pub(super) fn location(variables: &Variables) -> Result<Location, SettingsError> {
    let not_built = |name: &str, what| Err(SettingsError::NotBuilt { name: name.to_owned(), what });
    if variables.get("WALG_OSS_PREFIX").is_some() {
        return not_built("WALG_OSS_PREFIX", "Alibaba's storage");
    }
    if let Some(prefix) = variables.get("WALG_S3_PREFIX") {
        return s3(variables, prefix).map(Location::S3);
    }
    if let Some(prefix) = variables.get("WALG_FILE_PREFIX") {
        return Ok(Location::Directory(PathBuf::from(prefix.strip_prefix("file://localhost").unwrap_or(prefix))));
    }
    if let Some(prefix) = variables.get("WALG_GS_PREFIX") {
        return google(variables, prefix).map(Location::Google);
    }
    if let Some(prefix) = variables.get("WALG_AZ_PREFIX") {
        return azure(variables, prefix).map(Location::Azure);
    }
    if variables.get("WALG_SWIFT_PREFIX").is_some() {
        return not_built("WALG_SWIFT_PREFIX", "Swift");
    }
    if variables.get("WALG_SSH_PREFIX").is_some() {
        return not_built("WALG_SSH_PREFIX", "SFTP");
    }
    Err(SettingsError::NoStorage)
}

/// Bucket and path of `scheme://bucket/path`, without slashes at the ends.
fn split(name: &str, prefix: &str, scheme: &str, wanted: &'static str) -> Result<(String, String), SettingsError> {
    let rest = prefix.strip_prefix(scheme).and_then(|r| r.strip_prefix("://"));
    let (bucket, path) = rest.map(|r| r.split_once('/').unwrap_or((r, ""))).unwrap_or_default();
    if bucket.is_empty() {
        return Err(bad(name, prefix, wanted));
    }
    Ok((bucket.to_owned(), path.trim_matches('/').to_owned()))
}

fn s3(variables: &Variables, prefix: &str) -> Result<S3Place, SettingsError> {
    let (bucket, root) = split("WALG_S3_PREFIX", prefix, "s3", "of the form s3://bucket/path")?;
    let (endpoint, convention) = s3_endpoint(variables)?;
    let region = variables.owned("AWS_REGION").or_else(|| variables.owned("AWS_DEFAULT_REGION"));
    // Servers at an endpoint of their own take any region; this one is what most call themselves.
    let region = region.or_else(|| endpoint.as_ref().map(|_| "us-east-1".to_owned()));
    let region = region.ok_or(SettingsError::Missing { name: "AWS_REGION", why: "a bucket lies in one region" })?;
    let forced = variables.flag("AWS_S3_FORCE_PATH_STYLE")?;
    let by_endpoint = convention == Some("path") || endpoint.as_deref().is_some_and(is_address);
    let (encryption, kms_key) = s3_encryption(variables)?;
    Ok(S3Place {
        bucket,
        root,
        region,
        path_style: forced.unwrap_or(by_endpoint),
        endpoint,
        keys: s3_keys(variables)?,
        session_token: variables.owned("AWS_SESSION_TOKEN"),
        ca_file: variables.get("WALG_S3_CA_CERT_FILE").map(PathBuf::from),
        storage_class: variables.owned("WALG_S3_STORAGE_CLASS").filter(|class| class != "STANDARD"),
        encryption,
        kms_key,
        piece_bytes: piece(variables, "WALG_S3_MAX_PART_SIZE")?,
    })
}

/// `AWS_ENDPOINT`, or WAL-E's `protocol+convention://host:port` with its convention.
fn s3_endpoint(variables: &Variables) -> Result<(Option<String>, Option<&str>), SettingsError> {
    let older = variables.get("WALG_S3_ENDPOINT");
    let parts = older.and_then(|e| e.split_once("://")).and_then(|(how, host)| Some((how.split_once('+')?, host)));
    let convention = parts.map(|((_, convention), _)| convention);
    let older = parts.map(|((protocol, _), host)| format!("{protocol}://{host}")).or(older.map(str::to_owned));
    let Some(endpoint) = variables.owned("AWS_ENDPOINT").or(older) else { return Ok((None, None)) };
    if !endpoint.contains("://") {
        return Ok((Some(format!("https://{endpoint}")), convention));
    }
    if endpoint.starts_with("http://") || endpoint.starts_with("https://") {
        return Ok((Some(endpoint), convention));
    }
    Err(bad("AWS_ENDPOINT", &endpoint, "an address that begins with http:// or https://"))
}

/// A bucket's name can stand before a host's name, but not before an address.
fn is_address(endpoint: &str) -> bool {
    let host = endpoint.split("://").nth(1).unwrap_or_default();
    let host = host.split('/').next().unwrap_or_default();
    host.starts_with('[') || host.split(':').next().is_some_and(|h| h.parse::<std::net::Ipv4Addr>().is_ok())
}

fn s3_keys(variables: &Variables) -> Result<Option<(String, String)>, SettingsError> {
    let missing = |name| SettingsError::Missing { name, why: "the other half of the key is set" };
    match (variables.owned("AWS_ACCESS_KEY_ID"), variables.owned("AWS_SECRET_ACCESS_KEY")) {
        (Some(id), Some(secret)) => Ok(Some((id, secret))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(missing("AWS_SECRET_ACCESS_KEY")),
        (None, Some(_)) => Err(missing("AWS_ACCESS_KEY_ID")),
    }
}

fn s3_encryption(variables: &Variables) -> Result<(Option<String>, Option<String>), SettingsError> {
    if variables.flag("WALG_DISABLE_S3_SSE")? == Some(true) {
        return Ok((None, None));
    }
    let kms_key = variables.owned("WALG_S3_SSE_KMS_ID");
    match (variables.get("WALG_S3_SSE"), kms_key) {
        (None, None) => Ok((None, None)),
        (Some("AES256"), None) => Ok((Some("AES256".to_owned()), None)),
        (Some("aws:kms"), Some(key)) => Ok((Some("aws:kms".to_owned()), Some(key))),
        (Some("aws:kms"), None) => {
            Err(SettingsError::Missing { name: "WALG_S3_SSE_KMS_ID", why: "WALG_S3_SSE is aws:kms" })
        }
        (Some("AES256") | None, Some(_)) => {
            Err(SettingsError::Missing { name: "WALG_S3_SSE", why: "WALG_S3_SSE_KMS_ID goes with aws:kms alone" })
        }
        (Some(other), _) => Err(bad("WALG_S3_SSE", other, "AES256 or aws:kms")),
    }
}

fn piece(variables: &Variables, name: &str) -> Result<usize, SettingsError> {
    let bytes = variables.number(name)?.unwrap_or(PIECE).clamp(PIECE_MIN, PIECE_MAX);
    Ok(usize::try_from(bytes).unwrap_or(PIECE_MIN as usize))
}

fn google(variables: &Variables, prefix: &str) -> Result<GooglePlace, SettingsError> {
    let (bucket, root) = split("WALG_GS_PREFIX", prefix, "gs", "of the form gs://bucket/path")?;
    let step = GOOGLE_STEP as usize;
    Ok(GooglePlace {
        bucket,
        root,
        endpoint: variables.owned("STORAGE_EMULATOR_HOST"),
        credentials: variables.owned("GOOGLE_APPLICATION_CREDENTIALS"),
        piece_bytes: piece(variables, "GCS_MAX_CHUNK_SIZE")?.next_multiple_of(step),
    })
}

fn azure(variables: &Variables, prefix: &str) -> Result<AzurePlace, SettingsError> {
    let (container, root) = split("WALG_AZ_PREFIX", prefix, "azure", "of the form azure://container/path")?;
    let missing = SettingsError::Missing { name: "AZURE_STORAGE_ACCOUNT", why: "WALG_AZ_PREFIX is set" };
    let account = variables.owned("AZURE_STORAGE_ACCOUNT").ok_or(missing)?;
    let suffix = azure_suffix(variables)?;
    Ok(AzurePlace {
        container,
        root,
        endpoint: variables.owned("AZURE_ENDPOINT").unwrap_or_else(|| format!("https://{account}.blob.{suffix}")),
        account,
        key: variables.owned("AZURE_STORAGE_ACCESS_KEY"),
        sas_token: variables.owned("AZURE_STORAGE_SAS_TOKEN"),
        piece_bytes: piece(variables, "WALG_AZURE_BUFFER_SIZE")?,
    })
}

fn azure_suffix(variables: &Variables) -> Result<&str, SettingsError> {
    if let Some(suffix) = variables.get("AZURE_ENDPOINT_SUFFIX") {
        return Ok(suffix);
    }
    match variables.get("AZURE_ENVIRONMENT_NAME").map(str::to_ascii_uppercase).as_deref() {
        None | Some("AZUREPUBLICCLOUD" | "AZURECLOUD") => Ok("core.windows.net"),
        Some("AZURECHINACLOUD") => Ok("core.chinacloudapi.cn"),
        Some("AZUREUSGOVERNMENTCLOUD" | "AZUREUSGOVERNMENT") => Ok("core.usgovcloudapi.net"),
        Some(other) => Err(bad("AZURE_ENVIRONMENT_NAME", other, "the name of a cloud of Azure's")),
    }
}
