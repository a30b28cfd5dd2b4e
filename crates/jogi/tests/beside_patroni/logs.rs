//! "My log pipeline reads Patroni's lines": what both log under the same options, each taken over by SIGHUP, and the codes
//! with which both end.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use jogi_testkit::herd::{CHANGE_WITHIN, Member};
use jogi_testkit::process::Signal;
use jogi_testkit::wait;
use serde_json::{Value, json};

use crate::compare::{Wanted, check};
use crate::pair::Pair;

/// What a leader that has nothing to do says once in `loop_wait`, which is a second here.
const HEARTBEAT: &str = "no action. I am (n1), the leader with the lock";
/// After this the options count: what was said before is not looked at.
const IN_FORCE: Duration = Duration::from_secs(3);
/// Long enough for several heartbeats.
const LISTEN: Duration = Duration::from_secs(4);

/// All options, as they are without a word about them.
fn defaults() -> Value {
    let names = [
        "type",
        "level",
        "traceback_level",
        "format",
        "dateformat",
        "static_fields",
        "max_queue_size",
        "dir",
        "mode",
        "file_num",
        "file_size",
        "loggers",
        "deduplicate_heartbeat_logs",
    ];
    Value::Object(names.iter().map(|name| ((*name).to_owned(), Value::Null)).collect())
}

fn put(member: &Member, options: &Value) {
    let mut log = defaults();
    for (name, value) in options.as_object().expect("options") {
        log[name] = value.clone();
    }
    member.change_config(json!({"log": log}));
    member.signal_agent(Signal::HUP);
}

/// The forms of the heartbeats in what was logged: digits are 9, and what we say behind Patroni's words is cut off.
fn heartbeats(text: &str) -> Vec<String> {
    let own = format!("{HEARTBEAT}, because ");
    let line = |line: &str| match line.find(&own) {
        Some(at) => {
            let rest = &line[at + HEARTBEAT.len()..];
            // The line's end as the format has it, not the message's.
            let end = rest.find("is the primary").map_or("", |at| &rest[at + "is the primary".len()..]);
            format!("{}{HEARTBEAT}{end}", &line[..at])
        }
        None => line.to_owned(),
    };
    let digits = |line: String| {
        let mut form = String::new();
        for c in line.replace(HEARTBEAT, "HEARTBEAT").chars() {
            match c.is_ascii_digit() {
                true if form.ends_with('9') => {}
                true => form.push('9'),
                false => form.push(c),
            }
        }
        form
    };
    text.lines().filter(|line| line.contains(HEARTBEAT)).map(|text| digits(line(text))).collect()
}

/// Under which options; how many heartbeats come while we listen.
fn cases() -> Vec<(&'static str, Value, bool)> {
    vec![
        ("as it comes", json!({}), true),
        ("the same line once", json!({"deduplicate_heartbeat_logs": true}), false),
        ("the same line once, but everything", json!({"deduplicate_heartbeat_logs": true, "level": "DEBUG"}), true),
        ("warnings alone", json!({"level": "WARNING"}), false),
        ("a level that Python calls otherwise", json!({"level": "WARN"}), false),
        (
            "a template",
            json!({"format": "<%(asctime)s|%(levelname)-8s|%(levelno)03d|%(process)d> %(message)s %% end"}),
            true,
        ),
        (
            "a template with dates",
            json!({"format": "%(asctime)s.%(msecs)d %(message)s", "dateformat": "%d.%m.%Y at %H:%M:%S"}),
            true,
        ),
        ("threads", json!({"format": "%(threadName)s %(processName)s %(message)s"}), true),
        ("JSON", json!({"type": "json"}), true),
        (
            "JSON with fields",
            json!({
                "type": "json", "format": ["message", {"levelname": "level"}, "asctime", "process"],
                "static_fields": {"app": "herd", "zone": "a"},
            }),
            true,
        ),
        ("JSON by a template", json!({"type": "json", "format": "%(levelname)s %(message)s"}), true),
    ]
}

const WANTED: [Wanted; 0] = [];

#[test]
fn lines_are_patronis() {
    let Some(pair) = Pair::start(|spec| spec.members(1)) else { return };
    let mut found = Vec::new();
    for (name, options, repeated) in cases() {
        let members = pair.members("n1");
        for member in members {
            put(member, &options);
        }
        std::thread::sleep(IN_FORCE);
        let marks = members.map(Member::log_mark);
        std::thread::sleep(LISTEN);
        let [theirs, ours] = [0, 1].map(|who| heartbeats(&members[who].log_since(marks[who])));
        if (theirs.len() >= 2, ours.len() >= 2) != (repeated, repeated) {
            found.push(format!("{name}: repeated: Patroni: {theirs:?}, ours: {ours:?}"));
        }
        let forms = |lines: Vec<String>| lines.into_iter().collect::<BTreeSet<_>>();
        let (theirs, ours) = (forms(theirs), forms(ours));
        if theirs != ours {
            found.push(format!("{name}: Patroni: {theirs:?}, ours: {ours:?}"));
        }
    }
    check(&found, &WANTED);
    files(&pair);
    paused(&pair);
}

/// A folder of its own, and files that are turned over.
fn files(pair: &Pair) {
    let [theirs, ours] = pair.members("n1").map(|member| {
        let dir = member.dir().join("log");
        fs::create_dir(&dir).expect("made");
        member.give_to_postgres(&dir);
        put(member, &json!({"dir": dir, "mode": 0o640, "file_num": 2, "file_size": 150, "level": "DEBUG"}));
        wait::until("files are turned over", CHANGE_WITHIN, || dir.join("patroni.log.2").exists());
        // More than once.
        let newest = || fs::metadata(dir.join("patroni.log.1")).and_then(|file| file.modified()).ok();
        let before = newest();
        wait::until("another turn", CHANGE_WITHIN, || newest() > before);
        let look = || listing(&dir);
        wait::value("all files at once", CHANGE_WITHIN, || Some(look()).filter(|files| files.len() == 3))
    });
    assert_eq!(ours, theirs);
}

/// Names and modes.
fn listing(dir: &Path) -> Vec<(String, u32)> {
    let entries = fs::read_dir(dir).expect("a folder").filter_map(Result::ok);
    let mut files: Vec<(String, u32)> = entries
        .filter_map(|entry| {
            let mode = entry.metadata().ok()?.permissions().mode() & 0o777;
            Some((entry.file_name().to_string_lossy().into_owned(), mode))
        })
        .collect();
    files.sort();
    files
}

fn paused(pair: &Pair) {
    pair.configure(&json!({"pause": true}));
    for member in pair.members("n1") {
        let mark = member.log_mark();
        put(member, &json!({"deduplicate_heartbeat_logs": true}));
        member.wait_log(mark, &format!("INFO: PAUSE: {HEARTBEAT}"), CHANGE_WITHIN);
    }
}
