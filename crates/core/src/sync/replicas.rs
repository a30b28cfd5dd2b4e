//! Which standbys could confirm commits, and which of them should (Patroni's `_ReplicaList` and the choice from it).

use super::Names;
use crate::ha::server::{Row, Walsender};
use crate::view::{Cluster, Member};
use crate::{Lsn, MemberName};

/// A standby that streams from this primary and may be made synchronous.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    pub name: MemberName,
    /// `pg_stat_replication.sync_state`.
    pub sync_state: String,
    /// What it has confirmed in the sense of `synchronous_commit`.
    pub lsn: Lsn,
    pub nofailover: bool,
    pub sync_priority: i64,
}

/// The choice's conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// `synchronous_node_count`.
    pub count: usize,
    /// `maximum_lag_on_syncnode`; zero and less: no limit.
    pub maximum_lag: i64,
    pub quorum: bool,
}

/// The column of `pg_stat_replication` that a commit waits for.
fn confirmed(sender: &Walsender, synchronous_commit: &str) -> Lsn {
    match synchronous_commit {
        "remote_apply" => sender.replay,
        "remote_write" => sender.write,
        _ => sender.flush,
    }
}

/// The standbys that may be made synchronous, best first: by `sync_priority`, then those that are synchronous, then by
/// position. `known`: standbys of the present state, which stay members while their key alone is missing (a store
/// that has lost leases is no reason to stop waiting for a standby that streams).
pub fn replicas(cluster: &Cluster, me: &MemberName, row: &Row, known: &Names) -> Vec<Replica> {
    let mut list: Vec<Replica> = Vec::new();
    for sender in row.replication.iter().filter(|s| s.state == "streaming") {
        let lsn = confirmed(sender, &row.synchronous_commit);
        let Some(replica) = candidate(cluster, me, sender, lsn, known) else { continue };
        match list.iter_mut().find(|r| r.name == replica.name) {
            // One that has come back beside what is left of its old connection.
            Some(other) if other.lsn >= lsn => {}
            Some(other) => *other = replica,
            None => list.push(replica),
        }
    }
    let streaming: Names = list.iter().map(|r| r.name.clone()).collect();
    list.retain(|r| !cascades(cluster, &streaming, &r.name, cluster.members.len()));
    let order = |r: &Replica| (r.sync_priority, state_rank(&r.sync_state), r.lsn);
    list.sort_by(|a, b| order(b).cmp(&order(a)).then(a.name.cmp(&b.name)));
    list
}

fn candidate(cluster: &Cluster, me: &MemberName, sender: &Walsender, lsn: Lsn, known: &Names) -> Option<Replica> {
    if !lsn.is_valid() || me.matches(&sender.application_name) {
        return None;
    }
    let replica = |name: &MemberName, nofailover: bool, sync_priority: i64| Replica {
        name: name.clone(),
        sync_state: sender.sync_state.clone(),
        lsn,
        nofailover,
        sync_priority,
    };
    match cluster.members.values().find(|m| m.name.matches(&sender.application_name)) {
        Some(member) if !willing(member) => None,
        Some(member) => {
            let tags = member.data.tags();
            Some(replica(&member.name, tags.nofailover(), tags.sync_priority()))
        }
        None => known.iter().find(|n| n.matches(&sender.application_name)).map(|name| replica(name, false, 1)),
    }
}

/// A running member that does not refuse to be synchronous.
fn willing(member: &Member) -> bool {
    member.data.is_running() && !member.data.tags().nosync()
}

/// Whether the member is meant to stream from another standby that streams from us (`replicatefrom`).
fn cascades(cluster: &Cluster, streaming: &Names, name: &MemberName, depth: usize) -> bool {
    let source = |name: &MemberName| {
        let member = cluster.members.get(name)?;
        let source = member.data.tags().replicatefrom().map(MemberName::from)?;
        cluster.members.get(&source).filter(|m| willing(m)).map(|m| m.name.clone())
    };
    match source(name) {
        None => false,
        Some(source_name) if source(&source_name).is_none() => streaming.contains(&source_name),
        // A ring of members that name each other leads nowhere.
        Some(_) if depth == 0 => false,
        Some(source_name) => cascades(cluster, streaming, &source_name, depth - 1),
    }
}

fn state_rank(state: &str) -> u8 {
    match state {
        "sync" => 3,
        "quorum" => 2,
        "potential" => 1,
        _ => 0,
    }
}

