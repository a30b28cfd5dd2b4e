//! The binary layout of `pg_control`, from PostgreSQL 10 to 18 (src/include/catalog/pg_control.h).
//!
//! The file is a C structure of the machine that wrote it. Its checksum stands right behind the last field,
//! so a layout that fits by chance is refused: where the version is unknown the newest layout is tried, and
//! the checksum decides.

use jogi_core::ha::server::ControlState;
use jogi_core::{Lsn, Timeline};

use super::{ControlFile, Minimums};
use crate::crc32c::crc32c;

/// What differs between versions.
#[derive(Clone, Copy, Debug)]
struct Layout {
    /// Until 10: the checkpoint before the last.
    previous_checkpoint: bool,
    /// Until 11: the next transaction id as two halves.
    split_next_xid: bool,
    /// From 12 on.
    max_wal_senders: bool,
    /// Until 12: whether float4 is passed by value.
    float4_by_value: bool,
    /// From 18 on.
    char_signedness: bool,
}

const PG13: Layout = Layout {
    previous_checkpoint: false,
    split_next_xid: false,
    max_wal_senders: true,
    float4_by_value: false,
    char_signedness: false,
};
const PG12: Layout = Layout { float4_by_value: true, ..PG13 };
const PG11: Layout = Layout { split_next_xid: true, max_wal_senders: false, ..PG12 };
const PG10: Layout = Layout { previous_checkpoint: true, ..PG11 };
const PG18: Layout = Layout { char_signedness: true, ..PG13 };

/// Why the bytes could not be read as a control file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// Too short.
    Short,
    /// `pg_control_version` is none that we know.
    Unknown(u32),
    /// The layout is known and its checksum is wrong: damaged, or read while it was written.
    Checksum,
}

/// Reads the structure.
pub fn parse(bytes: &[u8]) -> Result<ControlFile, Misfit> {
    let version = Cursor { bytes, at: 8 }.u32().ok_or(Misfit::Short)?;
    let layout = match version {
        1002 => PG10,
        1100 => PG11,
        1201 => PG12,
        1300..=1700 => PG13,
        1701.. if version < 0x1_0000 => PG18,
        other => return Err(Misfit::Unknown(other)),
    };
    let (control, crc_at, crc) = fields(bytes, layout).ok_or(Misfit::Short)?;
    match crc32c(bytes.get(..crc_at).ok_or(Misfit::Short)?) == crc {
        true => Ok(control),
        false if version > 1800 => Err(Misfit::Unknown(version)),
        false => Err(Misfit::Checksum),
    }
}

/// The fields, where the checksum stands, and the checksum.
fn fields(bytes: &[u8], layout: Layout) -> Option<(ControlFile, usize, u32)> {
    let mut c = Cursor { bytes, at: 0 };
    let system_identifier = c.u64()?;
    let version = c.u32()?;
    let _catalog = c.u32()?;
    let state = state(c.u32()?)?;
    let _written_at = c.u64()?;
    let checkpoint = Lsn(c.u64()?);
    if layout.previous_checkpoint {
        c.u64()?;
    }
    let redo = Lsn(c.u64()?);
    let timeline = Timeline(c.u32()?);
    c.skip_checkpoint_rest(layout)?;
    let _unlogged = c.u64()?;
    let min_recovery = Lsn(c.u64()?);
    let min_recovery_timeline = Timeline(c.u32()?);
    let _backup_start = c.u64()?;
    let _backup_end = c.u64()?;
    let _backup_end_required = c.bool()?;
    let _wal_level = c.u32()?;
    let wal_log_hints = c.bool()?;
    let max_connections = i64::from(c.i32()?);
    let max_worker_processes = i64::from(c.i32()?);
    let max_wal_senders = match layout.max_wal_senders {
        true => Some(i64::from(c.i32()?)),
        false => None,
    };
    let max_prepared_xacts = i64::from(c.i32()?);
    let max_locks_per_xact = i64::from(c.i32()?);
    let _track_commit_timestamp = c.bool()?;
    let _max_align = c.u32()?;
    let _float_format = c.u64()?;
    let _block_size = c.u32()?;
    let _segment_blocks = c.u32()?;
    let wal_block_size = c.u32()?;
    let wal_segment_size = c.u32()?;
    let _limits = (c.u32()?, c.u32()?, c.u32()?, c.u32()?);
    if layout.float4_by_value {
        c.bool()?;
    }
    let _float8_by_value = c.bool()?;
    let checksums = c.u32()? != 0;
    if layout.char_signedness {
        c.bool()?;
    }
    c.at += 32;
    let crc = c.u32()?;
    let minimums =
        Minimums { max_connections, max_worker_processes, max_wal_senders, max_prepared_xacts, max_locks_per_xact };
    let control = ControlFile {
        version,
        system_identifier,
        state,
        checkpoint,
        redo,
        timeline,
        min_recovery,
        min_recovery_timeline,
        wal_log_hints,
        checksums,
        wal_block_size,
        wal_segment_size,
        minimums,
    };
    Some((control, c.at - 4, crc))
}

