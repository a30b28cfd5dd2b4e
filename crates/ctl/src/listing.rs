//! The list of members: what `list` and `topology` print, and what other commands show before they ask.

use std::collections::BTreeSet;

use jogi_config::{python, yaml};
use jogi_core::Lsn;
use jogi_core::view::{Cluster, Member, Settings, SyncMode};
use serde_json::Value;
use tracing::warn;

use crate::failure::Failure;
use crate::output::{Format, Rows, say};
use crate::store::Herd;
use crate::time;

const UNKNOWN: &str = "unknown";
/// Reasons longer than this are not shown in a table.
const REASON_MAX: usize = 50;

/// How a list is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Format(Format),
    /// A pretty table in the order of replication.
    Topology,
}

/// Prints the pretty list.
pub fn show(herd: &Herd, cluster: &Cluster) -> Result<(), Failure> {
    print(herd, cluster, Style::Format(Format::Pretty), false)
}

/// Prints the list. `extended` shows all columns, also empty ones.
pub fn print(herd: &Herd, cluster: &Cluster, style: Style, extended: bool) -> Result<(), Failure> {
    if herd.citus && herd.group.is_none() {
        warn!("only the coordinator's group is shown: name the group of workers with --group");
    }
    let citus = herd.citus.then_some(herd.group);
    say(render(&herd.name, citus, cluster, style, extended))
}

/// The whole text. `citus`: this is a Citus cluster, of this group when one was asked for.
fn render(name: &str, citus: Option<Option<i64>>, cluster: &Cluster, style: Style, extended: bool) -> String {
    let list = List { name, citus, cluster, style, extended };
    let rows = list.rows();
    match style {
        Style::Format(Format::Tsv) => rows.separated("\t"),
        Style::Format(Format::Json) => python::json(&rows.objects(true)),
        Style::Format(Format::Yaml | Format::Yml) => yaml::dump(&rows.objects(true)),
        Style::Format(Format::Pretty) | Style::Topology => list.table(rows),
    }
}

struct List<'a> {
    name: &'a str,
    citus: Option<Option<i64>>,
    cluster: &'a Cluster,
    style: Style,
    extended: bool,
}

/// The columns that are shown when there is something in them.
const EXTRA: [&str; 4] = ["Pending restart", "Pending restart reason", "Scheduled restart", "Tags"];

impl List<'_> {
    fn rows(&self) -> Rows {
        let mut entries = entries(self.cluster);
        let shown: Vec<&str> =
            EXTRA.into_iter().filter(|c| self.extended || entries.iter().any(|e| e.has(c))).collect();
        let with_port = shows_ports(&entries);
        if self.style == Style::Topology {
            entries = topology(entries);
        }
        let group = self.citus.map(|group| group.unwrap_or(0));
        let mut columns: Vec<String> = vec!["Cluster".into()];
        columns.extend(group.map(|_| "Group".into()));
        let fixed = ["Member", "Host", "Role", "State", "TL", "Receive LSN", "Receive Lag", "Replay LSN", "Replay Lag"];
        columns.extend(fixed.into_iter().chain(shown.iter().copied()).map(str::to_owned));
        let row = |entry: &Entry| {
            let mut row = vec![Value::from(self.name)];
            row.extend(group.map(Value::from));
            row.extend(entry.cells(with_port));
            row.extend(shown.iter().map(|column| self.extra(entry, column)));
            row
        };
        Rows { rows: entries.iter().map(row).collect(), columns: Some(columns) }
    }

    fn extra(&self, entry: &Entry, column: &str) -> Value {
        match column {
            "Pending restart" => if entry.pending_restart { "*" } else { "" }.into(),
            "Pending restart reason" => entry.reasons(self.is_table()).into(),
            "Scheduled restart" => entry.scheduled.clone().into(),
            _ => self.tags(entry),
        }
    }

    /// An object; in tables and lines its YAML.
    fn tags(&self, entry: &Entry) -> Value {
        let Some(tags) = &entry.tags else { return "".into() };
        let flow = match self.style {
            Style::Format(Format::Json | Format::Yaml | Format::Yml) => return tags.clone(),
            Style::Format(Format::Pretty) => false,
            Style::Format(Format::Tsv) | Style::Topology => true,
        };
        if !python::is_true(tags) {
            return tags.clone();
        }
        let style = yaml::Style { flow, width: 200, ..yaml::Style::default() };
        yaml::emit(tags, &style).trim().into()
    }

    fn is_table(&self) -> bool {
        matches!(self.style, Style::Format(Format::Pretty) | Style::Topology)
    }

    fn table(&self, mut rows: Rows) -> String {
        // The cluster's name is in the title, and so is a group that was asked for.
        let hidden = if self.citus.flatten().is_some() { 2 } else { 1 };
        rows.columns = rows.columns.map(|columns| columns.into_iter().skip(hidden).map(short_name).collect());
        rows.rows.iter_mut().for_each(|row| drop(row.drain(..hidden)));
        let mut text = rows.pretty(&self.title());
        for line in service(self.cluster) {
            text.push_str("\n ");
            text.push_str(&line);
        }
        text
    }

    fn title(&self) -> String {
        let identity = match self.cluster.initialize.as_ref().map(|key| key.value.as_str()) {
            None => "uninitialized",
            Some("") => "initializing",
            Some(identity) => identity,
        };
        match self.citus {
            None => format!(" Cluster: {} ({identity}) ", self.name),
            Some(Some(group)) => format!(" Citus cluster: {} (group: {group}, {identity}) ", self.name),
            Some(None) => format!(" Citus cluster: {} ", self.name),
        }
    }
}