/// The standbys that should be synchronous. `own`: the primary's position, which a single standby is compared with.
pub fn choose(replicas: &[Replica], own: Lsn, wanted: Wanted) -> Names {
    let newest = replicas.iter().map(|r| r.lsn).max().filter(|_| replicas.len() > 1).unwrap_or(own);
    let keeps_up = |r: &&Replica| match u64::try_from(wanted.maximum_lag) {
        Ok(limit) if limit > 0 => newest.ahead_of(r.lsn) <= limit,
        Ok(_) | Err(_) => true,
    };
    let mut chosen = Names::new();
    let (last, first): (Vec<&Replica>, Vec<&Replica>) = replicas.iter().filter(keeps_up).partition(|r| r.nofailover);
    for replica in first.into_iter().chain(last) {
        let room = chosen.len() < wanted.count;
        if room || (wanted.quorum && !replica.nofailover) {
            chosen.insert(replica.name.clone());
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::KeyValue;

    fn cluster(members: &[(&str, &str)]) -> Cluster {
        let key = |(name, tags): &(&str, &str)| KeyValue {
            path: format!("members/{name}"),
            value: format!(r#"{{"state":"running","role":"replica","tags":{tags}}}"#),
            revision: Default::default(),
            created: Default::default(),
            session: None,
        };
        Cluster::from_keys(members.iter().map(key))
    }

    fn row(senders: &[(&str, &str, u64)]) -> Row {
        let sender = |(name, state, lsn): &(&str, &str, u64)| Walsender {
            application_name: (*name).into(),
            state: "streaming".into(),
            sync_state: (*state).into(),
            flush: Lsn(*lsn),
            write: Lsn(*lsn + 1),
            replay: Lsn(*lsn - 1),
            ..Walsender::default()
        };
        Row { synchronous_commit: "on".into(), replication: senders.iter().map(sender).collect(), ..Row::default() }
    }

    fn order(cluster: &Cluster, row: &Row) -> Vec<String> {
        replicas(cluster, &"a".into(), row, &Names::new()).into_iter().map(|r| r.name.to_string()).collect()
    }

    #[test]
    fn the_best_come_first() {
        let senders = row(&[("b", "async", 90), ("C", "sync", 50), ("d", "async", 80), ("x", "async", 99)]);
        for (what, members, expected) in [
            ("who is synchronous stays, strangers do not count", vec![("b", "{}"), ("c", "{}"), ("d", "{}")], "cbd"),
            ("priority first", vec![("b", "{}"), ("c", "{}"), ("d", r#"{"sync_priority":2}"#)], "dcb"),
            ("nosync never", vec![("b", "{}"), ("c", r#"{"nosync":true}"#), ("d", "{}")], "bd"),
            (
                "cascading from one that streams",
                vec![("b", "{}"), ("c", "{}"), ("d", r#"{"replicatefrom":"b"}"#)],
                "cb",
            ),
            ("from one that does not", vec![("b", "{}"), ("d", r#"{"replicatefrom":"z"}"#), ("z", "{}")], "bd"),
            (
                "through a chain",
                vec![("b", "{}"), ("d", r#"{"replicatefrom":"z"}"#), ("z", r#"{"replicatefrom":"b"}"#)],
                "b",
            ),
            ("ourselves never", vec![("a", "{}"), ("b", "{}")], "b"),
        ] {
            assert_eq!(order(&cluster(&members), &senders).concat(), expected, "{what}");
        }
        let ring = cluster(&[("b", r#"{"replicatefrom":"d"}"#), ("d", r#"{"replicatefrom":"b"}"#)]);
        assert_eq!(order(&ring, &senders).concat(), "bd");
    }

    #[test]
    fn what_is_confirmed_depends_on_synchronous_commit() {
        for (value, lsn) in [("on", 50), ("remote_write", 51), ("remote_apply", 49), ("local", 50)] {
            let mut row = row(&[("b", "async", 50)]);
            row.synchronous_commit = value.into();
            assert_eq!(
                replicas(&cluster(&[("b", "{}")]), &"a".into(), &row, &Names::new())[0].lsn,
                Lsn(lsn),
                "{value}"
            );
        }
    }

    #[test]
    fn a_known_standby_whose_key_is_missing_counts_and_the_newest_connection_does() {
        let known = Names::from(["b".into()]);
        let row = row(&[("b", "async", 50), ("b", "sync", 70), ("c", "async", 50)]);
        let found = replicas(&cluster(&[]), &"a".into(), &row, &known);
        assert_eq!(found.iter().map(|r| (r.name.as_str(), r.lsn.0)).collect::<Vec<_>>(), [("b", 70)]);
    }

    #[test]
    fn the_choice() {
        let replica = |name: &str, lsn: u64, nofailover: bool| Replica {
            name: name.into(),
            sync_state: "async".into(),
            lsn: Lsn(lsn),
            nofailover,
            sync_priority: 1,
        };
        let list = [replica("b", 90, true), replica("c", 50, false), replica("d", 80, false)];
        for (what, count, maximum_lag, quorum, expected) in [
            ("who may lead first", 1, -1, false, "c"),
            ("as many as asked for", 2, 0, false, "cd"),
            ("nofailover only when there is nobody else", 3, -1, false, "bcd"),
            ("who lags is left out", 1, 20, false, "d"),
            ("quorum takes all that may lead", 1, -1, true, "cd"),
            ("quorum fills up with others", 3, -1, true, "bcd"),
            ("quorum leaves out who lags", 1, 20, true, "d"),
        ] {
            let chosen = choose(&list, Lsn(1000), Wanted { count, maximum_lag, quorum });
            assert_eq!(chosen.iter().map(|n| n.as_str()).collect::<String>(), expected, "{what}");
        }
        let alone = Wanted { count: 1, maximum_lag: 20, quorum: false };
        assert!(choose(&list[1..2], Lsn(71), alone).is_empty(), "one alone is compared with the primary");
        assert_eq!(choose(&list[1..2], Lsn(70), alone).len(), 1);
    }
}
