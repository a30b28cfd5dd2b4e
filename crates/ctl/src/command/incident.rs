//! `incident`: the last failovers as one story of all members. Every member keeps a record of what it saw, decided and
//! did, and serves it at `GET /incident`; Patroni's agents keep none.

use clap::Args;
use jogi_config::{python, yaml};
use jogi_core::Wall;
use jogi_core::ha::{Moment, MomentKind, schedule};
use jogi_core::view::Member;
use serde_json::{Value, json};

use crate::cli::ClusterArgument;
use crate::failure::Failure;
use crate::output::{Format, Rows, say};
use crate::roles::{self, Role};
use crate::session::Session;
use crate::story::{self, Incident, Line};

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    pub cluster: ClusterArgument,

    /// How many incidents, the newest last
    #[arg(short, long, value_name = "N", default_value_t = 3)]
    pub last: usize,

    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    pub format: Format,
}

pub async fn run(session: &Session, arguments: Arguments) -> Result<(), Failure> {
    let herd = session.herd(&arguments.cluster)?;
    let cluster = herd.load().await?;
    let members = roles::members(&cluster, Role::Any);
    if members.is_empty() {
        return Err(Failure::said(format!("{} cluster doesn't have any members", herd.name)));
    }
    let mut lines = Vec::new();
    for member in &members {
        match record(session, member).await {
            Ok(moments) => {
                let member = member.name.to_string();
                lines.extend(moments.into_iter().map(|moment| Line { member: member.clone(), moment }));
            }
            // The story is told without it, and that is no part of the story.
            Err(why) => eprintln!("{why}"),
        }
    }
    let mut incidents = story::tell(lines);
    incidents.drain(..incidents.len().saturating_sub(arguments.last));
    say(render(&incidents, arguments.format))
}

async fn record(session: &Session, member: &Member) -> Result<Vec<Moment>, String> {
    let reply = session.rest.get(member, "incident").await.map_err(|error| error.to_string())?;
    let mut document = reply.json();
    let Some(moments) = document.get_mut("moments").map(Value::take) else {
        return Err(format!("member {} keeps no record: it runs Patroni, or an older version", member.name));
    };
    serde_json::from_value(moments)
        .map_err(|error| format!("the record of member {} cannot be read: {error}", member.name))
}

fn render(incidents: &[Incident], format: Format) -> String {
    match format {
        Format::Pretty if incidents.is_empty() => "The members remember no incident.".into(),
        Format::Pretty => incidents.iter().map(paragraph).collect::<Vec<_>>().join("\n\n"),
        Format::Tsv => rows(incidents).separated("\t"),
        Format::Json => python::json(&incidents.iter().map(object).collect()),
        Format::Yaml | Format::Yml => yaml::dump(&incidents.iter().map(object).collect()),
    }
}

fn paragraph(incident: &Incident) -> String {
    let width = incident.lines.iter().map(|line| line.member.chars().count()).max().unwrap_or(0);
    let mut text =
        format!("{}  {}", incident.lines.first().map_or(String::new(), |line| date(line.moment.at)), title(incident));
    for (what, why) in [("lost", &incident.lost_because), ("won", &incident.won_because)] {
        if let Some(why) = why {
            text += &format!("\n  {what} because: {why}");
        }
    }
    for Line { member, moment } in &incident.lines {
        text += &format!("\n  {}  {member:width$}  {}", clock(moment.at), sentence(moment));
    }
    text
}

fn title(incident: &Incident) -> String {
    let paused = incident.paused_micros().map(|micros| format!("; writes paused for {:.2} s", micros as f64 / 1e6));
    let paused = paused.unwrap_or_default();
    match (&incident.lost, &incident.won) {
        (Some(lost), Some(won)) if lost == won => format!("{lost} lost the lead and won it again{paused}"),
        (Some(lost), Some(won)) => format!("{lost} lost the lead, {won} won it{paused}"),
        (Some(lost), None) => format!("{lost} lost the lead, and nobody has won it yet"),
        (None, Some(won)) => format!("{won} leads, after nobody"),
        (None, None) => "the lead changed".into(),
    }
}

