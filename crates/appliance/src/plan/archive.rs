//! The env directories of the archives: one file per variable.

use super::location::{Named, Storage, location, named};
use super::quote::in_command;
use super::{Content, File, Plan, Section, Settings, azure, s3, swift};
use crate::facts::Facts;
use crate::source::Source;
use crate::variables::{self, Sourced, Values};

pub(crate) use super::location::Role;

/// An archive that the environment asks for.
pub(crate) struct Archive {
    pub named: Named,
    /// Its env directory.
    pub directory: String,
    pub source: Source,
}

pub(crate) fn of(values: &Values, settings: &Settings, role: Role) -> Option<Archive> {
    let named = named(values, role)?;
    let source = named.whole.as_ref().or(named.bucket.as_ref()).map_or(Source::Default, |named| named.source.clone());
    Some(Archive { named, directory: directory(values, settings, role), source })
}

/// Env directory of an archive. The name of the older tool stays: people and the operator use it.
fn directory(values: &Values, settings: &Settings, role: Role) -> String {
    let base = format!("{}/etc/wal-e.d/env", settings.rw_dir);
    let of_scope = |kind: &str, scope: &str| match values.filled(scope) {
        Some(scope) => format!("{base}-{kind}-{}", scope.value),
        None => format!("{base}-{kind}"),
    };
    match role {
        Role::Main => values.text("WALG_ENV_DIR", base).value,
        Role::Clone => of_scope("clone", "CLONE_SCOPE"),
        Role::Standby => of_scope("standby", "STANDBY_SCOPE"),
    }
}

/// `envdir "…" timeout "0" /scripts/restore_command.sh "%f" "%p"`
pub(crate) fn restore_command(values: &Values, directory: &str) -> String {
    let limit = values.text("WAL_RESTORE_TIMEOUT", "0").value;
    format!("envdir {} timeout \"{limit}\" /scripts/restore_command.sh \"%f\" \"%p\"", in_command(directory))
}

/// Written for every storage but Swift, where given.
const GENERIC: [&str; 22] = [
    "WALG_DELTA_MAX_STEPS",
    "WALG_DELTA_ORIGIN",
    "WALG_DOWNLOAD_CONCURRENCY",
    "WALG_UPLOAD_CONCURRENCY",
    "WALG_UPLOAD_DISK_CONCURRENCY",
    "WALG_DISK_RATE_LIMIT",
    "WALG_NETWORK_RATE_LIMIT",
    "WALG_COMPRESSION_METHOD",
    "WALG_BACKUP_COMPRESSION_METHOD",
    "WALG_BACKUP_FROM_REPLICA",
    "WALG_SENTINEL_USER_DATA",
    "WALG_PREVENT_WAL_OVERWRITE",
    "WALG_S3_CA_CERT_FILE",
    "WALG_LIBSODIUM_KEY",
    "WALG_LIBSODIUM_KEY_PATH",
    "WALG_LIBSODIUM_KEY_TRANSFORM",
    "WALG_PGP_KEY",
    "WALG_PGP_KEY_PATH",
    "WALG_PGP_KEY_PASSPHRASE",
    "no_proxy",
    "http_proxy",
    "https_proxy",
];

const SSH: [&str; 3] = ["SSH_PRIVATE_KEY_PATH", "SSH_USERNAME", "SSH_PORT"];

/// The most transfers at once that we choose ourselves.
const MOST_TRANSFERS: u64 = 10;

/// The files of one directory.
pub(super) struct EnvDir<'a> {
    pub values: &'a Values,
    pub role: Role,
    pub files: Vec<(String, Sourced<String>)>,
}

impl EnvDir<'_> {
    /// The variable of this archive, if it is there and not empty.
    pub fn given(&self, name: &str) -> Option<Sourced<String>> {
        self.values.filled(&format!("{}{name}", self.role.prefix()))
    }

    /// Empty values are not written.
    pub fn put(&mut self, name: &str, value: Sourced<String>) {
        if !value.value.is_empty() {
            self.files.retain(|(other, _)| other != name);
            self.files.push((name.to_owned(), value));
        }
    }

    pub fn put_text(&mut self, name: &str, text: &str, source: Source) {
        self.put(name, Sourced::new(text.to_owned(), source));
    }

    /// Those of the names that are given.
    pub fn copy(&mut self, names: &[&str]) {
        for name in names {
            if let Some(value) = self.given(name) {
                self.put(name, value);
            }
        }
    }
}

