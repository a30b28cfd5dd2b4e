//! Encryption by a libsodium key as WAL-G does it: `crypto_secretstream_xchacha20poly1305` in chunks of 8 KiB.
//!
//! The hazards: WAL-G takes a FINAL tag on a full chunk for an early end, so the last chunk is always shorter; and it
//! does not notice an object cut at the border of a chunk, so this reader insists on FINAL.

use std::io::{self, Read, Write};

use base64::Engine;
use crypto_secretstream::{Header, Key, PullStream, PushStream, Stream, Tag};
use rand_core::OsRng;

const CHUNK: usize = 8192;
const SEALED: usize = CHUNK + Stream::ABYTES;
const KEY: usize = 32;
/// WAL-G takes shorter text for a mistake.
const SHORTEST_TEXT: usize = 25;

/// The key itself. Never printed.
#[derive(Clone)]
pub struct SodiumKey([u8; KEY]);

impl std::fmt::Debug for SodiumKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SodiumKey(…)")
    }
}

/// A key that cannot be one. Says nothing of its text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    #[error("the libsodium key has {0} bytes of text; it needs {SHORTEST_TEXT} or more")]
    Short(usize),
    #[error("the libsodium key is not {0} of exactly {KEY} bytes")]
    Encoding(&'static str),
    #[error("WALG_LIBSODIUM_KEY_TRANSFORM is '{0}'; none, hex and base64 exist")]
    Transform(String),
}

impl SodiumKey {
    /// Makes a key of its text as `WALG_LIBSODIUM_KEY_TRANSFORM` says.
    pub fn from_text(text: &str, transform: &str) -> Result<SodiumKey, BadKey> {
        let exact = |bytes: Option<Vec<u8>>, what| {
            bytes.and_then(|b| b.try_into().ok()).map(SodiumKey).ok_or(BadKey::Encoding(what))
        };
        match transform {
            "" | "none" => {
                let bytes = text.as_bytes();
                if bytes.len() < SHORTEST_TEXT {
                    return Err(BadKey::Short(bytes.len()));
                }
                let mut key = [0; KEY];
                let taken = bytes.len().min(KEY);
                key[..taken].copy_from_slice(&bytes[..taken]);
                Ok(SodiumKey(key))
            }
            "hex" => exact(from_hex(text), "hexadecimal text"),
            "base64" => exact(base64::engine::general_purpose::STANDARD.decode(text).ok(), "base64 text"),
            other => Err(BadKey::Transform(other.to_owned())),
        }
    }

    fn key(&self) -> Key {
        Key::from(self.0)
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok()).collect()
}

/// Encrypts what is written to it.
pub struct SodiumWriter<W> {
    to: W,
    stream: PushStream,
    header: Option<Header>,
    chunk: Vec<u8>,
}

impl<W: Write> SodiumWriter<W> {
    pub fn new(key: &SodiumKey, to: W) -> SodiumWriter<W> {
        let (header, stream) = PushStream::init(OsRng, &key.key());
        SodiumWriter { to, stream, header: Some(header), chunk: Vec::with_capacity(SEALED) }
    }

    /// Writes the last chunk and gives back what it was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.seal(Tag::Final)?;
        Ok(self.to)
    }

    fn seal(&mut self, tag: Tag) -> io::Result<()> {
        if let Some(header) = self.header.take() {
            self.to.write_all(header.as_ref())?;
        }
        let sealed = self.stream.push(&mut self.chunk, &[], tag);
        sealed.map_err(|_| io::Error::other("a chunk could not be encrypted"))?;
        self.to.write_all(&self.chunk)?;
        self.chunk.clear();
        Ok(())
    }
}

