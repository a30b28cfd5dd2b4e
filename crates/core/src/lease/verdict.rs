//! What the guard owes a postmaster: rest, wait, shut down, kill.
//!
//! [`Custody`] is the guard's memory about one server. It is told what happened to the server and shown the
//! lease as the shared page has it; it answers with a [`Verdict`]. Rules:
//!
//! - Only a writable server that is armed is held to deadlines. A standby rests, and so does everything in pause.
//! - Once the shutdown of `soft` has begun, neither a late renewal nor disarming calls it back; a renewal may only
//!   give it more time to finish, because until that later `hard` the lock is ours.
//! - Once killing has begun it goes on until nothing is left.
//! - A server is writable under one generation of the lock. When the page shows another one, the lock was lost in
//!   between: the server is shut down at once and killed at the deadline of the generation it was held under.

use crate::Tick;

use super::Deadlines;

/// The lease as the keeper publishes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// Which acquisition of the lock this is; 0 before the first.
    pub generation: u64,
    pub deadlines: Deadlines,
    /// Whether a writable server is held to the deadlines.
    pub armed: bool,
}

/// The server as the guard knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Server {
    /// No postmaster.
    #[default]
    None,
    /// In recovery: cannot write.
    Standby,
    /// Writable, or about to be.
    Primary {
        /// The generation of the lock under which it became so. `None`: it was started without a lease (bootstrap
        /// of a cluster not yet published, pause) and has not been put under one yet.
        generation: Option<u64>,
    },
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing, and no deadline is running.
    Rest,
    /// Nothing before this moment.
    Wait(Tick),
    /// Ask the postmaster for a fast shutdown, then look again.
    FastShutdown,
    /// Kill the postmaster and everything of it, again and again until nothing is left.
    KillAll,
}

/// Why a server may not become writable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The guard is not armed.
    NotArmed,
    /// The lock's generation is another one than the command names.
    WrongGeneration { held: u64, asked: u64 },
    /// The soft deadline has passed.
    Expired { soft: Tick },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Ending {
    #[default]
    NotBegun,
    /// A fast shutdown was sent because of a deadline; `hard` as it was then.
    ShuttingDown {
        hard: Tick,
    },
    Killing,
}

/// The guard's memory about one server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Custody {
    server: Server,
    ending: Ending,
    /// The last deadlines seen under the server's own generation.
    covered: Deadlines,
}

impl Custody {
    pub fn server(&self) -> Server {
        self.server
    }

    /// Whether a deadline has been acted on and the server has not gone yet.
    pub fn is_ending(&self) -> bool {
        self.ending != Ending::NotBegun
    }

    /// The postmaster runs now, or its role is now `server`. Never ends what a deadline has begun.
    pub fn is(&mut self, server: Server) {
        self.server = server;
        if server == Server::None {
            self.ending = Ending::NotBegun;
        }
        self.covered = Deadlines::default();
    }

    /// Puts a running server that is writable under `generation`, which the page must show and which must not have
    /// expired. Used after a bootstrap, after a pause and for a server found running. That it is writable is the
    /// caller's word: a standby may have been promoted by hand, which nobody told the guard.
    pub fn hold(&mut self, lease: &Lease, generation: u64, now: Tick) -> Result<(), Refusal> {
        current(lease, generation, now)?;
        match self.server {
            Server::None => {}
            Server::Standby | Server::Primary { .. } => {
                self.server = Server::Primary { generation: Some(generation) };
                self.covered = lease.deadlines;
            }
        }
        Ok(())
    }

    /// Everything is to be killed, whatever the deadlines say.
    pub fn condemn(&mut self) {
        self.ending = Ending::Killing;
    }

    /// Looks at the page and the clock. `FastShutdown` is answered once; the caller has acted on it when it
    /// looks again. `KillAll` is answered until the server [`is`](Self::is) `None`.
    pub fn look(&mut self, lease: &Lease, now: Tick) -> Verdict {
        if self.ending == Ending::Killing {
            return Verdict::KillAll;
        }
        match self.server {
            Server::None => Verdict::Rest,
            Server::Standby => self.finish(lease, now),
            Server::Primary { generation } => self.look_at_primary(lease, generation, now),
        }
    }

