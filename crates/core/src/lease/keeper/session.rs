//! The session: opened, kept alive, replaced when the ttl changes.

use std::time::Duration;

use crate::Tick;
use crate::lease::Deadlines;
use crate::lease::deadlines::{TTL_FLOOR, renewal_period, try_timeout};
use crate::view::Session;

use super::lock::{Held, Own};
use super::{Adopted, Answer, Ask, Flight, Keeper, Wire};

/// A session of ours that is believed to live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Live {
    pub id: Session,
    pub ttl: Duration,
    /// When the last answered request that opened or extended it was sent; zero: none yet.
    pub extended: Tick,
}

impl Live {
    /// Whether the store has confirmed it to us.
    pub fn is_known(&self) -> bool {
        self.extended > Tick::ZERO
    }

    pub fn deadlines(&self) -> Deadlines {
        match self.is_known() {
            true => Deadlines::new(self.extended, self.ttl),
            false => Deadlines::default(),
        }
    }
}

/// What the session needs next.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub due: Tick,
    pub why: &'static str,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Open,
    OpenCandidate,
    Beat { read_leader: bool },
    Reattach,
}

impl Keeper {
    pub(super) fn adopt(&mut self, adopted: Adopted) {
        if self.lock != Own::No || self.acquiring.is_some() || self.releasing.is_some() {
            return;
        }
        let ttl = adopted.ttl.unwrap_or(TTL_FLOOR).max(TTL_FLOOR);
        self.session = Some(Live { id: adopted.session, ttl, extended: Tick::ZERO });
        self.candidate = None;
        self.began = true;
        self.doubt_until = Tick::ZERO;
        self.look_now = false;
        self.lock = Own::Verifying { generation: adopted.generation, created: adopted.created };
        self.session_line = super::Line::default();
    }

    /// What the session needs next, whether or not it is due, may be done, or its wire is free.
    pub(super) fn next_session_step(&self) -> Option<Step> {
        let Some(session) = &self.session else {
            return Some(Step {
                due: self.session_line.not_before,
                why: "a session is to be opened",
                what: What::Open,
            });
        };
        if self.moving {
            let due = self.session_line.not_before;
            return Some(Step { due, why: "the leader key is to be moved to the new session", what: What::Reattach });
        }
        let beat = Step {
            due: self.beat_due(session).max(self.session_line.not_before),
            why: "a heartbeat is due",
            what: What::Beat { read_leader: self.reads_leader() },
        };
        let replace = self.replacement_step(session);
        Some(match replace {
            Some(replace) if replace.due < beat.due => replace,
            Some(_) | None => beat,
        })
    }

    /// The next step towards a session with the ttl in force.
    fn replacement_step(&self, session: &Live) -> Option<Step> {
        if session.ttl == self.ttl || !self.may_replace_session() {
            return None;
        }
        let due = self.session_line.not_before;
        match &self.candidate {
            Some(_) if self.lock == Own::No => None,
            Some(_) => {
                Some(Step { due, why: "the leader key is to be moved to the new session", what: What::Reattach })
            }
            None => {
                let why = "a session with the new ttl is to be opened";
                Some(Step { due, why, what: What::OpenCandidate })
            }
        }
    }

    /// Not while anything is unknown about the leader key.
    fn may_replace_session(&self) -> bool {
        let settled = match self.lock {
            Own::No | Own::Held(_) => true,
            Own::Verifying { .. } | Own::Kept(_) => false,
        };
        settled && self.acquiring.is_none() && self.releasing.is_none() && self.doubt_until == Tick::ZERO
    }

    fn beat_due(&self, session: &Live) -> Tick {
        if self.look_now || self.is_finding() {
            return Tick::ZERO;
        }
        match &self.lock {
            Own::Verifying { .. } => Tick::ZERO,
            Own::Held(held) => held.renewed + renewal_period(session.ttl),
            Own::Kept(_) => session.extended + renewal_period(session.ttl),
            Own::No if self.reads_leader() => session.extended + renewal_period(session.ttl),
            Own::No => session.extended + session.ttl / 3,
        }
    }

    /// A standby's beat extends the session and no more; everybody who has or might have the lock also reads.
    fn reads_leader(&self) -> bool {
        self.lock != Own::No
            || self.look_now
            || self.is_finding()
            || self.releasing.is_some()
            || self.doubt_until > Tick::ZERO
    }

    pub(super) fn permits(&self, step: &Step, now: Tick) -> bool {
        match step.what {
            What::Open if !self.began => true,
            What::Open | What::OpenCandidate | What::Beat { .. } | What::Reattach => now < self.permitted_until,
        }
    }

    pub(super) fn pump_session(&mut self, now: Tick) {
        if self.doubt_until > Tick::ZERO && now >= self.doubt_until {
            self.doubt_until = Tick::ZERO;
        }
        self.sort_candidate(now);
        if !self.session_line.is_free(now) {
            return;
        }
        let Some(step) = self.next_session_step().filter(|step| step.due <= now) else { return };
        if !self.permits(&step, now) {
            return;
        }
        self.take_step(step.what, now);
    }

