use std::io::{Cursor, Read, Write};

use super::*;

/// lzma takes seconds for what lz4 takes in no time.
fn sample_for(method: Method) -> Vec<u8> {
    let mut data = sample();
    if method == Method::Lzma {
        data.truncate(300_000);
    }
    data
}

fn packed(method: Method, data: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::new(method, Vec::new()).expect("an encoder");
    encoder.write_all(data).expect("to memory");
    encoder.finish().expect("to memory")
}

fn unpacked(extension: &str, packed: &[u8]) -> io::Result<Vec<u8>> {
    let mut data = Vec::new();
    let mut reader = decode(extension, Box::new(Cursor::new(packed.to_vec()))).expect("a known extension")?;
    reader.read_to_end(&mut data).map(|_| data)
}

/// Some of it compresses, some does not; more than one lz4 block.
fn sample() -> Vec<u8> {
    let mut state = 1_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..(4 << 20) + 1000).map(|n: u32| if n.is_multiple_of(3) { noise() } else { (n >> 8) as u8 }).collect()
}

#[test]
fn every_method_gives_back_what_it_took() {
    for method in Method::ALL {
        for data in [&sample_for(method)[..], b"", b"x"] {
            let packed = packed(method, data);
            assert!(unpacked(method.extension(), &packed).expect("whole") == data, "{method:?}, {} bytes", data.len());
        }
    }
}

#[test]
fn what_is_cut_short_is_an_error() {
    for method in [Method::Lz4, Method::Zstd, Method::Lzma, Method::Brotli] {
        let packed = packed(method, &sample_for(method));
        let last = packed.len() - 12..packed.len();
        for end in last.chain([0, 1, 7, packed.len() / 2]) {
            // What WAL-G leaves for an empty file.
            let nothing = method == Method::Zstd && end == 0;
            assert!(nothing || unpacked(method.extension(), &packed[..end]).is_err(), "{method:?} cut at {end}");
        }
    }
    let lz4 = packed(Method::Lz4, &sample());
    let first_block = u32::from_le_bytes(*lz4[7..].first_chunk().expect("a length")) & 0x7FFF_FFFF;
    let between_blocks = 11 + first_block as usize;
    assert!(unpacked(".lz4", &lz4[..between_blocks]).is_err(), "cut between two blocks");
}

/// The first bytes of what WAL-G's own writers make, from the description of its format.
#[test]
fn streams_begin_as_those_of_wal_g() {
    let begins = |method, bytes: &[u8]| assert!(packed(method, &sample_for(method)).starts_with(bytes), "{method:?}");
    begins(Method::Lz4, &[0x04, 0x22, 0x4D, 0x18, 0x64, 0x70, 0xB9]);
    begins(Method::Lzma, &[0x5D, 0, 0, 0x80, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]);
    begins(Method::Zstd, &[0x28, 0xB5, 0x2F, 0xFD, 0x04]);
}

#[test]
fn an_empty_frame_of_wal_g_is_empty() {
    let frame = [0x04, 0x22, 0x4D, 0x18, 0x64, 0x70, 0xB9, 0, 0, 0, 0x80, 0, 0, 0, 0, 0x05, 0x5D, 0xCC, 0x02];
    assert_eq!(unpacked(".lz4", &frame).expect("whole"), b"");
    assert_eq!(unpacked(".zst", &[]).expect("WAL-G writes no frame for nothing"), b"");
}

/// An lzop file with one stored and one compressed block, put together after the description of the format.
fn lzop(damage: bool) -> Vec<u8> {
    let stored = b"raw when it does not shrink";
    let long = vec![7_u8; 10_000];
    let shrunk = lzokay::compress::compress(&long).expect("compresses");
    let mut file = vec![0x89, b'L', b'Z', b'O', 0, 0x0D, 0x0A, 0x1A, 0x0A];
    let mut put = |bytes: &[u8]| file.extend_from_slice(bytes);
    put(&[0x10, 0x30, 0x20, 0xA0, 0x09, 0x40, 1, 5]);
    put(&0x0000_0103_u32.to_be_bytes());
    put(&[0; 12]);
    put(&[3, b'a', b'b', b'c', 0, 0, 0, 0]);
    put(&(stored.len() as u32).to_be_bytes());
    put(&(stored.len() as u32).to_be_bytes());
    put(&adler2::adler32_slice(stored).to_be_bytes());
    put(&crc32fast::hash(stored).to_be_bytes());
    put(stored);
    put(&(long.len() as u32).to_be_bytes());
    put(&(shrunk.len() as u32).to_be_bytes());
    put(&(adler2::adler32_slice(&long) ^ u32::from(damage)).to_be_bytes());
    put(&crc32fast::hash(&long).to_be_bytes());
    put(&adler2::adler32_slice(&shrunk).to_be_bytes());
    put(&shrunk);
    put(&[0; 4]);
    file
}

#[test]
fn lzop_files_of_wal_e_are_read() {
    let mut wanted = b"raw when it does not shrink".to_vec();
    wanted.extend([7; 10_000]);
    let file = lzop(false);
    assert!(unpacked(".lzo", &file).expect("whole") == wanted);
    assert!(unpacked(".lzo", &lzop(true)).is_err(), "a checksum that does not fit");
    assert!(unpacked(".lzo", &file[..file.len() - 4]).is_err(), "no end");
    assert!(unpacked(".lzo", b"no such file at all").is_err());
}
