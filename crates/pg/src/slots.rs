//! Replication slots: their SQL, and the copying of a logical slot's state from one server's files to another's.
//!
//! Hazard: a state file that is torn or of something else makes the server end with a PANIC at every start. So a copy
//! is checked as PostgreSQL itself checks it (magic number and CRC, slot.c) before it is laid ready, and it is laid
//! ready under a name (`NAME.tmp`) that a starting server removes: nothing half done is ever read.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jogi_core::ha::{LogicalPlan, SlotPlan, Upstream};
use jogi_core::{Lsn, SlotName, Timeline};
use tokio::time::Instant;

use crate::admin::CANCEL_WITHIN;
use crate::connect::{Connection, Purpose, SqlError, Target, TextRow, quote_literal};
use crate::crc32c::crc32c;
use crate::instance::Instance;
use crate::wal::segment_name;

/// `ERRCODE_DUPLICATE_OBJECT`: the slot to create is there.
const DUPLICATE: &str = "42710";
/// `ERRCODE_UNDEFINED_OBJECT`: the slot to drop is not there.
const UNDEFINED: &str = "42704";
/// `ERRCODE_UNDEFINED_FILE` and `ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE`: what the slot needs is gone.
const GONE: [&str; 2] = ["58P01", "55000"];
/// `SLOT_MAGIC` of slot.c, and where its checksum and what that covers begin.
const MAGIC: u32 = 0x0105_1CA1;
const CHECKSUM_AT: usize = 4;
const CHECKSUMMED_FROM: usize = 8;
/// A state file has some 200 bytes; more is none.
const STATE_MAX: usize = 1_000_000;

/// A logical slot of another server, as its files have it.
pub struct Fetched {
    pub name: SlotName,
    pub catalog_xmin: u32,
    /// Decoding begins to read there.
    pub restart: Lsn,
    pub state: Vec<u8>,
}

