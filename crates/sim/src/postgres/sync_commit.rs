//! Synchronous commit: a commit is on the primary's disk first, and waits there for its standbys (syncrep.c).
//!
//! What the rules of synchronous modes stand on, and get wrong easily: a commit that waits is durable already, so after
//! a crash it is there although nobody was told; a shutdown ends the wait without an acknowledgement; emptying
//! `synchronous_standby_names` releases everybody; what counts is the configuration in force when a standby confirms,
//! not the one when the commit began to wait.

use jogi_core::Lsn;

use super::sync_names::SyncNames;
use super::{Phase, Postgres};
use crate::wal::{Kind, RecordId, Wal};

/// What is in force on the running server.
#[derive(Clone, Debug, Default)]
pub struct SyncCommit {
    /// The value that the server shows.
    pub text: String,
    names: Option<SyncNames>,
    waiting: Vec<Waiting>,
    /// Up to here standbys have confirmed under the configurations of their time.
    confirmed: Lsn,
}

/// A commit that waits for standbys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub record: RecordId,
    /// Who waits for the answer.
    pub client: usize,
    end: Lsn,
}

/// How far a commit came at once. In each case it is durable on this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// The client is told; `synchronous`: standbys have it too.
    Acknowledged { record: RecordId, synchronous: bool },
    /// It waits for standbys.
    Waits(RecordId),
    /// The session ends before anybody is told: a shutdown has cancelled the wait.
    NeverTold(RecordId),
}

/// One walsender as far as the wait is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its [`SyncCommit::priority`].
    pub priority: usize,
    /// It has caught up.
    pub streaming: bool,
    /// What the standby has confirmed to be on its disk; nothing before its first answer.
    pub flushed: Option<Lsn>,
}

impl Standing {
    fn is_candidate(&self) -> bool {
        self.streaming && self.flushed.is_some() && self.priority > 0
    }
}

impl SyncCommit {
    pub fn is_in_force(&self) -> bool {
        self.names.is_some()
    }

    pub fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Of a standby that calls itself so; 0 when it is not named.
    pub fn priority(&self, application_name: &str) -> usize {
        self.names.as_ref().map_or(0, |names| names.priority(application_name))
    }

    /// `sync_priority` and `sync_state` of each walsender, in the order of `pg_stat_replication`'s slots.
    pub fn states(&self, standings: &[Standing]) -> Vec<(i64, &'static str)> {
        let Some(names) = &self.names else { return vec![(0, "async"); standings.len()] };
        let candidates: Vec<usize> = standings.iter().filter(|s| s.is_candidate()).map(|s| s.priority).collect();
        let mut chosen = names.synchronous(&candidates).into_iter();
        let chosen_word = match names.method {
            super::sync_names::Method::First => "sync",
            super::sync_names::Method::Any => "quorum",
        };
        let state = |standing: &Standing| {
            let is_chosen = standing.is_candidate() && chosen.next().unwrap_or(false);
            let priority = if standing.flushed.is_some() { standing.priority } else { 0 };
            let word = match (priority, is_chosen) {
                (0, _) => "async",
                (_, true) => chosen_word,
                (_, false) => "potential",
            };
            (i64::try_from(priority).unwrap_or(i64::MAX), word)
        };
        standings.iter().map(state).collect()
    }
}

impl Postgres {
    /// Puts `names` into the configuration file and has the running server read it: in force from this instant.
    /// `Err`: the server refuses the value and keeps what it had.
    pub fn set_sync_names(&mut self, names: &str) -> Result<(), String> {
        if self.running.is_none() {
            return Err("no server is running".to_owned());
        }
        SyncNames::parse(names)?;
        if let Some(data) = self.data_mut() {
            data.synchronous_standby_names = names.to_owned();
        }
        self.reload();
        Ok(())
    }

    /// SIGHUP: what the configuration file says is in force from now on, unless the server refuses it.
    pub fn reload(&mut self) {
        let Some(data) = self.dir.whole() else { return };
        let text = data.synchronous_standby_names.clone();
        if text == self.sync.text {
            return;
        }
        if let Ok(names) = SyncNames::parse(&text) {
            self.sync.names = names;
            self.sync.text = text;
        }
    }

