//! `POST /sigterm`: acts in Patroni's tests on Windows only; elsewhere it is polite and does nothing.

use super::answer::Answer;

pub(super) fn post() -> Answer {
    Answer::text(202, "shutdown scheduled")
}
