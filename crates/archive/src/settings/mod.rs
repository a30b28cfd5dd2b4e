//! What the variables say. Names are those of WAL-G, with WAL-E's older ones behind them.
//!
//! The hazard: a setting that changes what an object is (encryption, a client key) and that we do not know how to follow
//! must stop us. Going on without it would upload in plain text, or to the wrong place.

mod place;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::codec::{Method, UnknownMethod};
use crate::sodium::{BadKey, SodiumKey};

pub use place::{AzurePlace, GooglePlace, Location, S3Place};

/// WAL-G's own default is 10.
const FETCH_AHEAD: usize = 10;
const FETCH_AHEAD_MAX: usize = 64;
/// What PostgreSQL can be built with, in MiB.
const SEGMENT_MIB: [u64; 11] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];

/// All that a command needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    pub location: Location,
    pub method: Method,
    pub key: Option<SodiumKey>,
    /// An archived file is replaced by one of the same name and other content. Only by explicit wish.
    pub overwrite: bool,
    /// Segments fetched at once, the asked one among them.
    pub fetch_at_once: usize,
    pub prefetch_dir: Option<PathBuf>,
    pub segment_size: u64,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    #[error(
        "no storage is configured: set WALG_S3_PREFIX (s3://bucket/path), WALG_GS_PREFIX (gs://…), WALG_AZ_PREFIX \
         (azure://…) or WALG_FILE_PREFIX (a directory)"
    )]
    NoStorage,
    #[error(
        "{name} is set, and this version cannot do what it asks for ({what}): unset it, or use WAL-G for this archive"
    )]
    NotBuilt { name: String, what: &'static str },
    #[error("{name} is '{value}', which is not {wanted}")]
    Value { name: String, value: String, wanted: &'static str },
    #[error("{name} must be set too: {why}")]
    Missing { name: &'static str, why: &'static str },
    #[error(transparent)]
    Method(#[from] UnknownMethod),
    #[error(transparent)]
    Key(#[from] BadKey),
}

/// The variables, an empty one being none.
#[derive(Clone, Debug, Default)]
pub struct Variables(BTreeMap<String, String>);

impl Variables {
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Variables {
        Variables(pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect())
    }

    /// `WALG_X` stands before `WALE_X`.
    fn get(&self, name: &str) -> Option<&str> {
        let own = self.0.get(name);
        let older = || self.0.get(&format!("WALE_{}", name.strip_prefix("WALG_")?));
        own.or_else(older).map(String::as_str)
    }

    fn owned(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_owned)
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, SettingsError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        match text.to_ascii_lowercase().as_str() {
            "true" | "t" | "1" => Ok(Some(true)),
            "false" | "f" | "0" => Ok(Some(false)),
            _ => Err(bad(name, text, "true or false")),
        }
    }

    fn number(&self, name: &str) -> Result<Option<u64>, SettingsError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| bad(name, text, "a whole number"))
    }

    /// From 1 on, cut at `most`.
    fn count(&self, name: &str, default: usize, most: usize) -> Result<usize, SettingsError> {
        let Some(number) = self.number(name)? else { return Ok(default) };
        if number == 0 {
            return Err(bad(name, "0", "1 or more"));
        }
        Ok(usize::try_from(number).unwrap_or(most).min(most))
    }
}

fn bad(name: &str, value: &str, wanted: &'static str) -> SettingsError {
    SettingsError::Value { name: name.to_owned(), value: value.to_owned(), wanted }
}

