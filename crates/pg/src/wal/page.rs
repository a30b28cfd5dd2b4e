//! Page headers (`XLogPageHeaderData`, `XLogLongPageHeaderData`).

use jogi_core::{Lsn, Timeline};

pub const SHORT_HEADER: usize = 24;
pub const LONG_HEADER: usize = 40;

const FIRST_IS_CONTINUATION: u16 = 0x0001;
const IS_LONG: u16 = 0x0002;
const FIRST_IS_OVERWRITTEN: u16 = 0x0008;
const ALL_FLAGS: u16 = 0x000F;

/// The header of one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageHeader {
    pub magic: u16,
    pub timeline: Timeline,
    /// The page begins with the rest of a record of the page before.
    pub continuation: bool,
    /// The page begins where a record was given up: what it had on earlier pages counts for nothing.
    pub overwritten: bool,
    /// Bytes of that record on this and later pages.
    pub remaining: u32,
    /// Bytes of this header.
    pub length: usize,
}

/// What a page must agree with.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    pub at: Lsn,
    pub first_of_segment: bool,
    pub segment_size: u64,
    pub block_size: u64,
    pub system_identifier: u64,
    /// Of the pages before; none yet at the first.
    pub magic: Option<u16>,
    pub timeline: Option<Timeline>,
}

impl PageHeader {
    /// Reads and checks a header. The error says what does not fit: a page that was never written, a page of
    /// an earlier use of the file, a page of another cluster.
    pub fn parse(page: &[u8], expected: &Expected) -> Result<PageHeader, &'static str> {
        let header = page.first_chunk::<SHORT_HEADER>().ok_or("too short")?;
        let magic = u16_at(header, 0);
        let info = u16_at(header, 2);
        let timeline = Timeline(u32_at(header, 4));
        let long = info & IS_LONG != 0;
        if magic >> 8 != 0xD0 && magic >> 8 != 0xD1 || expected.magic.is_some_and(|known| known != magic) {
            return Err("wrong magic number");
        }
        if info & !ALL_FLAGS != 0 {
            return Err("unknown flags");
        }
        if u64_at(header, 8) != expected.at.0 {
            return Err("of an earlier use of the file");
        }
        if long != expected.first_of_segment {
            return Err("wrong kind of header");
        }
        if expected.timeline.is_some_and(|known| timeline < known) {
            return Err("of an older timeline");
        }
        if long {
            check_long(page, expected)?;
        }
        Ok(PageHeader {
            magic,
            timeline,
            continuation: info & FIRST_IS_CONTINUATION != 0,
            overwritten: info & FIRST_IS_OVERWRITTEN != 0,
            remaining: u32_at(header, 16),
            length: if long { LONG_HEADER } else { SHORT_HEADER },
        })
    }
}

fn check_long(page: &[u8], expected: &Expected) -> Result<(), &'static str> {
    let header = page.first_chunk::<LONG_HEADER>().ok_or("too short")?;
    if u64_at(header, 24) != expected.system_identifier {
        return Err("of another cluster");
    }
    if u64::from(u32_at(header, 32)) != expected.segment_size || u64::from(u32_at(header, 36)) != expected.block_size {
        return Err("wrong segment or block size");
    }
    Ok(())
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut taken = [0; N];
    taken.copy_from_slice(&bytes[at..at + N]);
    taken
}

pub fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes(bytes_at(bytes, at))
}

pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes_at(bytes, at))
}

pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes_at(bytes, at))
}
