//! The leader key: taken, found out about, counted, given back, lost.

use std::time::Duration;

use crate::Tick;
use crate::Weakness;
use crate::ha::{Failure, Generation, Promises, Taken};
use crate::lease::Deadlines;
use crate::lease::deadlines::try_timeout;
use crate::view::{Expect, Leader, Revision, Session};

use super::session::{Live, covers, held_on};
use super::{Answer, Ask, Flight, Keeper, LATE_AT_MOST, Outcome, Page, Ticket, Wire};

/// A request that gets less time than this is not worth sending.
const SHORTEST_TRY: Duration = Duration::from_millis(50);

/// Whether the lock is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Own {
    No,
    /// An earlier agent's, not counted before the store has confirmed it.
    Verifying {
        generation: Generation,
        created: Revision,
    },
    Held(Held),
    /// The key is gone from the store, and every other member has promised not to race before these promises end
    /// (failsafe mode): our server may run until then, and the lock is to be taken again.
    Kept(Held),
}

impl Own {
    pub fn created(&self) -> Option<&Revision> {
        match self {
            Own::No | Own::Kept(_) => None,
            Own::Verifying { created, .. } => Some(created),
            Own::Held(held) => Some(&held.created),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub generation: Generation,
    pub created: Revision,
    /// When the request was sent from which the lease's deadlines are counted.
    pub renewed: Tick,
    /// As the store's lease has it; zero once the key is known to be gone.
    pub lease: Deadlines,
    /// As the other members have promised it; zero without promises.
    pub promised: Deadlines,
}

impl Held {
    /// Either alone keeps everybody else from leading, so the later one counts.
    pub fn deadlines(&self) -> Deadlines {
        if self.promised.hard > self.lease.hard { self.promised } else { self.lease }
    }
}

/// An attempt to take the lock.
#[derive(Clone, Debug)]
pub(super) struct Acquiring {
    ticket: Ticket,
    expect: Expect,
    pub deadline: Tick,
    phase: Phase,
    /// A try of ours went unanswered: it may have taken effect, or may yet.
    uncertain: bool,
    /// The session ended once under this attempt.
    reopened: bool,
    why: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// To be sent as soon as there is a session.
    Ready,
    /// Sent.
    Asked,
    /// Looking at the key: readings that began before `since` prove nothing against us.
    Finding { since: Tick },
}

/// The deletion of a leader key.
#[derive(Clone, Debug)]
pub(super) struct Releasing {
    /// Who waits for it, until when; nobody: it goes on until it is known to be done.
    waiting: Option<(Ticket, Tick)>,
    created: Revision,
    status: Option<String>,
    uncertain: bool,
    /// The key is (or was) on the session in force, so that it would be kept alive with it.
    ours: bool,
}

impl Releasing {
    pub fn deadline(&self) -> Option<Tick> {
        self.waiting.map(|(_, deadline)| deadline)
    }
}

impl Keeper {
    pub(super) fn held(&self) -> Option<&Held> {
        match &self.lock {
            Own::Held(held) => Some(held),
            Own::No | Own::Verifying { .. } | Own::Kept(_) => None,
        }
    }

    /// What our server may be writable under, by the lock or by promises alone.
    pub(super) fn covered(&self) -> Option<&Held> {
        match &self.lock {
            Own::Held(held) | Own::Kept(held) => Some(held),
            Own::No | Own::Verifying { .. } => None,
        }
    }

    pub(super) fn is_finding(&self) -> bool {
        self.acquiring.as_ref().is_some_and(|a| matches!(a.phase, Phase::Finding { .. }))
    }

    /// Something of the lock's wire waits to be sent.
    pub(super) fn wants_lock_line(&self) -> bool {
        let ready = self.acquiring.as_ref().is_some_and(|a| a.phase == Phase::Ready);
        let opened = self.session.as_ref().is_some_and(Live::is_known);
        self.releasing.is_some() || (ready && opened)
    }

    pub(super) fn acquire(&mut self, ticket: Ticket, expect: Expect, deadline: Tick) {
        if let Some(held) = self.held() {
            let taken = taken(held);
            return self.finish(ticket, Ok(Outcome::Acquired(taken)));
        }
        if matches!(self.lock, Own::Verifying { .. }) {
            let why = "the leader lock of an earlier run of this agent is being verified";
            return self.finish(ticket, Err(Failure::Refused(why.into())));
        }
        if self.acquiring.is_some() {
            let why = "another attempt to take the leader lock is under way";
            return self.finish(ticket, Err(Failure::Refused(why.into())));
        }
        let phase = Phase::Ready;
        let attempt = Acquiring { ticket, expect, deadline, phase, uncertain: false, reopened: false, why: None };
        self.acquiring = Some(attempt);
        self.lock_line.succeeded();
    }

    pub(super) fn release(&mut self, ticket: Ticket, status: Option<String>, deadline: Tick) {
        let Some(created) = self.lock.created().cloned() else {
            self.let_go();
            return self.finish(ticket, Ok(Outcome::Released(false)));
        };
        self.let_go();
        self.begin_release(Releasing {
            waiting: Some((ticket, deadline)),
            created,
            status,
            uncertain: false,
            ours: true,
        });
        if self.moving {
            self.session = self.candidate.take();
            self.moving = false;
            self.session_line.flight = None;
        }
    }

    pub(super) fn release_stale(&mut self, ticket: Ticket, created: Revision, status: Option<String>, deadline: Tick) {
        if self.lock.created() == Some(&created) {
            return self.release(ticket, status, deadline);
        }
        let ours = self.releasing.as_ref().is_some_and(|r| r.created == created && r.ours);
        self.begin_release(Releasing { waiting: Some((ticket, deadline)), created, status, uncertain: false, ours });
    }

    /// A later release replaces an earlier one: there is one leader key, so the earlier incarnation is gone.
    fn begin_release(&mut self, release: Releasing) {
        if let Some((ticket, _)) = self.releasing.take().and_then(|earlier| earlier.waiting) {
            self.finish(ticket, Err(Failure::Cancelled));
        }
        self.drop_release_in_flight();
        self.condemned = Some(release.created.clone());
        self.releasing = Some(release);
        self.lock_line.succeeded();
    }

    fn drop_release_in_flight(&mut self) {
        self.lock_line.flight.take_if(|flight| matches!(flight.ask, Ask::Release { .. }));
    }

    pub(super) fn pump_lock(&mut self, now: Tick) {
        if !self.lock_line.is_free(now) {
            return;
        }
        if let Some(release) = &self.releasing {
            let ask = Ask::Release { created: release.created.clone(), status: release.status.clone() };
            let limit = self.try_within(release.deadline().map_or(self.ttl, |at| at.since(now)));
            return self.send(Wire::Lock, ask, limit, now);
        }
        let Some(session) = self.session.as_ref().filter(|live| live.is_known()) else { return };
        let session = session.id.clone();
        let Some(attempt) = self.acquiring.as_mut().filter(|a| a.phase == Phase::Ready) else { return };
        attempt.phase = Phase::Asked;
        let (ask, left) = (Ask::Acquire { session, expect: attempt.expect.clone() }, attempt.deadline.since(now));
        let limit = self.try_within(left);
        self.send(Wire::Lock, ask, limit, now);
    }

    /// How long one try may take of the time that is `left`: a third of it stays, to find out or to try again.
    fn try_within(&self, left: Duration) -> Duration {
        (left * 2 / 3).max(SHORTEST_TRY).min(try_timeout(self.ttl))
    }

    pub(super) fn acquired(&mut self, session: &Session, sent: Tick, answer: Answer, now: Tick) {
        let on_ours = self.session.as_ref().is_some_and(|live| live.id == *session);
        let Some(attempt) = self.acquiring.as_mut().filter(|a| a.phase == Phase::Asked) else {
            return self.doubt(sent);
        };
        match answer {
            Answer::Ours { created } if on_ours => {
                self.lock_line.succeeded();
                self.take(created, now);
            }
            // The session ended meanwhile, and the key with it.
            Answer::Ours { .. } => attempt.phase = Phase::Ready,
            Answer::Conflict if attempt.uncertain => {
                attempt.phase = Phase::Finding { since: now };
                self.doubt(sent);
            }
            Answer::Conflict => {
                self.conclude(Ok(Outcome::Acquired(Taken::Conflict)));
                self.doubt(sent);
            }
            Answer::SessionGone if attempt.reopened => {
                let why = "the session that the lock was to be taken on has ended in the store, twice";
                self.conclude(Err(Failure::Failed(why.into())));
                self.session_gone(session, now);
            }
            Answer::SessionGone => {
                attempt.reopened = true;
                attempt.phase = Phase::Ready;
                self.session_gone(session, now);
            }
            Answer::Opened(_) | Answer::Extended { .. } | Answer::Released(_) => {
                self.unanswered(sent, "take the leader lock: the answer makes no sense".into(), now);
            }
            Answer::Nothing(why) => self.unanswered(sent, why, now),
        }
    }

    fn unanswered(&mut self, sent: Tick, why: String, now: Tick) {
        let longest = self.longest_pause();
        self.lock_line.failed(now, longest);
        if let Some(attempt) = &mut self.acquiring {
            attempt.uncertain = true;
            attempt.phase = Phase::Finding { since: now };
            attempt.why = Some(why);
        }
        self.doubt(sent);
    }

    /// An attempt that was sent at `sent` may take effect late: look at the key now, and keep looking.
    pub(super) fn doubt(&mut self, sent: Tick) {
        self.doubt_until = self.doubt_until.max(sent + self.ttl.max(LATE_AT_MOST));
        self.look_now = true;
    }

    /// The key is ours. One that is to be deleted is not taken, but gone before the next try. It counts from the last extension of the session; when that was too long ago, the next
    /// beat has to find it ours first.
    fn take(&mut self, created: Revision, now: Tick) {
        if self.condemned.as_ref() == Some(&created) {
            if let Some(attempt) = &mut self.acquiring {
                attempt.phase = Phase::Ready;
            }
            return self.give_back(created);
        }
        let Some(session) = &self.session else { return };
        let Some(attempt) = &mut self.acquiring else { return };
        if !covers(session, now) {
            attempt.phase = Phase::Finding { since: now };
            return;
        }
        // Taken again under unbroken promises: our server has run under this generation all the time.
        let kept = match &self.lock {
            Own::Kept(kept) if now < kept.deadlines().hard => Some(kept.clone()),
            Own::Kept(_) | Own::No | Own::Verifying { .. } | Own::Held(_) => None,
        };
        let held = match kept {
            Some(kept) => Held { promised: kept.promised, ..held_on(session, kept.generation, created) },
            None => {
                self.generation = next_generation(self.generation);
                held_on(session, Generation(self.generation), created)
            }
        };
        let taken = taken(&held);
        self.hold(held);
        self.lost = None;
        // An earlier try of ours may still be under way: `doubt_until` stays, for when this lock is released.
        // The extension that it counts from may be old, and a standby's does not read: confirm it at once.
        self.look_now = true;
        self.conclude(Ok(Outcome::Acquired(taken)));
    }

    fn conclude(&mut self, result: Result<Outcome, Failure>) {
        if let Some(attempt) = self.acquiring.take() {
            self.finish(attempt.ticket, result);
        }
    }

    /// What a beat read of the leader key, on a session that it has extended.
    pub(super) fn read_leader(&mut self, flight: &Flight, leader: Option<Leader>, now: Tick) {
        let session = self.session.as_ref().map(|live| &live.id);
        let ours = leader.as_ref().filter(|l| l.name == self.name && l.session.as_ref() == session);
        let ours = ours.map(|l| l.created.clone());
        match self.lock.created().cloned() {
            Some(created) if ours.as_ref() == Some(&created) => self.renewed(flight.sent),
            Some(_) if self.weaken.has(Weakness::BeatWithoutKey) => self.renewed(flight.sent),
            // A reading that began before we had the lock proves nothing against it.
            Some(created) if flight.held.as_ref() != Some(&created) => {}
            Some(_) if leader.is_none() && self.is_promised(now) => self.keep(),
            Some(_) => {
                self.lose(how_lost(&self.name.0, leader.as_ref()));
                if let Some(created) = ours {
                    self.give_back(created);
                }
            }
            None => self.read_without_lock(flight, leader, ours, now),
        }
    }

    fn read_without_lock(&mut self, flight: &Flight, leader: Option<Leader>, ours: Option<Revision>, now: Tick) {
        if matches!(self.lock, Own::Kept(_)) && leader.as_ref().is_some_and(|l| l.name != self.name) {
            self.lose(how_lost(&self.name.0, leader.as_ref()));
        }
        match (&mut self.acquiring, ours) {
            (Some(Acquiring { phase: Phase::Finding { .. }, .. }), Some(created)) => self.take(created, now),
            (Some(Acquiring { phase: Phase::Finding { since }, .. }), None) if flight.sent < *since => {
                self.look_now = true;
            }
            (Some(attempt @ Acquiring { phase: Phase::Finding { .. }, .. }), None) => match leader {
                Some(_) => self.conclude(Ok(Outcome::Acquired(Taken::Conflict))),
                None => attempt.phase = Phase::Ready,
            },
            // Our own attempt is under way: its answer will tell.
            (Some(Acquiring { phase: Phase::Ready | Phase::Asked, .. }), _) | (None, None) => {}
            (None, Some(created)) => self.give_back(created),
        }
    }

    /// A leader key on our session that nobody here believes in would be kept alive by our beats: delete it.
    fn give_back(&mut self, created: Revision) {
        if let Some(release) = self.releasing.as_mut().filter(|release| release.created == created) {
            // Whoever asked for it may stop waiting; it goes on.
            release.ours = true;
            return;
        }
        self.begin_release(Releasing { waiting: None, created, status: None, uncertain: false, ours: true });
    }

    fn renewed(&mut self, sent: Tick) {
        let Some(session) = &self.session else { return };
        let held = match &self.lock {
            Own::No | Own::Kept(_) => return,
            Own::Verifying { generation, created } => held_on(session, *generation, created.clone()),
            Own::Held(held) if sent <= held.renewed => return,
            Own::Held(held) => Held { renewed: sent, lease: Deadlines::new(sent, session.ttl), ..held.clone() },
        };
        self.hold(held);
    }

    fn hold(&mut self, mut held: Held) {
        if let Some(session) = self.session.as_ref().filter(|_| self.weaken.has(Weakness::FenceAtTtl)) {
            let end = held.renewed + session.ttl;
            held.lease = Deadlines { valid_until: end, soft: end, hard: end };
        }
        if let Some(session) = &self.session {
            self.page = Some(Page {
                generation: held.generation,
                session: session.id.clone(),
                created: held.created.clone(),
                ttl: session.ttl,
                deadlines: held.deadlines(),
            });
        }
        self.lock = Own::Held(held);
    }

    /// The key may be on a session with a nearer end from now on.
    pub(super) fn shorten(&mut self, to: Deadlines) {
        let Own::Held(held) = &self.lock else { return };
        if to.hard < held.lease.hard {
            self.hold(Held { lease: to, ..held.clone() });
        }
    }

    /// The key is on the new session.
    pub(super) fn moved(&mut self, created: Revision, renewed: Tick, deadlines: Deadlines) {
        let Own::Held(held) = &self.lock else { return };
        self.hold(Held { created, renewed, lease: deadlines, ..held.clone() });
    }

    /// What the core has gathered of promises; `None`: it counts on none any more.
    pub(super) fn promised(&mut self, promises: Option<Promises>, now: Tick) {
        let (Own::Held(held) | Own::Kept(held)) = &mut self.lock else { return };
        held.promised = match promises {
            None => Deadlines::default(),
            // The guard has begun to shut the server down, or they are another lock's.
            Some(_) if now >= held.deadlines().soft => return,
            Some(promises) if promises.generation != held.generation => return,
            Some(promises) => {
                let new = Deadlines::new(promises.sent.min(now), promises.ttl);
                if new.hard > held.promised.hard { new } else { held.promised }
            }
        };
        let deadlines = held.deadlines();
        if let Some(page) = &mut self.page {
            page.deadlines = deadlines;
        }
    }

    fn is_promised(&self, now: Tick) -> bool {
        self.covered().is_some_and(|held| now < held.promised.soft)
    }

    /// The leader key is not there any more, and nobody else may take it yet.
    fn keep(&mut self) {
        let Own::Held(held) = std::mem::replace(&mut self.lock, Own::No) else { return };
        if let Some(page) = &mut self.page {
            page.deadlines = held.promised;
        }
        self.lock = Own::Kept(Held { lease: Deadlines::default(), ..held });
    }

    /// The lock is not ours any more as it was; unless others hold it, promises may still cover our server.
    pub(super) fn lose_or_keep(&mut self, why: &str, now: Tick) {
        match self.lock {
            Own::No => {}
            Own::Held(_) if self.is_promised(now) => self.keep(),
            Own::Kept(_) if self.is_promised(now) => {}
            Own::Verifying { .. } | Own::Held(_) | Own::Kept(_) => self.lose(why.into()),
        }
    }

    /// The lock is not ours any more, not by our own doing.
    pub(super) fn lose(&mut self, why: String) {
        self.let_go();
        self.lost = Some(why);
    }

    fn let_go(&mut self) {
        match std::mem::replace(&mut self.lock, Own::No) {
            Own::No => return,
            Own::Held(_) | Own::Kept(_) => {}
            Own::Verifying { generation, created } => {
                let session = self.session.as_ref().map_or_else(|| Session(Default::default()), |live| live.id.clone());
                let deadlines = Deadlines::default();
                self.page = Some(Page { generation, session, created, ttl: self.ttl, deadlines });
            }
        }
        if let Some(page) = &mut self.page {
            page.deadlines = Deadlines::default();
        }
        self.lost = None;
    }

    /// No renewal counted in time. The session is given up with the lock: were it extended, the key would live
    /// on without anybody who holds it.
    pub(super) fn expire_lock(&mut self, now: Tick) {
        let Some(held) = self.covered().filter(|held| now >= held.deadlines().hard) else { return };
        let silent = now.since(held.renewed).as_secs_f32();
        let promises = if held.promised.hard > Tick::ZERO { ", and so is that of the others' promises" } else { "" };
        self.lose(format!(
            "no renewal of the leader lock was confirmed for {silent:.1} s and its time is over{promises}"
        ));
        self.forget_session(now);
    }

    pub(super) fn expire_commands(&mut self, now: Tick) {
        if self.acquiring.as_ref().is_some_and(|a| now >= a.deadline) {
            self.give_up_acquiring(now);
        }
        let Some(release) = self.releasing.as_mut() else { return };
        let Some((ticket, _)) = release.waiting.take_if(|(_, deadline)| now >= *deadline) else { return };
        if !release.ours {
            self.releasing = None;
            self.drop_release_in_flight();
        }
        let why = "the store did not confirm in time that the leader key is deleted";
        self.finish(ticket, Err(Failure::Unreachable(why.into())));
    }

    fn give_up_acquiring(&mut self, now: Tick) {
        let Some(attempt) = self.acquiring.take() else { return };
        if attempt.phase == Phase::Asked {
            self.lock_line.flight = None;
        }
        if attempt.uncertain || attempt.phase != Phase::Ready {
            self.doubt(now);
        }
        let why = match attempt.why {
            Some(why) => format!("the leader lock could not be taken in time, and it is unknown whether it was: {why}"),
            None => "the leader lock could not be taken in time: the store did not open a session".into(),
        };
        self.finish(attempt.ticket, Err(Failure::Unreachable(why)));
    }

    pub(super) fn released(&mut self, created: &Revision, answer: Answer, now: Tick) {
        let Some(release) = self.releasing.as_mut().filter(|r| r.created == *created) else { return };
        match answer {
            Answer::Released(deleted) => {
                let waiting = release.waiting;
                // After a try without an answer, "not there" most likely means that the try did it.
                let deleted = deleted || release.uncertain;
                self.releasing = None;
                self.lock_line.succeeded();
                if let Some((ticket, _)) = waiting {
                    self.finish(ticket, Ok(Outcome::Released(deleted)));
                }
            }
            Answer::Opened(_)
            | Answer::Extended { .. }
            | Answer::SessionGone
            | Answer::Ours { .. }
            | Answer::Conflict
            | Answer::Nothing(_) => {
                release.uncertain = true;
                let longest = self.longest_pause();
                self.lock_line.failed(now, longest);
            }
        }
    }

    /// The session has ended, so a key of ours on it is gone, and nothing of ours can land there any more.
    pub(super) fn session_took_key_along(&mut self) {
        self.doubt_until = Tick::ZERO;
        if let Some(attempt) = &mut self.acquiring {
            attempt.uncertain = false;
            if let Phase::Finding { .. } = attempt.phase {
                attempt.phase = Phase::Ready;
            }
        }
        if let Some(release) = self.releasing.take_if(|release| release.ours) {
            self.drop_release_in_flight();
            if let Some((ticket, _)) = release.waiting {
                self.finish(ticket, Ok(Outcome::Released(release.uncertain)));
            }
        }
    }
}

fn taken(held: &Held) -> Taken {
    Taken::Yes {
        generation: held.generation,
        created: held.created.clone(),
        valid_until: held.deadlines().valid_until,
        soft: held.deadlines().soft,
    }
}

/// Zero stands for "no lock yet" on the guard's page.
pub(super) fn next_generation(last: u64) -> u64 {
    match last.wrapping_add(1) {
        0 => 1,
        next => next,
    }
}

fn how_lost(own_name: &str, leader: Option<&Leader>) -> String {
    match leader {
        None => "the leader key is gone from the store".into(),
        Some(leader) if leader.name.0 == own_name => {
            "the leader key was deleted and written again, or is on another session than ours".into()
        }
        Some(leader) => format!("the leader key is {}'s now", leader.name),
    }
}
