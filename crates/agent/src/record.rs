//! What happened here, kept for whoever asks when it is over (`jogi ctl incident`).
//!
//! Guarantees:
//! - Putting a moment down never waits: a disk that hangs costs the file's lines, not the decision loop.
//! - The file lies in the run directory, so that it outlives the agent and every copy of the data directory. It and the one
//!   before it hold at most twice [`TURN_OVER`] bytes; in memory there are at most [`KEPT`] moments.
//! - A file that cannot be read or written is said once in the log and stops nothing.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use jogi_core::ha::Moment;

/// Moments in memory: a failover is some twenty on each member.
const KEPT: usize = 500;
/// Moments that wait for the disk.
const WAITING: usize = 256;
/// A file of this size becomes the one before.
const TURN_OVER: u64 = 128 << 10;

/// A cheap handle on the record.
#[derive(Clone, Debug, Default)]
pub struct Record {
    kept: Arc<Mutex<VecDeque<Moment>>>,
    /// `None`: it is kept in memory alone.
    file: Option<SyncSender<Moment>>,
}

impl Record {
    /// The record of the member whose run directory this is: what earlier agents put down, and what will come.
    pub fn open(directory: &Path) -> Record {
        let path = directory.join("record.jsonl");
        let mut kept = VecDeque::new();
        for text in [before(&path), path.clone()].iter().filter_map(|path| read(path)) {
            // A line that was cut off by a crash is no moment.
            kept.extend(text.lines().filter_map(|line| serde_json::from_str::<Moment>(line).ok()));
        }
        kept.drain(..kept.len().saturating_sub(KEPT));
        let (sender, moments) = sync_channel(WAITING);
        let spawned = std::thread::Builder::new().name("record".into()).spawn(move || write(&path, &moments));
        if let Err(error) = &spawned {
            tracing::warn!("the record of incidents is kept in memory alone: no thread for its file: {error}");
        }
        Record { kept: Arc::new(Mutex::new(kept)), file: spawned.is_ok().then_some(sender) }
    }

    pub fn add(&self, moment: Moment) {
        if let Some(file) = &self.file {
            // Full or gone: the file is behind, and what is in memory stands.
            let _ = file.try_send(moment.clone());
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(moment);
    }

    /// Everything that is kept, oldest first.
    pub fn all(&self) -> Vec<Moment> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

fn before(path: &Path) -> PathBuf {
    path.with_extension("before.jsonl")
}

fn read(path: &Path) -> Option<String> {
    match fs::read(path) {
        Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!("the record of incidents in {} cannot be read: {error}", path.display());
            None
        }
    }
}

/// Until nobody holds the record any more.
fn write(path: &Path, moments: &Receiver<Moment>) {
    let mut complained = false;
    for moment in moments {
        if let Err(error) = append(path, &moment)
            && !std::mem::replace(&mut complained, true)
        {
            tracing::warn!("the record of incidents in {} cannot be written: {error}", path.display());
        }
    }
}

fn append(path: &Path, moment: &Moment) -> io::Result<()> {
    let mut line = serde_json::to_vec(moment)?;
    line.push(b'\n');
    let mut file = open(path)?;
    if file.metadata()?.len() + line.len() as u64 > TURN_OVER {
        fs::rename(path, before(path))?;
        file = open(path)?;
    }
    file.write_all(&line)
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use jogi_core::Wall;
    use jogi_core::ha::MomentKind;
    use jogi_testkit::wait;

    use super::*;

    fn moment(number: i64) -> Moment {
        Moment { at: Wall(number), kind: MomentKind::Noted, text: format!("{number}: {}", "x".repeat(200)) }
    }

    #[test]
    fn the_record_outlives_its_agent_and_stays_within_its_bounds() {
        let dir = tempfile::tempdir().expect("a directory");
        let record = Record::open(dir.path());
        assert_eq!(record.all(), []);
        let last = 3000;
        for number in 1..=last {
            record.add(moment(number));
            if number % 100 == 0 {
                let at = format!("{{\"at\":{number},");
                wait::until("the file", std::time::Duration::from_secs(20), || {
                    read(&dir.path().join("record.jsonl")).is_some_and(|text| text.contains(&at))
                });
            }
        }
        let all = record.all();
        assert_eq!((all.len(), all.last()), (KEPT, Some(&moment(last))));
        let sizes = fs::read_dir(dir.path()).expect("files").map(|f| f.expect("a file").metadata().expect("it").len());
        let sizes: Vec<u64> = sizes.collect();
        assert!(sizes.len() == 2 && sizes.iter().all(|size| *size <= TURN_OVER), "{sizes:?}");
        drop(record);

        let mut file = open(&dir.path().join("record.jsonl")).expect("the file");
        file.write_all(b"{\"at\":1,\"kind\":\"no").expect("half a line");
        let again = Record::open(dir.path());
        assert_eq!(again.all().last(), Some(&moment(last)), "half a line is passed over");
        assert!(again.all().len() > 400);
    }
}
