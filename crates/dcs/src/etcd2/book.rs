//! What this process holds in etcd v2, by session.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jogi_core::Tick;
use jogi_core::view::Session;
use jogi_net::random_u64;

/// Sessions of this process; those that ended stay for a while, so that who asks is told.
#[derive(Default)]
pub(super) struct Book(Mutex<BTreeMap<Session, Held>>);

/// What a session holds.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub ttl: Duration,
    /// Just before the last answered beat was sent.
    extended: Tick,
    ended: bool,
    pub leader: Option<Holding>,
    /// Path and value of the member key.
    pub member: Option<(String, String)>,
}

/// The leader key, as this process has left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Holding {
    /// `createdIndex`: which holding it is.
    pub created: u64,
    /// `modifiedIndex`: a renewal is made on this one, so that one that comes late shortens nothing.
    pub modified: u64,
}

/// Ended sessions kept in the book.
const MAX_ENDED: usize = 64;

impl Book {
    fn sessions(&self) -> MutexGuard<'_, BTreeMap<Session, Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn open(&self, ttl: Duration, now: Tick) -> Session {
        let mut sessions = self.sessions();
        if sessions.len() > MAX_ENDED {
            sessions.retain(|_, held| held.lives(now));
        }
        let session = Session(format!("{:016x}", random_u64()).into());
        sessions.insert(session.clone(), Held { ttl, extended: now, ended: false, leader: None, member: None });
        session
    }

    /// What a living session holds.
    pub(super) fn living(&self, session: &Session, now: Tick) -> Option<Held> {
        self.sessions().get(session).filter(|held| held.lives(now)).cloned()
    }

    pub(super) fn change(&self, session: &Session, change: impl FnOnce(&mut Held)) {
        if let Some(held) = self.sessions().get_mut(session) {
            change(held);
        }
    }

    /// A beat sent at `sent` was answered. `false`: the session had ended meanwhile.
    pub(super) fn extend(&self, session: &Session, sent: Tick, now: Tick) -> bool {
        let mut sessions = self.sessions();
        let Some(held) = sessions.get_mut(session).filter(|held| held.lives(now)) else { return false };
        held.extended = held.extended.max(sent);
        true
    }

    /// Ends a session; what it held is returned once.
    pub(super) fn end(&self, session: &Session) -> Option<Held> {
        let mut sessions = self.sessions();
        let held = sessions.get_mut(session).filter(|held| !held.ended)?;
        held.ended = true;
        Some(held.clone())
    }

    /// The leader key of this incarnation is on `session` alone.
    pub(super) fn leads(&self, session: &Session, holding: Holding) {
        for (other, held) in self.sessions().iter_mut() {
            if other == session {
                held.leader = Some(holding);
            } else if held.leader.is_some_and(|of| of.created == holding.created) {
                held.leader = None;
            }
        }
    }

    pub(super) fn of_leader(&self, created: u64) -> Option<Session> {
        let sessions = self.sessions();
        sessions
            .iter()
            .find(|(_, held)| held.leader.is_some_and(|of| of.created == created))
            .map(|(session, _)| session.clone())
    }

    pub(super) fn of_member(&self, path: &str, value: &str) -> Option<Session> {
        let sessions = self.sessions();
        let is_it = |held: &Held| held.member.as_ref().is_some_and(|(p, v)| p == path && v == value);
        sessions.iter().find(|(_, held)| is_it(held)).map(|(session, _)| session.clone())
    }
}

impl Held {
    fn lives(&self, now: Tick) -> bool {
        !self.ended && now.since(self.extended) < self.ttl
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(10);

    #[test]
    fn a_session_lives_for_its_ttl_after_the_last_answered_beat() {
        let (book, start) = (Book::default(), Tick::ZERO + TTL);
        let session = book.open(TTL, start);
        assert!(book.extend(&session, start + TTL / 2, start + TTL - Duration::from_millis(1)));
        assert!(book.living(&session, start + TTL).is_some());
        assert!(book.living(&session, start + TTL / 2 + TTL).is_none());
        assert!(!book.extend(&session, start + TTL * 2, start + TTL * 2), "what has ended does not come back");
    }

    #[test]
    fn the_leader_key_is_on_one_session() {
        let book = Book::default();
        let (a, b) = (book.open(TTL, Tick::ZERO), book.open(TTL, Tick::ZERO));
        let holding = Holding { created: 7, modified: 9 };
        book.leads(&a, holding);
        book.leads(&b, holding);
        assert_eq!(book.of_leader(7), Some(b.clone()));
        assert_eq!(book.end(&a).and_then(|held| held.leader), None);
        assert_eq!(book.end(&b).and_then(|held| held.leader), Some(holding));
        assert!(book.end(&b).is_none());
    }
}