    /// A client's commit reaches the disk. `None`: the session is broken; when the disk was full, by the crash of the
    /// whole server (a commit that cannot be written is no error but a panic).
    pub fn commit_for(&mut self, wal: &mut Wal, bytes: u64, client: usize) -> Option<Committed> {
        if !self.can_commit() {
            return None;
        }
        if self.disk_full {
            self.crash_inside();
            return None;
        }
        let record = self.append(wal, Kind::Commit, bytes)?;
        let end = wal.end(record);
        if !self.sync.is_in_force() {
            return Some(Committed::Acknowledged { record, synchronous: false });
        }
        if end <= self.sync.confirmed {
            return Some(Committed::Acknowledged { record, synchronous: true });
        }
        if self.phase() != Some(Phase::Primary) {
            return Some(Committed::NeverTold(record));
        }
        self.sync.waiting.push(Waiting { record, client, end });
        Some(Committed::Waits(record))
    }

    /// The commits that are released now that the walsenders stand as they do, and whether standbys have them.
    pub fn release_waiters(&mut self, standings: &[Standing]) -> Vec<(Waiting, bool)> {
        let Some(names) = &self.sync.names else {
            return self.sync.waiting.drain(..).map(|waiting| (waiting, false)).collect();
        };
        let candidates: Vec<(usize, Lsn)> = standings
            .iter()
            .filter(|standing| standing.is_candidate())
            .filter_map(|standing| Some((standing.priority, standing.flushed?)))
            .collect();
        if let Some(confirmed) = names.confirmed(&candidates) {
            self.sync.confirmed = self.sync.confirmed.max(confirmed);
        }
        let confirmed = self.sync.confirmed;
        let released = self.sync.waiting.extract_if(.., |waiting| waiting.end <= confirmed);
        released.map(|waiting| (waiting, true)).collect()
    }

    /// A user cancels the statement of a session that waits: it is told that its commit is done, with a warning that
    /// it may not have reached the standbys.
    pub fn cancel_wait(&mut self, client: usize) -> Option<RecordId> {
        let place = self.sync.waiting.iter().position(|waiting| waiting.client == client)?;
        Some(self.sync.waiting.remove(place).record)
    }

