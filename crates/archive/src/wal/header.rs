//! What a segment says of itself, in the header of its first page (`XLogLongPageHeaderData`).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::names::{Kind, WalFile};

const HEADER: usize = 40;
const IS_LONG: u16 = 0x0002;

/// Why a file is not the segment that its name says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentFault {
    #[error("it has {found} bytes, and its own header says {wanted}")]
    Size { found: u64, wanted: u64 },
    #[error("it does not begin with the header of a WAL segment")]
    Header,
    #[error("its header is that of another segment")]
    Other,
    #[error("it is empty")]
    Empty,
}

/// Looks at a whole file, as far as it is a segment. Histories and labels have no header; they are not empty.
pub fn examine(file: &WalFile, content: &File) -> io::Result<Result<(), SegmentFault>> {
    match file.kind() {
        Kind::Segment | Kind::Partial => {}
        Kind::History | Kind::Backup => {
            let empty = content.metadata()?.len() == 0;
            return Ok(if empty { Err(SegmentFault::Empty) } else { Ok(()) });
        }
    }
    let size = content.metadata()?.len();
    let mut header = [0; HEADER];
    match content.read_exact_at(&mut header, 0) {
        Ok(()) => Ok(judge(file, &header, size)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Err(SegmentFault::Header)),
        Err(error) => Err(error),
    }
}

fn judge(file: &WalFile, header: &[u8; HEADER], size: u64) -> Result<(), SegmentFault> {
    let u16_at = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    let u32_at = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let magic = u16_at(0) >> 8;
    let wanted = u64::from(u32_at(32));
    if magic != 0xD0 && magic != 0xD1 || u16_at(2) & IS_LONG == 0 || !wanted.is_power_of_two() {
        return Err(SegmentFault::Header);
    }
    if size != wanted {
        return Err(SegmentFault::Size { found: size, wanted });
    }
    let begins = u64::from(u32_at(12)) << 32 | u64::from(u32_at(8));
    if file.begins(wanted) != Some(begins) {
        return Err(SegmentFault::Other);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(begins: u64, size: u32) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[..2].copy_from_slice(&0xD110_u16.to_le_bytes());
        header[2..4].copy_from_slice(&IS_LONG.to_le_bytes());
        header[8..16].copy_from_slice(&begins.to_le_bytes());
        header[32..36].copy_from_slice(&size.to_le_bytes());
        header
    }

    #[test]
    fn a_segment_is_known_by_its_first_page() {
        let file = WalFile::parse("000000020000000100000003").expect("a segment");
        let begins = 0x1_0300_0000;
        let size = 16 << 20;
        assert_eq!(judge(&file, &header(begins, size), u64::from(size)), Ok(()));
        let short = SegmentFault::Size { found: 100, wanted: u64::from(size) };
        assert_eq!(judge(&file, &header(begins, size), 100), Err(short));
        assert_eq!(judge(&file, &header(0x300_0000, size), u64::from(size)), Err(SegmentFault::Other));
        assert_eq!(judge(&file, &[0; HEADER], u64::from(size)), Err(SegmentFault::Header));
    }
}
