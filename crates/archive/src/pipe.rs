//! From a thread that reads, compresses and encrypts to a task that sends, and back, in bounded memory.
//!
//! The hazard: an object that was cut short must never look like a whole one. A writer that is dropped before
//! [`ChunkWriter::finish`] hands over an error, and a storage that receives an error leaves no object.

use std::io::{self, Read, Write};

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;

/// Bytes handed over at once.
const CHUNK: usize = 256 * 1024;
/// Chunks that wait: enough that neither side stands still while the other works.
const WAITING: usize = 16;

/// What flows into an object or out of it. An error ends it.
pub type Chunks = mpsc::Receiver<io::Result<Bytes>>;

/// A pipe whose writing end blocks and whose reading end is a stream.
pub fn pipe() -> (ChunkWriter, Chunks) {
    let (sender, chunks) = mpsc::channel(WAITING);
    (ChunkWriter { sender, buffer: Vec::with_capacity(CHUNK), finished: false }, chunks)
}

/// Where a storage puts what it reads.
pub fn channel() -> (mpsc::Sender<io::Result<Bytes>>, Chunks) {
    mpsc::channel(WAITING)
}

/// The blocking end that writes. Not for the threads of a runtime.
#[derive(Debug)]
pub struct ChunkWriter {
    sender: mpsc::Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
    finished: bool,
}

impl ChunkWriter {
    /// Hands over the rest. Without it the other end learns that the stream was broken off.
    pub fn finish(mut self) -> io::Result<()> {
        self.hand_over()?;
        self.finished = true;
        Ok(())
    }

    fn hand_over(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK));
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the storage has stopped taking data");
        self.sender.blocking_send(Ok(full.into())).map_err(gone)
    }
}

impl Write for ChunkWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let taken = data.len().min(CHUNK - self.buffer.len());
        self.buffer.extend_from_slice(&data[..taken]);
        if self.buffer.len() == CHUNK {
            self.hand_over()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for ChunkWriter {
    fn drop(&mut self) {
        if !self.finished {
            let cut = io::Error::new(io::ErrorKind::UnexpectedEof, "the source of this object broke off");
            // A receiver that is gone has nothing to be told.
            let _ = self.sender.blocking_send(Err(cut));
        }
    }
}

/// The blocking end that reads.
#[derive(Debug)]
pub struct ChunkReader {
    chunks: Chunks,
    current: Bytes,
}

impl ChunkReader {
    pub fn new(chunks: Chunks) -> ChunkReader {
        ChunkReader { chunks, current: Bytes::new() }
    }
}

impl Read for ChunkReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.chunks.blocking_recv() {
                Some(next) => self.current = next?,
                None => return Ok(0),
            }
        }
        let taken = into.len().min(self.current.len());
        self.current.copy_to_slice(&mut into[..taken]);
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let data: Vec<u8> = (0..3 * CHUNK + 7).map(|n| (n % 251) as u8).collect();
        let (mut writer, chunks) = pipe();
        let sent = data.clone();
        let thread = std::thread::spawn(move || writer.write_all(&sent).and_then(|()| writer.finish()));
        let mut read = Vec::new();
        ChunkReader::new(chunks).read_to_end(&mut read).expect("whole");
        thread.join().expect("no panic").expect("taken");
        assert!(read == data);
    }

    #[test]
    fn a_writer_that_breaks_off_is_an_error_and_not_an_end() {
        let (mut writer, chunks) = pipe();
        let thread = std::thread::spawn(move || writer.write_all(b"the beginning"));
        let mut read = Vec::new();
        let error = ChunkReader::new(chunks).read_to_end(&mut read).expect_err("cut short");
        thread.join().expect("no panic").expect("taken");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
