//! What other members say of themselves: their status document, and their timeline's history.

use serde_json::Value;

use crate::view::{Tags, truth};
use crate::{History, Lsn, Timeline};

/// A member's own status document (`GET /patroni`), as a race reads it (ha-rules 3.2).
#[derive(Clone, Debug, PartialEq)]
pub struct PeerStatus {
    pub in_recovery: bool,
    /// The end of what the peer has; zero when its server does not say.
    pub position: Lsn,
    pub timeline: Option<Timeline>,
    pub tags: Tags,
    pub watchdog_failed: bool,
    pub state: String,
}

impl PeerStatus {
    /// Reads a status document. `None` when it has no `xlog`: a member whose server does not answer has no say, nor has
    /// one that stands aside because the store is lost to it.
    pub fn parse(document: &Value) -> Option<PeerStatus> {
        if own_flag(document, "aside") {
            return None;
        }
        let xlog = document.get("xlog").or_else(|| document.get("wal"))?.as_object()?;
        let lsn = |field: &str| xlog.get(field).and_then(Value::as_u64).map(Lsn);
        let role = document.get("role").and_then(Value::as_str).unwrap_or("");
        let location = lsn("location");
        let in_recovery = location.is_none() && role != "primary" && role != "master";
        let position = if in_recovery {
            lsn("received_location").unwrap_or_default().max(lsn("replayed_location").unwrap_or_default())
        } else {
            location.unwrap_or_default()
        };
        let timeline = document.get("timeline").and_then(Value::as_u64).and_then(|t| u32::try_from(t).ok());
        Some(PeerStatus {
            in_recovery,
            position,
            timeline: timeline.map(Timeline),
            tags: document.get("tags").and_then(Value::as_object).map(|o| Tags(o.clone())).unwrap_or_default(),
            watchdog_failed: document.get("watchdog_failed").and_then(truth).unwrap_or(false),
            state: document.get("state").and_then(Value::as_str).unwrap_or("unknown").to_owned(),
        })
    }
}

/// Whether a status document says that the member's server is coming up and cannot say yet what it has.
pub(super) fn is_starting(document: &Value) -> bool {
    let state = document.get("state").and_then(Value::as_str);
    let starts = own_flag(document, "coming_up") || matches!(state, Some("starting" | "restarting"));
    starts && PeerStatus::parse(document).is_none()
}

fn own_flag(document: &Value, name: &str) -> bool {
    document.get("jogi").and_then(|own| own.get(name)).and_then(truth).unwrap_or(false)
}

/// The branch of WAL that a server is on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage {
    pub system_identifier: Option<String>,
    /// `None`: unknown.
    pub timeline: Option<Timeline>,
    pub history: History,
    /// The history file's modification time as ISO 8601 with the local offset, when read from a file.
    pub modified: Option<String>,
    /// `Some(true)`: it is still in recovery, so its timeline is about to change.
    pub in_recovery: Option<bool>,
    /// Where its WAL ends now.
    pub position: Lsn,
    /// The timeline of its last checkpoint, when it was asked: pg_rewind before 16 goes by that.
    pub checkpointed: Option<Timeline>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_document_is_read_as_patroni_reads_it() {
        for (document, expected) in [
            (json!({"role": "primary", "xlog": {"location": 7}, "timeline": 2}), Some((false, 7))),
            (json!({"role": "replica", "xlog": {"received_location": 5, "replayed_location": 9}}), Some((true, 9))),
            (json!({"role": "master", "wal": {}}), Some((false, 0))),
            (json!({"role": "replica", "state": "stopped"}), None),
            (json!({"role": "replica", "xlog": {"replayed_location": 9}, "jogi": {"aside": true}}), None),
        ] {
            let got = PeerStatus::parse(&document).map(|p| (p.in_recovery, p.position.0));
            assert_eq!(got, expected, "{document}");
        }
    }

    #[test]
    fn a_server_that_is_coming_up_is_told_from_one_that_is_not() {
        for (document, expected) in [
            (json!({"role": "replica", "state": "starting"}), true),
            (json!({"role": "replica", "state": "restarting"}), true),
            (json!({"role": "replica", "state": "starting", "xlog": {"replayed_location": 9}}), false),
            (json!({"role": "replica", "state": "stopped"}), false),
            (json!({"role": "replica", "state": "stopped", "jogi": {"coming_up": true}}), true),
            (json!({"role": "primary", "state": "crashed"}), false),
            (json!({"role": "replica", "state": "start failed"}), false),
        ] {
            assert_eq!(is_starting(&document), expected, "{document}");
        }
    }
}