/// All three directories, as far as they are asked for.
pub(super) fn write(values: &Values, facts: &Facts, settings: &Settings, version: &str, plan: &mut Plan) {
    if let Some(archive) = of(values, settings, Role::Main) {
        plan.archiving = true;
        write_one(values, facts, settings, Role::Main, &archive, version, plan);
    }
    let clone = values.get("CLONE_METHOD") == Some("CLONE_WITH_WALG");
    let no_clone = !clone && values.get("CLONE_METHOD") != Some("CLONE_WITH_BASEBACKUP");
    for (role, wanted) in [(Role::Clone, clone), (Role::Standby, no_clone)] {
        let Some(archive) = of(values, settings, role).filter(|_| wanted) else { continue };
        let version = values.text(&format!("{}PGVERSION", role.prefix()), "").value;
        write_one(values, facts, settings, role, &archive, &version, plan);
    }
}

fn write_one(
    values: &Values,
    facts: &Facts,
    settings: &Settings,
    role: Role,
    archive: &Archive,
    version: &str,
    plan: &mut Plan,
) {
    let mut dir = EnvDir { values, role, files: Vec::new() };
    let prefix = location(values, settings, role, &archive.named, version);
    let name = format!("WALG_{}_PREFIX", archive.named.storage.short());
    dir.put(&name, prefix.clone());
    common(settings, &mut dir);
    match archive.named.storage {
        Storage::S3 => s3::put(facts, archive, &prefix.value, &mut dir, plan),
        Storage::Gs => dir.copy(&["GOOGLE_APPLICATION_CREDENTIALS"]),
        Storage::Swift => swift::put(&mut dir),
        Storage::Azure => azure::put(&mut dir, plan),
        Storage::Ssh => dir.copy(&SSH),
    }
    if archive.named.storage != Storage::Swift {
        generic(facts, &mut dir);
    }
    let section = match role {
        Role::Main => Section::WalG,
        Role::Clone => Section::Bootstrap,
        Role::Standby => Section::StandbyCluster,
    };
    for (name, value) in dir.files {
        let file = env_file(section, &archive.directory, &name, value, plan);
        plan.files.push(file);
    }
}

fn common(settings: &Settings, dir: &mut EnvDir<'_>) {
    dir.put_text("WALG_LOG_DESTINATION", "stderr", Source::Default);
    dir.put("TMPDIR", dir.values.filled("WALG_TMPDIR").unwrap_or_else(|| settings.tmp()));
    match dir.role {
        Role::Main => {
            dir.put("PGPORT", settings.port.clone());
            dir.put("BACKUP_NUM_TO_RETAIN", dir.values.text("BACKUP_NUM_TO_RETAIN", "5"));
        }
        Role::Clone | Role::Standby => dir.copy(&["PGPORT"]),
    }
    if dir.values.is_true("ENABLE_WAL_PATH_COMPAT") {
        let source = dir.values.source("ENABLE_WAL_PATH_COMPAT");
        dir.put_text("ENABLE_WAL_PATH_COMPAT", "true", source);
    }
}

fn generic(facts: &Facts, dir: &mut EnvDir<'_>) {
    if dir.role == Role::Main {
        let transfers = facts.cpus.clamp(1, MOST_TRANSFERS).to_string();
        for name in ["WALG_DOWNLOAD_CONCURRENCY", "WALG_UPLOAD_CONCURRENCY"] {
            if !dir.values.has(name) {
                dir.put_text(name, &transfers, Source::Machine("the number of CPUs"));
            }
        }
    }
    dir.copy(&GENERIC);
    if let Some(replica) = dir.given("WALG_BACKUP_FROM_REPLICA") {
        dir.put("WALG_BACKUP_FROM_REPLICA", replica.map(|text| text.to_lowercase()));
    }
}

/// One variable. `envdir` reads the first line of a file only: a line break would cut the value off.
pub(super) fn env_file(section: Section, directory: &str, name: &str, value: Sourced<String>, plan: &mut Plan) -> File {
    let mut text = value.value;
    if text.contains('\n') {
        // A zero byte is how such a file tells a line break.
        text = text.trim_end_matches('\n').replace('\n', "\0");
        plan.note(format!("{name} has several lines; they are written into its env file as one, as envdir reads them"));
    }
    File {
        section,
        path: format!("{directory}/{name}"),
        content: Content::Text { text, secret: variables::is_secret(name) },
        mode: 0o640,
        source: value.source,
        always: name == "TMPDIR" || section == Section::Log,
    }
}
