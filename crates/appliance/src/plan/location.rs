//! Where an archive lies.

use super::Settings;
use crate::source::Source;
use crate::variables::{Sourced, Values};

/// By precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Storage {
    S3,
    Gs,
    Swift,
    Azure,
    Ssh,
}

impl Storage {
    pub const ALL: [Storage; 5] = [Storage::S3, Storage::Gs, Storage::Swift, Storage::Azure, Storage::Ssh];

    /// In the names of variables.
    pub fn short(self) -> &'static str {
        match self {
            Storage::S3 => "S3",
            Storage::Gs => "GS",
            Storage::Swift => "SWIFT",
            Storage::Azure => "AZ",
            Storage::Ssh => "SSH",
        }
    }

    fn scheme(self) -> &'static str {
        match self {
            Storage::S3 => "s3",
            Storage::Gs => "gs",
            Storage::Swift => "swift",
            Storage::Azure => "azure",
            Storage::Ssh => "ssh",
        }
    }
}

/// Which of the three archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Main,
    Clone,
    Standby,
}

impl Role {
    /// What stands before the names of its variables.
    pub fn prefix(self) -> &'static str {
        match self {
            Role::Main => "",
            Role::Clone => "CLONE_",
            Role::Standby => "STANDBY_",
        }
    }
}

/// How an archive is named: by its whole location, or by a bucket.
pub(crate) struct Named {
    pub storage: Storage,
    /// The whole location; without it the bucket counts.
    pub whole: Option<Sourced<String>>,
    pub bucket: Option<Sourced<String>>,
}

/// The first storage that the variables name. The main archive in Azure has no bucket, Swift's no whole
/// location that would switch it on, and SSH serves the main one only.
pub(crate) fn named(values: &Values, role: Role) -> Option<Named> {
    let prefix = role.prefix();
    Storage::ALL.into_iter().find_map(|storage| {
        let short = storage.short();
        let whole = values.filled(&format!("{prefix}WALG_{short}_PREFIX"));
        let bucket = values.filled(&format!("{prefix}WAL_{short}_BUCKET"));
        let (whole, bucket) = match (storage, role) {
            (Storage::Ssh, Role::Clone | Role::Standby) => (None, None),
            (Storage::Azure | Storage::Ssh, Role::Main) => (whole, None),
            (Storage::Swift, Role::Main) => (whole.filter(|_| bucket.is_some()), bucket),
            (Storage::Azure, _) | (Storage::S3 | Storage::Gs, _) | (Storage::Swift, _) => (whole, bucket),
        };
        (whole.is_some() || bucket.is_some()).then_some(Named { storage, whole, bucket })
    })
}

/// The location itself; `version` is the last part of a derived one.
pub(crate) fn location(
    values: &Values,
    settings: &Settings,
    role: Role,
    named: &Named,
    version: &str,
) -> Sourced<String> {
    if let Some(whole) = &named.whole {
        return whole.clone();
    }
    let prefix = role.prefix();
    let empty = || Sourced::new(String::new(), Source::Default);
    let scope = match role {
        Role::Main => settings.scope.clone(),
        Role::Clone | Role::Standby => values.text(&format!("{prefix}SCOPE"), ""),
    };
    let before = match values.has(&format!("{prefix}WAL_BUCKET_SCOPE_PREFIX")) {
        true => values.text(&format!("{prefix}WAL_BUCKET_SCOPE_PREFIX"), ""),
        false if role == Role::Main => settings.scope_prefix(),
        false => empty(),
    };
    let behind = values.text(&format!("{prefix}WAL_BUCKET_SCOPE_SUFFIX"), "");
    let bucket = named.bucket.clone().unwrap_or_else(empty);
    let text = format!(
        "{}://{}/spilo/{}{}{}/wal/{version}",
        named.storage.scheme(),
        bucket.value,
        before.value,
        scope.value,
        behind.value
    );
    Sourced::new(text, Source::of(&[&bucket.source, &before.source, &scope.source, &behind.source]))
}
