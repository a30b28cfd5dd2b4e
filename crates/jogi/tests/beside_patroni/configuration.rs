//! `--validate-config`, `--generate-sample-config` and `--generate-config` of both programs on the same machine.

use std::path::Path;
use std::process::Command;

use jogi_config::yaml;
use jogi_testkit::herd::PASSWORD;
use jogi_testkit::patroni::Patroni;
use jogi_testkit::require;
use serde_json::Value;

use crate::common;

/// Configurations with something wrong in them.
const BROKEN: [&str; 14] = [
    "scope: a\n",
    "name: n\nscope: s\n",
    "{}\n",
    "name: 1\nscope: [x]\nrestapi: 5\npostgresql: x\netcd3: {host: '127.0.0.1:1'}\n",
    "name: n\nscope: s\nrestapi:\n  listen: 127.0.0.1:8008\n  connect_address: 127.0.0.1:8008\n",
    "name: n\nscope: s\nrestapi:\n  listen: nonsense\n  connect_address: 10.0.0.1\n  verify_client: maybe\n  allowlist: []\n",
    "name: n\nscope: s\nlog:\n  level: LOUD\n  type: xml\n  mode: 9999\n  format: []\n  file_num: x\n",
    "name: n\nscope: s\nbootstrap:\n  dcs:\n    ttl: 5\n    loop_wait: 0\n    retry_timeout: x\n    synchronous_mode: often\n",
    "name: n\nscope: s\nbootstrap: {initdb: x}\n",
    "name: n\nscope: s\ntags: {nofailover: true, failover_priority: 1, nosync: 1, sync_priority: -1, clonefrom: x}\n",
    "name: n\nscope: s\nwatchdog: {mode: sometimes, safety_margin: -2}\n",
    "name: n\nscope: s\netcd: {hosts: []}\nconsul: {port: x}\nkubernetes: {labels: x}\nzookeeper: {hosts: '127.0.0.1:1'}\n",
    "name: n\nscope: s\npostgresql:\n  listen: 127.0.0.1\n  connect_address: localhost:5432\n  data_dir: ''\n  authentication: {replication: {}, superuser: {username: 1}}\n  bin_name: {postgres: /x}\n",
    "name: n\nscope: s\ncitus: {database: 1, group: -1}\nthread_pool_size: 1\nthread_stack_size: 1000\n",
];

pub fn run(program: &Path, words: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(program);
    command.args(words).env("LC_ALL", "C.UTF-8").env("PATH", path_with_postgres());
    let out = command.output().unwrap_or_else(|e| panic!("running {}: {e}", program.display()));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (out.status.code(), text(&out.stdout) + &text(&out.stderr))
}

fn path_with_postgres() -> std::ffi::OsString {
    let bin = require::postgres_bin().expect("asked for");
    let old = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::iter::once(bin).chain(std::env::split_paths(&old))).expect("a path")
}

fn jogi() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_jogi"))
}

#[test]
fn what_is_wrong_is_told_in_patronis_words_and_with_its_place() {
    if !require::can(&[require::Need::PostgreSql]) {
        return;
    }
    let Some(patroni) = Patroni::find() else { return };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("patroni.yml");
    let name = file.display().to_string();
    let mut different = Vec::new();
    for text in BROKEN {
        std::fs::write(&file, text).expect("written");
        let (their_code, theirs) = run(&patroni.program("patroni"), &["--validate-config", &name]);
        let (our_code, ours) = run(jogi(), &["agent", "--validate-config", &name]);
        let place = format!(" ({name}, line ");
        let (ours, places): (Vec<&str>, Vec<Option<&str>>) = ours
            .lines()
            .map(|line| line.split_once(&place).map_or((line, None), |(said, line)| (said, Some(line))))
            .unzip();
        if (their_code, theirs.lines().collect::<Vec<_>>()) != (our_code, ours.clone()) {
            different.push(format!(
                "{text}---- Patroni {their_code:?}\n{theirs}---- ours {our_code:?}\n{}\n",
                ours.join("\n")
            ));
        }
        let known = places.iter().flatten().all(|line| {
            line.strip_suffix(')')
                .and_then(|n| n.parse::<usize>().ok())
                .is_some_and(|n| n >= 1 && n <= text.lines().count())
        });
        assert!(known, "{text}: {places:?}");
    }
    assert!(different.is_empty(), "{} differences:\n{}", different.len(), different.join("\n"));
    std::fs::write(&file, BROKEN[5]).expect("written");
    let (_, ours) = run(jogi(), &["agent", "--validate-config", &name]);
    assert!(ours.contains(&format!("({name}, line 6)")), "the line of verify_client: {ours}");
}

