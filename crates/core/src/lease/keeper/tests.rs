//! Scenarios and properties of the schedule.

use proptest::prelude::*;

use crate::Tick;
use crate::ha::{Cover, Failure, Generation, Promises, Taken};
use crate::lease::Deadlines;
use crate::view::{Condition, Expect};

use super::model::{ME, Net, Store, World, at, ms};
use super::{Adopted, Ask, Input, Outcome};

fn taken(world: &World, ticket: super::Ticket) -> bool {
    matches!(world.result(ticket), Some(Ok(Outcome::Acquired(Taken::Yes { .. }))))
}

fn count(world: &World, what: fn(&Ask) -> bool) -> usize {
    world.sent.iter().filter(|(_, ask)| what(ask)).count()
}

fn is_beat(ask: &Ask) -> bool {
    matches!(ask, Ask::Beat { .. })
}

#[test]
fn a_standby_extends_its_session_three_times_per_ttl_and_never_reads_the_leader_key() {
    let mut world = World::new(ms(30_000));
    world.run(ms(59_900));
    assert_eq!(count(&world, is_beat), 5, "{:?}", world.sent);
    assert_eq!(count(&world, |ask| matches!(ask, Ask::Beat { read_leader: true, .. })), 0);
    assert!(world.keeper.lease().session.is_some());
}

#[test]
fn at_rest_a_herd_of_three_asks_less_than_once_a_second() {
    let mut leader = World::new(ms(30_000));
    leader.lead();
    let mut standby = World::new(ms(30_000));
    let (before, idle) = (leader.store.requests, standby.store.requests);
    leader.run(ms(300_000));
    standby.run(ms(300_000));
    let all = leader.store.requests - before + 2 * (standby.store.requests - idle);
    assert!(all < 150, "{all} requests in 300 s");
}

#[test]
fn the_lock_counts_from_the_last_extension_of_its_session_not_from_its_own_request() {
    let mut world = World::new(ms(30_000));
    world.run(ms(5_000));
    let ticket = world.acquire(Expect::free(), ms(500));
    world.run(ms(3));
    assert!(taken(&world, ticket));
    let lock = world.keeper.lease().lock.expect("the lock");
    assert_eq!(lock.valid_until, Deadlines::new(at(1_000), ms(30_000)).hard, "the session was opened at 1 s");
}

#[test]
fn the_holder_renews_each_quarter_and_each_counted_beat_moves_the_deadlines() {
    let mut world = World::new(ms(8_000));
    let generation = world.lead();
    let mut last = world.keeper.valid_until();
    for _ in 0..10 {
        world.run(ms(2_000));
        assert!(world.keeper.valid_until() > last);
        last = world.keeper.valid_until();
    }
    let page = world.keeper.page().expect("a page");
    assert_eq!((page.generation, page.deadlines.hard), (generation, last));
    let beats = world.sent.iter().filter(|(_, ask)| matches!(ask, Ask::Beat { read_leader: true, .. })).count();
    assert_eq!(beats, 11, "one at once, then each quarter");
}

#[test]
fn a_missed_try_is_repeated_at_once_and_the_lock_survives_an_outage_of_half_the_ttl() {
    for net in [Net::LosesRequests, Net::LosesAnswers, Net::Refuses] {
        let mut world = World::new(ms(30_000));
        world.lead();
        world.run(ms(7_400));
        world.net = net;
        world.run(ms(15_000));
        world.net = Net::Good;
        world.run(ms(6_500));
        assert!(world.keeper.valid_until() > world.now + ms(20_000), "{net:?}");
        assert!(world.sent.len() < 200, "{net:?}: {} requests", world.sent.len());
    }
}

#[test]
fn without_any_counted_beat_the_lock_is_lost_at_hard_and_the_session_is_given_up() {
    for net in [Net::LosesRequests, Net::LosesAnswers, Net::Refuses] {
        let mut world = World::new(ms(5_000));
        world.lead();
        world.net = net;
        world.run(ms(4_800));
        let lease = world.keeper.lease();
        assert_eq!((lease.lock, lease.session), (None, None), "{net:?}");
        assert!(lease.lost.is_some_and(|why| why.contains("time is over")), "{net:?}");
        assert_eq!(world.keeper.page().map(|page| page.deadlines), Some(Deadlines::default()));
        world.net = Net::Good;
        world.run(ms(12_000));
        assert_eq!(world.store.leader, None, "{net:?}: nobody keeps the old key alive");
        assert!(world.keeper.lease().session.is_some(), "{net:?}");
    }
}

