//! Sessions that only this process knows of: Kubernetes has none.
//!
//! A session is the right to renew: it lasts for its ttl from its last renewal, by our own clock, so that an agent that
//! slept learns at its next beat that it has lost what it held, as with every other store. Its name holds its ttl, and
//! stands in the leader object beside the lock, so that the agent that is started next can carry it on.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jogi_core::Tick;
use jogi_core::view::Session;
use jogi_net::random_u64;

/// Sessions remembered; a process has two at a time.
const REMEMBERED: usize = 64;

#[derive(Default)]
pub(super) struct Sessions {
    known: Mutex<BTreeMap<String, State>>,
}

#[derive(Clone, Copy)]
struct State {
    ttl: Duration,
    extended: Tick,
    ended: bool,
    /// The lock was asked for on it, and what could not be compared with the taking has not been looked at since.
    unconfirmed: bool,
}

impl Sessions {
    fn known(&self) -> MutexGuard<'_, BTreeMap<String, State>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn open(&self, ttl: Duration, now: Tick) -> Session {
        // Patroni's annotation counts whole seconds.
        let ttl = Duration::from_secs(u64::try_from(ttl.as_millis().div_ceil(1000)).unwrap_or(u64::MAX).max(1));
        let name = format!("{}-{:016x}", ttl.as_secs(), random_u64());
        let mut known = self.known();
        while known.len() >= REMEMBERED {
            let oldest = known.iter().min_by_key(|(_, state)| state.extended).map(|(name, _)| name.clone());
            oldest.map(|name| known.remove(&name));
        }
        known.insert(name.clone(), State { ttl, extended: now, ended: false, unconfirmed: false });
        Session(name.into())
    }

    /// The ttl of a session that has not ended; one of an earlier process is taken up.
    pub(super) fn alive(&self, session: &Session, now: Tick) -> Option<Duration> {
        let mut known = self.known();
        let state = match known.get_mut(session.0.as_str()) {
            Some(state) => state,
            None => {
                let ttl = Duration::from_secs(session.0.split_once('-')?.0.parse().ok()?);
                known.entry(session.0.to_string()).or_insert(State {
                    ttl,
                    extended: now,
                    ended: false,
                    unconfirmed: false,
                })
            }
        };
        if !state.ended && now.since(state.extended) >= state.ttl {
            state.ended = true;
        }
        (!state.ended).then_some(state.ttl)
    }

    /// Renewed by a request that was sent at `sent`.
    pub(super) fn extend(&self, session: &Session, sent: Tick) {
        if let Some(state) = self.known().get_mut(session.0.as_str()) {
            state.extended = state.extended.max(sent);
        }
    }

    /// A lock taken on it is not to be believed until it is confirmed, whatever becomes of the taking's answer.
    pub(super) fn takes(&self, session: &Session) {
        self.mark(session, true);
    }

    pub(super) fn confirmed(&self, session: &Session) {
        self.mark(session, false);
    }

    fn mark(&self, session: &Session, unconfirmed: bool) {
        if let Some(state) = self.known().get_mut(session.0.as_str()) {
            state.unconfirmed = unconfirmed;
        }
    }

    pub(super) fn is_unconfirmed(&self, session: &Session) -> bool {
        self.known().get(session.0.as_str()).is_some_and(|state| state.unconfirmed)
    }

    pub(super) fn close(&self, session: &Session) {
        let ended = State { ttl: Duration::ZERO, extended: Tick::ZERO, ended: true, unconfirmed: false };
        self.known().entry(session.0.to_string()).and_modify(|state| state.ended = true).or_insert(ended);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_session_ends_when_it_is_not_renewed_and_does_not_come_back() {
        let t0 = Tick::ZERO + SECOND * 100;
        let sessions = Sessions::default();
        let session = sessions.open(Duration::from_millis(4500), t0);
        assert_eq!(sessions.alive(&session, t0 + SECOND * 4), Some(SECOND * 5), "whole seconds");
        sessions.extend(&session, t0 + SECOND * 4);
        assert!(sessions.alive(&session, t0 + SECOND * 8).is_some());
        assert!(sessions.alive(&session, t0 + SECOND * 9).is_none());
        sessions.extend(&session, t0 + SECOND * 9);
        assert!(sessions.alive(&session, t0 + SECOND * 9).is_none());
    }

    #[test]
    fn a_session_of_an_earlier_process_is_carried_on() {
        let t0 = Tick::ZERO + SECOND * 100;
        let sessions = Sessions::default();
        assert_eq!(sessions.alive(&Session("30-0011".into()), t0), Some(SECOND * 30));
        assert_eq!(sessions.alive(&Session("nonsense".into()), t0), None);
        sessions.close(&Session("30-0011".into()));
        assert_eq!(sessions.alive(&Session("30-0011".into()), t0), None);
    }
}
