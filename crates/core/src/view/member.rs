//! The `members/NAME` keys.

use std::ops::Deref;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Revision, Session, compact, integer, truth};
use crate::{Lsn, MemberName, Timeline};

/// Fields that say how far a member's server has come.
const POSITIONS: [&str; 3] = ["xlog_location", "replay_lsn", "receive_lsn"];

/// A member as the store lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub name: MemberName,
    pub data: MemberData,
    pub revision: Revision,
    pub session: Option<Session>,
}

/// The JSON object of a member, with all its fields as published. Accessors read it as Patroni does. Shared: every view
/// holds every member, and one changes at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberData(pub Arc<Published>);

/// The fields, and what the rules ask of them at every turn, read once.
#[derive(Clone, Debug, Default)]
pub struct Published {
    fields: Map<String, Value>,
    tags: Tags,
    version: Option<Vec<u32>>,
    address: Option<(String, u16)>,
    paused: bool,
}

impl Deref for Published {
    type Target = Map<String, Value>;

    fn deref(&self) -> &Map<String, Value> {
        &self.fields
    }
}

impl PartialEq for Published {
    fn eq(&self, other: &Published) -> bool {
        self.fields == other.fields
    }
}

impl Eq for Published {}

impl From<Map<String, Value>> for MemberData {
    fn from(fields: Map<String, Value>) -> MemberData {
        let tags = fields.get("tags").and_then(Value::as_object).map(|tags| Tags(tags.clone())).unwrap_or_default();
        let version = fields.get("version").and_then(Value::as_str).and_then(version);
        let address = address(&fields);
        let paused = fields.get("pause").and_then(truth).unwrap_or(false);
        MemberData(Arc::new(Published { fields, tags, version, address, paused }))
    }
}

impl MemberData {
    /// Reads a member's value. The ancient form `postgres://…?application_name=API_URL` is understood;
    /// anything else that is not an object is an empty member.
    pub fn parse(text: &str) -> MemberData {
        if text.starts_with("postgres") {
            return ancient(text);
        }
        match serde_json::from_str(text) {
            Ok(Value::Object(object)) => object.into(),
            Ok(_) | Err(_) => MemberData::default(),
        }
    }

    pub fn to_text(&self) -> String {
        compact(&self.0.fields)
    }

    /// Whether how far its server has come is all that `later` says differently.
    pub(crate) fn differs_in_positions(&self, later: &MemberData) -> bool {
        let present = |data: &MemberData| POSITIONS.map(|field| data.0.contains_key(field));
        Arc::ptr_eq(&self.0, &later.0) || self.steady().eq(later.steady()) && present(self) == present(later)
    }

    fn steady(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.0.iter().filter(|(field, _)| !POSITIONS.contains(&field.as_str()))
    }

    fn text(&self, field: &str) -> Option<&str> {
        self.0.get(field).and_then(Value::as_str).filter(|s| !s.is_empty())
    }

    fn lsn(&self, field: &str) -> Option<Lsn> {
        self.0.get(field).and_then(integer).and_then(|i| u64::try_from(i).ok()).map(Lsn)
    }

    pub fn conn_url(&self) -> Option<&str> {
        self.text("conn_url")
    }

    /// Host and port to connect to PostgreSQL, from `conn_kwargs` or `conn_url`.
    pub fn address(&self) -> Option<(String, u16)> {
        self.0.address.clone()
    }

    pub(crate) fn address_ref(&self) -> Option<&(String, u16)> {
        self.0.address.as_ref()
    }

    pub fn api_url(&self) -> Option<&str> {
        self.text("api_url")
    }

    /// `unknown` when not published.
    pub fn state(&self) -> &str {
        self.text("state").unwrap_or("unknown")
    }

    pub fn is_running(&self) -> bool {
        self.state() == "running"
    }

    /// The published role; the old word `master` reads as `primary`.
    pub fn role(&self) -> &str {
        match self.text("role") {
            Some("master") => "primary",
            Some(role) => role,
            None => "",
        }
    }

    /// The agent's version as dotted integers.
    pub fn version(&self) -> Option<&[u32]> {
        self.0.version.as_deref()
    }

    /// A leader before this version does not publish where the slots of cascading replicas are.
    pub(crate) fn publishes_all_slots(&self) -> bool {
        self.version().is_some_and(|version| *version >= [4][..])
    }

    /// What the primary has flushed, or a standby received or replayed.
    pub fn xlog_location(&self) -> Option<Lsn> {
        self.lsn("xlog_location")
    }

    pub fn replay_lsn(&self) -> Option<Lsn> {
        self.lsn("replay_lsn")
    }

    pub fn receive_lsn(&self) -> Option<Lsn> {
        self.lsn("receive_lsn")
    }

    pub fn replication_state(&self) -> Option<&str> {
        self.text("replication_state")
    }

    pub fn timeline(&self) -> Option<Timeline> {
        self.0.get("timeline").and_then(integer).and_then(|t| u32::try_from(t).ok()).map(Timeline)
    }

    /// A primary's checkpoint after its promotion: absent means done.
    pub fn checkpoint_after_promote_done(&self) -> bool {
        self.0.get("checkpoint_after_promote").and_then(truth).unwrap_or(true)
    }

    pub fn tags(&self) -> &Tags {
        &self.0.tags
    }

    pub fn paused(&self) -> bool {
        self.0.paused
    }

    /// The protocol number that members of this program publish, below the one field that is theirs.
    pub fn protocol(&self) -> Option<u32> {
        self.0.get("jogi")?.get("protocol").and_then(integer).and_then(|p| u32::try_from(p).ok())
    }
}

fn version(text: &str) -> Option<Vec<u32>> {
    text.split('.').map(|part| part.parse().ok()).collect()
}