#[test]
fn no_permission_no_renewal() {
    let mut world = World::new(ms(5_000));
    world.lead();
    world.run(ms(1_000));
    world.core_lives = false;
    let until = world.permitted_until;
    world.run(ms(30_000));
    assert!(world.sent.iter().all(|(at, ask)| !is_beat(ask) || *at < until));
    assert_eq!(world.keeper.lease().lock, None);
    assert_eq!(world.store.leader, None);
    world.core_lives = true;
    world.run(ms(1_000));
    assert!(world.keeper.lease().session.is_some(), "the core turns again");
}

#[test]
fn the_first_session_is_opened_without_permission_and_no_beat_follows() {
    let mut world = World::new(ms(5_000));
    world.core_lives = false;
    world.run(ms(20_000));
    assert_eq!(world.sent.len(), 1, "{:?}", world.sent);
}

#[test]
fn a_lock_that_another_has_is_lost_at_the_next_beat() {
    let mut world = World::new(ms(8_000));
    world.lead();
    // An operator deletes the key and another member takes it: nothing can warn us before the next beat.
    world.keeper.handle(Input::Timeout, world.now);
    world.store.put_leader("rival", None);
    let mut unchecked = world;
    unchecked.now = unchecked.now + ms(2_000);
    unchecked.tell(Input::Timeout);
    unchecked.keeper_answers();
    let lease = unchecked.keeper.lease();
    assert_eq!(lease.lost.as_deref(), Some("the leader key is rival's now"));
    assert!(lease.session.is_some(), "the session of the member key lives on");
    assert_eq!(unchecked.keeper.page().map(|page| page.deadlines), Some(Deadlines::default()));
}

#[test]
fn an_ended_session_takes_the_lock_along_and_a_new_one_is_opened() {
    let mut world = World::new(ms(8_000));
    world.run(ms(100));
    let first = world.keeper.lease().session.expect("a session");
    world.store.end(&first, world.now);
    world.run(ms(3_000));
    let second = world.keeper.lease().session.expect("a session");
    assert_ne!(first, second);
}

#[test]
fn a_lost_race_is_a_conflict() {
    let mut world = World::new(ms(8_000));
    world.run(ms(100));
    world.store.put_leader("rival", None);
    let ticket = world.acquire(Expect::free(), ms(500));
    world.run(ms(100));
    assert_eq!(world.result(ticket), Some(&Ok(Outcome::Acquired(Taken::Conflict))));
}

#[test]
fn taking_the_lock_on_a_dead_session_opens_a_new_one_within_the_deadline() {
    let mut world = World::new(ms(8_000));
    world.run(ms(100));
    let dead = world.keeper.lease().session.expect("a session");
    world.store.end(&dead, world.now);
    let ticket = world.acquire(Expect::free(), ms(500));
    world.run(ms(100));
    assert!(taken(&world, ticket));
}

#[test]
fn an_attempt_whose_answer_is_lost_is_found_out_by_reading() {
    let mut world = World::new(ms(8_000));
    world.run(ms(100));
    world.net = Net::LosesAnswers;
    let ticket = world.acquire(Expect::free(), ms(900));
    world.run(ms(1));
    world.net = Net::Good;
    world.run(ms(800));
    assert!(taken(&world, ticket), "{:?}", world.sent);
}

#[test]
fn an_attempt_that_never_arrived_is_made_again() {
    let mut world = World::new(ms(8_000));
    world.run(ms(100));
    world.net = Net::LosesRequests;
    let ticket = world.acquire(Expect::free(), ms(900));
    world.run(ms(1));
    world.net = Net::Good;
    world.run(ms(800));
    assert!(taken(&world, ticket), "{:?}", world.sent);
    assert_eq!(count(&world, |ask| matches!(ask, Ask::Acquire { .. })), 2);
}

