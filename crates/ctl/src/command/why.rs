//! `why`: what each member is doing, by which rule, what it waits for, and what stands between its death and two
//! writers. Members tell it in the field `jogi` of `GET /patroni`; Patroni's agents do not know it.

use clap::Args;
use jogi_config::{python, yaml};
use jogi_core::view::{Cluster, Member};
use serde_json::{Map, Value, json};

use crate::cli::ClusterArgument;
use crate::failure::Failure;
use crate::output::{Format, Rows, say};
use crate::roles::{self, Role};
use crate::session::Session;

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    pub cluster: ClusterArgument,

    /// Only these members
    #[arg(short, long)]
    pub member: Vec<String>,

    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    pub format: Format,
}

pub async fn run(session: &Session, arguments: Arguments) -> Result<(), Failure> {
    let herd = session.herd(&arguments.cluster)?;
    let cluster = herd.load().await?;
    let wanted = |member: &Member| {
        arguments.member.is_empty() || arguments.member.iter().any(|name| name == member.name.as_str())
    };
    let members: Vec<Member> = roles::members(&cluster, Role::Any).into_iter().filter(wanted).collect();
    if members.is_empty() {
        return Err(Failure::said(format!("{} cluster doesn't have any members", herd.name)));
    }
    let mut answers = Vec::new();
    for member in &members {
        answers.push(ask(session, &cluster, member).await);
    }
    say(render(&answers, arguments.format))
}

async fn ask(session: &Session, cluster: &Cluster, member: &Member) -> Answer {
    let holds = cluster.is_leader(&member.name);
    match session.rest.status(member).await {
        Ok(reply) => Answer::read(member.name.as_str(), holds, &reply.json()),
        Err(error) => {
            Answer { because: error.to_string(), ..Answer::new(member.name.as_str(), holds, "not to be asked") }
        }
    }
}

/// What one member tells of itself.
#[derive(Clone, Debug, PartialEq)]
struct Answer {
    member: String,
    /// It holds the leader lock by the store's word.
    leader: bool,
    state: String,
    because: String,
    waiting_for: String,
    guard: String,
    lock: String,
    /// Everything else that speaks for trouble, by name.
    notes: Vec<(String, String)>,
}

impl Answer {
    fn new(member: &str, leader: bool, state: &str) -> Answer {
        Answer {
            member: member.into(),
            leader,
            state: state.into(),
            because: String::new(),
            waiting_for: String::new(),
            guard: String::new(),
            lock: String::new(),
            notes: Vec::new(),
        }
    }

    fn read(member: &str, leader: bool, status: &Value) -> Answer {
        let Some(own) = status.get("jogi").and_then(Value::as_object) else {
            let version = status.get("patroni").and_then(|patroni| patroni.get("version")).map(python::str);
            let state = text(status.get("state"));
            let because = match version {
                Some(version) => format!("it runs Patroni {version}, which does not tell"),
                None => "its answer is no status document".to_owned(),
            };
            return Answer { because, ..Answer::new(member, leader, &state) };
        };
        let decision = own.get("decision");
        let part = |name: &str| text(decision.and_then(|decision| decision.get(name)));
        let notes = [("operation", "operation"), ("lock lost", "lock_lost"), ("server silent", "server_silent")];
        let note = |(title, field): (&str, &str)| Some((title.to_owned(), text(Some(own.get(field)?))));
        Answer {
            member: member.to_owned(),
            leader,
            state: part("state"),
            because: part("because"),
            waiting_for: part("waiting_for"),
            guard: guard(own.get("guard")),
            lock: lock(own.get("lock")),
            notes: notes.into_iter().filter_map(note).collect(),
        }
    }

    fn lines(&self) -> Vec<(&str, &str)> {
        let fixed = [
            ("state", self.state.as_str()),
            ("because", &self.because),
            ("waiting for", &self.waiting_for),
            ("guard", &self.guard),
            ("lock", &self.lock),
        ];
        let notes = self.notes.iter().map(|(title, text)| (title.as_str(), text.as_str()));
        fixed.into_iter().chain(notes).filter(|(_, text)| !text.is_empty()).collect()
    }

    fn paragraph(&self) -> String {
        let head = if self.leader { format!("{} (leader)", self.member) } else { self.member.clone() };
        let lines = self.lines().into_iter().map(|(title, text)| format!("\n  {:<13} {text}", format!("{title}:")));
        head + &lines.collect::<String>()
    }

