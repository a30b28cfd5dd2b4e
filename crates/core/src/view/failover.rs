//! The `failover` key: a request for a switchover or a manual failover.

use serde_json::{Map, Value};

use super::compact;
use crate::MemberName;

/// A request. With `leader` it is a switchover away from that leader, without it a manual failover.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failover {
    pub leader: Option<MemberName>,
    pub member: Option<MemberName>,
    /// ISO 8601 with offset, as given by the requester.
    pub scheduled_at: Option<String>,
}

impl Failover {
    /// Reads the key. Not an object: the ancient `leader:member` text, else no request.
    pub fn parse(text: &str) -> Failover {
        match serde_json::from_str::<Value>(text) {
            Ok(Value::Object(object)) => {
                let field =
                    |name: &str| object.get(name).and_then(Value::as_str).filter(|s| !s.is_empty()).map(str::to_owned);
                Failover {
                    leader: field("leader").map(MemberName::from),
                    member: field("member").map(MemberName::from),
                    scheduled_at: field("scheduled_at"),
                }
            }
            Ok(_) => Failover::default(),
            Err(_) => {
                let (leader, member) = text.split_once(':').unwrap_or(("", ""));
                let name = |s: &str| (!s.trim().is_empty()).then(|| MemberName::from(s.trim()));
                Failover { leader: name(leader), member: name(member), scheduled_at: None }
            }
        }
    }

    /// Whether anything is asked for: a schedule alone is nothing.
    pub fn is_request(&self) -> bool {
        self.leader.is_some() || self.member.is_some()
    }

    pub fn is_switchover(&self) -> bool {
        self.leader.is_some()
    }

    /// The value as Patroni writes it; `{}` when nothing is asked for.
    pub fn to_text(&self) -> String {
        let mut object = Map::new();
        if let Some(leader) = &self.leader {
            object.insert("leader".into(), leader.as_str().into());
        }
        if let Some(member) = &self.member {
            object.insert("member".into(), member.as_str().into());
        }
        if let Some(at) = &self.scheduled_at {
            object.insert("scheduled_at".into(), at.as_str().into());
        }
        compact(&Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_patroni_reads() {
        for (text, leader, member) in [
            (r#"{"leader":"a","member":"b"}"#, Some("a"), Some("b")),
            (r#"{"leader":"","member":"b"}"#, None, Some("b")),
            ("{}", None, None),
            ("[1]", None, None),
            ("a:b", Some("a"), Some("b")),
            (":b", None, Some("b")),
            ("", None, None),
        ] {
            let failover = Failover::parse(text);
            assert_eq!(failover.leader.as_ref().map(MemberName::as_str), leader, "{text}");
            assert_eq!(failover.member.as_ref().map(MemberName::as_str), member, "{text}");
        }
        assert_eq!(Failover::default().to_text(), "{}");
    }
}
