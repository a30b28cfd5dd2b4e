//! What agent and guard say to each other: one datagram, one message.
//!
//! A message is a header (magic, protocol version, kind, number of the request) and fields, each a tag, a length and
//! bytes. A field with an unknown tag is skipped, a missing one has a default, a message of an unknown kind is
//! answered with [`Refused::Unknown`]: so a newer agent drives an older guard, and never the other way round by surprise.
//! Tags and kinds are never reused. Decoding and the guard's encoding allocate nothing.

use std::mem::size_of;

/// The version that this program speaks. Raised when a field changes its meaning; additions need no new version.
pub const PROTOCOL: u16 = 1;

/// The longest message, a start with its environment. Kept below the smallest default send buffer of a socket.
pub const MAX_MESSAGE: usize = 128 * 1024;

const MAGIC: u32 = u32::from_le_bytes(*b"jgrd");
const HEADER: usize = 12;

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident : $repr:ty { $($(#[$note:meta])* $variant:ident = $code:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$note])* $variant = $code),+ }

        impl $name {
            pub const fn code(self) -> $repr {
                self as $repr
            }

            pub fn from_code(code: $repr) -> Option<$name> {
                match code {
                    $($code => Some($name::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

codes! {
    /// What a message is.
    Kind: u16 {
        Start = 1, Promote = 2, Signal = 3, Demoted = 4, Adopt = 5, Status = 6, Quit = 7, Hold = 8,
        Done = 100, Refused = 101, StatusIs = 102, Hello = 103,
        Exited = 200, Promoted = 201, Acted = 202, Fenced = 203, PromoteFailed = 204,
    }
}

/// What a field holds. Numbers are 8 bytes, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    Argument = 1,
    Environment = 2,
    Program = 3,
    StartAs = 4,
    Generation = 5,
    Signal = 6,
    Pid = 7,
    Started = 8,
    Reason = 9,
    Detail = 10,
    Detail2 = 11,
    Server = 12,
    Adopted = 13,
    Armed = 14,
    Ending = 15,
    ExitCode = 16,
    ExitSignal = 17,
    ExecErrno = 18,
    Acted = 19,
    ActedAt = 20,
    LockedBytes = 21,
    GuardPid = 22,
    GuardStarted = 23,
    /// The postmaster that has ended.
    Left = 24,
    Promoting = 25,
    Version = 26,
}

impl Tag {
    const fn code(self) -> u16 {
        self as u16
    }
}

codes! {
    /// As what a server is started or adopted.
    Role: u64 {
        Standby = 1,
        /// Writable, under the generation in the message.
        Primary = 2,
        /// Writable without a lease: bootstrap of a cluster not yet published, and pause.
        Unleased = 3,
    }
}

codes! {
    /// Signals to the postmaster.
    Stop: u64 {
        /// SIGTERM: waits for clients.
        Smart = 1,
        /// SIGINT: clients gone, walsenders drained, checkpoint.
        Fast = 2,
        /// SIGQUIT: no checkpoint.
        Immediate = 3,
        /// SIGKILL to everything until nothing is left.
        KillAll = 4,
    }
}

codes! {
    /// Why a command was refused.
    Reason: u64 {
        Unknown = 1, AlreadyRunning = 2, NotRunning = 3, NotArmed = 4, WrongGeneration = 5, Expired = 6,
        NotFenced = 7, NotAStandby = 8, NotItsServer = 9, Malformed = 10, System = 11, Ending = 12, AlreadyPrimary = 13,
    }
}

/// A message as received.
#[derive(Clone, Copy, Debug)]
pub struct Message<'m> {
    pub protocol: u16,
    /// `None`: a kind that this program does not know.
    pub kind: Option<Kind>,
    pub id: u32,
    fields: &'m [u8],
}

impl<'m> Message<'m> {
    /// `None`: not a message at all.
    pub fn parse(bytes: &'m [u8]) -> Option<Message<'m>> {
        let (header, fields) = bytes.split_at_checked(HEADER)?;
        let number = |at: usize| header[at..at + 4].try_into().ok().map(u32::from_le_bytes);
        if number(0)? != MAGIC {
            return None;
        }
        let protocol = u16::from_le_bytes([header[4], header[5]]);
        let kind = Kind::from_code(u16::from_le_bytes([header[6], header[7]]));
        let message = Message { protocol, kind, id: number(8)?, fields };
        message.well_formed().then_some(message)
    }

    fn well_formed(&self) -> bool {
        let mut rest = self.fields;
        while !rest.is_empty() {
            match split_field(rest) {
                Some((_, _, after)) => rest = after,
                None => return false,
            }
        }
        true
    }

    /// All fields with `tag`, in order.
    pub fn all(&self, tag: Tag) -> impl Iterator<Item = &'m [u8]> {
        let mut rest = self.fields;
        std::iter::from_fn(move || {
            let (found, bytes, after) = split_field(rest)?;
            rest = after;
            Some((found, bytes))
        })
        .filter(move |(found, _)| *found == tag.code())
        .map(|(_, bytes)| bytes)
    }

    pub fn bytes(&self, tag: Tag) -> Option<&'m [u8]> {
        self.all(tag).next()
    }

    pub fn number(&self, tag: Tag) -> Option<u64> {
        self.bytes(tag)?.try_into().ok().map(u64::from_le_bytes)
    }

    /// 0 when the field is missing.
    pub fn number_or_0(&self, tag: Tag) -> u64 {
        self.number(tag).unwrap_or(0)
    }

    pub fn pid(&self, tag: Tag) -> Option<i32> {
        i32::try_from(self.number(tag)?).ok().filter(|pid| *pid > 0)
    }
}

fn split_field(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    const PREFIX: usize = size_of::<u16>() + size_of::<u32>();
    let (prefix, rest) = bytes.split_at_checked(PREFIX)?;
    let length = u32::from_le_bytes(prefix[2..].try_into().ok()?);
    let (field, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    Some((u16::from_le_bytes([prefix[0], prefix[1]]), field, rest))
}

/// Where a message is written: a vector in the agent, a fixed buffer in the guard.
pub trait Sink {
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

impl<const N: usize> Sink for crate::pidfd::Text<N> {
    fn put(&mut self, bytes: &[u8]) {
        self.push(bytes);
    }
}

/// Writes a message field by field.
pub struct Writer<'s, S: Sink>(&'s mut S);

impl<'s, S: Sink> Writer<'s, S> {
    pub fn begin(sink: &'s mut S, kind: Kind, id: u32) -> Writer<'s, S> {
        sink.put(&MAGIC.to_le_bytes());
        sink.put(&PROTOCOL.to_le_bytes());
        sink.put(&kind.code().to_le_bytes());
        sink.put(&id.to_le_bytes());
        Writer(sink)
    }

    pub fn bytes(self, tag: Tag, bytes: &[u8]) -> Writer<'s, S> {
        self.0.put(&tag.code().to_le_bytes());
        self.0.put(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.0.put(bytes);
        self
    }

    pub fn number(self, tag: Tag, number: u64) -> Writer<'s, S> {
        self.bytes(tag, &number.to_le_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut bytes = Vec::new();
        Writer::begin(&mut bytes, Kind::Start, 9)
            .bytes(Tag::Argument, b"postgres\0")
            .number(Tag::Generation, 77)
            .bytes(Tag::Argument, b"-D\0");
        let message = Message::parse(&bytes).expect("whole");
        assert_eq!((message.protocol, message.kind, message.id), (PROTOCOL, Some(Kind::Start), 9));
        assert_eq!(message.number(Tag::Generation), Some(77));
        assert_eq!(message.number(Tag::Pid), None);
        assert_eq!(message.all(Tag::Argument).collect::<Vec<_>>(), [b"postgres\0".as_slice(), b"-D\0"]);
    }

    #[test]
    fn unknown_kinds_and_fields_of_a_newer_program_are_passed_over() {
        let mut bytes = Vec::new();
        Writer::begin(&mut bytes, Kind::Status, 1);
        bytes[6] = 99;
        bytes.extend_from_slice(&[0xff, 0xff, 2, 0, 0, 0, 1, 2]);
        let _ = Writer(&mut bytes).number(Tag::Pid, 5);
        let message = Message::parse(&bytes).expect("whole");
        assert_eq!(message.kind, None);
        assert_eq!(message.pid(Tag::Pid), Some(5));
    }

    #[test]
    fn garbage_is_no_message() {
        let mut good = Vec::new();
        Writer::begin(&mut good, Kind::Status, 1).number(Tag::Pid, 5);
        for length in 0..good.len() {
            let cut = Message::parse(&good[..length]);
            assert!(cut.is_none_or(|message| length == HEADER && message.number(Tag::Pid).is_none()), "{length} bytes");
        }
        let mut other = good.clone();
        other[0] ^= 1;
        assert!(Message::parse(&other).is_none());
        let mut overlong = good;
        overlong[HEADER + 2] = 0xff;
        assert!(Message::parse(&overlong).is_none());
    }
}
