//! "The agent died, and PostgreSQL went on": killed, frozen, killed with all its helpers. There must never be two members that
//! take writes, and where standbys stream nothing that was acknowledged may be lost.
//!
//! Each fault is run once more on a debug build with its protection switched off, and must then be seen to do the harm:
//! `cargo nextest run -p jogi --run-ignored only`.

mod common;

use std::time::{Duration, Instant};

use jogi_testkit::herd::{CHANGE_WITHIN, Herd, Member, Writers, overlap};
use jogi_testkit::wait;

/// What a fault did, before anything was healed.
struct Harm<'h> {
    writers: Writers,
    old: &'h Member,
    new: String,
    since: Instant,
    overlap: Duration,
    /// Processes of the old primary's PostgreSQL that were alive when somebody else had taken a write.
    survivors: usize,
}

/// Hurts the primary while clients write, waits until another member takes writes, and lets them go on for a while: were
/// there two that take writes, they would do so side by side.
fn harm(herd: &Herd, hurt: impl Fn(&Member)) -> Harm<'_> {
    let writers = herd.start_writers();
    let (old, since) = (herd.wait_leader(), Instant::now());
    hurt(old);
    let new = writers.wait_ack_by_other(&old.name, since, CHANGE_WITHIN);
    let survivors = old.server_processes().len();
    writers.wait_rows(200, CHANGE_WITHIN);
    let overlap = overlap(&writers.journal().since(since), &old.name);
    eprintln!("two writers for {overlap:?}; {survivors} server processes outlived the lock");
    Harm { writers, old, new, since, overlap, survivors }
}

impl Harm<'_> {
    /// Heals the old primary, checks that its agent does nothing on what it knew before, and counts the lost rows.
    fn heal(self, herd: &Herd, mend: impl Fn(&Member)) -> usize {
        let revision = herd.store().revision();
        mend(self.old);
        herd.wait_healthy();
        let holders = herd.values_after(revision, "leader");
        assert!(holders.iter().all(|h| h.as_ref() == Some(&self.new)), "the healed agent took the lock: {holders:?}");
        herd.assert_never_two(self.writers.journal(), &self.old.name, self.since);
        let lost = herd.lost_rows(&self.writers.finish());
        eprintln!("{lost} acknowledged rows lost");
        lost
    }
}

#[test]
fn a_primary_without_its_agent_is_closed_before_another_leads() {
    let Some(spec) = common::spec() else { return };
    if !spec.promises("PostgreSQL ends with its agent's lease") {
        return;
    }
    let herd = spec.start();
    type Act = fn(&Member);
    let faults: [(&str, Act, Act, bool); 3] = [
        ("killed", Member::kill_agent, Member::start_agent, true),
        ("frozen", Member::freeze_agent, Member::thaw_agent, true),
        ("killed with its helpers", Member::kill_agent_tree, Member::start_agent, false),
    ];
    for (fault, hurt, mend, loses_nothing) in faults {
        let harm = harm(&herd, hurt);
        assert_eq!(harm.overlap, Duration::ZERO, "agent {fault}: two members took writes");
        assert_eq!(harm.survivors, 0, "agent {fault}: PostgreSQL outlived the lock");
        let lost = harm.heal(&herd, mend);
        assert!(!loses_nothing || lost == 0, "agent {fault}: {lost} acknowledged rows lost");
    }
}

/// An agent that was swapped out or starved for a moment shorter than its lease changes nothing.
#[test]
fn an_agent_that_stalls_for_a_moment_keeps_the_lead() {
    let Some(spec) = common::spec() else { return };
    let herd = spec.start();
    let kept = herd.keep_session(herd.wait_leader());
    let (leader, revision) = (herd.wait_leader(), herd.store().revision());
    let postmaster = leader.postmaster_pid();
    for _ in 0..3 {
        leader.freeze_agent();
        wait::stays("PostgreSQL serves", Duration::from_secs(2), || leader.is_writable());
        leader.thaw_agent();
        wait::until("the agent answers again", CHANGE_WITHIN, || leader.is_primary());
        wait::stays("the leader leads", Duration::from_secs(2), || leader.is_primary());
    }
    let holders = herd.values_after(revision, "leader");
    assert!(holders.iter().all(|h| h.as_ref() == Some(&leader.name)), "the lock went {holders:?}");
    assert_eq!(leader.postmaster(), Some(postmaster));
    assert_eq!(kept.ended(), None, "the client's session goes on");
}

/// Without the protection two members take writes: else the test of it would prove nothing.
fn seen_red(weakness: &str, hurts: &[fn(&Member)]) {
    for hurt in hurts {
        let Some(spec) = common::spec().and_then(|s| s.weakened(weakness)) else { return };
        let herd = spec.start();
        assert!(harm(&herd, hurt).overlap > Duration::ZERO, "no harm was done without the protection");
    }
}

#[test]
#[ignore = "shows the harm without the guard's deadlines: scripts/proof.sh red"]
fn red_two_members_write_when_nobody_minds_the_deadlines() {
    seen_red("no-deadlines", &[Member::kill_agent, Member::freeze_agent]);
}

#[test]
#[ignore = "shows the harm without the parent-death signal: scripts/proof.sh red"]
fn red_two_members_write_when_postgresql_outlives_its_guard() {
    seen_red("no-parent-death-signal", &[Member::kill_agent_tree]);
}
