//! `POST /citus` and `POST /mpp`: events between the groups of a Citus cluster.
//!
//! They concern the leader of a coordinator; every other member answers `OK` and does nothing, and so does this one:
//! it is no coordinator.

use super::answer::Answer;

pub(super) fn post() -> Answer {
    Answer::text(200, "OK")
}
