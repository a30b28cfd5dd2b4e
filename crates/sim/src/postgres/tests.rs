//! The model against what PostgreSQL 15 does.

use super::*;
use crate::postgres::rewind::{Rewound, base_backup, rewind, single_user};
use jogi_core::Timeline;

struct Bench {
    wal: Wal,
    rng: Rng,
}

impl Bench {
    fn new() -> Bench {
        Bench { wal: Wal::default(), rng: Rng::new(11) }
    }

    fn made(&mut self) -> Postgres {
        let data = Data::new(7_000_000_000, &mut self.wal);
        Postgres { dir: Dir::Whole(data), ..Postgres::default() }
    }

    /// Lets everything that follows by itself happen, in the order of its time.
    fn settle(&mut self, pg: &mut Postgres) -> Vec<News> {
        let mut news = Vec::new();
        for _ in 0..20 {
            let mut due = pg.take_due();
            due.sort_by_key(|(wait, _, _)| *wait);
            for (_, run, step) in due.into_iter().filter(|(_, _, step)| *step != Step::DrainTimeout) {
                news.extend(pg.step(run, step, &mut self.wal, &mut self.rng));
            }
        }
        news
    }

    fn start(&mut self, pg: &mut Postgres) -> Vec<News> {
        pg.start(&self.wal, Wall(0), &mut self.rng).expect("a whole directory and no processes");
        self.settle(pg)
    }

    fn standby_of(&mut self, primary: &Postgres) -> Postgres {
        let mut data = base_backup(primary.data().expect("whole"), &self.wal);
        data.standby_signal = true;
        let mut standby = Postgres { dir: Dir::Whole(data), ..Postgres::default() };
        self.start(&mut standby);
        assert_eq!(standby.phase(), Some(Phase::Standby));
        standby
    }

    fn commit(&mut self, pg: &mut Postgres) -> RecordId {
        pg.commit(&mut self.wal, 100).expect("writable")
    }

    fn stop(&mut self, pg: &mut Postgres) {
        pg.fast(&mut self.rng);
        self.settle(pg);
        assert_eq!(pg.phase(), Some(Phase::Draining));
        pg.drained(&mut self.rng);
        self.settle(pg);
        assert!(pg.is_gone());
    }

    fn promote(&mut self, pg: &mut Postgres) {
        pg.promote(&mut self.rng).expect("a standby");
        self.settle(pg);
        assert_eq!(pg.phase(), Some(Phase::Primary));
    }
}

fn state(pg: &Postgres) -> ControlState {
    pg.data().expect("whole").state
}

fn tip(pg: &Postgres) -> RecordId {
    pg.data().expect("whole").tip
}

#[test]
fn control_states_through_a_life() {
    let mut bench = Bench::new();
    let mut pg = bench.made();
    assert_eq!(state(&pg), ControlState::ShutDown);
    bench.start(&mut pg);
    assert_eq!(state(&pg), ControlState::InProduction);
    bench.stop(&mut pg);
    assert_eq!(state(&pg), ControlState::ShutDown);
    let control = pg.data().expect("whole").control(&bench.wal);
    assert_eq!(control.shutdown_end, Some(bench.wal.end(tip(&pg))));
    bench.start(&mut pg);
    pg.power_off();
    assert_eq!(state(&pg), ControlState::InProduction);
    bench.start(&mut pg);
    assert_eq!(bench.wal.get(tip(&pg)).kind, Kind::Checkpoint, "crash recovery ends with a checkpoint");
    assert_eq!(bench.wal.timeline(tip(&pg)), Timeline(1), "on the same timeline");

    let mut standby = bench.standby_of(&pg);
    assert_eq!(state(&standby), ControlState::InArchiveRecovery);
    bench.stop(&mut standby);
    assert_eq!(state(&standby), ControlState::ShutDownInRecovery);
}

#[test]
fn a_promotion_opens_a_timeline_that_control_shows_after_a_checkpoint() {
    let mut bench = Bench::new();
    let mut primary = bench.made();
    bench.start(&mut primary);
    let mut standby = bench.standby_of(&primary);
    bench.promote(&mut standby);
    let timeline = |bench: &Bench, pg: &Postgres| pg.data().expect("whole").control(&bench.wal).timeline;
    assert_eq!(bench.wal.timeline(tip(&standby)), Timeline(2));
    assert_eq!(timeline(&bench, &standby), Timeline(1));
    standby.checkpoint(&mut bench.wal).expect("it runs");
    assert_eq!(timeline(&bench, &standby), Timeline(2));
}