    /// Every waiting session ends without an answer.
    pub(super) fn cancel_waits(&mut self) {
        self.sync.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::data::{Data, Dir};
    use crate::rng::Rng;
    use jogi_core::Wall;

    struct Bench {
        wal: Wal,
        rng: Rng,
        pg: Postgres,
    }

    fn primary() -> Bench {
        let mut wal = Wal::default();
        let data = Data::new(7, &mut wal);
        let mut bench = Bench { wal, rng: Rng::new(3), pg: Postgres { dir: Dir::Whole(data), ..Postgres::default() } };
        bench.start();
        bench
    }

    impl Bench {
        fn start(&mut self) {
            self.pg.start(&self.wal, Wall(0), &mut self.rng).expect("starts");
            self.settle();
        }

        fn settle(&mut self) {
            for _ in 0..10 {
                for (_, run, step) in self.pg.take_due() {
                    self.pg.step(run, step, &mut self.wal, &mut self.rng);
                }
            }
        }

        fn commit(&mut self, client: usize) -> Committed {
            self.pg.commit_for(&mut self.wal, 100, client).expect("writable")
        }

        /// A walsender for each, all streaming.
        fn release(&mut self, standbys: &[(&str, Lsn)]) -> Vec<(Waiting, bool)> {
            let standing = |(name, flushed): &(&str, Lsn)| Standing {
                priority: self.pg.sync.priority(name),
                streaming: true,
                flushed: Some(*flushed),
            };
            let standings: Vec<Standing> = standbys.iter().map(standing).collect();
            self.pg.release_waiters(&standings)
        }

        fn end(&self) -> Lsn {
            self.wal.end(self.pg.data().expect("whole").tip)
        }
    }

    #[test]
    fn a_commit_is_told_when_the_named_standbys_have_it() {
        let mut bench = primary();
        assert!(matches!(bench.commit(0), Committed::Acknowledged { synchronous: false, .. }));
        bench.pg.set_sync_names("2 (a,b)").expect("good");
        let before = bench.end();
        let Committed::Waits(record) = bench.commit(0) else { panic!("it waits") };
        let end = bench.end();
        assert!(bench.release(&[("a", end), ("b", before), ("c", end)]).is_empty());
        assert!(bench.release(&[("a", end)]).is_empty(), "one is not two");
        let released = bench.release(&[("a", end), ("b", end)]);
        assert!(matches!(&released[..], [(waiting, true)] if waiting.record == record));
    }

    #[test]
    fn the_names_in_force_when_a_standby_confirms_are_what_counts() {
        let mut bench = primary();
        bench.pg.set_sync_names("a").expect("good");
        bench.commit(0);
        let end = bench.end();
        assert!(bench.release(&[("b", end)]).is_empty());
        bench.pg.set_sync_names("ANY 1 (a,b)").expect("good");
        assert_eq!(bench.release(&[("b", end)]).len(), 1);
        bench.commit(0);
        bench.pg.set_sync_names("").expect("good");
        assert!(matches!(&bench.release(&[])[..], [(_, false)]), "released, without any standby");
        assert!(bench.pg.set_sync_names("ANY 0 (a)").is_err());
        assert_eq!(bench.pg.sync.text, "");
    }

    #[test]
    fn a_waiting_commit_survives_a_shutdown_and_a_crash_and_nobody_is_told() {
        for fast in [true, false] {
            let mut bench = primary();
            bench.pg.set_sync_names("a").expect("good");
            let Committed::Waits(record) = bench.commit(0) else { panic!("it waits") };
            if fast {
                bench.pg.fast(&mut bench.rng);
                assert!(matches!(bench.commit(1), Committed::NeverTold(_)), "a session that was not told to go yet");
                bench.settle();
                bench.pg.drained(&mut bench.rng);
                bench.settle();
            } else {
                bench.pg.power_off();
            }
            assert!(bench.pg.is_gone() && bench.release(&[("a", Lsn(u64::MAX))]).is_empty());
            bench.start();
            let tip = bench.pg.data().expect("whole").tip;
            assert!(bench.wal.contains(tip, record));
            assert_eq!(bench.pg.sync.text, "a", "the file says so still");
        }
    }

    #[test]
    fn sessions_without_a_postmaster_commit_and_are_told_nothing() {
        let mut bench = primary();
        bench.pg.set_sync_names("a").expect("good");
        bench.pg.kill_postmaster(&mut bench.rng);
        assert!(matches!(bench.commit(0), Committed::NeverTold(_)));
    }

    #[test]
    fn a_cancelled_statement_is_told_with_a_warning() {
        let mut bench = primary();
        bench.pg.set_sync_names("*").expect("good");
        let Committed::Waits(record) = bench.commit(4) else { panic!("it waits") };
        assert_eq!(bench.pg.cancel_wait(3), None);
        assert_eq!(bench.pg.cancel_wait(4), Some(record));
        assert!(!bench.pg.sync.waits());
    }

    #[test]
    fn a_full_disk_crashes_the_primary_at_its_next_commit_and_keeps_it_down() {
        let mut bench = primary();
        bench.commit(0);
        let tip = bench.pg.data().expect("whole").tip;
        bench.pg.disk_full = true;
        assert!(bench.pg.can_commit(), "nothing has been written yet");
        assert_eq!(bench.pg.commit_for(&mut bench.wal, 100, 0), None);
        assert!(bench.pg.running.is_some() && !bench.pg.accepts(), "the postmaster tries recovery");
        bench.settle();
        assert!(bench.pg.is_gone(), "which needs space too");
        bench.start();
        assert!(bench.pg.is_gone());
        bench.pg.disk_full = false;
        bench.start();
        assert!(bench.pg.can_commit() && bench.wal.contains(bench.pg.data().expect("whole").tip, tip));
    }

    #[test]
    fn states_as_the_view_shows_them() {
        let mut bench = primary();
        let mut states = |names: &str, flushed: Option<Lsn>| {
            bench.pg.set_sync_names(names).expect("good");
            let sync = &bench.pg.sync;
            let nine = Some(Lsn(9));
            let all = [("b", true, nine), ("A", true, flushed), ("c", true, nine), ("d", false, nine)];
            sync.states(&all.map(|(name, streaming, flushed)| Standing {
                priority: sync.priority(name),
                streaming,
                flushed,
            }))
        };
        let (some, none) = (Some(Lsn(5)), None);
        assert_eq!(states("", some), [(0, "async"); 4]);
        assert_eq!(states("a,b", some), [(2, "potential"), (1, "sync"), (0, "async"), (0, "async")]);
        assert_eq!(states("a,b", none), [(2, "sync"), (0, "async"), (0, "async"), (0, "async")]);
        assert_eq!(states("d,c", some), [(0, "async"), (0, "async"), (2, "sync"), (1, "potential")]);
        assert_eq!(states("ANY 1 (a,c)", some), [(0, "async"), (1, "quorum"), (1, "quorum"), (0, "async")]);
    }
}