fn short_name(column: String) -> String {
    if column.ends_with(" Lag") { "Lag".into() } else { column }
}

/// What stands below a table.
fn service(cluster: &Cluster) -> Vec<String> {
    let mut lines = Vec::new();
    if cluster.settings().is_some_and(|settings| settings.pause) {
        lines.push("Maintenance mode: on".into());
    }
    let failover = cluster.failover.as_ref().map(|key| &key.value);
    let at = failover.and_then(|f| f.scheduled_at.as_deref()).and_then(time::read);
    if let (Some(failover), Some(at)) = (failover, at) {
        let mut line = format!("Switchover scheduled at: {}", at.isoformat());
        for (word, name) in [("from", &failover.leader), ("to", &failover.member)] {
            if let Some(name) = name {
                line.push_str(&format!("\n{word:>24}: {name}"));
            }
        }
        lines.push(line);
    }
    lines
}

/// One member, ready to be printed.
#[derive(Clone, Debug)]
struct Entry {
    name: String,
    /// As it stands in the tree.
    shown_name: String,
    role: &'static str,
    state: Value,
    host: Option<String>,
    port: Option<u16>,
    timeline: Value,
    receive: Position,
    replay: Position,
    pending_restart: bool,
    reason: Vec<(String, String, String)>,
    scheduled: String,
    tags: Option<Value>,
    replicates_from: Option<String>,
}

/// A position and how far it lies behind, in MB; both empty for the leader.
#[derive(Clone, Debug)]
struct Position {
    lsn: String,
    lag: Value,
}

/// Bytes to MB, half to even as Python rounds.
fn megabytes(bytes: u64) -> i64 {
    (bytes as f64 / 1024.0 / 1024.0).round_ties_even() as i64
}

impl Position {
    fn nothing() -> Position {
        Position { lsn: String::new(), lag: "".into() }
    }

    fn of(lsn: Option<Lsn>, end: Lsn) -> Position {
        match lsn.filter(|lsn| lsn.is_valid()) {
            None => Position { lsn: UNKNOWN.into(), lag: "".into() },
            Some(lsn) => Position { lsn: lsn.to_string(), lag: megabytes(end.ahead_of(lsn)).into() },
        }
    }

    fn is_unknown(&self) -> bool {
        self.lsn == UNKNOWN
    }
}

fn entries(cluster: &Cluster) -> Vec<Entry> {
    let settings = cluster.settings().unwrap_or_default();
    cluster.members.values().map(|member| Entry::new(member, cluster, &settings)).collect()
}

impl Entry {
    fn new(member: &Member, cluster: &Cluster, settings: &Settings) -> Entry {
        let data = &member.data;
        let is_leader = cluster.is_leader(&member.name);
        let role = role_of(member, cluster, settings);
        let published = |field: &str| data.0.get(field).cloned().unwrap_or_else(|| "".into());
        let replication = data.0.get("replication_state").filter(|state| python::is_true(state) && role != "Leader");
        let state = replication.cloned().unwrap_or_else(|| published("state"));
        let (receive, replay) = match is_leader {
            true => (Position::nothing(), Position::nothing()),
            false => positions(member, cluster.status.optime, &state),
        };
        let address = data.address().filter(|(host, _)| !host.is_empty());
        Entry {
            name: member.name.to_string(),
            shown_name: member.name.to_string(),
            role,
            state,
            host: address.as_ref().map(|(host, _)| host.clone()),
            port: address.map(|(_, port)| port),
            timeline: published("timeline"),
            receive,
            replay,
            pending_restart: data.0.get("pending_restart").is_some_and(python::is_true),
            reason: reason_of(member),
            scheduled: scheduled_of(member),
            tags: data.0.get("tags").cloned(),
            replicates_from: data.tags().replicatefrom().map(str::to_owned),
        }
    }

    fn has(&self, column: &str) -> bool {
        match column {
            "Pending restart" => self.pending_restart,
            "Pending restart reason" => !self.reason.is_empty(),
            "Scheduled restart" => !self.scheduled.is_empty(),
            _ => self.tags.as_ref().is_some_and(python::is_true),
        }
    }