#[test]
fn a_promoted_server_that_crashes_before_its_checkpoint_recovers_on_the_new_timeline() {
    let mut bench = Bench::new();
    let mut primary = bench.made();
    bench.start(&mut primary);
    let mut standby = bench.standby_of(&primary);
    bench.promote(&mut standby);
    standby.power_off();
    assert_eq!(standby.data().expect("whole").own_timeline(&bench.wal), Timeline(2));
    bench.start(&mut standby);
    assert_eq!(bench.wal.timeline(tip(&standby)), Timeline(2));
}

#[test]
fn a_dead_postmaster_leaves_backends_that_commit() {
    let mut bench = Bench::new();
    let mut pg = bench.made();
    bench.start(&mut pg);
    pg.kill_postmaster(&mut bench.rng);
    assert!(pg.can_commit() && !pg.accepts() && pg.commit(&mut bench.wal, 50).is_some());
    assert_eq!(pg.seen(), Seen::Leftovers);
    assert!(pg.start(&bench.wal, Wall(0), &mut bench.rng).is_err(), "shared memory is in use");
    pg.kill_all(&mut bench.rng);
    assert!(!pg.can_commit());
    bench.settle(&mut pg);
    assert!(pg.is_gone());
}

#[test]
fn a_stopped_backend_holds_up_a_fast_shutdown_but_not_sigkill() {
    let mut bench = Bench::new();
    let mut pg = bench.made();
    bench.start(&mut pg);
    pg.stuck_backend = Some(StuckBackend::Stopped);
    pg.fast(&mut bench.rng);
    bench.settle(&mut pg);
    assert!(pg.can_commit(), "it may go on at any time");
    pg.kill_all(&mut bench.rng);
    bench.settle(&mut pg);
    assert!(pg.is_gone());
}

#[test]
fn an_uninterruptible_backend_stays_but_cannot_commit_once_condemned() {
    let mut bench = Bench::new();
    let mut pg = bench.made();
    bench.start(&mut pg);
    pg.stuck_backend = Some(StuckBackend::Uninterruptible);
    pg.kill_all(&mut bench.rng);
    bench.settle(&mut pg);
    assert!(!pg.is_gone() && !pg.can_commit());
    assert_eq!(pg.seen(), Seen::Leftovers);
}

#[test]
fn a_standby_directory_without_its_signal_file_comes_up_writable_on_the_same_timeline() {
    let mut bench = Bench::new();
    let mut primary = bench.made();
    bench.start(&mut primary);
    let mut standby = bench.standby_of(&primary);
    bench.stop(&mut standby);
    standby.data_mut().expect("whole").standby_signal = false;
    bench.start(&mut standby);
    assert!(standby.can_commit());
    assert_eq!(bench.wal.timeline(tip(&standby)), Timeline(1));
}

#[test]
fn a_former_primary_follows_when_it_ended_at_the_switch_and_not_beyond() {
    for lost in [0, 1] {
        let mut bench = Bench::new();
        let mut old = bench.made();
        bench.start(&mut old);
        let mut new = bench.standby_of(&old);
        if lost == 1 {
            bench.commit(&mut old);
        }
        old.fast(&mut bench.rng);
        bench.settle(&mut old);
        if lost == 0 {
            new.receive(tip(&old), &bench.wal);
        }
        old.drained(&mut bench.rng);
        bench.settle(&mut old);
        bench.promote(&mut new);
        old.data_mut().expect("whole").standby_signal = true;
        bench.start(&mut old);
        let may = start::may_stream(new.data().expect("whole"), old.data().expect("whole"), &bench.wal);
        assert_eq!(may, lost == 0);
    }
}

#[test]
fn with_the_new_history_at_hand_a_diverged_server_does_not_start() {
    let mut bench = Bench::new();
    let mut old = bench.made();
    bench.start(&mut old);
    let mut new = bench.standby_of(&old);
    bench.commit(&mut old);
    bench.stop(&mut old);
    bench.promote(&mut new);
    let history = bench.wal.history(tip(&new));
    let data = old.data_mut().expect("whole");
    data.standby_signal = true;
    data.histories.insert(Timeline(2), history);
    let news = bench.start(&mut old);
    assert!(matches!(&news[..], [News::Exited { status, .. }, ..] if status.contains("not a child")), "{news:?}");
}

