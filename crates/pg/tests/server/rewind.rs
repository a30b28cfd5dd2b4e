//! Branches of WAL: comparing, crash recovery without clients, rewinding, archiving before it.

use jogi_core::ha::server::ControlState;
use jogi_core::ha::{Mode, Upstream};
use jogi_core::{Lsn, Timeline};
use jogi_pg::programs::{Cancel, archive_pending, archive_shutdown, rewind, single_user};
use jogi_pg::{control, replication};
use serde_json::json;

use crate::common::{LONG, Member, Place, can};

#[tokio::test]
async fn a_diverged_primary_is_rewound_and_follows() {
    if !can() {
        return;
    }
    let place = Place::new();
    let (mut a, mut b) = (place.member("a"), place.member("b"));
    a.bootstrap().await;
    a.sql("CREATE TABLE t (who text)").await;
    b.replicate(&a, None).await;
    b.wait_for("streaming", |s| s.row.as_ref().is_some_and(|r| r.replication_state() == Some("streaming"))).await;
    let before = replication::compare(&a.instance, &b.upstream(None), LONG).await.expect("asked");
    assert_eq!((before.in_recovery, before.timeline), (Some(true), Some(Timeline(1))));

    // Of several addresses the primary's word counts.
    let both = Upstream { others: vec![("127.0.0.1".to_owned(), a.port())], ..b.upstream(None) };
    let primary = replication::compare(&a.instance, &both, LONG).await.expect("asked");
    assert_eq!((primary.in_recovery, primary.checkpointed), (Some(false), Some(Timeline(1))));

    b.sql("SELECT pg_promote()").await;
    b.sql("CHECKPOINT").await;
    a.sql("INSERT INTO t VALUES ('lost')").await;
    b.sql("INSERT INTO t VALUES ('kept')").await;
    let lineage = replication::compare(&a.instance, &b.upstream(None), LONG).await.expect("asked");
    assert_eq!((lineage.in_recovery, lineage.timeline), (Some(false), Some(Timeline(2))));
    let left: Lsn = lineage.history.left(Timeline(1)).expect("it branched off");
    assert!(lineage.position > left);
    let id = control::read(&b.data_dir(), None).expect("control").system_identifier;
    assert_eq!(lineage.system_identifier.as_deref(), Some(id.as_str()));
    let file = replication::read_history(&b.data_dir(), Timeline(2)).expect("a file");
    assert_eq!(file.history, lineage.history);
    let own = replication::own_lineage(&b.instance, LONG).await.expect("asked");
    assert_eq!((own.timeline, own.history), (lineage.timeline, lineage.history));

    a.crash();
    single_user(&a.instance, LONG, &mut Cancel::never()).await.expect("recovered");
    assert_eq!(control::read(&a.data_dir(), None).expect("control").state, ControlState::ShutDown);
    let again = async |a: &Member, b: &Member| rewind(&a.instance, &b.upstream(None), LONG, &mut Cancel::never()).await;
    assert!(again(&a, &b).await.expect("rewound"), "there was something to do");
    assert!(a.is_marked_standby(), "whoever starts it now starts a standby");
    let setup = a.follow(&b, None);
    a.start(&setup).await;
    let seen =
        a.wait_for("streaming", |s| s.row.as_ref().is_some_and(|r| r.replication_state() == Some("streaming"))).await;
    assert_eq!(seen.row.expect("a row").timeline, Some(Timeline(2)));
    assert_eq!(a.value("SELECT string_agg(who, ',') FROM t").await, "kept");
    let error = again(&a, &b).await.expect_err("it runs");
    assert!(error.to_string().contains("must be stopped"), "{error}");
    a.stop();
    assert!(!again(&a, &b).await.expect("tried"), "no rewind required");
}

#[tokio::test]
async fn finished_segments_are_archived_of_a_stopped_server() {
    if !can() {
        return;
    }
    let place = Place::new();
    let archive = place.path().join("archive");
    std::fs::create_dir(&archive).expect("made");
    // The archive refuses while the server runs, so that something is left to do.
    let gate = place.path().join("open");
    let command = format!("test -e {} && cp %p {}/%f", gate.display(), archive.display());
    let dynamic = json!({"postgresql": {"parameters": {"archive_mode": "on", "archive_command": command}}});
    let mut a = place.member_with("a", json!({}), dynamic);
    a.bootstrap().await;
    a.sql("CREATE TABLE t (n int); SELECT pg_switch_wal()").await;
    a.sql("CREATE TABLE u (n int); SELECT pg_switch_wal()").await;
    a.crash();
    let error = archive_pending(&a.instance, LONG, &mut Cancel::never()).await.expect_err("refused");
    assert!(error.to_string().contains("000000010000000000000001 could not be archived"), "{error}");
    std::fs::write(&gate, "").expect("written");
    assert_eq!(archive_pending(&a.instance, LONG, &mut Cancel::never()).await.expect("archived"), 2);
    assert!(archive.join("000000010000000000000002").exists());
    assert_eq!(archive_pending(&a.instance, LONG, &mut Cancel::never()).await.expect("nothing left"), 0);
    let setup = a.setup(Mode::Primary);
    a.start(&setup).await;
    // What a server that ends in order leaves out: the segment with its last checkpoint.
    a.stop();
    assert_eq!(archive_shutdown(&a.instance, LONG, &mut Cancel::never()).await.expect("archived"), 1);
    let last = control::read(a.instance.data_dir(), None).expect("a control file");
    let end = last.shutdown_end.expect("it ended in order");
    let name = jogi_pg::wal::segment_name(last.timeline, last.checkpoint, 16 << 20);
    let archived = std::fs::read(archive.join(&name)).expect("it is there");
    assert_eq!(archived.len(), 16 << 20, "{name} up to {end}");
}
