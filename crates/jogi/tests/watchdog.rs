//! "My hosts have a watchdog": it is opened before a server becomes writable, pinged while the lease stands, and closed so
//! that the host lives. A named pipe stands in for the device (Patroni's driver `testing`); no real device was ever used.

mod common;

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;

use jogi_testkit::herd::{CHANGE_WITHIN, Herd, START_WITHIN};
use jogi_testkit::process::Signal;
use jogi_testkit::wait;
use serde_json::json;

/// O_NONBLOCK: a pipe without a writer must not hold the test.
const NONBLOCK: i32 = 0o4000;

#[test]
fn a_primary_has_its_watchdog_and_nobody_leads_without_one_that_is_required() {
    let Some(spec) = common::spec_on_loopback() else { return };
    let herd = spec.members(2).dcs(json!({"ttl": 10})).build();
    let mut pipe = require_watchdog(&herd, "n1", true);
    require_watchdog(&herd, "n2", false);
    let (n1, n2) = (herd.member("n1"), herd.member("n2"));
    n1.start_agent();
    wait::until("the primary", START_WITHIN, || n1.is_primary());
    let mut told = String::new();
    wait::until("the watchdog is opened and pinged", CHANGE_WITHIN, || {
        told += &read(&mut pipe);
        told.starts_with("Ctimeout=9\n1") && told.ends_with('1')
    });
    n2.start_agent();
    wait::until("the replica", START_WITHIN, || n2.is_replica());
    wait::until("its lack is shown", CHANGE_WITHIN, || n2.status()["watchdog_failed"] == true);
    assert!(n1.status().get("watchdog_failed").is_none());
    let reply = n1.post("/switchover", &json!({"leader": "n1", "candidate": "n2"}));
    assert_ne!(reply.status, 200, "{}", reply.body);
    assert!(n1.is_primary() && n1.is_writable());
    // In pause nothing resets the host.
    assert_eq!(n1.patch("/config", &json!({"pause": true})).status, 200);
    closed(&mut pipe);
    assert_eq!(n1.patch("/config", &json!({"pause": null})).status, 200);
    wait::until("it is opened again", CHANGE_WITHIN, || read(&mut pipe).starts_with("Ctimeout=9\n"));
    n1.signal_agent(Signal::TERM);
    closed(&mut pipe);
}

/// A pipe in place of the device, or nothing.
fn require_watchdog(herd: &Herd, name: &str, present: bool) -> Option<File> {
    let member = herd.member(name);
    let path = member.dir().join("watchdog");
    let section = json!({"mode": "required", "device": path, "safety_margin": 1, "driver": "testing"});
    member.change_config(json!({"watchdog": section}));
    present.then(|| pipe(herd, name, &path))
}

fn pipe(herd: &Herd, name: &str, path: &Path) -> File {
    assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo runs").success());
    herd.member(name).give_to_postgres(path);
    std::fs::OpenOptions::new().read(true).custom_flags(NONBLOCK).open(path).expect("a pipe")
}

fn read(pipe: &mut Option<File>) -> String {
    let mut bytes = [0; 4096];
    let length = pipe.as_mut().and_then(|pipe| pipe.read(&mut bytes).ok()).unwrap_or(0);
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

/// Whatever came before, the magic character is the last.
#[track_caller]
fn closed(pipe: &mut Option<File>) {
    let mut told = String::new();
    wait::until("the watchdog is closed", CHANGE_WITHIN, || {
        told += &read(pipe);
        told.ends_with('V')
    });
}
