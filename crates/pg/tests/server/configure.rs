//! The files of a server, and what a change of them means for it while it runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use jogi_core::ha::Mode;
use jogi_pg::connect::{Connection, Purpose};
use jogi_pg::files::{self, Configured};
use jogi_pg::look::{self, Running};
use jogi_pg::postmaster;
use serde_json::json;

use crate::common::{LONG, Member, Place, can};

async fn in_force(member: &Member) -> Running {
    let mut connection = Connection::open(&member.instance.local_target(Purpose::Work), LONG).await.expect("in");
    look::running(&mut connection, LONG).await.expect("settings")
}

async fn reload(member: &Member) {
    let before = member.value("SELECT pg_conf_load_time()").await;
    assert!(postmaster::reload(member.instance.data_dir()).expect("signalled"));
    let until = std::time::Instant::now() + LONG;
    while member.value("SELECT pg_conf_load_time()").await == before {
        assert!(std::time::Instant::now() < until, "not reloaded");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

fn mode(member: &Member, name: &str) -> u32 {
    fs::metadata(member.data_dir().join(name)).expect("there").permissions().mode() & 0o777
}

#[tokio::test]
async fn what_is_in_force_is_not_written_again() {
    if !can() {
        return;
    }
    let place = Place::new();
    let mut member = place.member("a");
    member.bootstrap().await;
    let setup = member.setup(Mode::Primary);
    let configured = files::configure(&member.instance, &setup, Some(&in_force(&member).await)).expect("written");
    assert_eq!(configured, Configured { unchanged: true, ..Configured::default() });

    let hba = json!({"postgresql": {"pg_hba": ["local all all trust", "host all all 127.0.0.1/32 scram-sha-256"],
                                     "parameters": {"work_mem": "9MB"}}});
    member.set_dynamic(hba);
    let setup = member.setup(Mode::Primary);
    let configured = files::configure(&member.instance, &setup, Some(&in_force(&member).await)).expect("written");
    assert!(!configured.unchanged && !configured.restart);
    // An agent that dies here leaves files that nobody has loaded.
    let again = files::configure(&member.instance, &setup, Some(&in_force(&member).await)).expect("written");
    assert!(!again.unchanged, "a reload is still due");
    reload(&member).await;
    let loaded = files::configure(&member.instance, &setup, Some(&in_force(&member).await)).expect("written");
    assert!(loaded.unchanged);
    assert_eq!(member.value("SHOW work_mem").await, "9MB");
    let conf = fs::read_to_string(member.data_dir().join("postgresql.conf")).expect("readable");
    assert!(conf.contains("include 'postgresql.base.conf'"), "{conf}");
    for name in ["postgresql.conf", "postgresql.base.conf", "pg_hba.conf"] {
        assert_eq!(mode(&member, name), 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_standby_is_turned_to_another_upstream() {
    if !can() {
        return;
    }
    let place = Place::new();
    let (mut a, mut b) = (place.member("a"), place.member("b"));
    a.bootstrap().await;
    a.sql("SELECT pg_create_physical_replication_slot('one'), pg_create_physical_replication_slot('two')").await;
    b.replicate(&a, Some("one")).await;
    let setup = b.follow(&a, Some("one"));
    let same = files::configure(&b.instance, &setup, Some(&in_force(&b).await)).expect("written");
    assert_eq!((same.restart, same.unchanged), (false, true), "{same:?}");
    let passwords = fs::metadata(b.instance.pgpass()).expect("there").permissions().mode() & 0o777;
    assert_eq!(passwords, 0o600);
    let conf = fs::read_to_string(b.data_dir().join("postgresql.conf")).expect("readable");
    assert!(conf.contains("primary_conninfo = '") && conf.contains("passfile="), "{conf}");
    assert!(!conf.contains("secret"), "no password in {conf}");

    let setup = b.follow(&a, Some("two"));
    let other = files::configure(&b.instance, &setup, Some(&in_force(&b).await)).expect("written");
    let reloads = b.instance.version() >= 130_000;
    assert_eq!((other.restart, other.unchanged), (!reloads, false));
    if reloads {
        reload(&b).await;
        let slot = |s: &jogi_core::ha::Server| {
            s.row.as_ref().and_then(|r| r.receiver.as_ref()?.slot.as_ref().map(|slot| slot.to_string()))
        };
        b.wait_for("the other slot", |s| slot(s).as_deref() == Some("two")).await;
    }

    // Somebody's ALTER SYSTEM would win over our files.
    b.sql("ALTER SYSTEM SET primary_slot_name = 'theirs'").await;
    let cleaned = files::configure(&b.instance, &setup, Some(&in_force(&b).await)).expect("written");
    assert!(!cleaned.unchanged);
    let auto = fs::read_to_string(b.data_dir().join("postgresql.auto.conf")).expect("readable");
    assert!(!auto.contains("primary_slot_name"), "{auto}");

    // A running primary that is to follow needs a restart.
    let setup = a.follow(&b, None);
    let turned = files::configure(&a.instance, &setup, Some(&in_force(&a).await)).expect("written");
    assert!(turned.restart && a.data_dir().join("standby.signal").exists());
    // A standby that is about to be promoted keeps its signal file until recovery has ended.
    let setup = b.setup(Mode::Primary);
    files::configure(&b.instance, &setup, Some(&in_force(&b).await)).expect("written");
    assert!(b.data_dir().join("standby.signal").exists());
    b.stop();
    files::configure(&b.instance, &setup, None).expect("written");
    assert!(!b.data_dir().join("standby.signal").exists());
}

#[tokio::test]
async fn a_standby_starts_with_at_least_what_the_primary_has() {
    if !can() {
        return;
    }
    let place = Place::new();
    let (mut a, mut b) = (place.member("a"), place.member("b"));
    a.set_dynamic(json!({"postgresql": {"parameters": {"max_connections": 130}}}));
    a.bootstrap().await;
    b.replicate(&a, None).await;
    assert_eq!(b.value("SHOW max_connections").await, "130");
    let pending = b.look().await.row.expect("a row").pending_restart;
    assert_eq!(pending["max_connections"], ("130".to_owned(), "100".to_owned()));
    let setup = b.follow(&a, None);
    let again = files::configure(&b.instance, &setup, Some(&in_force(&b).await)).expect("written");
    assert!(again.unchanged, "no reload helps: {again:?}");
}
