//! Texts for versions whose server is not at hand, against files that hold what they must be.
//! `JOGI_GOLDEN_OUT=DIR` (writable for the user `postgres`) puts what the texts are now there, for a look at a change.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use jogi_core::ha::Mode;
use jogi_pg::binaries::Binaries;
use jogi_pg::files;
use jogi_pg::instance::Instance;
use serde_json::json;

use crate::common::{Member, Place, can};

/// The member's server as one of another version; its programs are never run.
fn of_version(member: &Member, version: u32) -> Instance {
    let known = jogi_config::postgres::DescribeConfig::default();
    let binaries = Binaries { version, known, ..Binaries::clone(&member.instance.binaries) };
    let instance = Instance::new(member.instance.local.clone(), member.instance.dynamic.clone(), Arc::new(binaries));
    fs::create_dir_all(instance.data_dir()).expect("made");
    fs::write(instance.data_dir().join("PG_VERSION"), format!("{}\n", version / 10_000)).expect("written");
    instance
}

fn check(name: &str, text: &str, place: &Path) {
    let text = text.replace(&place.to_string_lossy().into_owned(), "/PLACE");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/server/golden").join(name);
    let golden = fs::read_to_string(&path).unwrap_or_default();
    if let Some(dir) = std::env::var_os("JOGI_GOLDEN_OUT") {
        return fs::write(Path::new(&dir).join(name), text).expect("the directory is writable");
    }
    assert_eq!(text, golden, "differs from {}", path.display());
}

#[test]
fn a_standby_of_each_version() {
    if !can() {
        return;
    }
    let place = Place::new();
    let local = json!({"postgresql": {"listen": "127.0.0.1:5433", "connect_address": "127.0.0.1:5433",
        "recovery_conf": {"restore_command": "cp /archive/%f \"%p\"", "recovery_target_time": "never written"}}});
    for version in [100_023, 110_022, 120_022, 140_018, 160_010, 170_006, 180_001] {
        let member = place.member_with(&format!("m{version}"), local.clone(), json!({}));
        let instance = of_version(&member, version);
        let mut upstream = member.upstream(Some("m"));
        upstream.host = "10.0.0.1".into();
        let setup = member.setup(Mode::Standby { upstream: Some(upstream) });
        files::configure(&instance, &setup, None).expect("written");
        let read = |name: &str| fs::read_to_string(instance.data_dir().join(name)).expect("written");
        let old = version < 120_000;
        assert_eq!(instance.data_dir().join("standby.signal").exists(), !old);
        assert_eq!(instance.data_dir().join("recovery.conf").exists(), old);
        check(&format!("{version}.postgresql.conf"), &read("postgresql.conf"), place.path());
        if old {
            check(&format!("{version}.recovery.conf"), &read("recovery.conf"), place.path());
        }
        let primary = member.setup(Mode::Primary);
        files::configure(&instance, &primary, None).expect("written");
        assert!(["standby.signal", "recovery.conf"].iter().all(|name| !instance.data_dir().join(name).exists()));
    }
}
