//! The snapshot's status document as it was last written down.
//!
//! Health checks come by the thousand from load balancers of a large installation, and writing the document is most of what
//! one costs. What it says of time is at most [`FRESH`] old; the code of the answer is decided anew each time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use jogi_config::python;
use jogi_core::Tick;
use jogi_core::ha::Snapshot;

use super::document::Status;

/// For so long a document that was written down is shown again: far below the age that a snapshot may have.
const FRESH: Duration = Duration::from_millis(10);

#[derive(Default)]
pub(super) struct Shown(Mutex<Option<Written>>);

struct Written {
    of: Arc<Snapshot>,
    valid_until: Tick,
    at: Tick,
    text: Bytes,
}

impl Shown {
    /// The document of this snapshot.
    pub fn document(&self, snapshot: &Arc<Snapshot>, valid_until: Tick, now: Tick) -> Bytes {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match last.as_ref().filter(|written| written.is_good(snapshot, valid_until, now)) {
            Some(written) => written.text.clone(),
            None => {
                let text = Bytes::from(python::json(&Status::of_snapshot(snapshot).document(valid_until, now)));
                *last = Some(Written { of: Arc::clone(snapshot), valid_until, at: now, text: text.clone() });
                text
            }
        }
    }
}

impl Written {
    fn is_good(&self, snapshot: &Arc<Snapshot>, valid_until: Tick, now: Tick) -> bool {
        let lock_ended = self.valid_until > self.at && self.valid_until <= now;
        Arc::ptr_eq(&self.of, snapshot) && self.valid_until == valid_until && now < self.at + FRESH && !lock_ended
    }
}
