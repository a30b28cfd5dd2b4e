//! Records (`XLogRecord`), as far as their header goes.

use jogi_core::Lsn;

use super::page::{u32_at, u64_at};

/// Bytes of a record's header.
pub const RECORD_HEADER: usize = 24;
/// PostgreSQL's `XLogRecordMaxSize`.
pub const RECORD_MAX: u32 = 1020 * 1024 * 1024;

const RM_XLOG: u8 = 0;
const XLOG_CHECKPOINT_SHUTDOWN: u8 = 0x00;
const XLOG_SWITCH: u8 = 0x40;
/// The upper bits of `xl_info` are the resource manager's own.
const RMGR_INFO: u8 = 0xF0;

/// One record of the log, its contents checked and not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    pub at: Lsn,
    /// The first byte after it: PostgreSQL's `EndRecPtr`, a multiple of eight. After a WAL switch the beginning
    /// of the next segment.
    pub end: Lsn,
    /// Where the record before it begins.
    pub prev: Lsn,
    /// Bytes, header included.
    pub length: u32,
    pub rmgr: u8,
    pub info: u8,
}

impl Record {
    /// The rest of the segment after it is unused.
    pub fn is_switch(&self) -> bool {
        self.rmgr == RM_XLOG && self.info & RMGR_INFO == XLOG_SWITCH
    }

    pub fn is_shutdown_checkpoint(&self) -> bool {
        self.rmgr == RM_XLOG && self.info & RMGR_INFO == XLOG_CHECKPOINT_SHUTDOWN
    }
}

/// The header, raw.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    pub length: u32,
    pub prev: Lsn,
    pub info: u8,
    pub rmgr: u8,
    pub crc: u32,
}

impl Header {
    pub fn parse(bytes: &[u8; RECORD_HEADER]) -> Header {
        Header {
            length: u32_at(bytes, 0),
            prev: Lsn(u64_at(bytes, 8)),
            info: bytes[16],
            rmgr: bytes[17],
            crc: u32_at(bytes, 20),
        }
    }

    /// What is wrong with it by itself, for a record at `at`. Its length has been checked before.
    pub fn fault(&self, at: Lsn) -> Option<&'static str> {
        (self.prev >= at).then_some("its back pointer points ahead")
    }
}
