//! `--validate-config` of both programs: each value in the place of every option at once, each value in the place of every
//! section, and one mistake at a time in what the machine has. Ours says the same lines, each with its file and line.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use jogi_config::yaml;
use jogi_testkit::patroni::Patroni;
use jogi_testkit::require;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::compare::{Wanted, check};
use crate::configuration::run;

/// Options that stand for themselves.
const OPTIONS: [&str; 123] = [
    "name",
    "scope",
    "thread_pool_size",
    "thread_stack_size",
    "log.type",
    "log.level",
    "log.traceback_level",
    "log.format",
    "log.dateformat",
    "log.static_fields",
    "log.max_queue_size",
    "log.dir",
    "log.file_num",
    "log.file_size",
    "log.mode",
    "log.loggers",
    "log.deduplicate_heartbeat_logs",
    "ctl.insecure",
    "ctl.cacert",
    "ctl.certfile",
    "ctl.keyfile",
    "ctl.keyfile_password",
    "restapi.thread_pool_size",
    "restapi.connect_address",
    "restapi.authentication.username",
    "restapi.authentication.password",
    "restapi.certfile",
    "restapi.keyfile",
    "restapi.keyfile_password",
    "restapi.cafile",
    "restapi.ciphers",
    "restapi.verify_client",
    "restapi.allowlist",
    "restapi.allowlist_include_members",
    "restapi.http_extra_headers",
    "restapi.https_extra_headers",
    "restapi.request_queue_size",
    "restapi.server_tokens",
    "bootstrap.dcs.ttl",
    "bootstrap.dcs.loop_wait",
    "bootstrap.dcs.retry_timeout",
    "bootstrap.dcs.maximum_lag_on_failover",
    "bootstrap.dcs.maximum_lag_on_syncnode",
    "bootstrap.dcs.member_slots_ttl",
    "bootstrap.dcs.postgresql.parameters.max_connections",
    "bootstrap.dcs.postgresql.parameters.max_locks_per_transaction",
    "bootstrap.dcs.postgresql.parameters.max_prepared_transactions",
    "bootstrap.dcs.postgresql.parameters.max_replication_slots",
    "bootstrap.dcs.postgresql.parameters.max_wal_senders",
    "bootstrap.dcs.postgresql.parameters.max_worker_processes",
    "bootstrap.dcs.postgresql.use_pg_rewind",
    "bootstrap.dcs.postgresql.pg_hba",
    "bootstrap.dcs.postgresql.pg_ident",
    "bootstrap.dcs.postgresql.pg_ctl_timeout",
    "bootstrap.dcs.postgresql.use_slots",
    "bootstrap.dcs.primary_start_timeout",
    "bootstrap.dcs.primary_stop_timeout",
    "bootstrap.dcs.standby_cluster.host",
    "bootstrap.dcs.standby_cluster.port",
    "bootstrap.dcs.standby_cluster.restore_command",
    "bootstrap.dcs.standby_cluster.primary_slot_name",
    "bootstrap.dcs.standby_cluster.create_replica_methods",
    "bootstrap.dcs.standby_cluster.archive_cleanup_command",
    "bootstrap.dcs.standby_cluster.recovery_min_apply_delay",
    "bootstrap.dcs.synchronous_mode",
    "bootstrap.dcs.synchronous_mode_strict",
    "bootstrap.dcs.synchronous_node_count",
    "bootstrap.initdb",
    "bootstrap.method",
    "etcd3.protocol",
    "etcd3.username",
    "etcd3.password",
    "etcd3.cacert",
    "etcd3.cert",
    "etcd3.key",
    "consul.url",
    "consul.port",
    "consul.scheme",
    "consul.token",
    "consul.verify",
    "consul.checks",
    "consul.register_service",
    "consul.service_tags",
    "consul.service_check_interval",
    "consul.consistency",
    "exhibitor.hosts",
    "exhibitor.port",
    "exhibitor.poll_interval",
    "kubernetes.bypass_api_service",
    "kubernetes.namespace",
    "kubernetes.scope_label",
    "kubernetes.use_endpoints",
    "kubernetes.pod_ip",
    "kubernetes.ports",
    "kubernetes.retriable_http_codes",
    "kubernetes.bootstrap_labels",
    "zookeeper.use_ssl",
    "zookeeper.key_password",
    "zookeeper.set_acls",
    "citus.database",
    "citus.group",
    "postgresql.connect_address",
    "postgresql.proxy_address",
    "postgresql.authentication.replication.username",
    "postgresql.authentication.replication.password",
    "postgresql.authentication.superuser.username",
    "postgresql.authentication.rewind.username",
    "postgresql.data_dir",
    "postgresql.parameters.unix_socket_directories",
    "postgresql.pg_hba",
    "postgresql.pg_ident",
    "postgresql.pg_ctl_timeout",
    "postgresql.use_pg_rewind",
    "watchdog.mode",
    "watchdog.device",
    "watchdog.safety_margin",
    "tags.nofailover",
    "tags.clonefrom",
    "tags.noloadbalance",
    "tags.replicatefrom",
    "tags.sync_priority",
    "tags.nostream",
    "no_such_option",
];

