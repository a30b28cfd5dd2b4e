//! Both control tools against both herds: stock `patronictl` and ours run the same commands one after another, against
//! Patroni's agents and against ours. What they print and their exit codes must be the same four times.

use std::collections::BTreeSet;

use jogi_testkit::herd::{CHANGE_WITHIN, CtlOutput, Herd, HerdSpec, PASSWORD};
use jogi_testkit::patroni::Patroni;
use jogi_testkit::wait;
use serde_json::{Value, json};

use crate::compare::{Differences, Wanted, check};
use crate::pair::Pair;

/// A command, and what is typed at its questions.
type Typed = (&'static [&'static str], &'static str);

/// They read, or what they change they take back again: each tool finds what the one before it found.
const SCRIPT: [Typed; 40] = [
    (&["list"], ""),
    (&["list", "herd", "-e"], ""),
    (&["list", "-f", "json"], ""),
    (&["version", "herd"], ""),
    (
        &["query", "-c", "select 1 as a, true as b, null as c, 'x' as d, 1.5 as e", "-U", "postgres", "-d", "postgres"],
        "",
    ),
    (&["query", "-c", "select 1 as a, null as c", "-U", "postgres", "-d", "postgres", "--format", "json"], ""),
    (&["query", "-c", "select pg_is_in_recovery()", "-r", "replica", "-U", "postgres", "-d", "postgres"], ""),
    (
        &[
            "query",
            "-c",
            "select pg_is_in_recovery()",
            "-m",
            "n2",
            "-U",
            "postgres",
            "-d",
            "postgres",
            "--delimiter",
            ",",
        ],
        "",
    ),
    (&["query", "-c", "select nonsense", "-U", "postgres", "-d", "postgres"], ""),
    (&["query", "-c", "select 1", "-U", "nobody", "-d", "postgres"], ""),
    (&["edit-config", "-p", "work_mem=5MB"], "y\n"),
    (&["edit-config", "-p", "work_mem=null"], "y\n"),
    (&["reload", "herd", "n1", "--force"], ""),
    (&["restart", "herd", "--pending", "--force"], ""),
    (&["restart", "herd", "n2", "--scheduled", "2039-01-01T10:00", "--force"], ""),
    (&["restart", "herd", "n2", "--scheduled", "2039-01-01T11:00", "--pg-version", "19.1", "--force"], ""),
    (&["restart", "herd", "n2", "--scheduled", "2039-01-01T11:00"], "y\n\n"),
    (&["flush", "herd", "n2", "restart", "--force"], ""),
    (&["flush", "herd", "restart"], "y\n"),
    (&["switchover", "--leader", "n1", "--candidate", "n2", "--scheduled", "2039-01-01T10:00", "--force"], ""),
    (&["list"], ""),
    (&["flush", "herd", "switchover"], ""),
    (&["flush", "herd", "switchover"], ""),
    (&["pause", "--wait"], ""),
    (&["pause"], ""),
    (&["list"], ""),
    (&["switchover", "--force", "--scheduled", "2039-01-01T10:00"], ""),
    (&["switchover", "--force"], ""),
    (&["restart", "herd", "n2", "--scheduled", "2039-01-01T10:00", "--force"], ""),
    (&["resume", "--wait"], ""),
    (&["resume"], ""),
    (&["restart", "herd", "n2"], "now\ny\n\n"),
    (&["reinit", "herd", "n1", "--force"], ""),
    (&["reinit", "herd", "n2", "--wait"], "y\n"),
    (&["failover", "--candidate", "n9", "--force"], ""),
    (&["switchover", "--leader", "n2", "--force"], ""),
    (&["switchover"], "n1\nn2\nnow\ny\n"),
    (&["failover", "--candidate", "n1", "--force"], ""),
    (&["demote-cluster"], ""),
    (&["promote-cluster", "herd", "--force"], ""),
];

const WANTED: [Wanted; 0] = [];

#[test]
fn both_tools_say_the_same_of_both_herds() {
    let shape = |spec: HerdSpec| spec.member_config("n2", json!({"tags": {"rack": "r2"}}));
    let Some(pair) = Pair::start(shape) else { return };
    let Some(patroni) = Patroni::find() else { return };
    let ours = format!("{} ctl -c {{config}}", pair.ours.jogi().display());
    let runs = [
        ("patronictl on Patroni", &pair.patroni, patroni.ctl()),
        ("patronictl on ours", &pair.ours, patroni.ctl()),
        ("our tool on ours", &pair.ours, ours.clone()),
        ("our tool on Patroni", &pair.patroni, ours),
    ];
    // The herds are each other's equals in time, not only in what they say: two at a time, one on each.
    let (first, second) = runs.split_at(2);
    let mut said: Vec<(&str, Vec<CtlOutput>)> = Vec::new();
    for round in [first, second] {
        said.extend(std::thread::scope(|scope| {
            let running = |(name, herd, template): &'_ (&'static str, &Herd, String)| (*name, run(herd, template));
            let threads: Vec<_> = round.iter().map(|it| scope.spawn(move || running(it))).collect();
            threads.into_iter().map(|t| t.join().expect("no panic")).collect::<Vec<_>>()
        }));
    }
    let mut found = Vec::new();
    let pairs = [(0, 1, exactly as fn(&str) -> String), (2, 3, exactly), (0, 3, without_timelines)];
    for (theirs, ours, seen) in pairs {
        for (number, (words, _)) in SCRIPT.iter().enumerate() {
            let place = format!("{} and {}: {}", said[theirs].0, said[ours].0, words.join(" "));
            compare(&place, &said[theirs].1[number], &said[ours].1[number], seen, &mut found);
        }
    }
    found.sort();
    found.dedup();
    check(&found, &WANTED);
}