    fn look_at_primary(&mut self, lease: &Lease, generation: Option<u64>, now: Tick) -> Verdict {
        let lost = generation.is_some_and(|own| own != lease.generation);
        if lease.armed && !lost {
            self.covered = lease.deadlines;
        }
        if self.is_ending() || !lease.armed {
            return self.finish(lease, now);
        }
        if now >= self.covered.hard {
            self.ending = Ending::Killing;
            return Verdict::KillAll;
        }
        if lost || now >= self.covered.soft {
            self.ending = Ending::ShuttingDown { hard: self.covered.hard };
            return Verdict::FastShutdown;
        }
        Verdict::Wait(self.covered.soft)
    }

    /// Carries on what a deadline has begun; rests when none has.
    fn finish(&mut self, lease: &Lease, now: Tick) -> Verdict {
        let Ending::ShuttingDown { hard } = self.ending else { return Verdict::Rest };
        let hard = if lease.armed { hard.max(self.covered.hard) } else { hard };
        if now >= hard {
            self.ending = Ending::Killing;
            return Verdict::KillAll;
        }
        Verdict::Wait(hard)
    }

    /// Whether a server may be started as primary or promoted now, under `generation`.
    pub fn permit(lease: &Lease, generation: u64, now: Tick) -> Result<(), Refusal> {
        if !lease.armed {
            return Err(Refusal::NotArmed);
        }
        current(lease, generation, now)
    }
}