/// Drops, creates and advances physical slots, in this order; goes on after a failure, and reports the last one when
/// all have been tried. A slot that already is as it is to be is no failure.
pub async fn change(instance: &Instance, plan: &SlotPlan, within: Duration) -> Result<(), SqlError> {
    let until = Instant::now() + within;
    let mut server = Work::open(instance.local_target(Purpose::Work), until).await?;
    let mut failure = None;
    for (sql, forgiven) in statements(plan) {
        match server.run(&sql).await {
            Ok(()) => {}
            Err(error) if error.sqlstate() == Some(forgiven) => {}
            Err(error @ SqlError::Failed { .. }) => {
                tracing::warn!("{error}; it was: {sql}");
                failure = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    failure.map_or(Ok(()), Err)
}

/// Each statement with the SQLSTATE that is as good as success.
fn statements(plan: &SlotPlan) -> Vec<(String, &'static str)> {
    let drop =
        |slot: &SlotName| (format!("SELECT pg_drop_replication_slot({})", quote_literal(slot.as_str())), UNDEFINED);
    let create = |slot: &SlotName| {
        (format!("SELECT pg_create_physical_replication_slot({}, true)", quote_literal(slot.as_str())), DUPLICATE)
    };
    let advance = |(slot, to): &(SlotName, jogi_core::Lsn)| {
        (format!("SELECT pg_replication_slot_advance({}, '{to}')", quote_literal(slot.as_str())), "")
    };
    let mut all: Vec<_> = plan.drop.iter().map(drop).collect();
    all.extend(plan.create.iter().map(create));
    all.extend(plan.advance.iter().map(advance));
    all
}

/// Creates and advances logical slots, each in its database; goes on after a failure, and reports the last one when all
/// have been tried. Answers with the slots whose WAL is gone.
pub async fn work_on_logical(
    instance: &Instance,
    plan: &LogicalPlan,
    within: Duration,
) -> Result<Vec<SlotName>, SqlError> {
    let until = Instant::now() + within;
    let mut servers: BTreeMap<String, Work> = BTreeMap::new();
    let mut lost = Vec::new();
    let mut failure = None;
    for (name, database, sql, creates) in logical_statements(plan) {
        let server = match servers.entry(database) {
            std::collections::btree_map::Entry::Occupied(open) => open.into_mut(),
            std::collections::btree_map::Entry::Vacant(free) => {
                match Work::open(instance.local_target_for(Purpose::Work, free.key()), until).await {
                    Ok(server) => free.insert(server),
                    Err(error @ SqlError::Failed { .. }) => {
                        tracing::warn!("{error}; it was for the logical slot {}", name.as_str());
                        failure = Some(error);
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        match server.run(&sql).await {
            Ok(()) => tracing::debug!("done: {sql}"),
            Err(error) if creates && error.sqlstate() == Some(DUPLICATE) => {}
            Err(error) if !creates && error.sqlstate().is_some_and(|state| GONE.contains(&state)) => {
                tracing::warn!("the logical slot {} has to be copied anew: {error}", name.as_str());
                lost.push(name);
            }
            Err(error @ SqlError::Failed { .. }) => {
                tracing::warn!("{error}; it was: {sql}");
                failure = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    failure.map_or(Ok(lost), Err)
}

/// Slot, database, statement, and whether it creates.
fn logical_statements(plan: &LogicalPlan) -> Vec<(SlotName, String, String, bool)> {
    let create = plan.create.iter().map(|slot| {
        let (name, plugin) = (quote_literal(slot.name.as_str()), quote_literal(&slot.plugin));
        let sql = format!("SELECT pg_create_logical_replication_slot({name}, {plugin})");
        (slot.name.clone(), slot.database.clone(), sql, true)
    });
    let advance = plan.advance.iter().map(|(slot, database, to)| {
        let sql = format!("SELECT pg_replication_slot_advance({}, '{to}')", quote_literal(slot.as_str()));
        (slot.clone(), database.clone(), sql, false)
    });
    create.chain(advance).collect()
}

/// A connection whose statements are cancelled on the server when their time is over, so that nothing goes on behind
/// our back.
struct Work {
    target: Target,
    connection: Connection,
    until: Instant,
}

impl Work {
    async fn open(target: Target, until: Instant) -> Result<Work, SqlError> {
        let connection = Connection::open(&target, until.saturating_duration_since(Instant::now())).await?;
        Ok(Work { target, connection, until })
    }

    async fn run(&mut self, sql: &str) -> Result<(), SqlError> {
        let ended = self.connection.query(sql, self.until.saturating_duration_since(Instant::now())).await;
        if let Err(SqlError::TimedOut { .. }) = &ended {
            self.connection.cancel(&self.target, CANCEL_WITHIN).await;
        }
        ended.map(|_| ())
    }
}

/// The `catalog_xmin` of these slots on another server, of those that exist and have one.
pub async fn horizon(
    instance: &Instance,
    from: &Upstream,
    slots: &[SlotName],
    within: Duration,
) -> Result<BTreeMap<SlotName, u32>, SqlError> {
    let sql = format!(
        "SELECT slot_name, catalog_xmin FROM pg_catalog.pg_get_replication_slots() \
         WHERE NOT pg_catalog.pg_is_in_recovery() AND catalog_xmin IS NOT NULL AND slot_name IN ({})",
        list(slots)
    );
    let until = Instant::now() + within;
    let mut connection = Connection::open(&instance.rewind_target(from), within).await?;
    let rows = connection.query(&sql, until.saturating_duration_since(Instant::now())).await?;
    let one = |row: &TextRow| Some((SlotName(row.get(0)?.to_owned().into()), row.get(1)?.parse().ok()?));
    Ok(rows.iter().filter_map(one).collect())
}

/// Reads the state files of logical slots of another server, which has to be a primary.
pub async fn fetch(
    instance: &Instance,
    from: &Upstream,
    slots: &[SlotName],
    within: Duration,
) -> Result<Vec<Fetched>, SqlError> {
    let sql = format!(
        "SELECT slot_name, catalog_xmin, restart_lsn, \
         pg_catalog.encode(pg_catalog.pg_read_binary_file('pg_replslot/' || slot_name || '/state', 0, {STATE_MAX}, false), 'hex') \
         FROM pg_catalog.pg_get_replication_slots() \
         WHERE NOT pg_catalog.pg_is_in_recovery() AND slot_type = 'logical' AND catalog_xmin IS NOT NULL \
         AND restart_lsn IS NOT NULL AND slot_name IN ({})",
        list(slots)
    );
    let until = Instant::now() + within;
    let mut connection = Connection::open(&instance.rewind_target(from), within).await?;
    let rows = connection.query(&sql, until.saturating_duration_since(Instant::now())).await?;
    let one = |row: &TextRow| {
        Some(Fetched {
            name: SlotName(row.get(0)?.to_owned().into()),
            catalog_xmin: row.get(1)?.parse().ok()?,
            restart: row.get(2)?.parse().ok()?,
            state: unhex(row.get(3)?)?,
        })
    };
    Ok(rows.iter().filter_map(one).collect())
}

fn list(slots: &[SlotName]) -> String {
    slots.iter().map(|slot| quote_literal(slot.as_str())).collect::<Vec<_>>().join(", ")
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::try_from(digit(*pair.first()?)? * 16 + digit(*pair.get(1)?)?).ok()).collect()
}

/// Lays the state of a slot ready beside the slots of the data directory, durably. One whose WAL is not here would be of
/// no use. Blocking.
pub fn stage(data_dir: &Path, fetched: &Fetched) -> Result<(), String> {
    let slot = fetched.name.as_str();
    match has_wal(data_dir, fetched.restart) {
        Ok(true) => {}
        Ok(false) => {
            return Err(format!(
                "the logical slot {slot} cannot be copied yet: it reads WAL from {} on, which this server has not; it will be \
                 when its reader has gone on",
                fetched.restart
            ));
        }
        Err(why) => return Err(format!("the logical slot {slot} is not copied: {why}")),
    }
    lay_ready(data_dir, &fetched.name, &fetched.state)
}

fn lay_ready(data_dir: &Path, slot: &SlotName, state: &[u8]) -> Result<(), String> {
    check(state).map_err(|why| format!("the state of the logical slot {} is not one: {why}", slot.as_str()))?;
    let ready = staged(data_dir, slot);
    stage_at(&ready, state).map_err(|error| format!("cannot write {}: {error}", ready.display()))
}

fn stage_at(ready: &Path, state: &[u8]) -> io::Result<()> {
    remove(ready)?;
    let parent = ready.parent().unwrap_or(ready);
    let mode = fs::metadata(parent)?.permissions().mode() & 0o777;
    fs::DirBuilder::new().mode(mode).create(ready)?;
    let mut file = File::options().write(true).create_new(true).mode(mode & 0o666).open(ready.join("state"))?;
    file.write_all(state)?;
    file.sync_all()?;
    File::open(ready)?.sync_all()
}

/// Whether the segment that holds a position lies in `pg_wal`, on whichever timeline.
fn has_wal(data_dir: &Path, at: Lsn) -> Result<bool, String> {
    let control = crate::control::read_file(data_dir, None).map_err(|error| error.to_string())?;
    let name = segment_name(Timeline(0), at, u64::from(control.wal_segment_size));
    let dir = data_dir.join("pg_wal");
    let files = fs::read_dir(&dir).map_err(|error| format!("cannot read {}: {error}", dir.display()))?;
    let is_it = |file: &fs::DirEntry| file.file_name().to_str().and_then(|file| file.get(8..)) == name.get(8..);
    Ok(files.filter_map(Result::ok).any(|file| is_it(&file)))
}

/// As PostgreSQL checks it when it starts (RestoreSlotFromDisk).
fn check(state: &[u8]) -> Result<(), String> {
    let word = |at: usize| state.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_ne_bytes);
    match (word(0), word(CHECKSUM_AT)) {
        (Some(MAGIC), Some(checksum)) => {
            let computed = crc32c(state.get(CHECKSUMMED_FROM..).unwrap_or_default());
            if computed == checksum { Ok(()) } else { Err(format!("checksum {computed:08x}, not {checksum:08x}")) }
        }
        (Some(other), Some(_)) => Err(format!("it begins with {other:08x}, not {MAGIC:08x}")),
        (_, _) => Err(format!("{} bytes are too few", state.len())),
    }
}

/// Puts what was laid ready in place of what is there. No server may run. Blocking.
pub fn install(data_dir: &Path, slots: &[SlotName]) -> Result<(), String> {
    for slot in slots {
        let ready = staged(data_dir, slot);
        let place = data_dir.join("pg_replslot").join(slot.as_str());
        if !ready.exists() {
            continue;
        }
        let put = || -> io::Result<()> {
            remove(&place)?;
            fs::rename(&ready, &place)?;
            File::open(data_dir.join("pg_replslot"))?.sync_all()
        };
        put().map_err(|error| format!("cannot rename {} to {}: {error}", ready.display(), place.display()))?;
    }
    Ok(())
}

fn staged(data_dir: &Path, slot: &SlotName) -> PathBuf {
    data_dir.join("pg_replslot").join(format!("{}.tmp", slot.as_str()))
}

fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(body: &[u8]) -> Vec<u8> {
        let mut state = MAGIC.to_ne_bytes().to_vec();
        state.extend(crc32c(body).to_ne_bytes());
        state.extend(body);
        state
    }

    #[test]
    fn a_slot_is_put_in_place_as_a_whole() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("pg_replslot")).expect("created");
        let name = SlotName("cdc".into());
        let place = dir.path().join("pg_replslot/cdc/state");
        for body in [&b"first"[..], b"second"] {
            lay_ready(dir.path(), &name, &state(b"given up")).expect("staged");
            lay_ready(dir.path(), &name, &state(body)).expect("staged again");
            install(dir.path(), std::slice::from_ref(&name)).expect("installed");
            assert_eq!(fs::read(&place).expect("there"), state(body));
            assert!(!staged(dir.path(), &name).exists());
        }
        install(dir.path(), &[name]).expect("nothing to do");
        assert_eq!(fs::read(&place).expect("there"), state(b"second"));
    }

    #[test]
    fn what_postgresql_would_not_read_is_not_laid_ready() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("pg_replslot")).expect("created");
        let mut torn = state(b"body");
        torn.pop();
        for (state, why) in [(torn, "checksum"), (b"nonsense".to_vec(), "begins with"), (Vec::new(), "too few")] {
            let name = SlotName("cdc".into());
            let error = lay_ready(dir.path(), &name, &state).expect_err("refused");
            assert!(error.contains(why), "{error}");
            assert!(!staged(dir.path(), &name).exists());
        }
    }

    #[test]
    fn hexadecimal_text_becomes_bytes() {
        assert_eq!(unhex("00ffA1"), Some(vec![0, 255, 161]));
        assert_eq!(unhex("0g"), None);
        assert_eq!(unhex("abc"), None);
        assert_eq!(unhex(""), Some(Vec::new()));
    }
}