fn state(number: u32) -> Option<ControlState> {
    Some(match number {
        0 => ControlState::StartingUp,
        1 => ControlState::ShutDown,
        2 => ControlState::ShutDownInRecovery,
        3 => ControlState::ShuttingDown,
        4 => ControlState::InCrashRecovery,
        5 => ControlState::InArchiveRecovery,
        6 => ControlState::InProduction,
        _ => return None,
    })
}

/// Reads fields of a C structure one after another, each at a multiple of its size.
struct Cursor<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl Cursor<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let from = self.at.next_multiple_of(N);
        let taken = self.bytes.get(from..from + N)?.try_into().ok()?;
        self.at = from + N;
        Some(taken)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_ne_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_ne_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.take().map(i32::from_ne_bytes)
    }

    fn bool(&mut self) -> Option<bool> {
        self.take::<1>().map(|[byte]| byte != 0)
    }

    /// Of `CheckPoint`, after redo and timeline: previous timeline, full page writes (and, from 17 on, wal_level),
    /// next xid, seven oids and ids, time, three transaction ids.
    fn skip_checkpoint_rest(&mut self, layout: Layout) -> Option<()> {
        self.u32()?;
        self.bool()?;
        match layout.split_next_xid {
            true => {
                self.u32()?;
                self.u32()?;
            }
            false => {
                self.u64()?;
            }
        }
        for _ in 0..7 {
            self.u32()?;
        }
        self.u64()?;
        for _ in 0..3 {
            self.u32()?;
        }
        // The structure's own size is a multiple of eight.
        self.at = self.at.next_multiple_of(8);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where PostgreSQL's compilers put the checksum (`offsetof(ControlFileData, crc)` on 64-bit machines).
    #[test]
    fn the_structure_has_the_size_that_c_gives_it() {
        let zeroes = [0; 512];
        for (name, layout, offset) in
            [("10", PG10, 288), ("11", PG11, 280), ("12", PG12, 288), ("13", PG13, 288), ("18", PG18, 292)]
        {
            let (_, crc_at, _) = fields(&zeroes, layout).expect("long enough");
            assert_eq!(crc_at, offset, "PostgreSQL {name}");
        }
    }

    #[test]
    fn garbage_is_refused_with_its_reason() {
        assert_eq!(parse(&[]), Err(Misfit::Short));
        let mut bytes = vec![0; 8192];
        bytes[8..12].copy_from_slice(&942_u32.to_ne_bytes());
        assert_eq!(parse(&bytes), Err(Misfit::Unknown(942)));
        bytes[8..12].copy_from_slice(&1300_u32.to_ne_bytes());
        assert_eq!(parse(&bytes), Err(Misfit::Checksum));
        bytes[8..12].copy_from_slice(&1900_u32.to_ne_bytes());
        assert_eq!(parse(&bytes), Err(Misfit::Unknown(1900)));
    }

    #[test]
    fn every_layout_is_read_when_its_checksum_fits() {
        for (version, layout) in [(1002, PG10), (1100, PG11), (1201, PG12), (1300, PG13), (1700, PG13), (1800, PG18)] {
            let mut bytes = vec![0; 8192];
            bytes[..8].copy_from_slice(&7_612_345_678_901_234_567_u64.to_ne_bytes());
            bytes[8..12].copy_from_slice(&u32::to_ne_bytes(version));
            bytes[16..20].copy_from_slice(&6_u32.to_ne_bytes());
            bytes[32..40].copy_from_slice(&0x5000_0028_u64.to_ne_bytes());
            let (_, crc_at, _) = fields(&bytes, layout).expect("long enough");
            let crc = crc32c(&bytes[..crc_at]);
            bytes[crc_at..crc_at + 4].copy_from_slice(&crc.to_ne_bytes());
            let control = parse(&bytes).expect("a control file");
            assert_eq!(control.system_identifier, 7_612_345_678_901_234_567);
            assert_eq!(control.state, ControlState::InProduction);
            assert_eq!(control.checkpoint, Lsn(0x5000_0028));
        }
    }
}