fn address(fields: &Map<String, Value>) -> Option<(String, u16)> {
    if let Some(kwargs) = fields.get("conn_kwargs").and_then(Value::as_object) {
        let host = kwargs.get("host")?.as_str()?.to_owned();
        let port = kwargs.get("port").and_then(integer).unwrap_or(5432);
        return Some((host, u16::try_from(port).ok()?));
    }
    let rest = fields.get("conn_url")?.as_str()?.split_once("://")?.1;
    let authority = rest.split(['/', '?']).next()?;
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            Some((host.trim_matches(['[', ']']).to_owned(), port.parse().ok()?))
        }
        _ => Some((authority.trim_matches(['[', ']']).to_owned(), 5432)),
    }
}

fn ancient(url: &str) -> MemberData {
    let mut data = Map::new();
    let (conn_url, query) = url.split_once('?').unwrap_or((url, ""));
    data.insert("conn_url".into(), conn_url.into());
    let api_url = query.split('&').find_map(|pair| pair.strip_prefix("application_name="));
    if let Some(api_url) = api_url {
        data.insert("api_url".into(), api_url.into());
    }
    data.into()
}

/// Tags of a member, as published or configured. Unknown tags are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(pub Map<String, Value>);

impl Tags {
    fn flag(&self, tag: &str) -> Option<bool> {
        self.0.get(tag).and_then(truth)
    }

    fn number(&self, tag: &str) -> Option<i64> {
        self.0.get(tag).and_then(integer)
    }

    /// Never races for the lock. A `failover_priority` of zero or less says the same.
    pub fn nofailover(&self) -> bool {
        self.flag("nofailover").unwrap_or_else(|| self.number("failover_priority").is_some_and(|p| p <= 0))
    }

    /// Tie-break at equal WAL, higher first.
    pub fn failover_priority(&self) -> i64 {
        if self.nofailover() { 0 } else { self.number("failover_priority").unwrap_or(1) }
    }

    /// Never a synchronous standby. A `sync_priority` of zero or less says the same.
    pub fn nosync(&self) -> bool {
        self.flag("nosync").unwrap_or_else(|| self.number("sync_priority").is_some_and(|p| p <= 0))
    }

    pub fn sync_priority(&self) -> i64 {
        if self.nosync() { 0 } else { self.number("sync_priority").unwrap_or(1) }
    }

    pub fn noloadbalance(&self) -> bool {
        self.flag("noloadbalance").unwrap_or(false)
    }

    pub fn clonefrom(&self) -> bool {
        self.flag("clonefrom").unwrap_or(false)
    }

    pub fn nostream(&self) -> bool {
        self.flag("nostream").unwrap_or(false)
    }

    pub fn replicatefrom(&self) -> Option<&str> {
        self.0.get("replicatefrom").and_then(Value::as_str).filter(|s| !s.is_empty())
    }

    /// What is published: false values of the known flags are left out, except where a priority is given
    /// beside them.
    pub fn effective(&self) -> Map<String, Value> {
        let keep = |tag: &str, value: &Value| match tag {
            "nofailover" => truth(value) != Some(false) || self.0.contains_key("failover_priority"),
            "nosync" => truth(value) != Some(false) || self.0.contains_key("sync_priority"),
            "clonefrom" | "noloadbalance" | "nostream" => truth(value) != Some(false),
            _ => true,
        };
        self.0.iter().filter(|(tag, value)| keep(tag, value)).map(|(t, v)| (t.clone(), v.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tags(value: Value) -> Tags {
        Tags(value.as_object().expect("an object").clone())
    }

    #[test]
    fn a_sample_of_patroni_reads_and_writes_back() {
        let text = r#"{"conn_url":"postgres://10.0.0.5:5432/postgres","api_url":"http://10.0.0.5:8008/patroni","state":"running","role":"replica","version":"4.1.5","xlog_location":67108992,"replay_lsn":67108992,"receive_lsn":67108992,"replication_state":"streaming","timeline":2}"#;
        let member = MemberData::parse(text);
        assert_eq!(member.to_text(), text);
        assert_eq!(member.address(), Some(("10.0.0.5".into(), 5432)));
        assert_eq!(member.version(), Some([4, 1, 5].as_slice()));
        assert!(member.checkpoint_after_promote_done());
    }

    #[test]
    fn old_and_odd_members_are_understood() {
        let old = MemberData::parse("postgres://h:1/postgres?application_name=http://h:8008/patroni");
        assert_eq!(old.api_url(), Some("http://h:8008/patroni"));
        assert_eq!(MemberData::parse("[]").state(), "unknown");
        assert_eq!(MemberData::parse(r#"{"role":"master"}"#).role(), "primary");
        let v6 = MemberData::parse(r#"{"conn_url":"postgres://[fd00::1]:5433/postgres"}"#);
        assert_eq!(v6.address(), Some(("fd00::1".into(), 5433)));
    }

    #[test]
    fn a_flag_wins_over_its_priority() {
        for (value, nofailover, priority) in [
            (json!({}), false, 1),
            (json!({"failover_priority": 0}), true, 0),
            (json!({"nofailover": false, "failover_priority": 0}), false, 0),
            (json!({"nofailover": "on"}), true, 0),
            (json!({"failover_priority": "7"}), false, 7),
        ] {
            let tags = tags(value.clone());
            assert_eq!((tags.nofailover(), tags.failover_priority()), (nofailover, priority), "{value}");
        }
    }

    #[test]
    fn false_flags_are_not_published() {
        let tags = tags(json!({"clonefrom": false, "nofailover": false, "failover_priority": 2, "dc": "x"}));
        assert_eq!(Value::Object(tags.effective()), json!({"nofailover": false, "failover_priority": 2, "dc": "x"}));
    }
}
