//! The control file, read by us and by pg_controldata.

use jogi_core::ha::server::ControlState;
use jogi_pg::control::{controldata, read, read_file};

use crate::common::{Member, Place, can};

/// Both readings of the same file.
fn same(member: &Member, state: ControlState) {
    let data_dir = member.data_dir();
    let ours = read_file(&data_dir, None).expect("read");
    let (theirs, _) = member.tool("pg_controldata", &["-D", &data_dir.to_string_lossy()]);
    assert_eq!(Some(&ours), controldata::parse(&theirs).as_ref(), "{theirs}");
    assert_eq!(ours.state, state);
}

#[tokio::test]
async fn it_says_what_pg_controldata_says() {
    if !can() {
        return;
    }
    let place = Place::new();
    let mut member = place.member("a");
    member.bootstrap().await;
    same(&member, ControlState::InProduction);
    member.crash();
    same(&member, ControlState::InProduction);
    assert!(read(&member.data_dir(), None).expect("read").state.is_crashed_primary());
    let setup = member.setup(jogi_core::ha::Mode::Primary);
    member.start(&setup).await;
    member.stop();
    same(&member, ControlState::ShutDown);
    let control = read(&member.data_dir(), None).expect("read");
    assert!(control.checksums && control.wal_log_hints && !control.backup_label && !control.recovery_files);
    let file = std::fs::read(member.data_dir().join("global/pg_control")).expect("readable");
    let mut damaged = file.clone();
    damaged[100] ^= 1;
    std::fs::write(member.data_dir().join("global/pg_control"), damaged).expect("ours");
    let error = read(&member.data_dir(), None).expect_err("damaged").to_string();
    assert!(error.contains("wrong checksum") && error.contains("global/pg_control"), "{error}");
}
