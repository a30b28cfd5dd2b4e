//! Files onto the disk: each appears whole, with its mode from the first moment, and is not replaced unasked.

use std::fs::{OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use jogi_config::yaml;
use serde_json::Value;

use super::certificate::self_signed;
use crate::plan::{Content, File, Plan};

#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("{} cannot be written: {cause}; is the directory writable for this user, and is there room?", path.display())]
    File { path: PathBuf, cause: io::Error },
    #[error("a certificate for {name} could not be made: {cause}")]
    Certificate { name: String, cause: rcgen::Error },
}

/// Writes what is not there yet; with `force` everything. Returns the paths that were written.
pub fn write(plan: &Plan, files: &[&File], root: &Path, force: bool) -> Result<Vec<PathBuf>, WriteError> {
    let below = |path: &str| root.join(path.trim_start_matches('/'));
    for directory in &plan.directories {
        let path = below(&directory.path);
        let failed = |cause| WriteError::File { path: path.clone(), cause };
        std::fs::create_dir_all(&path).map_err(failed)?;
        std::fs::set_permissions(&path, Permissions::from_mode(directory.mode)).map_err(failed)?;
    }
    let mut written = Vec::new();
    for file in files {
        let path = below(&file.path);
        match &file.content {
            Content::Text { text, .. } => put(&path, text, file, force, &mut written)?,
            Content::Yaml(config) => {
                let text = yaml::dump(&Value::Object(config.root().clone()));
                put(&path, &text, file, force, &mut written)?;
            }
            Content::SelfSigned { common_name, host_name, key } => {
                let key = below(key);
                // A key that is there is somebody's, with its certificate.
                if key.exists() {
                    continue;
                }
                let today = jiff::ZonedDateTime::now().date();
                let (certificate, text) = self_signed(common_name, host_name, today)
                    .map_err(|cause| WriteError::Certificate { name: common_name.clone(), cause })?;
                place(&path, &certificate, file.mode, &mut written)?;
                place(&key, &text, 0o600, &mut written)?;
            }
        }
    }
    Ok(written)
}

fn put(path: &Path, text: &str, file: &File, force: bool, written: &mut Vec<PathBuf>) -> Result<(), WriteError> {
    match path.exists() && !force && !file.always {
        true => Ok(()),
        false => place(path, text, file.mode, written),
    }
}

/// A new file beside the old one, renamed over it.
fn place(path: &Path, text: &str, mode: u32, written: &mut Vec<PathBuf>) -> Result<(), WriteError> {
    let new = path.with_file_name(format!(".{}.new", path.file_name().unwrap_or_default().to_string_lossy()));
    let write = || -> io::Result<()> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(text.as_bytes())?;
        std::fs::rename(&new, path)
    };
    write().map_err(|cause| WriteError::File { path: path.to_owned(), cause })?;
    written.push(path.to_owned());
    Ok(())
}