#[test]
fn an_attempt_that_takes_effect_long_after_it_was_given_up_is_undone() {
    let mut world = World::new(ms(8_000));
    world.run(ms(100));
    world.net = Net::Slow(ms(700));
    let ticket = world.acquire(Expect::free(), ms(300));
    world.net = Net::LosesRequests;
    world.run(ms(310));
    assert!(matches!(world.result(ticket), Some(Err(Failure::Unreachable(_)))), "{:?}", world.results);
    world.net = Net::Good;
    world.run(ms(300));
    assert_eq!(world.store.leader, None);
    world.run(ms(100));
    assert!(world.store.leader.is_some(), "it has arrived now");
    world.run(ms(2_100));
    assert_eq!(world.store.leader, None, "nobody holds it, so nobody keeps it alive");
}

#[test]
fn an_attempt_that_was_given_up_is_looked_for_at_once() {
    let mut world = World::new(ms(8_000));
    world.run(ms(100));
    world.net = Net::LosesAnswers;
    let ticket = world.acquire(Expect::free(), ms(300));
    world.run(ms(310));
    assert!(matches!(world.result(ticket), Some(Err(Failure::Unreachable(_)))), "{:?}", world.results);
    assert!(world.store.leader.is_some());
    world.net = Net::Good;
    world.run(ms(1_700));
    assert_eq!(world.store.leader, None);
}

#[test]
fn a_lock_on_a_session_about_to_end_is_not_believed_in() {
    let mut world = World::new(ms(8_000));
    world.core_lives = false;
    world.run(ms(7_500));
    let ticket = world.acquire(Expect::free(), ms(400));
    world.run(ms(300));
    assert!(world.store.leader.is_some());
    assert_eq!((world.result(ticket), world.keeper.lease().lock), (None, None));
    // The store keeps the session longer than it is believed in here.
    world.store.extend_all(ms(60_000));
    world.run(ms(200));
    assert!(matches!(world.result(ticket), Some(Err(_))));
    world.core_lives = true;
    world.run(ms(1_000));
    assert_eq!(world.store.leader, None, "nobody holds it, so nobody keeps it alive");
}

#[test]
fn a_first_try_that_takes_effect_after_the_second_was_released_is_undone() {
    let mut world = World::new(ms(8_000));
    world.run(ms(100));
    world.net = Net::Slow(ms(1_000));
    let ticket = world.acquire(Expect::free(), ms(300));
    world.net = Net::Good;
    world.run(ms(290));
    assert!(taken(&world, ticket), "by the second try");
    world.release(ms(100));
    world.run(ms(600));
    assert_eq!(world.store.leader, None);
    world.run(ms(2_200));
    assert_eq!(world.store.leader, None, "the first try has arrived and been undone");
    assert_eq!(count(&world, |ask| matches!(ask, Ask::Release { .. })), 2);
}

#[test]
fn without_a_store_an_attempt_fails_at_its_deadline() {
    let mut world = World::new(ms(8_000));
    world.net = Net::LosesRequests;
    let ticket = world.acquire(Expect::free(), ms(500));
    world.run(ms(600));
    assert!(matches!(world.result(ticket), Some(Err(Failure::Unreachable(_)))));
}

#[test]
fn a_release_ends_the_lock_before_its_request_is_sent() {
    let mut world = World::new(ms(8_000));
    world.lead();
    world.net = Net::LosesRequests;
    let ticket = world.release(ms(500));
    assert_eq!(world.keeper.valid_until(), at(0));
    assert_eq!(world.keeper.page().map(|page| page.deadlines), Some(Deadlines::default()));
    assert_eq!(world.keeper.lease().lost, None, "it was released by us");
    world.run(ms(600));
    world.net = Net::Good;
    world.run(ms(1_600));
    assert!(matches!(world.result(ticket), Some(Err(Failure::Unreachable(_)))));
    assert_eq!(world.store.leader, None, "it goes on until it is done");
    assert_eq!(world.store.statuses, ["final"]);
}

#[test]
fn a_release_that_never_arrived_is_sent_again() {
    let mut world = World::new(ms(8_000));
    world.lead();
    world.net = Net::LosesRequests;
    let ticket = world.release(ms(900));
    world.net = Net::Good;
    world.run(ms(800));
    assert_eq!(world.result(ticket), Some(&Ok(Outcome::Released(true))));
}

