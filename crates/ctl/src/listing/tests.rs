//! Lists as patronictl 4.1.5 printed them from the same keys (`golden/`), and what those keys do not show.

use jogi_core::view::{Cluster, KeyValue, Revision};

use super::*;

/// The keys behind `golden/`: a leader, members that publish much, little and nothing.
const KEYS: [(&str, &str); 11] = [
    ("initialize", "7612345678901234567"),
    ("config", r#"{"ttl":30,"loop_wait":10,"synchronous_mode":true}"#),
    ("leader", "n0"),
    ("status", r#"{"optime":67406904,"slots":{"n1":67406904},"retain_slots":["n0","n1"]}"#),
    (
        "members/n0",
        r#"{"conn_url":"postgres://10.0.0.1:5432/postgres","state":"running","role":"primary","version":"4.1.5","xlog_location":67406904,"timeline":2}"#,
    ),
    (
        "members/n1",
        r#"{"conn_url":"postgres://10.0.0.1:5433/postgres","state":"running","role":"replica","version":"4.1.5","xlog_location":67406904,"receive_lsn":67406904,"replay_lsn":65306904,"replication_state":"streaming","timeline":2,"tags":{"nofailover":true,"dc":"x y"},"pending_restart":true,"pending_restart_reason":{"max_connections":{"old_value":"100","new_value":"120"},"shared_preload_libraries":{"old_value":"","new_value":"pg_stat_statements, auto_explain, pgaudit, timescaledb"}}}"#,
    ),
    (
        "members/n2",
        r#"{"conn_url":"postgres://10.0.0.2:5432/postgres","state":"running","role":"replica","version":"2.0.0","xlog_location":1406904,"replication_state":"in archive recovery","timeline":2,"tags":{"replicatefrom":"n1"},"scheduled_restart":{"schedule":"2030-11-22T23:00:00+00:00","postgres_version":"15.10"}}"#,
    ),
    ("members/n3", "{}"),
    ("members/n4", "nonsense"),
    ("failover", r#"{"leader":"n0","member":"n1","scheduled_at":"2030-11-22T23:00:00+00:00"}"#),
    ("sync", r#"{"leader":"n0","quorum":0,"sync_standby":"n1"}"#),
];

fn cluster(keys: &[(&str, &str)]) -> Cluster {
    let revision = || Revision("1".into());
    let key = |(path, value): &(&str, &str)| KeyValue {
        path: (*path).into(),
        value: (*value).into(),
        revision: revision(),
        created: revision(),
        session: None,
    };
    Cluster::from_keys(keys.iter().map(key))
}

/// As it is printed: with a line break behind it.
fn printed(cluster: &Cluster, style: Style, extended: bool) -> String {
    render("demo", None, cluster, style, extended) + "\n"
}

fn pretty(cluster: &Cluster) -> String {
    printed(cluster, Style::Format(Format::Pretty), false)
}

#[test]
fn lists_are_patronictls_to_the_byte() {
    let cluster = cluster(&KEYS);
    for (style, golden) in [
        (Style::Format(Format::Pretty), include_str!("golden/pretty.txt")),
        (Style::Format(Format::Tsv), include_str!("golden/tsv.txt")),
        (Style::Format(Format::Json), include_str!("golden/json.txt")),
        (Style::Format(Format::Yaml), include_str!("golden/yaml.txt")),
        (Style::Format(Format::Yml), include_str!("golden/yaml.txt")),
        (Style::Topology, include_str!("golden/topology.txt")),
    ] {
        assert_eq!(printed(&cluster, style, false), golden, "{style:?}");
    }
    assert_eq!(printed(&cluster, Style::Format(Format::Pretty), true), include_str!("golden/pretty.txt"));
}

#[test]
fn an_unknown_cluster_is_an_empty_table() {
    let expected = "\
+ Cluster: demo (uninitialized) ----+-------------+-----+------------+-----+
| Member | Host | Role | State | TL | Receive LSN | Lag | Replay LSN | Lag |
+--------+------+------+-------+----+-------------+-----+------------+-----+
+--------+------+------+-------+----+-------------+-----+------------+-----+
";
    assert_eq!(pretty(&cluster(&[])), expected);
    assert!(pretty(&cluster(&[("initialize", "")])).starts_with("+ Cluster: demo (initializing) +"));
    assert_eq!(printed(&cluster(&[]), Style::Format(Format::Json), false), "[]\n");
}

#[test]
fn columns_appear_with_what_is_in_them_or_when_asked_for() {
    let keys = [("members/a", r#"{"conn_url":"postgres://h/db"}"#)];
    let plain = pretty(&cluster(&keys));
    assert!(plain.contains("| a      | h    | Replica |"), "the usual port of a single host is not shown: {plain}");
    assert!(!plain.contains("Tags"), "{plain}");
    let extended = printed(&cluster(&keys), Style::Format(Format::Tsv), true);
    assert!(
        extended.lines().next().is_some_and(|header| {
            header.ends_with("\tPending restart\tPending restart reason\tScheduled restart\tTags")
        }),
        "{extended}"
    );
}

#[test]
fn roles_follow_the_configuration() {
    let member = |name: &'static str| (name, r#"{"conn_url":"postgres://h/db","state":"running"}"#);
    let sync = ("sync", r#"{"leader":"a","quorum":1,"sync_standby":"B"}"#);
    for (config, expected) in [
        (r#"{}"#, ["Leader", "Replica"]),
        (r#"{"synchronous_mode":true}"#, ["Leader", "Sync Standby"]),
        (r#"{"synchronous_mode":"quorum"}"#, ["Leader", "Quorum Standby"]),
        (r#"{"standby_cluster":{"host":"x"},"synchronous_mode":true}"#, ["Standby Leader", "Replica"]),
    ] {
        let keys = [("leader", "a"), member("members/a"), member("members/b"), sync, ("config", config)];
        let roles: Vec<&str> = entries(&cluster(&keys)).iter().map(|entry| entry.role).collect();
        assert_eq!(roles, expected, "{config}");
    }
}

#[test]
fn members_of_old_agents_show_their_one_position() {
    let keys = [
        ("status", r#"{"optime":2097152}"#),
        ("members/a", r#"{"xlog_location":1048576,"replication_state":"streaming"}"#),
        ("members/b", r#"{"xlog_location":1048576,"state":"running"}"#),
        ("members/c", r#"{"xlog_location":1048576,"receive_lsn":9097152}"#),
    ];
    let positions: Vec<[String; 4]> = entries(&cluster(&keys))
        .iter()
        .map(|e| [e.receive.lsn.clone(), python::str(&e.receive.lag), e.replay.lsn.clone(), python::str(&e.replay.lag)])
        .collect();
    assert_eq!(positions[0], ["0/100000", "1", "unknown", ""]);
    assert_eq!(positions[1], ["unknown", "", "0/100000", "1"]);
    assert_eq!(positions[2], ["0/8ACFC0", "0", "unknown", ""], "ahead of the leader is no lag");
}

#[test]
fn lag_is_rounded_half_to_even() {
    for (bytes, megabytes_shown) in [(0, 0), (524_288, 0), (524_289, 1), (1_572_864, 2), (2_621_440, 2)] {
        assert_eq!(megabytes(bytes), megabytes_shown, "{bytes}");
    }
}

#[test]
fn maintenance_mode_stands_below_the_table() {
    let text = pretty(&cluster(&[("config", r#"{"pause":true}"#)]));
    assert!(text.ends_with("+\n Maintenance mode: on\n"), "{text}");
}

#[test]
fn a_ring_of_replicas_is_left_out_of_the_tree_and_nothing_hangs() {
    let keys = [
        ("leader", "a"),
        ("members/a", "{}"),
        ("members/b", r#"{"tags":{"replicatefrom":"c"}}"#),
        ("members/c", r#"{"tags":{"replicatefrom":"b"}}"#),
        ("members/d", r#"{"tags":{"replicatefrom":"d"}}"#),
        ("members/e", r#"{"tags":{"replicatefrom":"d"}}"#),
    ];
    let names: Vec<String> = topology(entries(&cluster(&keys))).into_iter().map(|entry| entry.shown_name).collect();
    assert_eq!(names, ["a", "+ d", "  + e"]);
    let without = [("members/b", "{}"), ("members/c", r#"{"tags":{"replicatefrom":"b"}}"#)];
    let names: Vec<String> = topology(entries(&cluster(&without))).into_iter().map(|entry| entry.shown_name).collect();
    assert_eq!(names, ["+ b", "  + c"], "without a leader the replicas are the roots");
}

#[test]
fn a_citus_group_has_its_own_title_and_columns() {
    let cluster = cluster(&[("initialize", "7612345678901234567"), ("members/a", "{}")]);
    let style = Style::Format(Format::Pretty);
    let group = render("demo", Some(Some(2)), &cluster, style, false);
    assert!(group.starts_with("+ Citus cluster: demo (group: 2, 7612345678901234567) -"), "{group}");
    assert!(!group.contains("| Group |"), "{group}");
    let coordinator = render("demo", Some(None), &cluster, style, false);
    assert!(coordinator.starts_with("+ Citus cluster: demo -") && coordinator.contains("| Group |"), "{coordinator}");
    let tsv = render("demo", Some(Some(2)), &cluster, Style::Format(Format::Tsv), false);
    assert!(tsv.lines().nth(1).is_some_and(|line| line.starts_with("demo\t2\ta\t")), "{tsv}");
}