/// What stands in their place, as YAML.
const VALUES: [&str; 24] = [
    "x",
    "''",
    "'5'",
    "'5s'",
    "'64kB'",
    "'on'",
    "on",
    "5",
    "0",
    "-1",
    "-2",
    "99999999999",
    "1.5",
    "null",
    "[]",
    "[x]",
    "[5, x]",
    "[{a: b}]",
    "{}",
    "{a: b}",
    "{a: 5}",
    "'10.0.0.1:5432'",
    "'localhost:8008'",
    "debug",
];

/// Sections, by their depth: those of one depth do not hide one another.
const SECTIONS: [&[&str]; 5] = [
    &["log", "ctl", "restapi", "bootstrap", "etcd3", "consul", "citus", "watchdog", "tags"],
    &["postgresql"],
    &["postgresql.bin_name"],
    &[
        "restapi.authentication",
        "bootstrap.dcs",
        "bootstrap.initdb",
        "kubernetes.labels",
        "postgresql.authentication",
        "postgresql.parameters",
    ],
    &[
        "bootstrap.dcs.postgresql",
        "bootstrap.dcs.standby_cluster",
        "postgresql.authentication.replication",
        "postgresql.authentication.superuser",
    ],
];

/// A machine on which a good configuration is good.
struct Ground {
    dir: TempDir,
    store: TcpListener,
    taken: TcpListener,
    bin_dir: String,
}

