//! "I look at my cluster": what `ctl` prints is what scripts around `patronictl` parse.

mod common;

use jogi_testkit::herd::{CHANGE_WITHIN, Herd};
use jogi_testkit::wait;
use serde_json::{Value, json};

#[test]
fn the_control_tool_prints_what_scripts_expect() {
    let Some(spec) = common::spec() else { return };
    let spec = spec.member_config("n3", json!({"tags": {"replicatefrom": "n2", "rack": "r3"}}));
    let herd = spec.start();
    lists_in_every_format(&herd);
    shows_the_topology(&herd);
    answers_small_questions(&herd);
    remembers_the_history(&herd);
    fails_as_scripts_expect(&herd);
}

fn lists_in_every_format(herd: &Herd) {
    let identity = herd.key("initialize").expect("an identity");
    let positions = || herd.ctl_ok(&["list", "herd", "-f", "json"]).json();
    let settled = |m: &Value| m["State"] == "streaming" && m["Replay Lag"] == 0;
    wait::until("positions of all", CHANGE_WITHIN, || {
        positions().as_array().is_some_and(|l| l.iter().filter(|m| settled(m)).count() == 2)
    });
    let list = positions();
    assert_eq!(
        list[0],
        json!({"Cluster": "herd", "Member": "n1", "Host": "10.77.0.11", "Role": "Leader", "State": "running", "TL": 1}),
    );
    let columns: Vec<&String> = list[1].as_object().expect("an object").keys().collect();
    let wanted =
        ["Cluster", "Member", "Host", "Role", "State", "TL", "Receive LSN", "Receive Lag", "Replay LSN", "Replay Lag"];
    assert_eq!(columns, wanted);
    assert_eq!((&list[1]["Role"], &list[1]["State"]), (&json!("Replica"), &json!("streaming")));
    assert_eq!(list[2]["Tags"], json!({"rack": "r3", "replicatefrom": "n2"}));

    let pretty = herd.ctl_ok(&["list", "herd"]).stdout;
    let lines: Vec<&str> = pretty.lines().collect();
    assert!(lines[0].starts_with(&format!("+ Cluster: herd ({identity}) -")) && lines[0].ends_with("-+"), "{pretty}");
    assert_eq!(
        lines[1].split('|').map(str::trim).filter(|c| !c.is_empty()).collect::<Vec<_>>(),
        ["Member", "Host", "Role", "State", "TL", "Receive LSN", "Lag", "Replay LSN", "Lag", "Tags"],
        "{pretty}"
    );
    assert!(lines[3].starts_with("| n1     | 10.77.0.11 | Leader  | running   |  1 |"), "{pretty}");
    assert!(lines.iter().filter(|l| l.starts_with(['+', '|'])).all(|l| l.len() == lines[0].len()), "{pretty}");

    let tsv = herd.ctl_ok(&["list", "herd", "-f", "tsv"]).stdout;
    let header = "Cluster\tMember\tHost\tRole\tState\tTL\tReceive LSN\tReceive Lag\tReplay LSN\tReplay Lag\tTags";
    assert_eq!(tsv.lines().next(), Some(header), "{tsv}");
    assert!(tsv.lines().nth(1).is_some_and(|l| l.starts_with("herd\tn1\t10.77.0.11\tLeader\trunning\t1\t")), "{tsv}");

    let yaml = herd.ctl_ok(&["list", "herd", "-f", "yaml"]).stdout;
    assert!(yaml.starts_with("- Cluster: herd\n  Host: 10.77.0.11\n  Member: n1\n  Role: Leader\n"), "{yaml}");

    let extended = herd.ctl_ok(&["list", "herd", "-e"]).stdout;
    for column in ["Pending restart", "Scheduled restart", "Tags"] {
        assert!(extended.contains(column), "{column} in {extended}");
    }
    let nobody = herd.ctl_ok(&["list", "nobody"]).stdout;
    assert!(nobody.starts_with("+ Cluster: nobody (uninitialized) -"), "{nobody}");
}

fn shows_the_topology(herd: &Herd) {
    let out = herd.ctl_ok(&["topology", "herd"]).stdout;
    let names: Vec<&str> =
        out.lines().filter_map(|l| l.strip_prefix("| ")?.split(" |").next()).map(str::trim_end).collect();
    assert_eq!(names, ["Member", "n1", "+ n2", "  + n3"], "{out}");
}

fn answers_small_questions(herd: &Herd) {
    assert_eq!(herd.ctl_ok(&["dsn", "herd"]).stdout.trim(), "host=10.77.0.11 port=5432");
    assert_eq!(herd.ctl_ok(&["dsn", "herd", "-m", "n2"]).stdout.trim(), "host=10.77.0.12 port=5432");
    let out = herd.ctl_ok(&["version", "herd", "n2"]).stdout;
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("patronictl version "), "{out}");
    assert!(lines[2].starts_with("n2: Patroni 4.1.5 PostgreSQL "), "{out}");
    let config = herd.ctl_ok(&["show-config"]).stdout;
    assert!(config.contains("postgresql:\n  parameters:\n    max_connections: 50\n"), "{config}");
    assert!(config.contains("    wal_log_hints: 'on'\n"), "a word that YAML takes for a truth is quoted: {config}");
}

fn remembers_the_history(herd: &Herd) {
    herd.ctl_ok(&["switchover", "herd", "--leader", "n1", "--candidate", "n2", "--force"]);
    herd.wait_leader();
    wait::until("a history", CHANGE_WITHIN, || herd.key("history").is_some_and(|h| h.contains("n2")));
    let history = herd.ctl_ok(&["history", "herd", "-f", "json"]).json();
    assert_eq!((&history[0]["TL"], &history[0]["New Leader"]), (&json!(1), &json!("n2")), "{history}");
    assert_eq!(history[0]["Reason"], "no recovery target specified");
    let pretty = herd.ctl_ok(&["history", "herd"]).stdout;
    let header = pretty.lines().nth(1).unwrap_or_default();
    for column in ["TL", "LSN", "Reason", "Timestamp", "New Leader"] {
        assert!(header.contains(column), "{pretty}");
    }
    assert_eq!(herd.member("n2").get("/history").json()[0][4], "n2");
}

fn fails_as_scripts_expect(herd: &Herd) {
    for (args, code) in [(&["no-such-command"][..], 2), (&["list", "-f", "xml"], 2), (&["--help"], 0)] {
        assert_eq!(herd.ctl(args).code, Some(code), "ctl {args:?}");
    }
    let out = herd.ctl(&["edit-config", "herd", "-s", "broken", "--force"]);
    assert_eq!((out.code, out.stderr.trim()), (Some(1), "Error: Invalid parameter setting broken"), "{out:?}");
    let out = herd.ctl(&["reinit", "herd", "n1", "n9", "--force"]);
    assert_eq!(out.code, Some(0), "names that are nobody's are passed over: {out:?}");
    let value: Value = herd.ctl_ok(&["list", "-f", "json"]).json();
    assert_eq!(value.as_array().map(Vec::len), Some(3));
}