impl<W: Write> Write for SodiumWriter<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let taken = data.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&data[..taken]);
        if self.chunk.len() == CHUNK {
            self.seal(Tag::Message)?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Decrypts what it reads.
pub struct SodiumReader<R> {
    from: R,
    key: SodiumKey,
    stream: Option<PullStream>,
    chunk: Vec<u8>,
    at: usize,
    ended: bool,
}

impl<R: Read> SodiumReader<R> {
    pub fn new(key: &SodiumKey, from: R) -> SodiumReader<R> {
        SodiumReader { from, key: key.clone(), stream: None, chunk: Vec::new(), at: 0, ended: false }
    }

    fn open(&mut self) -> io::Result<()> {
        if self.stream.is_none() {
            let first = self.fill(Header::BYTES)?;
            // What WAL-G makes of an empty file that it does not compress: no header, and nothing that opens.
            if first.len() == Stream::ABYTES || first.is_empty() {
                self.ended = true;
                return if first.is_empty() { Err(cut()) } else { Ok(()) };
            }
            let header = Header::try_from(first.as_slice()).map_err(|_| cut())?;
            self.stream = Some(PullStream::init(header, &self.key.key()));
        }
        let mut sealed = self.fill(SEALED)?;
        let Some(stream) = &mut self.stream else { return Ok(()) };
        if sealed.is_empty() {
            return Err(cut());
        }
        let tag = stream.pull(&mut sealed, &[]).map_err(|_| wrong())?;
        self.ended = match tag {
            Tag::Final => true,
            Tag::Message => false,
            Tag::Push | Tag::Rekey => return Err(wrong()),
        };
        if self.ended && !self.fill(1)?.is_empty() {
            return Err(wrong());
        }
        self.chunk = sealed;
        self.at = 0;
        Ok(())
    }

    /// Up to this many bytes: fewer only at the end.
    fn fill(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(count);
        (&mut self.from).take(count as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl<R: Read> Read for SodiumReader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.chunk.len() && !self.ended {
            self.open()?;
        }
        let rest = &self.chunk[self.at..];
        let taken = rest.len().min(into.len());
        into[..taken].copy_from_slice(&rest[..taken]);
        self.at += taken;
        Ok(taken)
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the encrypted object ends before its last chunk: it was cut short")
}

fn wrong() -> io::Error {
    let what = "the object does not decrypt: it was encrypted with another key or not at all, or it is damaged";
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SodiumKey {
        SodiumKey::from_text("a key of at least twenty-five bytes", "none").expect("long enough")
    }

    fn sealed(data: &[u8]) -> Vec<u8> {
        let mut writer = SodiumWriter::new(&key(), Vec::new());
        writer.write_all(data).expect("to memory");
        writer.finish().expect("to memory")
    }

    fn opened(sealed: &[u8], key: &SodiumKey) -> io::Result<Vec<u8>> {
        let mut data = Vec::new();
        SodiumReader::new(key, sealed).read_to_end(&mut data).map(|_| data)
    }

    #[test]
    fn every_length_comes_back_and_a_full_chunk_is_never_the_last() {
        for (length, stored) in [
            (0, 24 + 17),
            (1, 24 + 18),
            (CHUNK - 1, 24 + CHUNK - 1 + 17),
            (CHUNK, 24 + SEALED + 17),
            (CHUNK + 1, 24 + SEALED + 18),
            (3 * CHUNK, 24 + 3 * SEALED + 17),
        ] {
            let data: Vec<u8> = (0..length).map(|n| (n % 253) as u8).collect();
            let object = sealed(&data);
            assert_eq!(object.len(), stored, "of {length} bytes");
            assert!(opened(&object, &key()).expect("whole") == data, "{length} bytes");
        }
    }

    #[test]
    fn a_cut_or_changed_object_is_an_error() {
        let object = sealed(&[7; 2 * CHUNK]);
        for end in [0, 10, 24, 24 + SEALED, 24 + 2 * SEALED, object.len() - 1] {
            assert!(opened(&object[..end], &key()).is_err(), "cut at {end}");
        }
        let mut changed = object.clone();
        changed[100] ^= 1;
        assert!(opened(&changed, &key()).is_err());
        let mut longer = object.clone();
        longer.push(0);
        assert!(opened(&longer, &key()).is_err());
        let other = SodiumKey::from_text("another key, as long as the first", "").expect("long enough");
        assert!(opened(&object, &other).is_err());
    }

    #[test]
    fn an_empty_file_of_wal_g_is_empty() {
        assert_eq!(opened(&[1; Stream::ABYTES], &key()).expect("known"), b"");
    }

    #[test]
    fn keys_are_made_as_wal_g_makes_them() {
        let long = "0123456789012345678901234567890123456789";
        let hex = "30".repeat(32);
        let base64 = "MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA=";
        assert_eq!(SodiumKey::from_text(long, "none").expect("cut").0, *long.as_bytes().first_chunk().expect("32"));
        assert_eq!(SodiumKey::from_text(&long[..25], "").expect("padded").0[25..], [0; 7]);
        assert_eq!(SodiumKey::from_text(&hex, "hex").expect("32 bytes").0, [0x30; 32]);
        assert_eq!(SodiumKey::from_text(base64, "base64").expect("32 bytes").0, [0x30; 32]);
        for (text, transform) in
            [("short", "none"), ("3030", "hex"), ("zz", "hex"), ("MDA=", "base64"), (long, "rot13")]
        {
            let error = SodiumKey::from_text(text, transform).expect_err("no key").to_string();
            assert!(!error.contains(text) || text.len() < 6, "{error}");
        }
    }
}
