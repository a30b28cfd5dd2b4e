//! Where lines end up: standard error, or a file that is turned over when it is full.
//!
//! Runs on the log thread alone, which may wait as long as the destination likes. A destination that
//! fails costs the line and nothing else.

use std::fs::{File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use jogi_config::local::Log;

use super::format::Format;
use super::record::Record;

/// Patroni's name for the log file.
const FILE_NAME: &str = "patroni.log";

pub(super) struct Writer {
    format: Format,
    destination: Destination,
}

enum Destination {
    StandardError,
    File(LogFile),
}

impl Writer {
    pub(super) fn new(settings: &Log) -> Writer {
        Writer { format: Format::new(settings), destination: destination(settings) }
    }

    pub(super) fn reconfigure(&mut self, settings: &Log) {
        *self = Writer::new(settings);
    }

    /// `false`: the line is lost.
    pub(super) fn write(&mut self, record: &Record) -> bool {
        let line = self.format.line(record);
        let written = match &mut self.destination {
            Destination::StandardError => std::io::stderr().write_all(line.as_bytes()),
            Destination::File(file) => file.write(line.as_bytes()),
        };
        written.is_ok()
    }
}

fn destination(settings: &Log) -> Destination {
    match &settings.dir {
        Some(dir) => Destination::File(LogFile {
            path: dir.join(FILE_NAME),
            mode: settings.mode,
            copies: settings.file_num,
            limit: settings.file_size,
            open: None,
        }),
        None => Destination::StandardError,
    }
}

/// A log file and its older copies `.1` (the newest) to `.N`.
struct LogFile {
    path: PathBuf,
    mode: Option<u32>,
    copies: usize,
    limit: u64,
    open: Option<(File, u64)>,
}

impl LogFile {
    fn write(&mut self, line: &[u8]) -> std::io::Result<()> {
        let length = line.len() as u64;
        if let Some((_, size)) = &self.open
            && self.limit > 0
            && self.copies > 0
            && *size > 0
            && size + length > self.limit
        {
            self.open = None;
            self.turn_over()?;
        }
        let (file, size) = match &mut self.open {
            Some(open) => open,
            None => self.open.insert(open(&self.path, self.mode)?),
        };
        let written = file.write_all(line);
        *size += length;
        if written.is_err() {
            self.open = None;
        }
        written
    }

    fn turn_over(&self) -> std::io::Result<()> {
        for number in (1..self.copies).rev() {
            let older = copy_name(&self.path, number);
            if older.exists() {
                std::fs::rename(&older, copy_name(&self.path, number + 1))?;
            }
        }
        std::fs::rename(&self.path, copy_name(&self.path, 1))
    }
}

fn copy_name(path: &Path, number: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

fn open(path: &Path, mode: Option<u32>) -> std::io::Result<(File, u64)> {
    let file = OpenOptions::new().append(true).create(true).open(path)?;
    if let Some(mode) = mode {
        file.set_permissions(Permissions::from_mode(mode))?;
    }
    let size = file.metadata()?.len();
    Ok((file, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_is_turned_over_and_the_oldest_copy_goes() {
        let dir = std::env::temp_dir().join(format!("jogi-log-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a temporary directory");
        let mut file = LogFile { path: dir.join(FILE_NAME), mode: Some(0o600), copies: 2, limit: 10, open: None };
        for line in ["first\n", "second\n", "third\n", "fourth\n"] {
            file.write(line.as_bytes()).expect("a line is written");
        }
        let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap_or_default();
        assert_eq!(read("patroni.log"), "fourth\n");
        assert_eq!(read("patroni.log.1"), "third\n");
        assert_eq!(read("patroni.log.2"), "second\n");
        assert_eq!(read("patroni.log.3"), "");
        let mode = std::fs::metadata(dir.join(FILE_NAME)).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::remove_dir_all(&dir).expect("the temporary directory goes");
    }
}