#[test]
fn a_sample_is_patronis_sample() {
    if !require::can(&[require::Need::PostgreSql]) {
        return;
    }
    let Some(patroni) = Patroni::find() else { return };
    let (code, theirs) = run(&patroni.program("patroni"), &["--generate-sample-config"]);
    assert_eq!(code, Some(0), "{theirs}");
    let (code, ours) = run(jogi(), &["agent", "--generate-sample-config"]);
    assert_eq!(code, Some(0), "{ours}");
    // Patroni leaves it to the search path; we write down where the programs were found.
    let bin_dir = format!("  bin_dir: {}\n", require::postgres_bin().expect("asked for").display());
    same_document(&theirs, &ours.replace(&bin_dir, "  bin_dir: ''\n"));
}

#[test]
fn a_running_server_becomes_patronis_configuration() {
    let Some(spec) = common::spec() else { return };
    let Some(patroni) = Patroni::find() else { return };
    let herd = spec.members(1).start();
    let member = &herd.members()[0];
    let dsn = format!("host={} port=5432 user=postgres password={PASSWORD} dbname=postgres", member.dir().display());
    let generate = |program: &Path, words: &[&str]| {
        let out = member.run(|| Command::new(program).args(words).env("LC_ALL", "C.UTF-8").output());
        let out = out.unwrap_or_else(|e| panic!("running {}: {e}", program.display()));
        assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    let theirs = generate(&patroni.program("patroni"), &["--generate-config", "--dsn", &dsn]);
    let ours = generate(jogi(), &["agent", "--generate-config", "--dsn", &dsn]);
    same_document(&theirs, &ours);

    let file = herd.workdir().join("generated").join("patroni.yml");
    generate(jogi(), &["agent", "--generate-config", "--dsn", &dsn, &file.display().to_string()]);
    let written = std::fs::read_to_string(&file).expect("the file and its folder were made");
    assert_eq!(written, ours);
    let nobody = member.run(|| {
        let dsn = dsn.replace("user=postgres", "user=replicator");
        Command::new(jogi()).args(["agent", "--generate-config", "--dsn", &dsn]).output()
    });
    let nobody = nobody.expect("it runs");
    let said = String::from_utf8_lossy(&nobody.stderr).into_owned();
    assert_eq!((nobody.status.code(), said.contains("superuser")), (Some(1), true), "{said}");
}

/// The same text but for addresses: Patroni asks the resolver for its host's name, we ask the routing table.
#[track_caller]
fn same_document(theirs: &str, ours: &str) {
    let read = |text: &str| {
        let mut value = yaml::parse(text).unwrap_or_else(|e| panic!("{e}:\n{text}"));
        for path in ["/restapi/listen", "/restapi/connect_address", "/postgresql/connect_address", "/postgresql/listen"]
        {
            if let Some(Value::String(address)) = value.pointer_mut(path) {
                *address = address.rsplit_once(':').map_or(String::new(), |(_, port)| port.to_owned());
            }
        }
        yaml::dump(&value).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let (theirs_read, ours_read) = (read(theirs), read(ours));
    let only = |a: &[String], b: &[String]| a.iter().filter(|l| !b.contains(l)).cloned().collect::<Vec<_>>();
    let (a, b) = (only(&theirs_read, &ours_read), only(&ours_read, &theirs_read));
    assert!(theirs_read == ours_read, "only Patroni's: {a:#?}\nonly ours: {b:#?}");
    let keys = |text: &str| {
        let lines = text.lines().filter_map(|line| line.split_once(':').map(|(key, _)| key.to_owned()));
        lines.collect::<Vec<_>>().join("\n")
    };
    assert_eq!(keys(ours), keys(theirs), "the order of the sections and the comments");
}
