//! A frame: length, checksum, index of the first entry, entries.

use bytes::{Buf, BufMut};
use prost::Message;

/// Length, checksum, index.
pub(super) const HEAD: usize = 4 + 4 + 8;
/// Longer ones are not written.
pub(super) const MAX_FRAME: usize = 64 * 1024 * 1024;
/// What a disk writes as a whole.
const SECTOR: usize = 512;

/// One entry of the log.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Entry {
    #[prost(uint64, tag = "1")]
    pub index: u64,
    #[prost(uint64, tag = "2")]
    pub term: u64,
    #[prost(bytes = "vec", tag = "3")]
    pub data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Entries {
    #[prost(message, repeated, tag = "1")]
    entries: Vec<Entry>,
}

/// What stands at an offset of a file.
pub(super) enum Found {
    Frame {
        entries: Vec<Entry>,
        bytes: usize,
    },
    End,
    /// A frame that was never finished.
    Torn,
    Damaged(String),
}

pub(super) fn encode(entries: &[Entry]) -> Vec<u8> {
    let body = Entries { entries: entries.to_vec() }.encode_to_vec();
    // Written, it would be refused at the next start, with what was acknowledged in it.
    assert!(body.len() <= MAX_FRAME, "a frame of {} bytes: batches are bounded", body.len());
    let index = entries.first().map_or(0, |entry| entry.index);
    let mut frame = Vec::with_capacity(HEAD + body.len());
    frame.put_u32(u32::try_from(body.len()).expect("frames are bounded"));
    frame.put_u32(checksum(index, &body));
    frame.put_u64(index);
    frame.extend_from_slice(&body);
    frame
}

fn checksum(index: u64, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&index.to_be_bytes());
    hasher.update(body);
    hasher.finalize()
}

/// Reads the frame at `offset` of a file's bytes. `last_file`: no other file was begun after this one.
pub(super) fn read(file: &[u8], offset: usize, last_file: bool) -> Found {
    let rest = &file[offset..];
    if rest.is_empty() {
        return Found::End;
    }
    match whole(rest) {
        Ok((entries, bytes)) => Found::Frame { entries, bytes },
        Err(_) if last_file && is_torn(rest, offset) && !has_later_frame(rest) => Found::Torn,
        Err(what) => Found::Damaged(what),
    }
}

fn whole(rest: &[u8]) -> Result<(Vec<Entry>, usize), String> {
    let mut head = rest.get(..HEAD).ok_or("a frame without its head")?;
    let (length, expected, index) = (head.get_u32() as usize, head.get_u32(), head.get_u64());
    if length == 0 || length > MAX_FRAME {
        return Err(format!("a frame cannot have {length} bytes"));
    }
    let body = rest.get(HEAD..HEAD + length).ok_or_else(|| format!("a frame of {length} bytes ends early"))?;
    let found = checksum(index, body);
    if found != expected {
        return Err(format!("the checksum of the frame of entry {index} is {found:08x} and should be {expected:08x}"));
    }
    let entries = Entries::decode(body).map_err(|e| format!("the frame of entry {index} makes no sense: {e}"))?;
    Ok((entries.entries, HEAD + length))
}

/// Shorter than it says, or with a sector that was never written. `offset` tells where sectors begin.
fn is_torn(rest: &[u8], offset: usize) -> bool {
    let length = rest.get(..4).map_or(usize::MAX, |mut head| head.get_u32() as usize);
    if rest.len() < HEAD.saturating_add(length) {
        return true;
    }
    let first = SECTOR - offset % SECTOR;
    let (head, tail) = rest.split_at(first.min(rest.len()));
    let unwritten = |sector: &[u8]| !sector.is_empty() && sector.iter().all(|byte| *byte == 0);
    unwritten(head) || tail.chunks(SECTOR).any(unwritten)
}

/// The next frame begins when the one before is on the disk: a whole one after a broken one says that the broken one was
/// whole once.
fn has_later_frame(rest: &[u8]) -> bool {
    (1..rest.len().saturating_sub(HEAD)).any(|at| whole(&rest[at..]).is_ok_and(|(entries, _)| !entries.is_empty()))
}