fn run(herd: &Herd, template: &str) -> Vec<CtlOutput> {
    let run = |(words, input): &Typed| {
        herd.wait_healthy();
        wait_published(herd);
        herd.ctl_by(template, words, input, &[("PGPASSWORD", PASSWORD)])
    };
    SCRIPT.iter().map(run).collect()
}

/// Until the store tells of every member what it now is.
fn wait_published(herd: &Herd) {
    wait::until("members tell what they are", CHANGE_WITHIN, || {
        let document = herd.members()[0].get("/cluster").json();
        let members = document["members"].as_array().cloned().unwrap_or_default();
        let settled = |m: &Value| match m["role"].as_str() {
            Some("leader") => m["state"] == "running" && m["timeline"].is_u64(),
            _ => m["state"] == "streaming" && m["lag"] == 0,
        };
        let timelines: BTreeSet<String> = members.iter().map(|m| m["timeline"].to_string()).collect();
        members.len() == 2 && timelines.len() == 1 && members.iter().all(settled)
    });
}

fn compare(place: &str, theirs: &CtlOutput, ours: &CtlOutput, seen: fn(&str) -> String, found: &mut Vec<String>) {
    let mut differences = Differences::at(place.to_owned(), found);
    differences.texts("exit code", &format!("{:?}", theirs.code), &format!("{:?}", ours.code));
    let (a, b) = (plain(&theirs.stdout), plain(&ours.stdout));
    for number in 0..a.len().max(b.len()) {
        let line = |lines: &[String]| lines.get(number).map_or_else(|| "(nothing)".to_owned(), |line| seen(line));
        differences.texts("stdout", &line(&a), &line(&b));
    }
    if theirs.code != Some(0) {
        differences.texts(
            "stderr",
            plain(&theirs.stderr).last().map_or("", |l| l),
            plain(&ours.stderr).last().map_or("", |l| l),
        );
    }
}

fn exactly(line: &str) -> String {
    line.to_owned()
}

/// The second tool finds the timelines that the first one's switchovers have made.
fn without_timelines(line: &str) -> String {
    let mut line = line.to_owned();
    for before in ["running |", "streaming |", "\"TL\":"] {
        let parts: Vec<&str> = line.split(before).collect();
        let rest = parts[1..].iter().map(|part| part.trim_start().trim_start_matches(|c: char| c.is_ascii_digit()));
        line = std::iter::once(parts[0]).chain(rest).collect::<Vec<_>>().join(before);
    }
    line
}

/// Lines without what differs from run to run: times, positions, identities, and the widths that they give to tables,
/// whose layout `ctl.rs` compares to the byte.
///
/// The table behind a success shows members that are still becoming what they will be: it is not compared.
fn plain(text: &str) -> Vec<String> {
    let end = text.find(" Successfully ").and_then(|at| Some(at + text[at..].find('\n')?)).unwrap_or(text.len());
    let lines = text[..end].lines().filter(|line| !line.starts_with("+-"));
    lines.map(|line| line.split_whitespace().map(word).filter(|w| !is_rule(w)).collect::<Vec<_>>().join(" ")).collect()
}

fn is_rule(word: &str) -> bool {
    word.len() > 1 && word.bytes().all(|b| b == b'-' || b == b'+')
}

fn word(word: &str) -> String {
    let inner = word.trim_matches(['"', '\'', ',', '(', ')', '}', ']', '{', '[', ';']);
    let is_time = |w: &str| w.starts_with("202") && w.len() >= 10 && w.as_bytes()[4] == b'-';
    let is_clock = |w: &str| w.len() >= 8 && w.starts_with(|c: char| c.is_ascii_digit()) && w.matches(':').count() == 2;
    let hex = |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_hexdigit());
    let is_position = |w: &str| w.split_once('/').is_some_and(|(a, b)| hex(a) && hex(b));
    let is_number = |w: &str| w.len() > 7 && w.bytes().all(|b| b.is_ascii_digit());
    let kind = match inner {
        w if is_time(w) || is_clock(w) => "TIME",
        w if is_position(w) => "LSN",
        w if is_number(w) => "NUMBER",
        _ => return word.to_owned(),
    };
    word.replace(inner, kind)
}

#[test]
fn what_differs_from_run_to_run_is_left_out() {
    let table = "+ Cluster: demo (7612345678901234567) --+----+\n| n1 |  0/3000060 |   0 | n-1 |\n+----+--+\n";
    assert_eq!(plain(table), ["+ Cluster: demo (NUMBER)", "| n1 | LSN | 0 | n-1 |"]);
    let handover = "before\n2026-11-24 20:00:01.12 Successfully failed over to \"a\"\n| a | running |\n";
    assert_eq!(plain(handover), ["before", "TIME TIME Successfully failed over to \"a\""]);
    assert_eq!(plain("2026-11-24 20:00:01.12345 done \"0/3A\","), ["TIME TIME done \"LSN\","]);
}
