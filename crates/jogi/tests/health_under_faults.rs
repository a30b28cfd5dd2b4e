//! "My load balancer's checks must not hang with my database": health checks are answered at once, whatever hangs behind
//! them.

mod common;

use std::time::{Duration, Instant};

use jogi_testkit::herd::{CHANGE_WITHIN, Herd};
use jogi_testkit::{process, wait};

/// What a check may take. Nine of ten have to keep it: a machine that is busy delays anything now and then.
const AT_ONCE: Duration = Duration::from_millis(100);
/// How long each fault is looked at: shorter than what ends a hung primary.
const DURING: Duration = Duration::from_secs(3);

#[test]
fn health_checks_are_answered_at_once_whatever_hangs() {
    let Some(spec) = common::spec_on_loopback() else { return };
    let herd = spec.members(2).start();
    at_once(&herd, "nothing hangs");
    for member in herd.members() {
        let hung = member.freeze_server();
        at_once(&herd, &format!("the server of {} hangs", member.name));
        for pid in hung {
            process::thaw(pid);
        }
    }
    herd.wait_healthy();

    let (primary, replica) = (herd.wait_leader(), herd.members().iter().find(|member| !member.is_primary()));
    let replica = replica.expect("one of two");
    let hung = replica.freeze_server();
    primary.sql("CREATE TABLE lag AS SELECT g, repeat('x', 100) FROM generate_series(1, 20000) g");
    // From here on each such check would like to ask the server itself.
    wait::until("the lag is known", CHANGE_WITHIN, || replica.get("/replica?lag=1MB").status == 503);
    at_once(&herd, "the server of a replica that lags hangs");
    for pid in hung {
        process::thaw(pid);
    }
    herd.wait_healthy();

    herd.store().freeze();
    at_once(&herd, "the store is silent");
    herd.store().thaw();
}

/// Asks both members for what is asked every second in the field.
#[track_caller]
fn at_once(herd: &Herd, while_: &str) {
    let mut took: Vec<(Duration, String)> = Vec::new();
    let begin = Instant::now();
    while begin.elapsed() < DURING {
        for member in herd.members() {
            for path in ["/primary", "/replica?lag=1MB", "/liveness", "/health"] {
                let asked = Instant::now();
                let reply = member.get(path);
                assert!(matches!(reply.status, 200 | 503), "{while_}: {} {path}: {reply:?}", member.name);
                took.push((asked.elapsed(), format!("{} {path}", member.name)));
            }
        }
        std::thread::yield_now();
    }
    took.sort();
    let (worst, ninth) = (&took[took.len() - 1], &took[took.len() * 9 / 10]);
    eprintln!("{while_}: {} checks, nine of ten within {:?}, the slowest {worst:?}", took.len(), ninth.0);
    assert!(took.len() >= 30, "{while_}: only {} checks in {DURING:?}", took.len());
    assert!(ninth.0 <= AT_ONCE, "{while_}: {took:?}");
}
