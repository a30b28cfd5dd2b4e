//! "My unit file goes by the exit code": with which code both end, and whether they end.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use jogi_testkit::herd::{CHANGE_WITHIN, Herd, Member};
use jogi_testkit::patroni::Patroni;
use jogi_testkit::process::Signal;
use jogi_testkit::{http, require, wait};
use serde_json::json;

use crate::pair::Pair;

/// Nobody needs longer to refuse a configuration.
const REFUSED_WITHIN: Duration = Duration::from_secs(60);

/// What a configuration of which nothing can come looks like: its file's text, `None` for no file, and the code.
const REFUSED: [(&str, Option<&str>, i32); 8] = [
    ("no file", None, 1),
    ("an empty file", Some(""), 1),
    ("no mapping", Some("- a\n- b\n"), 1),
    ("broken YAML", Some("scope: s\nname: [n\n"), 1),
    ("no name", Some("scope: s\netcd3: {host: '127.0.0.1:1'}\nrestapi: {listen: '127.0.0.1:0'}\n"), 1),
    ("no scope", Some("name: n\netcd3: {host: '127.0.0.1:1'}\nrestapi: {listen: '127.0.0.1:0'}\n"), 1),
    ("no store", Some("name: n\nscope: s\nrestapi: {listen: '127.0.0.1:0'}\n"), 1),
    ("a store that nobody knows", Some("name: n\nscope: s\netcd9: {host: '127.0.0.1:1'}\n"), 1),
];

fn code(program: &Path, words: &[&str]) -> Result<i32, String> {
    let mut command = Command::new(program);
    command.args(words).env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C.UTF-8");
    let mut child = command
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap_or_else(|e| panic!("running {}: {e}", program.display()));
    let ended = wait::poll(REFUSED_WITHIN, || child.try_wait().ok().flatten());
    let Some(status) = ended else {
        let _ = child.kill().and_then(|()| child.wait());
        return Err(format!("still runs after {REFUSED_WITHIN:?}"));
    };
    status.code().ok_or_else(|| status.to_string())
}

#[test]
fn what_makes_no_sense_ends_with_patronis_code() {
    if !require::can(&[require::Need::PostgreSql]) {
        return;
    }
    let Some(patroni) = Patroni::find() else { return };
    let (theirs, ours) = (patroni.program("patroni"), Path::new(env!("CARGO_BIN_EXE_jogi")));
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("patroni.yml");
    let name = file.display().to_string();
    let mut different = Vec::new();
    let mut compare = |what: &str, words: &[&str], expected: i32| {
        let theirs = code(&theirs, words);
        let ours = code(ours, &[&["agent"], words].concat());
        if (&theirs, &ours) != (&Ok(expected), &Ok(expected)) {
            different.push(format!("{what}: Patroni {theirs:?}, ours {ours:?}, expected {expected}"));
        }
    };
    for (what, text, expected) in REFUSED {
        match text {
            Some(text) => fs::write(&file, text).expect("written"),
            None => _ = fs::remove_file(&file),
        }
        compare(what, &[&name], expected);
    }
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).expect("made");
    compare("an empty directory", &[&empty.display().to_string()], 1);
    compare("neither a file nor variables", &[], 1);
    compare("an option that nobody knows", &["--no-such-option"], 2);
    compare("its version", &["--version"], 0);
    compare("its options", &["--help"], 0);
    assert!(different.is_empty(), "{} differences:\n{}", different.len(), different.join("\n"));
}

/// The code with which an agent that is started ends.
#[track_caller]
fn starts_and_ends(members: [&Member; 2], what: &str) {
    for (member, whose) in members.into_iter().zip(["Patroni", "ours"]) {
        let mark = member.log_mark();
        member.start_agent();
        let exit = member.agent_exit(CHANGE_WITHIN);
        assert_eq!(exit.code(), Some(1), "{what}: {whose}: {}", member.log_since(mark));
    }
}

#[test]
fn agents_end_with_patronis_code() {
    let Some(pair) = Pair::start(|spec| spec.members(2)) else { return };
    let members = pair.members("n2");
    for signal in [Signal::TERM, Signal::INT] {
        for (member, whose) in members.into_iter().zip(["Patroni", "ours"]) {
            member.signal_agent(signal);
            let exit = member.agent_exit(CHANGE_WITHIN);
            assert_eq!(exit.code(), Some(0), "{whose}: {signal:?}");
            member.start_agent();
        }
        pair.until("n2 follows again", |herd| herd.member("n2").is_replica());
    }
    for member in members {
        member.signal_agent(Signal::TERM);
        member.agent_exit(CHANGE_WITHIN);
    }

    for member in members {
        member.change_config(json!({"name": "n1"}));
    }
    starts_and_ends(members, "another with the same name");

    for member in members {
        member.change_config(json!({"name": "n2"}));
        let data = member.data_dir();
        fs::remove_dir_all(&data).expect("its server has ended");
        member.server_program("initdb", &["-D", &data.display().to_string(), "-U", "postgres", "-k"]);
    }
    starts_and_ends(members, "data of another cluster");

    for member in members {
        fs::remove_dir_all(member.data_dir()).expect("no server runs");
        let failing = json!({"method": "failing", "failing": {"command": "/bin/false"}});
        member.change_config(json!({"scope": "another", "bootstrap": failing}));
    }
    starts_and_ends(members, "a bootstrap that fails");

    for herd in pair.both() {
        asks_for_passwords(herd);
    }
    for member in members {
        member.change_config(json!({"etcd3": {"username": "root", "password": "wrong"}}));
    }
    starts_and_ends(members, "a store that refuses the password");
}

/// Switches the store's authentication on.
fn asks_for_passwords(herd: &Herd) {
    for (path, body) in [
        ("/v3/auth/user/add", json!({"name": "root", "password": "right"})),
        ("/v3/auth/role/add", json!({"name": "root"})),
        ("/v3/auth/user/grant", json!({"user": "root", "role": "root"})),
        ("/v3/auth/enable", json!({})),
    ] {
        let (store, body) = (herd.store(), body.to_string());
        let reply = store.run(|| http::request(store.behind(), "POST", path, Some(&body), CHANGE_WITHIN));
        assert_eq!(reply.status, 200, "{path}: {}", reply.body);
    }
}