fn current(lease: &Lease, generation: u64, now: Tick) -> Result<(), Refusal> {
    if lease.generation != generation || generation == 0 {
        return Err(Refusal::WrongGeneration { held: lease.generation, asked: generation });
    }
    if now >= lease.deadlines.soft {
        return Err(Refusal::Expired { soft: lease.deadlines.soft });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIMARY: Server = Server::Primary { generation: Some(7) };

    fn lease(generation: u64, soft: u64, hard: u64) -> Lease {
        Lease {
            generation,
            deadlines: Deadlines { valid_until: Tick(hard), soft: Tick(soft), hard: Tick(hard) },
            armed: true,
        }
    }

    fn custody(server: Server) -> Custody {
        let mut custody = Custody::default();
        custody.is(server);
        custody
    }

    #[test]
    fn verdict_by_role_and_time() {
        use Verdict::{FastShutdown, KillAll, Rest, Wait};
        let disarmed = Lease { armed: false, ..lease(7, 100, 200) };
        let unleased = Server::Primary { generation: None };
        let table = [
            (Server::None, lease(7, 100, 200), 999, Rest),
            (Server::Standby, lease(7, 100, 200), 999, Rest),
            (PRIMARY, disarmed, 999, Rest),
            (PRIMARY, lease(7, 100, 200), 99, Wait(Tick(100))),
            (PRIMARY, lease(7, 100, 200), 100, FastShutdown),
            (PRIMARY, lease(7, 100, 200), 199, FastShutdown),
            (PRIMARY, lease(7, 100, 200), 200, KillAll),
            (unleased, disarmed, 999, Rest),
            (unleased, lease(7, 100, 200), 99, Wait(Tick(100))),
            (unleased, lease(7, 100, 200), 150, FastShutdown),
        ];
        for (server, lease, now, expected) in table {
            assert_eq!(custody(server).look(&lease, Tick(now)), expected, "{server:?} {lease:?} at {now}");
        }
    }

    #[test]
    fn shutdown_then_kill_until_gone() {
        let mut custody = custody(PRIMARY);
        let lease = lease(7, 100, 200);
        assert_eq!(custody.look(&lease, Tick(100)), Verdict::FastShutdown);
        assert_eq!(custody.look(&lease, Tick(101)), Verdict::Wait(Tick(200)));
        assert_eq!(custody.look(&lease, Tick(200)), Verdict::KillAll);
        assert_eq!(custody.look(&lease, Tick(300)), Verdict::KillAll);
        custody.is(Server::None);
        assert_eq!(custody.look(&lease, Tick(301)), Verdict::Rest);
    }

    #[test]
    fn late_renewal_gives_time_but_does_not_call_the_shutdown_back() {
        let mut custody = custody(PRIMARY);
        assert_eq!(custody.look(&lease(7, 100, 200), Tick(100)), Verdict::FastShutdown);
        assert_eq!(custody.look(&lease(7, 400, 500), Tick(110)), Verdict::Wait(Tick(500)));
        assert_eq!(custody.look(&lease(7, 400, 500), Tick(500)), Verdict::KillAll);
    }

    #[test]
    fn disarming_does_not_call_the_shutdown_back() {
        let mut custody = custody(PRIMARY);
        assert_eq!(custody.look(&lease(7, 100, 200), Tick(100)), Verdict::FastShutdown);
        let disarmed = Lease { armed: false, ..lease(7, 100, 200) };
        assert_eq!(custody.look(&disarmed, Tick(110)), Verdict::Wait(Tick(200)));
        assert_eq!(custody.look(&disarmed, Tick(200)), Verdict::KillAll);
    }

    #[test]
    fn killing_survives_a_renewal() {
        let mut custody = custody(PRIMARY);
        assert_eq!(custody.look(&lease(7, 100, 200), Tick(250)), Verdict::KillAll);
        assert_eq!(custody.look(&lease(7, 900, 999), Tick(251)), Verdict::KillAll);
    }

    #[test]
    fn another_generation_ends_the_server_of_the_old_one() {
        let mut custody = custody(PRIMARY);
        assert_eq!(custody.look(&lease(7, 100, 200), Tick(50)), Verdict::Wait(Tick(100)));
        assert_eq!(custody.look(&lease(8, 900, 999), Tick(60)), Verdict::FastShutdown);
        assert_eq!(custody.look(&lease(8, 900, 999), Tick(61)), Verdict::Wait(Tick(200)));
        assert_eq!(custody.look(&lease(8, 900, 999), Tick(200)), Verdict::KillAll);
    }

    #[test]
    fn after_a_stall_a_new_generation_does_not_hide_the_expired_one() {
        let mut custody = custody(PRIMARY);
        assert_eq!(custody.look(&lease(7, 100, 200), Tick(50)), Verdict::Wait(Tick(100)));
        assert_eq!(custody.look(&lease(8, 9_900, 9_999), Tick(5_000)), Verdict::KillAll);
    }

    #[test]
    fn hold_moves_a_running_primary_to_the_lock_of_now() {
        let mut custody = custody(Server::Primary { generation: None });
        let disarmed = Lease { armed: false, ..lease(8, 900, 999) };
        assert_eq!(
            custody.hold(&disarmed, 7, Tick(10)),
            Err(Refusal::WrongGeneration { held: 8, asked: 7 }),
            "the generation must be the page's"
        );
        assert_eq!(custody.hold(&disarmed, 8, Tick(900)), Err(Refusal::Expired { soft: Tick(900) }));
        assert_eq!(custody.hold(&disarmed, 8, Tick(10)), Ok(()));
        assert_eq!(custody.server(), Server::Primary { generation: Some(8) });
        assert_eq!(custody.look(&lease(8, 900, 999), Tick(20)), Verdict::Wait(Tick(900)));
    }

    #[test]
    fn a_standby_that_was_promoted_by_hand_is_held_like_any_primary() {
        let mut custody = custody(Server::Standby);
        assert_eq!(custody.look(&lease(8, 100, 200), Tick(150)), Verdict::Rest);
        assert_eq!(custody.hold(&lease(8, 900, 999), 8, Tick(160)), Ok(()));
        assert_eq!(custody.look(&lease(8, 900, 999), Tick(170)), Verdict::Wait(Tick(900)));
        assert_eq!(custody.look(&lease(8, 900, 999), Tick(900)), Verdict::FastShutdown);
        assert_eq!(custody.look(&lease(8, 900, 999), Tick(999)), Verdict::KillAll);
    }

    #[test]
    fn permission_needs_arms_generation_and_time() {
        let disarmed = Lease { armed: false, ..lease(7, 100, 200) };
        let table = [
            (lease(7, 100, 200), 7, 99, Ok(())),
            (disarmed, 7, 99, Err(Refusal::NotArmed)),
            (lease(7, 100, 200), 6, 99, Err(Refusal::WrongGeneration { held: 7, asked: 6 })),
            (lease(0, 100, 200), 0, 99, Err(Refusal::WrongGeneration { held: 0, asked: 0 })),
            (lease(7, 100, 200), 7, 100, Err(Refusal::Expired { soft: Tick(100) })),
        ];
        for (lease, generation, now, expected) in table {
            assert_eq!(Custody::permit(&lease, generation, Tick(now)), expected);
        }
    }

    #[test]
    fn condemned_is_killed_whatever_the_role() {
        for server in [Server::Standby, PRIMARY] {
            let mut custody = custody(server);
            custody.condemn();
            assert_eq!(custody.look(&Lease::default(), Tick::ZERO), Verdict::KillAll);
        }
    }
}
