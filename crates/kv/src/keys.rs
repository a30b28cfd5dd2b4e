//! Which keys a request means.

use std::ops::Bound;

use bytes::Bytes;

/// One key, or all from a first one on up to an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    start: Bytes,
    end: End,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// `start` alone.
    Single,
    /// Everything from `start` on: etcd writes that as a `range_end` of one zero byte.
    Open,
    Before(Bytes),
}

impl KeyRange {
    pub fn new(key: &Bytes, range_end: &Bytes) -> KeyRange {
        let end = match range_end.as_ref() {
            [] => End::Single,
            [0] => End::Open,
            _ => End::Before(range_end.clone()),
        };
        KeyRange { start: key.clone(), end }
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        match &self.end {
            End::Single => key == self.start,
            End::Open => key >= &self.start[..],
            End::Before(end) => key >= &self.start[..] && key < &end[..],
        }
    }

    /// `None` for a range that ends before it begins: it holds nothing.
    pub(crate) fn bounds(&self) -> Option<(Bound<&Bytes>, Bound<&Bytes>)> {
        let start = Bound::Included(&self.start);
        match &self.end {
            End::Single => Some((start, start)),
            End::Open => Some((start, Bound::Unbounded)),
            End::Before(end) => (self.start < *end).then_some((start, Bound::Excluded(end))),
        }
    }
}
