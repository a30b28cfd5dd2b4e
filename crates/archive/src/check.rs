//! Is the archive usable: a probe is written, found, read back and deleted, each step told in words.

use std::io::{Cursor, Read};

use serde::Serialize;

use crate::storage::StorageError;
use crate::wal::Archive;

/// A folder of its own: no listing of WAL or of backups ever sees a probe.
const FOLDER: &str = "jogi_check";
/// More than one chunk of encryption and not a multiple of it.
const PROBE: usize = 20_000;

/// How far it came.
#[derive(Debug, Serialize)]
pub struct Report {
    pub ok: bool,
    pub place: String,
    /// In order; the first that failed is the last.
    pub steps: Vec<Step>,
}

#[derive(Debug, Serialize)]
pub struct Step {
    pub name: &'static str,
    pub ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<&'static str>,
}

/// Runs the steps until one fails. A probe that was written is deleted in any case.
pub async fn check(archive: &Archive) -> Report {
    let name = format!("probe_{:016x}{}", jogi_net::random_u64(), archive.settings.method.extension());
    let key = format!("{FOLDER}/{name}");
    let content: Vec<u8> = (0..PROBE).map(|n| (n % 251) as u8).collect();
    let mut report = Report { ok: true, place: archive.storage.place().to_owned(), steps: Vec::new() };

    let written = archive.write(&key, Cursor::new(content.clone())).await;
    let usable = report.step("write", written.map(|_| None))
        && report.step("list", listed(archive, &key).await)
        && report.step("read", read(archive, &key, content).await);
    let deleted = archive.storage.delete(&key).await;
    if usable {
        let gone = match deleted {
            Ok(()) => absent(archive, &key).await,
            Err(error) => Err(error),
        };
        report.step("delete", gone);
    }
    report
}

impl Report {
    /// `Ok(Some(_))`: the step was carried out, and what came of it is wrong.
    fn step(&mut self, name: &'static str, result: Result<Option<String>, StorageError>) -> bool {
        let (error, remedy) = match result {
            Ok(wrong) => (wrong, None),
            Err(error) => (Some(error.said), Some(error.fault.remedy())),
        };
        let ok = error.is_none();
        self.ok &= ok;
        self.steps.push(Step { name, ok, error, remedy });
        ok
    }
}

async fn listed(archive: &Archive, key: &str) -> Result<Option<String>, StorageError> {
    let objects = archive.storage.list(FOLDER).await?;
    let there = objects.iter().any(|object| object.key == key);
    Ok((!there).then(|| "the listing lacks what was just written".to_owned()))
}

async fn read(archive: &Archive, key: &str, content: Vec<u8>) -> Result<Option<String>, StorageError> {
    let compare = move |from: &mut dyn Read| {
        let mut found = Vec::new();
        from.read_to_end(&mut found)?;
        Ok(found == content)
    };
    Ok(match archive.read(key, compare).await? {
        Some(true) => None,
        Some(false) => Some("what was read is not what was written".to_owned()),
        None => Some("what was just written is not there".to_owned()),
    })
}

async fn absent(archive: &Archive, key: &str) -> Result<Option<String>, StorageError> {
    let left = archive.storage.get(key).await?.is_some();
    Ok(left.then(|| "what was deleted can still be read".to_owned()))
}