    fn cells(&self, with_port: bool) -> Vec<Value> {
        let host = match (&self.host, self.port) {
            (Some(host), Some(port)) if with_port => format!("{host}:{port}"),
            (Some(host), _) => host.clone(),
            (None, _) => String::new(),
        };
        vec![
            self.shown_name.as_str().into(),
            host.into(),
            self.role.into(),
            self.state.clone(),
            self.timeline.clone(),
            self.receive.lsn.as_str().into(),
            self.receive.lag.clone(),
            self.replay.lsn.as_str().into(),
            self.replay.lag.clone(),
        ]
    }

    fn reasons(&self, hide_long: bool) -> String {
        let line = |(parameter, old, new): &(String, String, String)| {
            let line = format!("{parameter}: {old}->{new}");
            match hide_long && line.chars().count() > REASON_MAX {
                true => format!("{parameter}: [hidden - too long]"),
                false => line,
            }
        };
        self.reason.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    fn leads(&self) -> bool {
        matches!(self.role, "Leader" | "Standby Leader")
    }
}

fn role_of(member: &Member, cluster: &Cluster, settings: &Settings) -> &'static str {
    match (cluster.is_leader(&member.name), &settings.standby_cluster) {
        (true, None) => return "Leader",
        (true, Some(_)) => return "Standby Leader",
        (false, _) => {}
    }
    match settings.sync_mode {
        _ if !settings.is_sync() || !cluster.sync.is_standby(&member.name) => "Replica",
        SyncMode::Quorum => "Quorum Standby",
        SyncMode::Priority | SyncMode::Off => "Sync Standby",
    }
}

/// Members of old agents publish one position: received when they stream, replayed otherwise.
fn positions(member: &Member, end: Lsn, state: &Value) -> (Position, Position) {
    let data = &member.data;
    let (receive, replay) = (Position::of(data.receive_lsn(), end), Position::of(data.replay_lsn(), end));
    let only = Position::of(data.xlog_location(), end);
    match receive.is_unknown() && replay.is_unknown() && !only.is_unknown() {
        true if state == "streaming" => (only, replay),
        true => (receive, only),
        false => (receive, replay),
    }
}

fn reason_of(member: &Member) -> Vec<(String, String, String)> {
    let reasons = member.data.0.get("pending_restart_reason").and_then(Value::as_object);
    let line = |(parameter, values): (&String, &Value)| {
        let side = |name: &str| values.get(name).map(python::str).unwrap_or_default();
        (parameter.clone(), side("old_value"), side("new_value"))
    };
    reasons.into_iter().flatten().map(line).collect()
}

fn scheduled_of(member: &Member) -> String {
    let Some(scheduled) = member.data.0.get("scheduled_restart").filter(|s| python::is_true(s)) else {
        return String::new();
    };
    let at = scheduled.get("schedule").map(python::str).unwrap_or_default();
    match scheduled.get("postgres_version") {
        Some(version) => format!("{at} if version < {}", python::str(version)),
        None => at,
    }
}

/// Ports are shown when one is unusual, or when hosts alone do not tell members apart.
fn shows_ports(entries: &[Entry]) -> bool {
    let addressed: Vec<&Entry> = entries.iter().filter(|entry| entry.host.is_some()).collect();
    let hosts: BTreeSet<&Option<String>> = addressed.iter().map(|entry| &entry.host).collect();
    addressed.iter().any(|entry| entry.port != Some(5432)) || hosts.len() < addressed.len()
}

/// The leader, below it its replicas, below each of them those that replicate from it. Replicas in a ring have no
/// place in the tree and are left out, as by patronictl.
fn topology(entries: Vec<Entry>) -> Vec<Entry> {
    let leader = entries.iter().find(|entry| entry.leads()).map(|entry| entry.name.clone());
    let is_replica = |name: &str| entries.iter().any(|entry| entry.name == name && !entry.leads());
    let parent = |entry: &Entry| {
        let wanted = entry.replicates_from.clone().filter(|from| *from != entry.name && is_replica(from));
        wanted.or_else(|| leader.clone())
    };
    let replicas: Vec<(Option<String>, &Entry)> =
        entries.iter().filter(|entry| !entry.leads()).map(|entry| (parent(entry), entry)).collect();
    let mut sorted: Vec<Entry> = entries.iter().filter(|e| Some(&e.name) == leader.as_ref()).cloned().collect();
    descend(&leader, 1, &replicas, &mut sorted);
    sorted
}

fn descend(parent: &Option<String>, level: usize, replicas: &[(Option<String>, &Entry)], sorted: &mut Vec<Entry>) {
    for (_, entry) in replicas.iter().filter(|(of, _)| of == parent) {
        let shown_name = format!("{}+ {}", " ".repeat((level - 1) * 2), entry.name);
        sorted.push(Entry { shown_name, ..(*entry).clone() });
        descend(&Some(entry.name.clone()), level + 1, replicas, sorted);
    }
}

#[cfg(test)]
mod tests;