fn sentence(moment: &Moment) -> String {
    match moment.kind {
        MomentKind::LeaderGone => format!("sees that {} does not hold the leader lock any more", moment.text),
        MomentKind::LeaderSeen => format!("sees that {} holds the leader lock", moment.text),
        MomentKind::WritesEnded | MomentKind::WritesBegan | MomentKind::Decided | MomentKind::Noted => {
            moment.text.clone()
        }
    }
}

fn object(incident: &Incident) -> Value {
    let line = |Line { member, moment }: &Line| json!({"at": schedule::print(moment.at), "member": member, "kind": moment.kind, "text": moment.text});
    json!({
        "lost": incident.lost,
        "lost_because": incident.lost_because,
        "writes_ended": incident.ended.map(schedule::print),
        "won": incident.won,
        "won_because": incident.won_because,
        "writes_began": incident.began.map(schedule::print),
        "writes_paused_seconds": incident.paused_micros().map(|micros| micros as f64 / 1e6),
        "moments": incident.lines.iter().map(line).collect::<Vec<_>>(),
    })
}

fn rows(incidents: &[Incident]) -> Rows {
    let columns = ["Incident", "At", "Member", "Kind", "Text"].map(str::to_owned);
    let row = |number: usize, Line { member, moment }: &Line| {
        vec![json!(number), json!(schedule::print(moment.at)), json!(member), json!(moment.kind), json!(moment.text)]
    };
    let of_one = |(number, incident): (usize, &Incident)| {
        incident.lines.iter().map(move |line| row(number + 1, line)).collect::<Vec<_>>()
    };
    Rows { columns: Some(columns.into()), rows: incidents.iter().enumerate().flat_map(of_one).collect() }
}

/// `2026-11-22 22:03:10+00:00`.
fn date(at: Wall) -> String {
    schedule::print(Wall(at.0 - at.0.rem_euclid(1_000_000)))
}

/// `22:03:10.831`, of the same day's time in UTC.
fn clock(at: Wall) -> String {
    let (second, millis) = (at.seconds().rem_euclid(86_400), at.0.rem_euclid(1_000_000) / 1000);
    format!("{:02}:{:02}:{:02}.{millis:03}", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incident_is_a_headline_and_a_line_for_each_moment() {
        let start = 1_795_384_990_831_115;
        let line = |after_ms: i64, member: &str, kind, text: &str| Line {
            member: member.into(),
            moment: Moment { at: Wall(start + after_ms * 1000), kind, text: text.into() },
        };
        let incidents = story::tell(vec![
            line(-60_000, "n1", MomentKind::WritesBegan, "the server can be written to"),
            line(0, "n1", MomentKind::Noted, "the postmaster ended by itself"),
            line(0, "n1", MomentKind::WritesEnded, "the server cannot be written to"),
            line(900, "node-2", MomentKind::Decided, "acquiring the leader lock, because of this"),
            line(1200, "node-2", MomentKind::WritesBegan, "the server can be written to"),
            line(1201, "n1", MomentKind::LeaderSeen, "node-2"),
        ]);
        let expected = "\
2026-11-22 22:03:10+00:00  n1 lost the lead, node-2 won it; writes paused for 1.20 s
  lost because: the postmaster ended by itself
  won because: of this
  22:03:10.831  n1      the postmaster ended by itself
  22:03:10.831  n1      the server cannot be written to
  22:03:11.731  node-2  acquiring the leader lock, because of this
  22:03:12.031  node-2  the server can be written to
  22:03:12.032  n1      sees that node-2 holds the leader lock";
        assert_eq!(render(&incidents[1..], Format::Pretty), expected);
        let json: Value = serde_json::from_str(&render(&incidents, Format::Json)).expect("JSON");
        assert_eq!((&json[1]["lost"], &json[1]["won"]), (&json!("n1"), &json!("node-2")));
        assert_eq!(json[1]["writes_paused_seconds"], 1.2);
        assert_eq!(json[1]["moments"][0]["at"], "2026-11-22 22:03:10.831115+00:00");
        assert!(render(&incidents, Format::Tsv).starts_with("Incident\tAt\tMember\tKind\tText\n1\t2026"));
        assert_eq!(render(&[], Format::Pretty), "The members remember no incident.");
    }
}
