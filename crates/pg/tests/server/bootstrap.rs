//! A new cluster: initdb, roles, and the operator's own methods.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use jogi_core::ha::Mode;
use jogi_core::ha::server::DataDir;
use jogi_pg::files;
use jogi_pg::programs::{Cancel, custom_bootstrap, initdb};
use jogi_pg::roles;
use jogi_pg::rundir::{Intent, IntentKind, RunDir};
use serde_json::json;

use crate::common::{LONG, Place, can};

#[tokio::test]
async fn a_new_cluster_has_its_roles_and_no_password_in_its_log() {
    if !can() {
        return;
    }
    let place = Place::new();
    let script = place.path().join("post.sh");
    fs::write(&script, "#!/bin/sh\necho \"$1\" > \"$2\"; cat \"$PGPASSFILE\" > \"$2.pass\"\n").expect("written");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("executable");
    let said = place.path().join("said");
    // The connection string is the last argument.
    let command = format!("sh -c '{} \"$1\" {}' x", script.display(), said.display());
    let mut member = place.member_with(
        "a",
        json!({"bootstrap": {"post_bootstrap": command},
               "postgresql": {"parameters": {"log_statement": "all", "log_min_duration_statement": 0}}}),
        json!({}),
    );
    member.bootstrap().await;

    let roles = "SELECT rolname, rolsuper, rolreplication FROM pg_roles WHERE rolcanlogin ORDER BY 1";
    let roles = member.sql(roles).await;
    let found: Vec<_> = roles.iter().map(|r| (r.get(0), r.get(1), r.get(2))).collect();
    assert_eq!(
        found,
        [
            (Some("postgres"), Some("t"), Some("t")),
            (Some("replicator"), Some("f"), Some("t")),
            (Some("rewinder"), Some("f"), Some("f")),
        ]
    );
    let may = "SELECT has_function_privilege('rewinder', 'pg_read_binary_file(text)', 'EXECUTE')";
    assert_eq!(member.value(may).await, "t");

    let log = member.log();
    assert!(log.contains("SELECT rolname"), "the log does hold statements");
    for secret in ["super'secret", "super''secret", "rep:secret", "rewind secret"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
    let said_text = fs::read_to_string(&said).expect("the script ran");
    assert!(said_text.contains("user=postgres") && !said_text.contains("secret"), "{said_text}");
    assert!(fs::read_to_string(place.path().join("said.pass")).expect("written").contains("super'secret"));
    let left: Vec<_> = fs::read_dir(place.path())
        .expect("there")
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains(".post_bootstrap.") || name.contains(".initdb."))
        .collect();
    assert!(left.is_empty(), "password files of programs are gone: {left:?}");
    let hba = fs::read_to_string(member.data_dir().join("pg_hba.conf")).expect("readable");
    assert!(hba.ends_with("host replication all 127.0.0.1/32 scram-sha-256\n"));
}

#[tokio::test]
async fn initdb_that_fails_says_why_and_can_be_cancelled() {
    if !can() {
        return;
    }
    let place = Place::new();
    let member = place.member_with("a", json!({"bootstrap": {"initdb": [{"encoding": "NO-SUCH"}]}}), json!({}));
    let error = initdb(&member.instance, LONG, &mut Cancel::never()).await.expect_err("no such encoding");
    assert!(error.to_string().contains("NO-SUCH"), "{error}");
    let (canceller, mut cancel) = jogi_pg::programs::cancel_pair();
    let member = place.member("b");
    let (ended, ()) = tokio::join!(initdb(&member.instance, LONG, &mut cancel), async {
        while !member.data_dir().join("PG_VERSION").exists() {
            tokio::task::yield_now().await;
        }
        canceller.cancel();
    });
    assert!(ended.expect_err("cancelled").to_string().contains("was cancelled"));
}

#[tokio::test]
async fn somebody_elses_data_becomes_our_cluster() {
    if !can() {
        return;
    }
    let place = Place::new();
    let mut origin = place.member("origin");
    origin.bootstrap().await;
    origin.sql("ALTER ROLE postgres PASSWORD 'another one'; CREATE TABLE kept (n int)").await;
    origin.set_dynamic(json!({"ttl": 99}));
    files::save_dynamic(&origin.data_dir(), &origin.instance.dynamic).expect("saved");
    origin.stop();
    let command =
        format!("sh -c 'cp -a {}/. {} && echo $*' x", origin.data_dir().display(), place.path().join("copy").display());
    let mut copy = place.member_with(
        "copy",
        json!({"bootstrap": {"method": "restore", "restore": {"command": command, "from": "nowhere"}}}),
        json!({}),
    );
    let run_dir = RunDir::lock(copy.instance.data_dir()).expect("locked");
    let intent = Intent { kind: IntentKind::Initdb, since: jogi_core::Wall(0), detail: String::new() };
    run_dir.write_intent(&intent).expect("written");
    fs::create_dir(copy.data_dir()).expect("made");
    fs::set_permissions(copy.data_dir(), fs::Permissions::from_mode(0o700)).expect("ours");
    custom_bootstrap(&copy.instance, LONG, &mut Cancel::never()).await.expect("copied");
    assert_eq!(files::load_dynamic(&copy.data_dir()), None, "the other cluster's configuration is forgotten");
    let setup = copy.setup(Mode::Primary);
    copy.start(&setup).await;
    let hba = || fs::read_to_string(copy.data_dir().join("pg_hba.conf")).expect("readable");
    assert!(hba().contains("trust") && !hba().contains("scram-sha-256"));
    roles::post_bootstrap(&copy.instance, LONG, &mut Cancel::never()).await.expect("our passwords");
    assert!(hba().contains("scram-sha-256"), "the file that came with the data is back");
    run_dir.clear_intent().expect("cleared");
    assert_eq!(copy.value("SELECT count(*) FROM kept").await, "0");
    let server = copy.look().await;
    assert!(matches!(server.data, DataDir::Present(_)));
}
