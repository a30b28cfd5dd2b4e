//! The commands of a script.

use std::time::Duration;

use serde_json::Value;

/// One line of a script. Members are named; the runner knows their places.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// `members a b c`: first of all.
    Members(Vec<String>),
    /// `seed 7`
    Seed(u64),
    /// `config {…}`: `bootstrap.dcs` of every member.
    Config(Value),
    /// `tags b {…}`
    Tags(String, Value),
    /// `local b {…}`: what is particular in b's own configuration, see [`crate::quirks::Quirks`].
    Local(String, Value),
    /// `ask b restart {…}`: a request in full, see [`super::ask`].
    Ask(String, String, Value),
    /// `drift a 10000`: the clock runs so many millionths fast.
    Drift(String, i64),
    /// `client every 100ms`
    Client(Duration),
    /// `supervise 2s`: agents that end are started again after so long. `supervise never`.
    Supervise(Option<Duration>),
    /// `start`, `start a`
    Start(Option<String>),
    /// `expected-to-fail WHY`: what the script demands is not so yet; it is told when it is.
    ExpectedToFail(String),
    /// `wait 5s`
    Wait(Duration),
    /// `until CONDITION within 5s`
    Until(Condition, Duration),
    /// `expect CONDITION`
    Expect(Condition),
    /// `never CONDITION for 5s`: it does not come to hold.
    Never(Condition, Duration),
    /// `mark`: counters and gaps begin anew.
    Mark,
    /// `crash a`, `boot a`, `isolate a`, `kill-agent a`, `store-down` …
    Act(String, Vec<String>),
}

/// Something that holds or not.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// `healthy`: one primary with the key, everybody follows.
    Healthy,
    /// `primary b`, `primary not a`, `primary any`: writable, and holds the key.
    Primary {
        name: Option<String>,
        not: bool,
    },
    /// `no-writer`: nobody can commit.
    NoWriter,
    /// `gone a`: no process of its server is left.
    Gone(String),
    /// `running a`
    Running(String),
    /// `standby a`: its server is a standby and streams.
    Standby(String),
    /// `leads-standbys a`: it holds the key and streams from outside the herd.
    LeadsStandbys(String),
    /// `agent-gone a`
    AgentGone(String),
    /// `says a TEXT`: its decision's state contains the text.
    Says(String, String),
    /// `noted a WORDS`: a sentence of its log has them.
    Noted(String, String),
    /// `lost 0`, `lost <= 3`: acknowledged rows that the leader does not have.
    Lost(usize),
    /// `gap <= 5.6s`: the longest time between two acknowledged writes since the mark.
    Gap(Duration),
    /// `store-writes <= 0`: since the mark.
    StoreWrites(u64),
    /// `store-requests <= 40`: since the mark.
    StoreRequests(u64),
    /// `same-server a`: not started again since the mark.
    SameServer(String),
    /// `count rewinds 1`: since the beginning of the world. Also clones, bootstraps, promotions, starts.
    Count(String, u64),
    /// `timeline 2`: of the primary.
    Timeline(u32),
    /// `reply 200`, `reply 412 TEXT`: the last answer to an operator.
    Reply(u16, String),
    /// `closed-at-soft a 1`, `killed-at-hard a 0`
    ClosedAtSoft(String, u64),
    KilledAtHard(String, u64),
    /// `aside a 1`: data directories put aside.
    Aside(String, usize),
    /// `kept a 1`: of those, how many are still there.
    Kept(String, usize),
    /// `data a`: a whole data directory. `no-data a`.
    Data(String, bool),
    /// `slot a cdc`: a slot on its disk. `no-slot a cdc`.
    Slot(String, String, bool),
    /// `leader-key none`, `leader-key a`
    LeaderKey(Option<String>),
    /// `sync a none`, `sync a b,c`, `sync a 1/b,c`: leader, quorum and standbys of the `sync` key; `sync off`.
    Sync(String),
    /// `names a ANY 1 (b,c)`: in force on its server; `names a` for none.
    Names(String, String),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ParseError {
    pub line: usize,
    pub what: String,
}

pub fn command(line: usize, text: &str) -> Result<Command, ParseError> {
    parse(text).map_err(|what| ParseError { line, what })
}