#[test]
fn rewind_waits_for_the_sources_checkpoint_or_does_nothing() {
    let mut bench = Bench::new();
    let mut old = bench.made();
    bench.start(&mut old);
    let mut new = bench.standby_of(&old);
    bench.commit(&mut old);
    bench.stop(&mut old);
    bench.promote(&mut new);
    let attempt = |bench: &mut Bench, old: &Postgres, new: &Postgres| {
        rewind(old.data().expect("whole"), new.data().expect("whole"), &mut bench.wal).expect("possible")
    };
    assert!(matches!(attempt(&mut bench, &old, &new), Rewound::NotRequired(_)), "PostgreSQL 15 is misled");
    new.checkpoint(&mut bench.wal).expect("it runs");
    let Rewound::Done(data) = attempt(&mut bench, &old, &new) else { panic!("diverged") };
    assert!(data.mixed.is_none() && data.tip == tip(&new));
    let mut rewound = Postgres { dir: Dir::Whole(Data { standby_signal: true, ..*data }), ..Postgres::default() };
    bench.start(&mut rewound);
    assert_eq!(rewound.phase(), Some(Phase::Standby));
}

#[test]
fn rewind_is_not_required_for_a_clean_handover() {
    let mut bench = Bench::new();
    let mut old = bench.made();
    bench.start(&mut old);
    let mut new = bench.standby_of(&old);
    old.fast(&mut bench.rng);
    bench.settle(&mut old);
    new.receive(tip(&old), &bench.wal);
    old.drained(&mut bench.rng);
    bench.settle(&mut old);
    bench.promote(&mut new);
    new.checkpoint(&mut bench.wal).expect("it runs");
    let result = rewind(old.data().expect("whole"), new.data().expect("whole"), &mut bench.wal);
    assert!(matches!(result, Ok(Rewound::NotRequired(_))));
}

#[test]
fn single_user_recovery_ends_clean_and_refuses_standby_mode() {
    let mut bench = Bench::new();
    let mut pg = bench.made();
    bench.start(&mut pg);
    pg.power_off();
    let data = pg.data_mut().expect("whole");
    single_user(data, &mut bench.wal).expect("no signal file");
    assert_eq!(data.state, ControlState::ShutDown);
    data.standby_signal = true;
    assert!(single_user(data, &mut bench.wal).is_err());
}

#[test]
fn two_branches_of_one_number_mix_unseen() {
    let mut bench = Bench::new();
    let mut primary = bench.made();
    bench.start(&mut primary);
    let (mut one, mut other) = (bench.standby_of(&primary), bench.standby_of(&primary));
    bench.promote(&mut one);
    bench.promote(&mut other);
    bench.commit(&mut one);
    bench.commit(&mut one);
    bench.stop(&mut other);
    other.data_mut().expect("whole").standby_signal = true;
    bench.start(&mut other);
    assert!(start::may_stream(one.data().expect("whole"), other.data().expect("whole"), &bench.wal));
    other.receive(tip(&one), &bench.wal);
    assert!(other.data().expect("whole").mixed.is_some());
}

#[test]
fn a_stopped_postmaster_hears_its_signal_when_it_goes_on() {
    let mut bench = Bench::new();
    let mut pg = bench.made();
    bench.start(&mut pg);
    pg.hang_now(Hang::Everything);
    pg.fast(&mut bench.rng);
    bench.settle(&mut pg);
    assert_eq!(pg.phase(), Some(Phase::Primary));
    assert!(!pg.answers() && !pg.can_commit());
    pg.go_on(&mut bench.rng);
    bench.settle(&mut pg);
    assert_eq!(pg.phase(), Some(Phase::Draining));
}

#[test]
fn a_reserved_timeline_is_skipped_by_a_promotion_and_keeps_a_standby_from_starting() {
    let mut bench = Bench::new();
    let mut primary = bench.made();
    bench.start(&mut primary);
    let (mut promoted, mut restarted) = (bench.standby_of(&primary), bench.standby_of(&primary));
    for standby in [&mut promoted, &mut restarted] {
        standby.data_mut().expect("whole").reserve(Timeline(1), Timeline(2));
    }
    bench.promote(&mut promoted);
    assert_eq!(bench.wal.timeline(tip(&promoted)), Timeline(3));
    bench.stop(&mut restarted);
    bench.start(&mut restarted);
    assert_eq!(restarted.phase(), Some(Phase::Recovering), "for ever");
}
