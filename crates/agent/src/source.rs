//! Where the local configuration comes from: a file, a directory of files, the environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jogi_config::{ConfigError, Loaded, Local};

/// The sources of one agent. The environment is that of the process's start, also for later readings.
#[derive(Clone, Debug)]
pub struct Source {
    path: Option<PathBuf>,
    /// Named on the command line, and not there.
    missing: Option<PathBuf>,
    environment: BTreeMap<String, String>,
}

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("cannot read the configuration {}: {cause}", path.display())]
    Read { path: PathBuf, cause: std::io::Error },
    #[error(
        "cannot read the configuration {}: No such file or directory, and the PATRONI_* variables alone are none: {cause}",
        path.display()
    )]
    Missing { path: PathBuf, cause: ConfigError },
    #[error("{0}")]
    Config(#[from] ConfigError),
}

impl Source {
    /// `path`: the file or directory named on the command line. One that does not exist counts as not given, as in
    /// Patroni: then the environment alone is the configuration.
    pub fn new(path: Option<PathBuf>) -> Source {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let (path, missing) = match path {
            Some(path) if !path.exists() => (None, Some(path)),
            other => (other, None),
        };
        Source { path, missing, environment: std::env::vars_os().filter_map(text).collect() }
    }

    pub fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }

    /// The files by name and text, in the order in which they are merged: what a later one says counts. Blocking.
    pub fn files(&self) -> Result<Vec<(String, String)>, SourceError> {
        let Some(path) = &self.path else { return Ok(Vec::new()) };
        let read = |file: PathBuf| match std::fs::read_to_string(&file) {
            Ok(text) => Ok((file.display().to_string(), text)),
            Err(cause) => Err(SourceError::Read { path: file, cause }),
        };
        files_of(path)?.into_iter().map(read).collect()
    }

    /// Reads everything anew. Blocking.
    pub fn load(&self) -> Result<Loaded, SourceError> {
        let files = self.files()?;
        match (Local::load(&files, &self.environment), &self.missing) {
            (loaded, None) => Ok(loaded?),
            (Err(cause), Some(path)) => Err(SourceError::Missing { path: path.clone(), cause }),
            (Ok(mut loaded), Some(path)) => {
                let text = format!("{} does not exist: the PATRONI_* variables are the configuration", path.display());
                loaded.warnings.push(text);
                Ok(loaded)
            }
        }
    }
}

/// The file itself, or the `*.yml` and `*.yaml` files of a directory in the order of their names.
fn files_of(path: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let unreadable = |cause| SourceError::Read { path: path.to_owned(), cause };
    if !path.metadata().map_err(unreadable)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        let is_yaml = file.extension().is_some_and(|extension| extension == "yml" || extension == "yaml");
        if is_yaml && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_its_yaml_files_in_order() {
        let dir = std::env::temp_dir().join(format!("jogi-source-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("z.yml")).expect("a temporary directory");
        for name in ["b.yaml", "a.yml", "c.json"] {
            std::fs::write(dir.join(name), "{}").expect("written");
        }
        let found = files_of(&dir).expect("readable");
        assert_eq!(found, [dir.join("a.yml"), dir.join("b.yaml")]);
        assert_eq!(files_of(&dir.join("c.json")).expect("readable"), [dir.join("c.json")]);
        assert!(Source::new(Some(dir.join("missing"))).path.is_none());
        std::fs::remove_dir_all(&dir).expect("ours");
    }
}