#[test]
fn a_release_whose_answer_is_lost_is_still_ours() {
    let mut world = World::new(ms(8_000));
    world.lead();
    world.net = Net::LosesAnswers;
    let ticket = world.release(ms(5_000));
    world.run(ms(10));
    world.net = Net::Good;
    world.run(ms(4_000));
    assert_eq!(world.result(ticket), Some(&Ok(Outcome::Released(true))));
}

#[test]
fn releasing_nothing_is_answered_at_once() {
    let mut world = World::new(ms(8_000));
    let ticket = world.release(ms(500));
    assert_eq!(world.result(ticket), Some(&Ok(Outcome::Released(false))));
}

#[test]
fn a_stale_key_of_an_earlier_run_is_deleted_by_its_incarnation() {
    let mut store = Store::default();
    let old = store.open(ms(8_000), at(900));
    let created = store.put_leader(ME, Some(old));
    let mut world = World::with(ms(8_000), store, None);
    world.run(ms(100));
    let (ticket, deadline) = (world.ticket(), world.now + ms(500));
    world.tell(Input::ReleaseStale { ticket, created, status: None, deadline });
    world.run(ms(100));
    assert_eq!(world.result(ticket), Some(&Ok(Outcome::Released(true))));
    assert_eq!(world.store.leader, None);
}

#[test]
fn a_deletion_that_takes_effect_late_never_hits_a_lock_that_is_held() {
    let mut world = World::new(ms(8_000));
    world.run(ms(100));
    world.net = Net::LosesAnswers;
    let attempt = world.acquire(Expect::free(), ms(3_000));
    world.run(ms(10));
    // The core sees a key that it does not know to be its own, and has it deleted while the attempt goes on.
    let created = world.store.leader.as_ref().map(|l| l.created.clone()).expect("the key has arrived");
    world.run(ms(1_600));
    world.net = Net::Slow(ms(1_000));
    let (ticket, deadline) = (world.ticket(), world.now + ms(50));
    world.tell(Input::ReleaseStale { ticket, created: created.clone(), status: None, deadline });
    world.net = Net::Good;
    world.run(ms(8_000));
    assert!(matches!(world.result(ticket), Some(Err(_))));
    assert!(world.result(attempt).is_some());
    assert_ne!(world.keeper.lease().lock.map(|lock| lock.created), Some(created));
}

#[test]
fn our_own_key_on_an_older_session_is_taken_over_by_its_revision() {
    let mut store = Store::default();
    let old = store.open(ms(8_000), at(900));
    let revision = store.put_leader(ME, Some(old));
    let mut world = World::with(ms(8_000), store, None);
    world.run(ms(100));
    let ticket = world.acquire(Expect { leader: Condition::Unchanged(revision), ..Expect::free() }, ms(500));
    world.run(ms(100));
    assert!(taken(&world, ticket));
}

fn adopted(ttl: Option<u64>) -> (Store, Adopted) {
    let mut store = Store::default();
    let session = store.open(ms(8_000), at(900));
    let created = store.put_leader(ME, Some(session.clone()));
    (store, Adopted { session, created, generation: Generation(7), ttl: ttl.map(ms) })
}

#[test]
fn an_adopted_lock_counts_only_after_the_first_beat() {
    let (store, adopt) = adopted(Some(8_000));
    let mut world = World::with(ms(8_000), store, Some(adopt));
    assert_eq!(world.keeper.lease(), crate::ha::Lease::default());
    assert_eq!(world.keeper.page(), None, "the page of the earlier agent stands");
    world.run(ms(100));
    assert_eq!(world.keeper.lease().lock.map(|lock| lock.generation), Some(Generation(7)));
    assert_eq!(count(&world, |ask| matches!(ask, Ask::Open { .. })), 0);
}

#[test]
fn an_adopted_lock_of_unknown_ttl_counts_little_until_it_is_on_a_session_of_ours() {
    let (store, adopt) = adopted(None);
    let mut world = World::with(ms(8_000), store, Some(adopt));
    world.run(ms(3));
    let lock = world.keeper.lease().lock.expect("verified");
    assert!(lock.valid_until <= Deadlines::new(world.now, ms(2_000)).hard);
    world.run(ms(100));
    let lock = world.keeper.lease().lock.expect("moved");
    assert_eq!(lock.generation, Generation(7));
    assert!(lock.valid_until > world.now + ms(7_000));
    world.run(ms(60_000));
    assert!(world.keeper.lease().lock.is_some());
}

