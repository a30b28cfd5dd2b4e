//! Copies of a member by the configured methods.

use std::fs;

use jogi_core::ha::server::DataDir;
use jogi_pg::files;
use jogi_pg::programs::{Cancel, clone_data};
use serde_json::json;

use crate::common::{LONG, Place, can};

#[tokio::test]
async fn methods_are_tried_in_order_and_see_what_they_need() {
    if !can() {
        return;
    }
    let place = Place::new();
    let mut a = place.member("a");
    a.bootstrap().await;
    let said = place.path().join("said");
    let script = format!("sh -c 'echo \"$@\" > {}; cat $PGPASSFILE >> {}; exit 1' x", said.display(), said.display());
    let mut b = place.member_with(
        "b",
        json!({"postgresql": {"create_replica_methods": ["mine", "basebackup"],
                               "mine": {"command": script, "speed": "high"},
                               "basebackup": [{"max-rate": "1000M"}, "no-such-option"]}}),
        json!({}),
    );
    let error = clone_data(&b.instance, Some(&a.upstream(None)), false, LONG, &mut Cancel::never()).await;
    let error = error.expect_err("both fail").to_string();
    assert!(error.contains("mine: sh ended with exit status: 1") && error.contains("no-such-option"), "{error}");
    assert!(jogi_pg::data_dir::is_empty(&b.data_dir()).expect("readable"), "nothing half-made is left");
    let said = fs::read_to_string(said).expect("it ran");
    for part in [
        "--speed=high",
        "--scope=demo",
        "--role=replica",
        "--datadir=",
        "--connstring=",
        "user=replicator",
        "rep\\:secret",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert!(!said.lines().next().expect("a line").contains("secret"), "no password is an argument: {said}");

    let upstream = a.upstream(None);
    clone_data(&b.instance, Some(&upstream), true, LONG, &mut Cancel::never()).await.expect_err("a bad option");
    let local = json!({"postgresql": {"create_replica_methods": ["basebackup"]}});
    let mut c = place.member_with("c", local, json!({}));
    c.replicate(&a, None).await;
    assert!(matches!(c.look().await.data, DataDir::Present(_)));
    let none = clone_data(&b.instance, None, false, LONG, &mut Cancel::never()).await.expect_err("no source");
    assert!(none.to_string().contains("works without a running member"), "{none}");
    assert_eq!(b.look().await.data, DataDir::Empty);
}

#[tokio::test]
async fn a_wrong_password_is_said_in_words() {
    if !can() {
        return;
    }
    let place = Place::new();
    let mut a = place.member("a");
    a.bootstrap().await;
    let wrong = json!({"postgresql": {"authentication": {"replication": {"password": "wrong"}}}});
    let b = place.member_with("b", wrong, json!({}));
    let error = clone_data(&b.instance, Some(&a.upstream(None)), false, LONG, &mut Cancel::never()).await;
    let error = error.expect_err("not let in").to_string();
    assert!(error.contains("password authentication failed for user \"replicator\""), "{error}");
    let error = jogi_pg::replication::compare(&b.instance, &a.upstream(None), LONG).await.expect_err("not let in");
    assert!(error.to_string().contains("password authentication failed"), "{error}");
}

#[tokio::test]
async fn configuration_files_come_back_from_their_copies() {
    if !can() {
        return;
    }
    let place = Place::new();
    let mut a = place.member("a");
    a.bootstrap().await;
    files::save_backups(&a.instance).expect("saved");
    a.stop();
    let before = fs::read_to_string(a.data_dir().join("postgresql.base.conf")).expect("readable");
    for name in ["postgresql.base.conf", "postgresql.conf", "pg_hba.conf"] {
        fs::remove_file(a.data_dir().join(name)).expect("there");
    }
    files::restore_backups(&a.instance).expect("restored");
    assert_eq!(fs::read_to_string(a.data_dir().join("postgresql.base.conf")).expect("back"), before);
    let setup = a.setup(jogi_core::ha::Mode::Primary);
    a.start(&setup).await;
}