impl Ground {
    fn new() -> Ground {
        let listen = || TcpListener::bind("127.0.0.1:0").expect("a port");
        let (store, taken) = (listen(), listen());
        let door = store.try_clone().expect("the same socket");
        // Whoever comes is let in, so that none has to wait.
        std::thread::spawn(move || door.incoming().for_each(drop));
        let bin_dir = require::postgres_bin().expect("asked for").display().to_string();
        Ground { dir: tempfile::tempdir().expect("a directory"), store, taken, bin_dir }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn good(&self) -> Value {
        json!({
            "name": "n",
            "scope": "s",
            "restapi": {"listen": "127.0.0.1:0", "connect_address": "10.0.0.1:8008"},
            "etcd3": {"host": self.store.local_addr().expect("bound").to_string()},
            "bootstrap": {"dcs": {"ttl": 30}},
            "postgresql": {
                "listen": "127.0.0.1:0",
                "connect_address": "10.0.0.1:5432",
                "data_dir": self.path("none"),
                "bin_dir": self.bin_dir,
                "authentication": {"replication": {"username": "r"}, "superuser": {"username": "p"}},
            },
        })
    }

    /// Folders that are no data directories, and such that are.
    fn data_dirs(&self) -> Vec<String> {
        let make = |name: &str, files: &[(&str, &str)], wal: bool| {
            let dir = self.dir.path().join(name);
            fs::create_dir(&dir).expect("made");
            for (file, text) in files {
                fs::create_dir_all(dir.join(file).parent().expect("below")).expect("made");
                fs::write(dir.join(file), text).expect("written");
            }
            if wal {
                fs::create_dir_all(dir.join("pg_wal")).expect("made");
            }
            dir.display().to_string()
        };
        let control = ("global/pg_control", "x");
        vec![
            make("empty", &[], false),
            make("other", &[("file", "x")], false),
            make("no-version", &[control], true),
            make("no-wal", &[control, ("PG_VERSION", "15\n")], false),
            make("old", &[control, ("PG_VERSION", "9.6\n")], true),
            make("older", &[control, ("PG_VERSION", "10\n")], true),
            make("no-number", &[control, ("PG_VERSION", "x\n")], true),
            self.path("empty/below"),
        ]
    }

    /// One mistake at a time: an option, and what stands there.
    fn mistakes(&self) -> Vec<(&'static str, Value)> {
        let taken = self.taken.local_addr().expect("bound").to_string();
        let file = self.path("file");
        fs::write(&file, "x").expect("written");
        let empty_bin = self.path("bin");
        fs::create_dir(&empty_bin).expect("made");
        let mut mistakes = vec![
            ("restapi.listen", json!(taken)),
            ("restapi.listen", json!("no-such-host.invalid:8008")),
            ("restapi.listen", json!("")),
            ("restapi.listen", json!(":8008")),
            ("restapi.listen", json!(["127.0.0.1:0"])),
            ("restapi.listen", json!("0.0.0.0")),
            ("restapi.listen", json!("127.0.0.1:99999")),
            ("restapi.listen", json!("127.0.0.1:x")),
            ("restapi.listen", json!("::1:0")),
            ("restapi.listen", json!("[::1]:0")),
            ("restapi.connect_address", json!("0.0.0.0:8008")),
            ("restapi.connect_address", json!("*:8008")),
            ("restapi.connect_address", json!("::1:8008")),
            ("restapi.connect_address", json!("10.0.0.1")),
            ("restapi.connect_address", json!("10.0.0.1:99999")),
            ("postgresql.listen", json!(taken)),
            ("postgresql.listen", json!(format!("127.0.0.1,{taken}"))),
            ("postgresql.listen", json!("127.0.0.1,no-such-host.invalid:0")),
            ("postgresql.listen", json!("*:0")),
            ("postgresql.listen", json!("*,127.0.0.1:0")),
            ("postgresql.listen", json!("")),
            ("postgresql.listen", json!(null)),
            ("postgresql.connect_address", json!("10.0.0.1")),
            ("kubernetes.pod_ip", json!("10.1")),
            ("kubernetes.pod_ip", json!("10.0.0.256")),
            ("kubernetes.pod_ip", json!("010.0x10.0.1")),
            ("kubernetes.pod_ip", json!("10.0.0.0.1")),
            ("kubernetes.pod_ip", json!("::1")),
            ("kubernetes.pod_ip", json!("10.089")),
            ("postgresql.connect_address", json!("localhost:5432")),
            ("postgresql.connect_address", json!(":5432")),
            ("postgresql.bin_dir", json!(file)),
            ("postgresql.bin_dir", json!(self.path("nowhere"))),
            ("postgresql.bin_dir", json!(empty_bin)),
            ("postgresql.bin_dir", json!("")),
            ("postgresql.bin_dir", json!(null)),
            ("postgresql.bin_dir", json!(5)),
            ("postgresql.bin_name", json!({"pg_ctl": "no_such_program"})),
            ("postgresql.bin_name", json!({"postgres": "no_such_program"})),
            ("postgresql.bin_name", json!({"pg_ctl": 5})),
            ("postgresql.bin_name", json!({"pg_rewind": "no_such_program"})),
            ("postgresql.data_dir", json!(file)),
            ("etcd3.host", json!("127.0.0.1:1")),
            ("etcd3.host", json!("no-such-host.invalid:2379")),
            ("etcd3.host", json!("127.0.0.1")),
            ("etcd3", json!({"hosts": "127.0.0.1:1,127.0.0.1:2"})),
            ("etcd3", json!({"hosts": ["127.0.0.1:1", "127.0.0.1:x"]})),
            ("etcd3", json!({"hosts": {"a": "b"}})),
            ("etcd3", json!({"host": "127.0.0.1:1", "hosts": "127.0.0.1:2"})),
            ("etcd3", json!({"srv": "x", "url": 5})),
            ("consul", json!({"host": "127.0.0.1:1"})),
            ("zookeeper", json!({"hosts": "'127.0.0.1:1','127.0.0.1:2'"})),
            ("raft", json!({"self_addr": "127.0.0.1:1", "partner_addrs": ["127.0.0.1:2"]})),
            ("raft", json!({"self_addr": "10.0.0.1:1", "bind_addr": taken, "partner_addrs": "10.0.0.1:2"})),
            ("tags", json!({"nofailover": true, "failover_priority": 1})),
            ("tags", json!({"nofailover": "x", "failover_priority": -1, "nosync": "x", "sync_priority": "1"})),
            ("kubernetes", json!({"labels": {"a": "b"}, "ports": [{"name": 5}, {"port": 5}, 5]})),
            ("bootstrap", json!({})),
            ("bootstrap", json!({"initdb": [{"a": "b"}, "c", 5]})),
            ("citus", json!({})),
        ];
        mistakes.extend(self.data_dirs().into_iter().map(|dir| ("postgresql.data_dir", json!(dir))));
        mistakes
    }
}

/// Puts a value at a path, and sections on the way to it.
fn put(document: &mut Value, path: &str, value: Value) {
    let (parents, name) = path.rsplit_once('.').map_or((None, path), |(parents, name)| (Some(parents), name));
    let mut place = document;
    for parent in parents.into_iter().flat_map(|parents| parents.split('.')) {
        place = &mut place[parent];
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
    }
    place[name] = value;
}

/// What one configuration is, and itself.
fn documents(ground: &Ground) -> Vec<(String, Value)> {
    let mut documents = vec![("good".to_owned(), ground.good())];
    for value in VALUES {
        let parsed = yaml::parse(value).expect("YAML");
        let mut document = ground.good();
        for path in OPTIONS {
            put(&mut document, path, parsed.clone());
        }
        documents.push((format!("every option {value}"), document));
        for sections in SECTIONS {
            let mut document = ground.good();
            for path in sections {
                put(&mut document, path, parsed.clone());
            }
            documents.push((format!("{} … {value}", sections[0]), document));
        }
    }
    for (path, value) in ground.mistakes() {
        let mut document = ground.good();
        put(&mut document, path, value.clone());
        documents.push((format!("{path}: {value}"), document));
    }
    for path in ["name", "scope", "restapi", "etcd3", "bootstrap", "postgresql"] {
        let mut document = ground.good();
        document.as_object_mut().expect("a mapping").shift_remove(path);
        documents.push((format!("no {path}"), document));
    }
    documents
}

/// The code, what was said, and which of it stands at another place than it says.
type Said = (Option<i32>, Vec<String>, Vec<String>);

/// What a program said; places taken off and judged.
fn said(program: &Path, words: &[&str], file: &str, text: &str) -> Said {
    let (code, said) = run(program, &[words, &["--validate-config", file]].concat());
    let place = format!(" ({file}, line ");
    let (mut lines, mut misplaced) = (Vec::new(), Vec::new());
    for line in said.lines() {
        let told = line.strip_suffix(')').and_then(|line| line.split_once(&place));
        let Some((told, number)) = told else {
            lines.push(line.to_owned());
            continue;
        };
        let there = number.parse().ok().and_then(|number: usize| text.lines().nth(number.checked_sub(1)?));
        if !there.is_some_and(|there| is_of(there, told)) {
            misplaced.push(format!("{line}: {there:?}"));
        }
        lines.push(told.to_owned());
    }
    (code, lines, misplaced)
}

/// Whether a line of the file holds what a finding is about: the option, or the section that lacks it.
fn is_of(line: &str, told: &str) -> bool {
    let path: Vec<&str> = told.split_whitespace().next().unwrap_or_default().split('.').collect();
    let line = line.trim_start();
    let holds = |name: &str| match name.parse::<usize>() {
        Ok(_) => line.starts_with("- "),
        Err(_) => line.trim_start_matches("- ").starts_with(&format!("{name}:")),
    };
    let last_two = &path[path.len().saturating_sub(2)..];
    last_two.iter().any(|name| holds(name))
}

/// The same line; a secret is hidden in ours.
fn same(theirs: &str, ours: &str) -> bool {
    match ours.split_once(" *** ") {
        Some((path, told)) => theirs.starts_with(&format!("{path} ")) && theirs.ends_with(told),
        None => theirs == ours,
    }
}

/// Differences that shall be.
const WANTED: [Wanted; 5] = [
    Wanted {
        line: "Patroni crashes: AttributeError",
        why: "a `postgresql` or `bin_name` that is no mapping ends its check with a traceback; ours tells it",
    },
    Wanted { line: "Patroni crashes: TypeError", why: "likewise a program's name that is no text" },
    Wanted {
        line: "only ours: unknown key 'postgresql.bin_name.a'",
        why: "the daemon warns of it where Patroni's finds nothing",
    },
    Wanted {
        line: "restapi.listen: \"0.0.0.0\": ",
        why: "Patroni's daemon ends with that error, which its check does not know",
    },
    Wanted { line: "restapi.connect_address: \"10.0.0.1:99999\": ", why: "nobody can connect there" },
];

#[test]
fn every_mistake_is_told_as_by_patroni() {
    if !require::can(&[require::Need::PostgreSql]) {
        return;
    }
    let Some(patroni) = Patroni::find() else { return };
    let ground = Ground::new();
    let file = ground.path("patroni.yml");
    let mut found = Vec::new();
    for (what, document) in documents(&ground) {
        let text = yaml::dump(&document);
        fs::write(&file, &text).expect("written");
        let theirs = said(&patroni.program("patroni"), &[], &file, &text);
        let ours = said(Path::new(env!("CARGO_BIN_EXE_jogi")), &["agent"], &file, &text);
        compare(&what, &theirs, &ours, &mut found);
    }
    check(&found, &WANTED);
}

fn compare(what: &str, (their_code, theirs, _): &Said, (our_code, ours, misplaced): &Said, found: &mut Vec<String>) {
    found.extend(misplaced.iter().map(|line| format!("{what}: misplaced: {line}")));
    if theirs.iter().any(|line| line.starts_with("Traceback ")) {
        let last = theirs.last().map_or("", String::as_str);
        found.push(format!("{what}: Patroni crashes: {last}, ours ends with {our_code:?}: {ours:?}"));
        return;
    }
    if their_code != our_code {
        found.push(format!("{what}: code: Patroni: {their_code:?}, ours: {our_code:?}"));
    }
    let missing: Vec<&String> = theirs.iter().filter(|line| !ours.iter().any(|o| same(line, o))).collect();
    let more: Vec<&String> = ours.iter().filter(|line| !theirs.iter().any(|t| same(t, line))).collect();
    if missing.is_empty() && more.is_empty() && !theirs.iter().zip(ours).all(|(theirs, ours)| same(theirs, ours)) {
        found.push(format!("{what}: another order: Patroni: {theirs:?}, ours: {ours:?}"));
    }
    found.extend(missing.iter().map(|line| format!("{what}: only Patroni: {line}")));
    found.extend(more.iter().map(|line| format!("{what}: only ours: {line}")));
}