#[test]
fn an_adopted_lock_that_is_gone_closes_the_server() {
    let (mut store, adopt) = adopted(Some(8_000));
    store.put_leader("rival", None);
    let mut world = World::with(ms(8_000), store, Some(adopt.clone()));
    world.run(ms(100));
    let lease = world.keeper.lease();
    assert_eq!(lease.lock, None);
    assert_eq!(lease.session, Some(adopt.session));
    let page = world.keeper.page().expect("the page is closed");
    assert_eq!((page.generation, page.deadlines), (Generation(7), Deadlines::default()));
}

#[test]
fn a_new_ttl_moves_the_lock_to_a_new_session_without_losing_it() {
    for (from, to) in [(30_000, 5_000), (5_000, 30_000)] {
        let mut world = World::new(ms(from));
        let generation = world.lead();
        let old = world.keeper.lease().session;
        world.set_ttl(ms(to));
        world.run(ms(50));
        let lease = world.keeper.lease();
        assert_ne!(lease.session, old);
        assert_eq!(lease.lock.map(|lock| lock.generation), Some(generation));
        assert!(world.keeper.valid_until() < world.now + ms(to));
        world.run(ms(3 * from.max(to)));
        assert!(world.keeper.lease().lock.is_some(), "{from} to {to}");
    }
}

#[test]
fn a_move_without_an_answer_counts_the_shorter_of_both_sessions() {
    let mut world = World::new(ms(30_000));
    world.lead();
    world.set_ttl(ms(4_000));
    world.run(ms(1));
    world.net = Net::LosesAnswers;
    world.run(ms(2));
    assert!(world.keeper.valid_until() <= Deadlines::new(world.now, ms(4_000)).hard);
    world.run(ms(1_500));
    world.net = Net::Good;
    world.run(ms(1_500));
    assert!(world.keeper.lease().lock.is_some(), "{:?}", world.sent);
}

#[test]
fn a_move_that_takes_effect_late_does_not_take_the_key_to_a_forgotten_session() {
    let mut world = World::new(ms(8_000));
    world.lead();
    world.run(ms(100));
    world.set_ttl(ms(5_000));
    world.run(ms(1));
    world.net = Net::Slow(ms(2_000));
    world.run(ms(2));
    assert_eq!(count(&world, |ask| matches!(ask, Ask::Reattach { .. })), 1);
    world.net = Net::Good;
    world.run(ms(1_100));
    world.set_ttl(ms(30_000));
    // The world checks that what is believed is so; at the end the lock is on the session that was asked for.
    world.run(ms(20_000));
    assert!(world.keeper.valid_until() > world.now + ms(15_000));
}

#[test]
fn a_standby_gets_a_new_session_with_a_new_ttl() {
    let mut world = World::new(ms(30_000));
    world.run(ms(100));
    let old = world.keeper.lease().session;
    world.set_ttl(ms(5_000));
    world.run(ms(100));
    assert_ne!(world.keeper.lease().session, old);
}

#[test]
fn generations_never_repeat_and_never_are_zero() {
    let mut world = World::new(ms(8_000));
    let first = world.lead();
    world.release(ms(500));
    world.run(ms(100));
    let second = world.lead();
    assert_ne!(first, second);
    assert_eq!((super::lock::next_generation(u64::MAX), super::lock::next_generation(4)), (1, 5));
}

#[test]
fn a_late_answer_counts_from_when_it_was_asked() {
    let mut world = World::new(ms(8_000));
    world.lead();
    world.net = Net::Slow(ms(1_500));
    world.run(ms(3_600));
    let sent = world.sent.iter().rev().find(|(at, ask)| is_beat(ask) && *at + ms(1_501) <= world.now);
    let sent = sent.map(|(at, _)| *at).expect("a beat that was answered");
    assert_eq!(world.keeper.valid_until(), Deadlines::new(sent, ms(8_000)).hard);
}