fn parse(text: &str) -> Result<Command, String> {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let rest = rest.trim();
    Ok(match word {
        "members" => Command::Members(rest.split_whitespace().map(str::to_owned).collect()),
        "seed" => Command::Seed(number(rest)?),
        "config" => Command::Config(json(rest)?),
        "tags" => {
            let (name, tags) = rest.split_once(' ').ok_or("tags NAME {…}")?;
            Command::Tags(name.to_owned(), json(tags)?)
        }
        "local" => {
            let (name, local) = rest.split_once(' ').ok_or("local NAME {…}")?;
            Command::Local(name.to_owned(), json(local)?)
        }
        "ask" => {
            let (name, rest) = rest.split_once(' ').ok_or("ask NAME WHAT [{…}]")?;
            let (kind, fields) = rest.split_once(' ').unwrap_or((rest, "{}"));
            Command::Ask(name.to_owned(), kind.to_owned(), json(fields)?)
        }
        "drift" => {
            let (name, ppm) = rest.split_once(' ').ok_or("drift NAME PPM")?;
            Command::Drift(name.to_owned(), ppm.trim().parse().map_err(|_| format!("'{ppm}' is no number"))?)
        }
        "client" => Command::Client(time(rest.strip_prefix("every ").ok_or("client every TIME")?)?),
        "supervise" if rest == "never" => Command::Supervise(None),
        "supervise" => Command::Supervise(Some(time(rest)?)),
        "start" => Command::Start((!rest.is_empty()).then(|| rest.to_owned())),
        "expected-to-fail" if rest.is_empty() => return Err("expected-to-fail WHY".to_owned()),
        "expected-to-fail" => Command::ExpectedToFail(rest.to_owned()),
        "wait" => Command::Wait(time(rest)?),
        "until" => {
            let (what, within) = rest.rsplit_once(" within ").ok_or("until CONDITION within TIME")?;
            Command::Until(condition(what)?, time(within)?)
        }
        "never" => {
            let (what, for_) = rest.rsplit_once(" for ").ok_or("never CONDITION for TIME")?;
            Command::Never(condition(what)?, time(for_)?)
        }
        "expect" => Command::Expect(condition(rest)?),
        "mark" => Command::Mark,
        "patch" | "store-fails" | "store-applies-and-fails" => Command::Act(word.to_owned(), vec![rest.to_owned()]),
        _ => Command::Act(word.to_owned(), rest.split_whitespace().map(str::to_owned).collect()),
    })
}

pub fn condition(text: &str) -> Result<Condition, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let name = |i: usize| words.get(i).map(|w| (*w).to_owned()).ok_or(format!("'{text}' lacks a name"));
    let last = || words.last().copied().unwrap_or("");
    Ok(match words.first().copied().unwrap_or("") {
        "healthy" => Condition::Healthy,
        "primary" => match words.get(1).copied() {
            Some("any") => Condition::Primary { name: None, not: false },
            Some("not") => Condition::Primary { name: Some(name(2)?), not: true },
            _ => Condition::Primary { name: Some(name(1)?), not: false },
        },
        "no-writer" => Condition::NoWriter,
        "gone" => Condition::Gone(name(1)?),
        "running" => Condition::Running(name(1)?),
        "standby" => Condition::Standby(name(1)?),
        "leads-standbys" => Condition::LeadsStandbys(name(1)?),
        "agent-gone" => Condition::AgentGone(name(1)?),
        "says" => Condition::Says(name(1)?, words.get(2..).unwrap_or_default().join(" ")),
        "noted" => Condition::Noted(name(1)?, words.get(2..).unwrap_or_default().join(" ")),
        "lost" => Condition::Lost(number(last())? as usize),
        "gap" => Condition::Gap(time(last())?),
        "store-writes" => Condition::StoreWrites(number(last())?),
        "store-requests" => Condition::StoreRequests(number(last())?),
        "same-server" => Condition::SameServer(name(1)?),
        "count" => Condition::Count(name(1)?, number(last())?),
        "timeline" => Condition::Timeline(number(last())? as u32),
        "reply" => {
            let text = words.get(2..).unwrap_or_default().join(" ");
            Condition::Reply(number(&name(1)?)? as u16, text)
        }
        "closed-at-soft" => Condition::ClosedAtSoft(name(1)?, number(last())?),
        "killed-at-hard" => Condition::KilledAtHard(name(1)?, number(last())?),
        "aside" => Condition::Aside(name(1)?, number(last())? as usize),
        "kept" => Condition::Kept(name(1)?, number(last())? as usize),
        "data" => Condition::Data(name(1)?, true),
        "no-data" => Condition::Data(name(1)?, false),
        "slot" => Condition::Slot(name(1)?, name(2)?, true),
        "no-slot" => Condition::Slot(name(1)?, name(2)?, false),
        "leader-key" => Condition::LeaderKey(Some(name(1)?).filter(|n| n != "none")),
        "sync" => Condition::Sync(words.get(1..).unwrap_or_default().join(" ")),
        "names" => Condition::Names(name(1)?, words.get(2..).unwrap_or_default().join(" ")),
        other => return Err(format!("'{other}' is no condition")),
    })
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("'{text}' is no number"))
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|e| format!("'{text}' is no JSON: {e}"))
}

/// `300ms`, `5.6s`, `2m`.
pub fn time(text: &str) -> Result<Duration, String> {
    let bad = || format!("'{text}' is no time (300ms, 5.6s, 2m)");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| bad())?;
    let seconds = match unit {
        "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        _ => return Err(bad()),
    };
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_conditions() {
        let parsed = |text| command(1, text).expect(text);
        assert_eq!(parsed("wait 1.5s"), Command::Wait(Duration::from_millis(1500)));
        assert_eq!(
            parsed("until primary not a within 6s"),
            Command::Until(Condition::Primary { name: Some("a".into()), not: true }, Duration::from_secs(6))
        );
        assert_eq!(parsed("expect lost <= 3"), Command::Expect(Condition::Lost(3)));
        assert_eq!(parsed("crash a"), Command::Act("crash".into(), vec!["a".into()]));
        for bad in ["wait soon", "until healthy", "expect nonsense", "seed x", "config {"] {
            assert!(command(3, bad).is_err(), "{bad}");
        }
    }
}