    fn take_step(&mut self, what: What, now: Tick) {
        match what {
            What::Open => {
                self.began = true;
                self.send(Wire::Session, Ask::Open { ttl: self.ttl }, try_timeout(self.ttl), now);
            }
            What::OpenCandidate => {
                // Half a try: the beats of the session in force wait for it.
                let limit = try_timeout(self.ttl.min(self.session.as_ref().map_or(self.ttl, |live| live.ttl))) / 2;
                self.send(Wire::Session, Ask::Open { ttl: self.ttl }, limit, now);
            }
            What::Beat { read_leader } => {
                let Some(session) = &self.session else { return };
                let limit = try_timeout(session.ttl);
                self.send(Wire::Session, Ask::Beat { session: session.id.clone(), read_leader }, limit, now);
            }
            What::Reattach => self.send_reattach(now),
        }
    }

    /// The key may be on either session from the moment that this is sent: what is shorter binds.
    fn send_reattach(&mut self, now: Tick) {
        let (Some(candidate), Some(created)) = (self.candidate.clone(), self.lock.created().cloned()) else {
            return;
        };
        if !self.moving {
            self.moving = true;
            let deadlines = candidate.deadlines();
            self.shorten(deadlines);
        }
        let limit = try_timeout(candidate.ttl);
        self.send(Wire::Session, Ask::Reattach { session: candidate.id, created }, limit, now);
    }

    /// Drops a candidate that waited too long or was opened for a ttl that is not wanted any more; lets it
    /// replace the session at once when there is no leader key to be moved.
    fn sort_candidate(&mut self, now: Tick) {
        if self.moving {
            return;
        }
        let ttl = self.ttl;
        self.candidate.take_if(|live| live.ttl != ttl || now.since(live.extended) > live.ttl / 4);
        if self.lock == Own::No && self.candidate.is_some() && self.may_replace_session() {
            self.session = self.candidate.take();
            self.session_line.flight = None;
        }
    }

    pub(super) fn opened(&mut self, ttl: Duration, sent: Tick, answer: Answer, now: Tick) {
        match answer {
            Answer::Opened(id) => {
                self.session_line.succeeded();
                let live = Live { id, ttl, extended: sent };
                match &self.session {
                    Some(_) => self.candidate = Some(live),
                    None => self.session = Some(live),
                }
            }
            Answer::Extended { .. }
            | Answer::SessionGone
            | Answer::Ours { .. }
            | Answer::Conflict
            | Answer::Released(_)
            | Answer::Nothing(_) => self.session_failed(now),
        }
    }

    pub(super) fn beaten(&mut self, flight: &Flight, session: &Session, read: bool, answer: Answer, now: Tick) {
        match answer {
            Answer::Extended { leader } => {
                let Some(live) = self.session.as_mut().filter(|live| live.id == *session) else { return };
                live.extended = live.extended.max(flight.sent);
                self.session_line.succeeded();
                if read {
                    self.look_now = false;
                    self.read_leader(flight, leader, now);
                }
            }
            Answer::SessionGone => self.session_gone(session, now),
            Answer::Opened(_) | Answer::Ours { .. } | Answer::Conflict | Answer::Released(_) | Answer::Nothing(_) => {
                self.session_failed(now)
            }
        }
    }

    pub(super) fn reattached(&mut self, sent: Tick, answer: Answer, now: Tick) {
        match answer {
            Answer::Ours { created } => {
                self.session_line.succeeded();
                self.moving = false;
                self.session = self.candidate.take();
                let Some(live) = &self.session else { return };
                let deadlines = live.deadlines();
                let renewed = live.extended;
                self.moved(created, renewed, deadlines);
            }
            Answer::Conflict => {
                self.session_line.succeeded();
                self.moving = false;
                self.session = self.candidate.take();
                self.lose_or_keep("the leader key had changed when it was to be moved to a new session", now);
            }
            // The new session is gone, and with it the key if it had got there: the next beat on the old one tells.
            Answer::SessionGone => {
                self.moving = false;
                self.candidate = None;
                self.look_now = true;
                self.session_failed(now);
            }
            // It may take effect late, after another try of it. That does no harm as long as the key is not moved
            // to a third session meanwhile.
            Answer::Opened(_) | Answer::Extended { .. } | Answer::Released(_) | Answer::Nothing(_) => {
                self.doubt(sent);
                self.session_failed(now);
            }
        }
    }

    /// The store has ended `session`: everything on it is gone.
    pub(super) fn session_gone(&mut self, session: &Session, now: Tick) {
        if self.session.as_ref().is_none_or(|live| live.id != *session) {
            return;
        }
        self.forget_session(now);
        self.lose_or_keep("the session that the leader lock lived on has ended in the store", now);
        self.session_took_key_along();
    }

    /// Stops extending the session; it ends by itself, with what is on it.
    pub(super) fn forget_session(&mut self, now: Tick) {
        self.session = if self.moving { None } else { self.candidate.take() };
        self.candidate = None;
        self.moving = false;
        self.look_now = false;
        self.session_line.flight = None;
        self.session_line.failures = 0;
        self.session_line.not_before = now;
    }

    fn session_failed(&mut self, now: Tick) {
        let longest = self.longest_pause();
        self.session_line.failed(now, longest);
    }
}

/// The lease of `session` as it stands covers a lock taken now.
pub(super) fn covers(session: &Live, now: Tick) -> bool {
    now < session.deadlines().soft
}

pub(super) fn held_on(session: &Live, generation: crate::ha::Generation, created: crate::view::Revision) -> Held {
    let promised = Deadlines::default();
    Held { generation, created, renewed: session.extended, lease: session.deadlines(), promised }
}