    fn object(&self) -> Value {
        let mut object = Map::new();
        object.insert("member".into(), self.member.as_str().into());
        object.insert("leader".into(), self.leader.into());
        for (title, text) in self.lines() {
            object.insert(title.replace(' ', "_"), text.into());
        }
        Value::Object(object)
    }
}

/// `guarded, armed; last: …`.
fn guard(guard: Option<&Value>) -> String {
    let Some(guard) = guard else { return String::new() };
    let part = |name: &str| guard.get(name).filter(|value| python::is_true(value));
    let mut words = vec![text(part("state"))];
    words.extend(part("armed").map(|_| "armed".to_owned()));
    let words = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(", ");
    match part("last") {
        Some(last) => format!("{words}; last: {}", text(Some(last))),
        None => words,
    }
}

fn lock(lock: Option<&Value>) -> String {
    let held = lock.and_then(|lock| lock.get("held")).is_some_and(python::is_true);
    match lock.and_then(|lock| lock.get("valid_for_ms")).and_then(Value::as_f64) {
        Some(millis) if held => format!("held, valid for {:.1} s more", millis / 1000.0),
        Some(_) | None => String::new(),
    }
}

fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(value @ (Value::Array(_) | Value::Object(_))) => python::json(value),
        Some(value) => python::str(value),
    }
}

fn render(answers: &[Answer], format: Format) -> String {
    match format {
        Format::Pretty => answers.iter().map(Answer::paragraph).collect::<Vec<_>>().join("\n"),
        Format::Tsv => rows(answers).separated("\t"),
        Format::Json => python::json(&answers.iter().map(Answer::object).collect()),
        Format::Yaml | Format::Yml => yaml::dump(&answers.iter().map(Answer::object).collect()),
    }
}

fn rows(answers: &[Answer]) -> Rows {
    let columns = ["Member", "Leader", "State", "Because", "Waiting for", "Guard", "Lock"].map(str::to_owned);
    let row = |a: &Answer| {
        let texts = [&a.state, &a.because, &a.waiting_for, &a.guard, &a.lock].map(|text| json!(text));
        [json!(a.member), json!(if a.leader { "*" } else { "" })].into_iter().chain(texts).collect()
    };
    Rows { columns: Some(columns.into()), rows: answers.iter().map(row).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers() -> Vec<Answer> {
        let leader = json!({"state": "running", "jogi": {
            "decision": {"state": "no action. I am (n0), the leader with the lock", "because": "the lock is ours", "waiting_for": ""},
            "guard": {"state": "guarded", "armed": true, "last": null},
            "lock": {"held": true, "valid_for_ms": 27340},
            "operation": "restart"}});
        let replica = json!({"jogi": {
            "decision": {"state": "no action", "because": "n0 holds the lock", "waiting_for": "its next change"},
            "guard": {"state": "adopted", "armed": false, "last": "fenced at soft"}, "lock": {"held": false}}});
        let patroni = json!({"state": "running", "patroni": {"version": "4.1.5"}});
        vec![
            Answer::read("n0", true, &leader),
            Answer::read("n1", false, &replica),
            Answer::read("n2", false, &patroni),
            Answer::read("n3", false, &Value::Null),
        ]
    }

    #[test]
    fn each_member_explains_itself() {
        let expected = "\
n0 (leader)
  state:        no action. I am (n0), the leader with the lock
  because:      the lock is ours
  guard:        guarded, armed
  lock:         held, valid for 27.3 s more
  operation:    restart
n1
  state:        no action
  because:      n0 holds the lock
  waiting for:  its next change
  guard:        adopted; last: fenced at soft
n2
  state:        running
  because:      it runs Patroni 4.1.5, which does not tell
n3
  because:      its answer is no status document";
        assert_eq!(render(&answers(), Format::Pretty), expected);
    }

    #[test]
    fn machines_get_the_same() {
        let json: Value = serde_json::from_str(&render(&answers(), Format::Json)).expect("JSON");
        assert_eq!(json[1]["waiting_for"], "its next change");
        assert_eq!(json[0]["leader"], true);
        let tsv = render(&answers(), Format::Tsv);
        assert!(tsv.starts_with("Member\tLeader\tState\tBecause\tWaiting for\tGuard\tLock\nn0\t*\tno action"), "{tsv}");
    }
}