#[test]
fn promises_carry_the_lock_over_a_silence_and_over_the_end_of_its_session() {
    let mut world = World::new(ms(8_000));
    let generation = world.lead();
    world.rival = true;
    world.net = Net::LosesRequests;
    for _ in 0..12 {
        world.run(ms(2_000));
        world.promise(ms(100));
    }
    let lock = world.keeper.lease().lock.expect("three sessions' time later");
    assert_eq!((lock.generation, lock.cover), (generation, Cover::Both));
    assert_eq!(world.store.leader, None, "the store has let it run out");
    world.net = Net::Good;
    world.run(ms(2_000));
    let lock = world.keeper.lease().lock.expect("the promises stand");
    assert_eq!((lock.generation, lock.cover), (generation, Cover::Promises));
    let ticket = world.acquire(Expect::free(), ms(500));
    world.run(ms(100));
    assert!(taken(&world, ticket));
    world.tell(Input::Promised(None));
    let lock = world.keeper.lease().lock.expect("taken again");
    assert_eq!((lock.generation, lock.cover), (generation, Cover::Lease), "the guard sees one unbroken lease");
    let page = world.keeper.page().expect("a page");
    assert_eq!((page.generation, &page.created), (generation, &lock.created));
    world.run(ms(30_000));
    assert!(world.keeper.lease().lock.is_some());
}

#[test]
fn promises_count_from_before_they_were_asked_for_and_end_with_the_arithmetic_of_the_lease() {
    let mut world = World::new(ms(8_000));
    world.lead();
    world.rival = true;
    world.net = Net::LosesRequests;
    world.run(ms(5_000));
    world.promise(ms(700));
    let asked = world.now - ms(700);
    assert_eq!(world.keeper.page().map(|page| page.deadlines), Some(Deadlines::new(asked, ms(8_000))));
    world.run(ms(8_000));
    assert_eq!((world.keeper.valid_until(), world.keeper.lease().lock), (at(0), None));
    let why = world.keeper.lease().lost.expect("a reason");
    assert!(why.contains("promises"), "{why}");
}

#[test]
fn promises_past_soft_or_for_another_lock_count_for_nothing() {
    let mut world = World::new(ms(8_000));
    let generation = world.lead();
    world.net = Net::LosesRequests;
    let lock = world.keeper.lease().lock.expect("the lock");
    let promises = |generation, sent| Input::Promised(Some(Promises { generation, sent, ttl: ms(8_000) }));
    world.run(ms(3_000));
    world.tell(promises(Generation(generation.0 + 1), world.now));
    assert_eq!(world.keeper.lease().lock.as_ref(), Some(&lock));
    world.run(lock.soft.since(world.now));
    world.tell(promises(generation, world.now));
    assert_eq!(world.keeper.valid_until(), lock.valid_until, "the guard has begun to shut the server down");
}

#[test]
fn another_in_the_store_ends_what_promises_cover() {
    let mut world = World::new(ms(8_000));
    world.lead();
    world.net = Net::LosesRequests;
    world.run(ms(6_000));
    world.promise(ms(10));
    world.run(ms(6_000));
    world.promise(ms(10));
    world.net = Net::Good;
    world.run(ms(2_000));
    assert_eq!(world.keeper.lease().lock.map(|lock| lock.cover), Some(Cover::Promises));
    // Somebody breaks his promise.
    world.store.put_leader("rival", None);
    world.promised_until = Tick(u64::MAX);
    while world.keeper.lease().lock.is_some() {
        let (next, _) = world.keeper.poll_timeout().expect("a beat is due");
        world.now = world.now.max(next);
        world.tell(Input::Timeout);
        world.keeper_answers();
        assert!(world.now < at(60_000), "it is never found out");
    }
    assert_eq!(world.keeper.page().map(|page| page.deadlines), Some(Deadlines::default()));
}

