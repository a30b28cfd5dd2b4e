//! "My scripts call patronictl": the tool against a real etcd with keys written here; no member runs, no PostgreSQL is
//! needed. Beside a real patronictl both must print the same.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use jogi_testkit::etcd::Etcd;
use jogi_testkit::patroni::Patroni;
use jogi_testkit::require::{self, Need};
use serde_json::json;

const CONFIG: &str = r#"{"ttl":30,"loop_wait":10,"synchronous_mode":true,"postgresql":{"use_pg_rewind":true,"parameters":{"max_connections":120,"wal_log_hints":"on"}}}"#;
const HISTORY: &str = r#"[[1,67407200,"no recovery target specified","2026-11-22T22:05:26.642398+00:00","n0"],[2,67408200,"no recovery target specified"]]"#;

/// A herd on paper: its keys in an etcd of its own, every member with the same REST address.
struct Paper {
    etcd: Etcd,
    dir: tempfile::TempDir,
}

/// What came of one run.
#[derive(Debug, PartialEq, Eq)]
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Paper {
    /// `None`, with the reason printed, where there is no etcd.
    fn write(api: &str) -> Option<Paper> {
        if !require::can(&[Need::Program("etcd")]) {
            return None;
        }
        let paper = Paper { etcd: Etcd::start(), dir: tempfile::tempdir().expect("a temporary directory") };
        let member = |port: u16, rest: &str| {
            format!(
                r#"{{"conn_url":"postgres://10.0.0.1:{port}/postgres","api_url":"{api}/patroni","version":"4.1.5","timeline":3,{rest}}}"#
            )
        };
        paper.put("initialize", "7612345678901234567");
        paper.put("config", CONFIG);
        paper.put("history", HISTORY);
        paper.put("leader", "n0");
        paper.put("status", r#"{"optime":67406904}"#);
        paper.put("sync", r#"{"leader":"n0","quorum":0,"sync_standby":"n1"}"#);
        paper.put("members/n0", &member(5432, r#""state":"running","role":"primary","xlog_location":67406904"#));
        let replica = r#""state":"running","role":"replica","replication_state":"streaming","receive_lsn":67406904,"replay_lsn":65306904"#;
        paper.put("members/n1", &member(5433, replica));
        let tagged = format!(
            r#"{replica},"tags":{{"replicatefrom":"n1","rack":"r 3"}},"pending_restart":true,"pending_restart_reason":{{"max_connections":{{"old_value":"100","new_value":"120"}}}}"#
        );
        paper.put("members/n2", &member(5434, &tagged));
        Some(paper)
    }

    fn put(&self, key: &str, value: &str) {
        self.etcd.post(0, "/v3/kv/put", &json!({"key": path(key), "value": BASE64.encode(value)}));
    }

    fn get(&self, key: &str) -> Option<String> {
        let answer = self.etcd.post(0, "/v3/kv/range", &json!({"key": path(key)}));
        let value = BASE64.decode(answer["kvs"][0]["value"].as_str()?).expect("base64");
        Some(String::from_utf8(value).expect("UTF-8"))
    }

    fn url(&self) -> String {
        self.etcd.url(0).replace("http://", "etcd3://")
    }

    fn run(&self, program: &Path, words: &[&str], input: &str) -> Ran {
        let mut command = Command::new(program);
        command.args(words).env("HOME", self.dir.path()).env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
        for name in ["DCS_URL", "PATRONICTL_CONFIG_FILE", "XDG_CONFIG_HOME", "COLUMNS"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{}: {e}", program.display()));
        // A tool that asks nothing closes this before it is written.
        let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
        let out = child.wait_with_output().expect("it ends");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        Ran { code: out.status.code(), stdout: text(out.stdout), stderr: text(out.stderr) }
    }

    fn ours(&self, words: &[&str], input: &str) -> Ran {
        let url = self.url();
        let words: Vec<&str> = ["ctl", "-d", &url].into_iter().chain(words.iter().copied()).collect();
        self.run(Path::new(env!("CARGO_BIN_EXE_jogi")), &words, input)
    }

    /// As patronictl prints them, one after another.
    fn all_theirs(&self, patroni: &Patroni, commands: &[Typed]) -> Vec<Ran> {
        let url = self.url();
        let words =
            |words: &[&str]| ["-d", &url].into_iter().chain(words.iter().copied()).collect::<Vec<_>>().join("\0");
        let list: Vec<_> = commands.iter().map(|(args, typed)| json!([words(args), typed])).collect();
        let ran = self.run(&patroni.program("python3"), &["-c", FORKED], &json!(list).to_string());
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let line = |line: &str| {
            let said: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
            let code = said[0].as_i64().and_then(|code| i32::try_from(code).ok());
            Ran { code, stdout: text(&said[1]), stderr: text(&said[2]) }
        };
        let all: Vec<Ran> = ran.stdout.lines().map(line).collect();
        assert_eq!(all.len(), commands.len(), "{ran:?}");
        all
    }
}

/// Runs patronictl's own program for each command in a process of its own, without starting Python each time.
const FORKED: &str = r"
import json, os, sys, tempfile
from patroni.ctl import ctl
for words, typed in json.load(sys.stdin):
    files = [tempfile.TemporaryFile() for _ in range(3)]
    files[0].write(typed.encode())
    files[0].seek(0)
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        for number, file in enumerate(files):
            os.dup2(file.fileno(), number)
        sys.stdin = os.fdopen(0)
        sys.argv = ['patronictl'] + words.split('\0')
        ctl(prog_name='patronictl')
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    for file in files:
        file.seek(0)
    print(json.dumps([code] + [file.read().decode() for file in files[1:]]))
";

/// A key of the cluster as etcd's gateway wants it.
fn path(key: &str) -> String {
    BASE64.encode(format!("/service/demo/{key}"))
}

/// A command, and what is typed at its questions.
type Typed = (&'static [&'static str], &'static str);

/// Commands that change nothing.
const SAME: [Typed; 90] = [
    (&["list", "demo"], ""),
    (&["list", "demo", "-e"], ""),
    (&["list", "demo", "-f", "tsv"], ""),
    (&["list", "demo", "-f", "json"], ""),
    (&["list", "demo", "-f", "yaml"], ""),
    (&["list", "demo", "nobody"], ""),
    (&["list"], ""),
    (&["topology", "demo"], ""),
    (&["history", "demo"], ""),
    (&["history", "demo", "-f", "json"], ""),
    (&["history", "demo", "-f", "tsv"], ""),
    (&["show-config", "demo"], ""),
    (&["show-config", "nobody"], ""),
    (&["dsn", "demo"], ""),
    (&["dsn", "demo", "-r", "replica"], ""),
    (&["dsn", "demo", "-m", "n2", "-r", "any"], ""),
    (&["dsn", "nobody"], ""),
    (&["version"], ""),
    (&["edit-config", "demo", "-s", "ttl=20", "-p", "work_mem=4MB"], "n\n"),
    (&["edit-config", "demo", "-s", "ttl=30"], ""),
    (&["edit-config", "demo", "-s", "broken"], ""),
    (&["edit-config", "demo", "--apply", "-"], "loop_wait: null\nttl: 25\n"),
    (&["edit-config", "nobody", "-s", "ttl=20"], ""),
    (&["failover", "demo", "--candidate", "n0", "--force"], ""),
    (&["failover", "demo", "--candidate", "zz", "--force"], ""),
    (&["switchover", "demo", "--candidate", "n2"], "zz\n"),
    (&["restart", "demo", "n9", "--force"], ""),
    (&["reload", "demo"], "what\nn\n"),
    (&["flush", "demo", "switchover"], ""),
    (&["list", "demo", "-f", "yml"], ""),
    (&["list", "demo", "--format", "json", "--extended"], ""),
    (&["topology"], ""),
    (&["history", "demo", "-f", "yaml"], ""),
    (&["history", "nobody"], ""),
    (&["dsn", "demo", "-r", "standby-leader"], ""),
    (&["dsn", "demo", "-r", "primary"], ""),
    (&["dsn", "demo", "-r", "leader", "-m", "n0"], ""),
    (&["dsn", "demo", "-m", "zz"], ""),
    (&["query", "demo"], ""),
    (&["query", "demo", "-m", "zz", "-r", "any", "-c", "select 1"], ""),
    (&["edit-config", "demo", "-q", "-s", "a.b=1"], "n\n"),
    (&["edit-config", "demo", "-s", "a.b=1", "-s", "c=[1, 2]", "-s", "postgresql.parameters.my.guc=x"], "n\n"),
    (&["edit-config", "demo", "-s", "postgresql=null"], "n\n"),
    (&["edit-config", "demo", "-s", "ttl="], "n\n"),
    (&["edit-config", "demo", "-p", "max_connections=null", "-p", "wal_log_hints=null"], "n\n"),
    (&["edit-config", "demo", "-p", "x"], ""),
    (&["edit-config", "demo", "--replace", "-"], "loop_wait: 5\n"),
    (&["edit-config", "demo", "--replace", "-", "-s", "ttl=5"], "loop_wait: 5\n"),
    (&["edit-config", "demo", "--apply", "-"], "ttl: 30\n"),
    (&["failover", "demo"], "\n"),
    (&["failover", "demo", "--force"], ""),
    (&["failover", "demo", "--candidate", "n2"], "n\n"),
    (&["failover", "demo", "--candidate", "n1"], "n\n"),
    (&["failover", "nobody", "--candidate", "n1"], ""),
    (&["switchover", "nobody"], ""),
    (&["switchover", "demo", "--leader", "n1", "--force"], ""),
    (&["switchover", "demo", "--leader", "n0", "--candidate", "n0", "--force"], ""),
    (&["switchover", "demo", "--leader", "n0", "--candidate", "n1"], "now\nn\n"),
    (&["switchover", "demo", "--leader", "n0", "--candidate", "n1", "--scheduled", "soon"], ""),
    (&["switchover", "demo", "--scheduled", "2039-01-01T10:00+01:00"], "\n\nn\n"),
    (&["restart", "demo"], "now\nn\n"),
    (&["restart", "demo", "n1", "n2", "--scheduled", "2039-01-01T10:00"], "n\n"),
    (&["restart", "demo", "--pending", "--scheduled", "2039-01-01T10:00"], "n\n"),
    (&["restart", "demo", "n1", "--pg-version", "x", "--force"], ""),
    (&["restart", "demo", "n1"], "now\ny\n9.5\n"),
    (&["restart", "demo", "-r", "standby-leader", "--force"], ""),
    (&["restart", "demo", "n1", "--scheduled", "soon", "--force"], ""),
    (&["restart", "nobody"], ""),
    (&["reload", "demo", "-r", "replica"], "n\n"),
    (&["reload", "demo", "n0", "-r", "replica"], ""),
    (&["reload", "nobody", "--force"], ""),
    (&["reinit", "demo", "n1"], "n\n"),
    (&["reinit", "demo", "n0"], ""),
    (&["reinit", "nobody", "n0"], ""),
    (&["flush", "demo", "restart"], "n\n"),
    (&["flush", "demo", "restart", "--force"], ""),
    (&["flush", "demo", "n1", "restart", "-r", "replica", "--force"], ""),
    (&["flush", "nobody", "switchover"], ""),
    (&["resume", "demo"], ""),
    (&["pause", "nobody"], ""),
    (&["remove", "demo"], "x\n"),
    (&["remove", "demo"], "demo\nyes\n"),
    (&["remove", "demo"], "demo\nYes I am aware\nn1\n"),
    (&["remove", "demo", "-f", "json"], "x\n"),
    (&["version", "nobody"], ""),
    (&["demote-cluster", "demo"], ""),
    (&["demote-cluster", "demo", "--host", "h"], "n\n"),
    (&["demote-cluster", "nobody", "--host", "h"], ""),
    (&["promote-cluster", "demo"], ""),
    (&["promote-cluster", "nobody"], ""),
];

#[test]
fn scripts_get_the_same_bytes_from_both_tools() {
    let Some(paper) = Paper::write("http://127.0.0.1:1") else { return };
    let Some(patroni) = Patroni::find() else { return };
    let theirs = paper.all_theirs(&patroni, &SAME);
    let different: Vec<String> = SAME
        .iter()
        .zip(theirs)
        .filter_map(|(typed, theirs)| differs(&paper.ours(typed.0, typed.1), &theirs, typed))
        .collect();
    assert!(different.is_empty(), "{} differences:\n{}", different.len(), different.join("\n"));
}

/// The tools propose a time an hour from now, and a minute may end between them.
fn without_proposal(line: &str) -> String {
    const SHAPE: &str = "0000-00-00T00:00";
    let digits = |text: &str| text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect::<String>();
    let at = line.find("(e.g. ").map(|at| at + "(e.g. ".len());
    let proposal = at.and_then(|at| line.get(at..at + SHAPE.len())).filter(|text| digits(text) == SHAPE);
    proposal.map_or_else(|| line.to_owned(), |text| line.replacen(text, SHAPE, 1))
}

/// The first line in which the tools differ.
fn differs(ours: &Ran, theirs: &Ran, (words, _): &Typed) -> Option<String> {
    let lines = |ran: &Ran| {
        // What is logged names the libraries in use.
        let errors = if ran.code == Some(0) { "" } else { ran.stderr.as_str() };
        format!("{}\n{errors}", ran.stdout).lines().map(without_proposal).collect::<Vec<_>>()
    };
    let (a, b) = (lines(ours), lines(theirs));
    let at = (0..a.len().max(b.len())).find(|i| a.get(*i) != b.get(*i));
    match at {
        None if ours.code == theirs.code => None,
        None => Some(format!("{words:?}: exit codes {:?} and {:?}", ours.code, theirs.code)),
        Some(at) => Some(format!("{words:?}\n  ours:   {:?}\n  theirs: {:?}", a.get(at), b.get(at))),
    }
}

#[test]
fn lists_and_histories_read_as_they_always_did() {
    let Some(paper) = Paper::write("http://127.0.0.1:1") else { return };
    let expected = "\
+ Cluster: demo (7612345678901234567) --+-----------+----+-------------+-----+------------+-----+-----------------+---------------------------+--------------------------------+
| Member | Host          | Role         | State     | TL | Receive LSN | Lag | Replay LSN | Lag | Pending restart | Pending restart reason    | Tags                           |
+--------+---------------+--------------+-----------+----+-------------+-----+------------+-----+-----------------+---------------------------+--------------------------------+
| n0     | 10.0.0.1:5432 | Leader       | running   |  3 |             |     |            |     |                 |                           |                                |
| + n1   | 10.0.0.1:5433 | Sync Standby | streaming |  3 |   0/4048C38 |   0 |  0/3E48118 |   2 |                 |                           |                                |
|   + n2 | 10.0.0.1:5434 | Replica      | streaming |  3 |   0/4048C38 |   0 |  0/3E48118 |   2 | *               | max_connections: 100->120 | {rack: r 3, replicatefrom: n1} |
+--------+---------------+--------------+-----------+----+-------------+-----+------------+-----+-----------------+---------------------------+--------------------------------+
";
    let ran = paper.ours(&["topology", "demo"], "");
    assert_eq!((ran.stdout.as_str(), ran.code, ran.stderr.as_str()), (expected, Some(0), ""));
    let config = paper.ours(&["show-config", "demo"], "").stdout;
    let expected = "loop_wait: 10\npostgresql:\n  parameters:\n    max_connections: 120\n    wal_log_hints: 'on'\n  use_pg_rewind: true\nsynchronous_mode: true\nttl: 30\n\n";
    assert_eq!(config, expected);
}

#[test]
fn errors_have_their_exit_codes() {
    let Some(paper) = Paper::write("http://127.0.0.1:1") else { return };
    for (words, code, stderr) in [
        (&["dsn", "nobody"][..], 1, "Error: Can not find a suitable member\n"),
        (&["dsn", "demo", "-m", "n1", "-r", "any"], 1, "Error: --role and --member are mutually exclusive options\n"),
        (&["reinit", "demo"], 1, "Aborted!\n"),
        (&["query", "demo"], 1, "Error: You need to specify either --command or --file\n"),
        (&["restart", "demo", "n9", "--force"], 1, "Error: No 'any' among provided members\n"),
        (&["resume", "demo"], 1, "Error: Cluster is not paused\n"),
    ] {
        let ran = paper.ours(words, "");
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(code), stderr), "{words:?}: {}", ran.stdout);
    }
    for (words, code) in [
        (&["no-such"][..], 2),
        (&["query", "demo", "-f", "no-such-file"], 2),
        (&["list", "-f", "xml"], 2),
        (&["flush", "demo", "x"], 2),
        (&[], 2),
    ] {
        assert_eq!(paper.ours(words, "").code, Some(code), "{words:?}");
    }
    assert_eq!(paper.ours(&["list", "--help"], "").code, Some(0));
}

#[test]
fn configuration_is_changed_in_the_store() {
    let Some(paper) = Paper::write("http://127.0.0.1:1") else { return };
    let ran = paper.ours(&["edit-config", "demo", "-q", "-s", "ttl=20", "-p", "wal_log_hints=null"], "y\n");
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "Apply these changes? [y/N]: Configuration changed\n"));
    let expected = r#"{"ttl":20,"loop_wait":10,"synchronous_mode":true,"postgresql":{"use_pg_rewind":true,"parameters":{"max_connections":120}}}"#;
    assert_eq!(paper.get("config").as_deref(), Some(expected));
    let ran = paper.ours(&["edit-config", "demo", "--replace", "-"], "ttl: 40\n");
    assert!(ran.stdout.ends_with("Use --force option to apply changes\n"), "{ran:?}");
    let ran = paper.ours(&["edit-config", "demo", "-q", "--replace", "-", "--force"], "ttl: 40\n");
    assert_eq!(ran.stdout, "Configuration changed\n");
    assert_eq!(paper.get("config").as_deref(), Some(r#"{"ttl":40}"#));
}

#[test]
fn a_handover_without_reachable_members_goes_through_the_store() {
    let Some(paper) = Paper::write("http://127.0.0.1:1") else { return };
    let ran = paper.ours(&["switchover", "demo", "--candidate", "n1", "--force"], "");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains(" Could not switchover using Patroni api, falling back to DCS\n"), "{ran:?}");
    assert_eq!(paper.get("failover").as_deref(), Some(r#"{"leader":"n0","member":"n1"}"#));
    let at = "2030-01-01T10:00:00+00:00";
    paper.ours(&["switchover", "demo", "--candidate", "n1", "--scheduled", at, "--force"], "");
    assert_eq!(
        paper.get("failover").as_deref(),
        Some(r#"{"leader":"n0","member":"n1","scheduled_at":"2030-01-01T10:00:00+00:00"}"#)
    );
    let ran = paper.ours(&["flush", "demo", "switchover"], "");
    assert!(ran.stdout.contains("Could not find any accessible member of cluster demo"), "{ran:?}");
    assert_eq!(paper.get("failover").as_deref(), Some("{}"));
}

#[test]
fn removing_a_cluster_takes_three_answers() {
    let Some(paper) = Paper::write("http://127.0.0.1:1") else { return };
    for (answers, error) in [
        ("other\n", "Error: Cluster names specified do not match\n"),
        ("demo\nyes\n", "Error: You did not exactly type \"Yes I am aware\"\n"),
        ("demo\nYes I am aware\nn1\n", "Error: You did not specify the current leader of the cluster\n"),
    ] {
        let ran = paper.ours(&["remove", "demo"], answers);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), error));
        assert!(paper.get("leader").is_some());
    }
    assert_eq!(paper.ours(&["remove", "demo"], "demo\nYes I am aware\nn0\n").code, Some(0));
    assert_eq!(paper.get("initialize"), None);
}

/// A member's REST API that gives one answer to everybody. Ends with the last of `requests`.
fn member(status: &'static str, body: &'static str, requests: usize) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let answer = move |mut stream: TcpStream| {
        let mut seen = vec![0; 16 * 1024];
        let mut length = 0;
        // Head and body come in one or two parts; both are short.
        while !complete(&seen[..length]) {
            match stream.read(&mut seen[length..]) {
                Ok(0) | Err(_) => break,
                Ok(read) => length += read,
            }
        }
        let reply = format!("HTTP/1.0 {status}\r\nContent-Type: text/html\r\n\r\n{body}");
        stream.write_all(reply.as_bytes()).expect("the tool reads");
        String::from_utf8_lossy(&seen[..length]).into_owned()
    };
    let serve = move || listener.incoming().take(requests).map(|stream| answer(stream.expect("accepted"))).collect();
    (url, std::thread::spawn(serve))
}

fn complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.to_lowercase().lines().find_map(|l| l.strip_prefix("content-length:")?.trim().parse().ok());
    body.len() >= length.unwrap_or(0)
}

