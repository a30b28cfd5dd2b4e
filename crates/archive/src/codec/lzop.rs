//! Files of `lzop`, which WAL-E wrote. Reading only.

use std::io::{self, Read};

const MAGIC: [u8; 9] = [0x89, b'L', b'Z', b'O', 0, 0x0D, 0x0A, 0x1A, 0x0A];
/// The version from which a header names the version that a reader needs, a level, and a time of 64 bits.
const LONG_HEADER: u16 = 0x0940;
/// lzop's own largest block.
const BLOCK_MAX: u32 = 64 << 20;

const ADLER32_RAW: u32 = 0x1;
const ADLER32_STORED: u32 = 0x2;
const EXTRA_FIELD: u32 = 0x40;
const CRC32_RAW: u32 = 0x100;
const CRC32_STORED: u32 = 0x200;
const FILTER: u32 = 0x800;

/// What an lzop file holds, block by block, each checked by the checksums that it carries.
#[derive(Debug)]
pub struct LzopReader<R> {
    from: R,
    flags: u32,
    block: Vec<u8>,
    at: usize,
    ended: bool,
}

impl<R: Read> LzopReader<R> {
    pub fn new(mut from: R) -> io::Result<LzopReader<R>> {
        let flags = header(&mut from)?;
        Ok(LzopReader { from, flags, block: Vec::new(), at: 0, ended: false })
    }

    fn next_block(&mut self) -> io::Result<()> {
        let raw = self.u32()?;
        if raw == 0 {
            self.ended = true;
            return Ok(());
        }
        let stored = self.u32()?;
        if raw > BLOCK_MAX || stored > raw {
            return Err(damaged("a block has an impossible length"));
        }
        let adler_raw = self.sum(ADLER32_RAW, true)?;
        let crc_raw = self.sum(CRC32_RAW, true)?;
        let adler_stored = self.sum(ADLER32_STORED, stored < raw)?;
        let crc_stored = self.sum(CRC32_STORED, stored < raw)?;
        let mut data = vec![0; stored as usize];
        self.from.read_exact(&mut data)?;
        check(&data, adler_stored, crc_stored)?;
        if stored < raw {
            let mut whole = vec![0; raw as usize];
            let length = lzokay::decompress::decompress(&data, &mut whole)
                .map_err(|e| damaged(&format!("a block does not decompress ({e:?})")))?;
            if length != whole.len() {
                return Err(damaged("a block is shorter than it says"));
            }
            data = whole;
        }
        check(&data, adler_raw, crc_raw)?;
        self.block = data;
        self.at = 0;
        Ok(())
    }

    fn sum(&mut self, flag: u32, there: bool) -> io::Result<Option<u32>> {
        if there && self.flags & flag != 0 { self.u32().map(Some) } else { Ok(None) }
    }

    fn u32(&mut self) -> io::Result<u32> {
        u32_from(&mut self.from)
    }
}

impl<R: Read> Read for LzopReader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.block.len() && !self.ended {
            self.next_block()?;
        }
        let rest = &self.block[self.at..];
        if self.ended || rest.is_empty() {
            return Ok(0);
        }
        let taken = rest.len().min(into.len());
        into[..taken].copy_from_slice(&rest[..taken]);
        self.at += taken;
        Ok(taken)
    }
}

/// Reads a header and returns its flags.
fn header(from: &mut impl Read) -> io::Result<u32> {
    let mut magic = [0; MAGIC.len()];
    from.read_exact(&mut magic)?;
    if magic != MAGIC {
        return Err(damaged("it does not begin as an lzop file"));
    }
    let version = u16_from(from)?;
    u16_from(from)?;
    let long = version >= LONG_HEADER;
    // Needed version, method, level; method alone in old files.
    skip(from, if long { 4 } else { 1 })?;
    let flags = u32_from(from)?;
    // Filter, mode, time, high half of the time.
    skip(from, if flags & FILTER != 0 { 4 } else { 0 } + 8 + if long { 4 } else { 0 })?;
    let mut name = [0];
    from.read_exact(&mut name)?;
    skip(from, u64::from(name[0]) + 4)?;
    if flags & EXTRA_FIELD != 0 {
        let length = u32_from(from)?;
        skip(from, u64::from(length) + 4)?;
    }
    Ok(flags)
}

fn check(data: &[u8], adler: Option<u32>, crc: Option<u32>) -> io::Result<()> {
    if adler.is_some_and(|wanted| adler2::adler32_slice(data) != wanted) {
        return Err(damaged("an Adler-32 checksum does not fit"));
    }
    if crc.is_some_and(|wanted| crc32fast::hash(data) != wanted) {
        return Err(damaged("a CRC-32 checksum does not fit"));
    }
    Ok(())
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the lzop file is damaged: {what}"))
}

fn u16_from(from: &mut impl Read) -> io::Result<u16> {
    let mut bytes = [0; 2];
    from.read_exact(&mut bytes)?;
    Ok(u16::from_be_bytes(bytes))
}

fn u32_from(from: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    from.read_exact(&mut bytes)?;
    Ok(u32::from_be_bytes(bytes))
}

fn skip(from: &mut impl Read, count: u64) -> io::Result<()> {
    let skipped = io::copy(&mut from.take(count), &mut io::sink())?;
    if skipped == count { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