/// One thing that happens in a random history.
#[derive(Clone, Debug)]
enum Step {
    Run(u64),
    Net(Net),
    Core(bool),
    Rival(bool),
    Acquire(u64),
    Release(u64),
    ReleaseStale(u64),
    Ttl(u64),
    EndSession,
    Promise(u64),
    GiveBack,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let net = prop_oneof![
        4 => Just(Net::Good),
        1 => Just(Net::LosesRequests),
        1 => Just(Net::LosesAnswers),
        1 => Just(Net::Refuses),
        2 => (0u64..4_000).prop_map(|n| Net::Slow(ms(n))),
    ];
    let step = prop_oneof![
        6 => (1u64..6_000).prop_map(Step::Run),
        4 => net.prop_map(Step::Net),
        1 => any::<bool>().prop_map(Step::Core),
        1 => any::<bool>().prop_map(Step::Rival),
        4 => (50u64..3_000).prop_map(Step::Acquire),
        1 => (50u64..3_000).prop_map(Step::Release),
        1 => (50u64..3_000).prop_map(Step::ReleaseStale),
        1 => prop_oneof![Just(2_000u64), Just(5_000), Just(30_000)].prop_map(Step::Ttl),
        1 => Just(Step::EndSession),
        3 => (0u64..2_000).prop_map(Step::Promise),
        1 => Just(Step::GiveBack),
    ];
    prop::collection::vec(step, 1..60)
}

fn apply(world: &mut World, step: Step) {
    match step {
        Step::Run(n) => world.run(ms(n)),
        Step::Net(net) => world.net = net,
        Step::Core(lives) => world.core_lives = lives,
        Step::Rival(rival) => world.rival = rival,
        Step::Acquire(within) => {
            world.acquire(Expect::free(), ms(within));
        }
        Step::Release(within) => {
            world.release(ms(within));
        }
        // The core sees a leader key of our name in its view and does not hold it.
        Step::ReleaseStale(within) => {
            if let Some(leader) = world.store.leader.clone().filter(|l| l.name.as_str() == ME) {
                let (ticket, deadline) = (world.ticket(), world.now + ms(within));
                world.tell(Input::ReleaseStale { ticket, created: leader.created, status: None, deadline });
            }
        }
        Step::Ttl(ttl) => world.set_ttl(ms(ttl)),
        Step::Promise(travelled) => world.promise(ms(travelled)),
        Step::GiveBack => world.tell(Input::Promised(None)),
        // A store that ends a living session breaks its promise; only one that carries no lock may go.
        Step::EndSession => {
            if let (Some(session), None) = (world.keeper.lease().session, world.keeper.lease().lock)
                && world.store.leader.as_ref().is_none_or(|l| l.session.as_ref() != Some(&session))
            {
                world.store.end(&session, world.now);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// The world checks after each event that a lock believed in is ours in the store; here: what is believed
    /// never goes beyond the last request, never grows but by an answer, and nothing is renewed unpermitted.
    #[test]
    fn whatever_happens_the_lease_is_never_believed_too_long(
        history in steps(),
        ttl in prop_oneof![Just(2_000u64), Just(8_000), Just(30_000)],
        adopts in prop_oneof![3 => Just(None), 1 => Just(Some(None)), 1 => Just(Some(Some(8_000)))],
    ) {
        let mut world = match adopts.map(adopted) {
            Some((store, adopt)) => World::with(ms(ttl), store, Some(adopt)),
            None => World::new(ms(ttl)),
        };
        for step in history {
            let tickets = world.results.len();
            apply(&mut world, step);
            prop_assert!(tickets <= world.results.len());
            if let Some(lock) = world.keeper.lease().lock {
                let newest = world.sent.iter().rev().find(|(_, ask)| !matches!(ask, Ask::Release { .. }));
                let newest = newest.map_or(at(0), |(sent, _)| *sent).max(world.promise_sent);
                prop_assert!(lock.valid_until <= Deadlines::new(newest, ms(30_000)).hard);
                prop_assert!(lock.soft < lock.valid_until);
            }
        }
        let late = world.sent.iter().find(|(sent, ask)| is_beat(ask) && *sent >= world.permission_at(*sent));
        prop_assert!(late.is_none(), "{late:?}");
        // Everything heals: the network is good and the core turns, so all commands are answered and no key is
        // alive that nobody holds.
        world.net = Net::Good;
        world.core_lives = true;
        world.rival = false;
        world.run(ms(45_000));
        prop_assert_eq!(world.unanswered(), 0);
        let ours = world.store.leader.as_ref().filter(|l| l.name.as_str() == ME).map(|l| l.created.clone());
        prop_assert_eq!(ours, world.keeper.lease().lock.map(|lock| lock.created));
        prop_assert!(world.keeper.lease().session.is_some());
    }
}