/// What patronictl sends and prints, and so must we.
fn asked(words: &[&str], reply: (&'static str, &'static str), requests: usize) -> Option<(Ran, Vec<String>)> {
    let (url, served) = member(reply.0, reply.1, requests);
    let paper = Paper::write(&url)?;
    let ran = paper.ours(words, "");
    Some((ran, served.join().expect("the member ends")))
}

#[test]
fn members_are_asked_in_patronis_words() {
    let pause = |text| (&["pause", "demo"][..], ("200 OK", "{}"), "PATCH /config HTTP/1.1", r#"{"pause":true}"#, text);
    for (words, reply, request, body, said) in [
        pause("Success: cluster management is paused"),
        (
            &["restart", "demo", "n1", "--force", "--timeout", "5"],
            ("200 OK", "restarted successfully"),
            "POST /restart HTTP/1.1",
            r#"{"timeout":"5"}"#,
            "Success: restart on member n1",
        ),
        (
            &["restart", "demo", "n1", "--force", "--pg-version", "15.4"],
            ("503 No", "restart conditions are not satisfied"),
            "POST /restart HTTP/1.1",
            r#"{"postgres_version":"15.4"}"#,
            "Failed: restart for member n1, status code=503, (restart conditions are not satisfied)",
        ),
        (
            &["reload", "demo", "n1", "--force"],
            ("202 Ok", "reload scheduled"),
            "POST /reload HTTP/1.1",
            "",
            "Reload request received for member n1 and will be processed within 10 seconds",
        ),
        (
            &["reinit", "demo", "n1", "--force"],
            ("200 OK", "reinitialize started"),
            "POST /reinitialize HTTP/1.1",
            r#"{"force":true,"from_leader":false}"#,
            "Success: reinitialize for member n1",
        ),
        (
            &["switchover", "demo", "--candidate", "n1", "--force"],
            ("412 No", "switchover is not possible: no good candidates have been found"),
            "POST /switchover HTTP/1.1",
            r#"{"candidate":"n1","leader":"n0"}"#,
            "Switchover failed, details: 412, switchover is not possible: no good candidates have been found",
        ),
        (
            &["failover", "demo", "--candidate", "n1", "--force"],
            ("503 No", "Failover failed"),
            "POST /failover HTTP/1.1",
            r#"{"candidate":"n1"}"#,
            "Failover failed, details: 503, Failover failed",
        ),
        (
            &["version", "demo", "n1"],
            ("200 OK", r#"{"server_version": 150010, "patroni": {"version": "4.1.5"}}"#),
            "GET /patroni HTTP/1.1",
            "",
            "n1: Patroni 4.1.5 PostgreSQL 15.10",
        ),
    ] {
        let Some((ran, requests)) = asked(words, reply, 1) else { return };
        assert_eq!(ran.code, Some(0), "{words:?}: a refusal is no error: {ran:?}");
        assert_eq!(ran.stdout.lines().last(), Some(said), "{words:?}: {ran:?}");
        let (head, sent) = requests[0].split_once("\r\n\r\n").expect("a whole request");
        assert_eq!((head.lines().next(), sent), (Some(request), body), "{words:?}");
    }
}

#[test]
fn a_switchover_that_worked_shows_the_cluster_after_it() {
    let words = ["switchover", "demo", "--force"];
    let Some((ran, _)) = asked(&words, ("200 OK", "Successfully switched over to \"n1\""), 1) else { return };
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let line = ran.stdout.lines().find(|line| line.contains("Successfully")).unwrap_or_default();
    let (time, text) = line.split_at_checked(26).unwrap_or(("", line));
    assert_eq!(text, "Successfully switched over to \"n1\"", "{line}");
    assert!(time.starts_with("20") && time.as_bytes()[19] == b'.', "five digits behind the second: {line}");
    assert_eq!(ran.stdout.matches("+ Cluster: demo ").count(), 2, "before and after: {ran:?}");
}

#[test]
fn credentials_of_the_configuration_are_sent_and_not_shown() {
    let (url, served) = member("401 No", "not authenticated", 1);
    let Some(paper) = Paper::write(&url) else { return };
    let file = paper.dir.path().join("patroni.yml");
    let text = "scope: demo\nrestapi: {authentication: {username: u, password: hunter2}}\n";
    std::fs::write(&file, text).expect("written");
    let (url, file) = (paper.url(), file.display().to_string());
    let words = ["ctl", "-c", &file, "-d", &url, "reload", "demo", "n1", "--force"];
    let ran = paper.run(Path::new(env!("CARGO_BIN_EXE_jogi")), &words, "");
    assert!(ran.stdout.ends_with("Failed: reload for member n1, status code=401, (not authenticated)\n"), "{ran:?}");
    assert!(!format!("{ran:?}").contains("hunter2"));
    let requests = served.join().expect("the member ends");
    assert!(requests[0].to_lowercase().contains("authorization: basic dtpodw50zxiy"), "{}", requests[0]);
}

#[test]
fn members_say_why() {
    let body = r#"{"state": "running", "jogi": {"decision": {"state": "no action", "because": "n0 leads", "waiting_for": ""}, "guard": {"state": "guarded", "armed": false}}}"#;
    let Some((ran, _)) = asked(&["why", "demo", "-m", "n1"], ("200 OK", body), 1) else { return };
    let expected = "n1\n  state:        no action\n  because:      n0 leads\n  guard:        guarded\n";
    assert_eq!((ran.stdout.as_str(), ran.code), (expected, Some(0)), "{ran:?}");
}

#[test]
fn a_store_that_is_not_there_is_said_once_and_given_up() {
    let program = Path::new(env!("CARGO_BIN_EXE_jogi"));
    let out = Command::new(program).args(["ctl", "-d", "etcd3://127.0.0.1:1", "list", "demo"]).output().expect("runs");
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{stderr}");
    assert_eq!(stderr.matches("waiting for the store").count(), 1, "{stderr}");
    assert!(stderr.contains("Error: the store does not answer: tried"), "{stderr}");
    let out = Command::new(program).args(["ctl", "list", "demo"]).env("HOME", "/nonexistent").output().expect("runs");
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(stderr.starts_with("Error: Can not find suitable configuration of distributed"), "{stderr}");
}

#[test]
fn it_answers_to_patronictls_name() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let link = dir.path().join("patronictl");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_jogi"), &link).expect("linked");
    let out = Command::new(&link).arg("version").output().expect("runs");
    assert_eq!(String::from_utf8_lossy(&out.stdout), "patronictl version 4.1.5\n");
}