/// What we do not know how to follow and must not ignore.
const NOT_BUILT: [(&str, &str); 16] = [
    ("WALG_PGP_KEY", "encryption by OpenPGP"),
    ("WALG_PGP_KEY_PATH", "encryption by OpenPGP"),
    ("WALG_GPG_KEY_ID", "encryption by GnuPG"),
    ("WALG_ENVELOPE_PGP_KEY", "encryption by OpenPGP"),
    ("WALG_ENVELOPE_PGP_KEY_PATH", "encryption by OpenPGP"),
    ("WALG_ENVELOPE_PGP_YC_CSE_KMS_KEY_ID", "encryption by a key service"),
    ("WALG_CSE_KMS_ID", "encryption by a key service"),
    ("YC_CSE_KMS_KEY_ID", "encryption by a key service"),
    ("GCS_ENCRYPTION_KEY", "a customer's key for Google's storage"),
    ("WALG_S3_SSE_C", "a customer's key for S3's encryption"),
    ("WALG_FAILOVER_STORAGES", "failover storages"),
    ("WALG_TARGET_STORAGE", "failover storages"),
    ("S3_RETENTION_PERIOD", "locks of objects"),
    ("S3_ENDPOINT_SOURCE", "an endpoint found through another service"),
    ("WALG_STORAGE_PREFIX", "a folder below the prefix"),
    ("WALG_CONFIG_PATH", "a configuration file of WAL-G"),
];

impl Settings {
    pub fn read(variables: &Variables) -> Result<Settings, SettingsError> {
        refuse_what_is_not_built(variables)?;
        let segment_mib = variables.number("WALG_PG_WAL_SIZE")?.unwrap_or(16);
        if !SEGMENT_MIB.contains(&segment_mib) {
            return Err(bad("WALG_PG_WAL_SIZE", &segment_mib.to_string(), "a power of two from 1 to 1024 (MiB)"));
        }
        Ok(Settings {
            location: place::location(variables)?,
            method: variables.get("WALG_COMPRESSION_METHOD").map(str::parse).transpose()?.unwrap_or_default(),
            key: key(variables)?,
            overwrite: variables.flag("WALG_PREVENT_WAL_OVERWRITE")? == Some(false),
            fetch_at_once: variables.count("WALG_DOWNLOAD_CONCURRENCY", FETCH_AHEAD, FETCH_AHEAD_MAX)?,
            prefetch_dir: variables.get("WALG_PREFETCH_DIR").map(PathBuf::from),
            segment_size: segment_mib << 20,
        })
    }
}

fn refuse_what_is_not_built(variables: &Variables) -> Result<(), SettingsError> {
    // What these say by default is what we do.
    let harmless = |name: &str, value: &str| match name {
        "WALG_TARGET_STORAGE" => value == "default",
        "S3_RETENTION_PERIOD" => value == "-1",
        _ => false,
    };
    for (name, what) in NOT_BUILT {
        if variables.get(name).is_some_and(|value| !harmless(name, value)) {
            return Err(SettingsError::NotBuilt { name: name.to_owned(), what });
        }
    }
    Ok(())
}

/// The path of a key's file, to be read and handed back as `WALG_LIBSODIUM_KEY` by who may read files.
pub fn key_file(variables: &Variables) -> Option<PathBuf> {
    let given = variables.get("WALG_LIBSODIUM_KEY").is_some();
    variables.get("WALG_LIBSODIUM_KEY_PATH").filter(|_| !given).map(PathBuf::from)
}

impl Variables {
    /// Puts the text of the key's file where the key is looked for.
    #[must_use]
    pub fn with_key(mut self, text: &str) -> Variables {
        self.0.insert("WALG_LIBSODIUM_KEY".into(), text.trim().to_owned());
        self
    }
}

fn key(variables: &Variables) -> Result<Option<SodiumKey>, SettingsError> {
    let Some(text) = variables.get("WALG_LIBSODIUM_KEY") else {
        // Whoever names a file that is not read must not get plain text.
        return match key_file(variables) {
            Some(_) => Err(SettingsError::Missing { name: "WALG_LIBSODIUM_KEY", why: "the key's file was not read" }),
            None => Ok(None),
        };
    };
    let transform = variables.get("WALG_LIBSODIUM_KEY_TRANSFORM").unwrap_or_default();
    Ok(Some(SodiumKey::from_text(text, transform)?))
}

#[cfg(test)]
mod tests;
