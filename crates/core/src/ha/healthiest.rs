//! Who is the healthiest (ha-rules 3.2): pure, from what the members answered.

use super::PeerStatus;
use super::peers::Answers;
use crate::view::SyncState;
use crate::{Lsn, MemberName, Timeline};

/// Whether this member may take the lock, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Take(String),
    Not(String),
    /// It cannot be said yet.
    Asking(&'static str),
}

/// Where this member stands in a race.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub position: Lsn,
    pub timeline: Option<Timeline>,
    pub priority: i64,
}

/// What the synchronous modes add to a race (ha-rules 3.1 and 3.2).
#[derive(Clone, Copy, Debug)]
pub(super) struct Electorate<'a> {
    pub me: &'a MemberName,
    pub sync: &'a SyncState,
    pub quorum: bool,
}

/// The healthiest check (ha-rules 3.2): nobody alive is a primary or has more; with quorum commit enough members say
/// that they have no more. A member on an older timeline has less, whatever its position: positions of different
/// branches do not compare (fault-scenarios F5).
pub(super) fn healthiest(
    me: Standing,
    answers: &Answers,
    former_leader: Option<&MemberName>,
    electorate: Option<Electorate<'_>>,
) -> Verdict {
    let quorum = electorate.filter(|e| e.quorum).map(|e| (e.me, e.sync));
    // Our own word is one of those that are needed, when we are one of them.
    let mut votes = i64::from(quorum.is_some_and(|(me, sync)| sync.names(me))) - 1;
    let mut ahead = false;
    for (name, peer) in answers.iter().filter_map(|(n, a)| Some((n, a.as_ref()?))) {
        let votes_here = quorum.is_some_and(|(_, sync)| sync.names(name));
        if (peer.tags.nofailover() && !votes_here) || peer.watchdog_failed {
            continue;
        }
        if !peer.in_recovery {
            return Verdict::Not(format!("Primary ({name}) is still alive"));
        }
        match lineage_order(peer, me) {
            // It may have what nobody was told of; whoever may succeed has the rest.
            std::cmp::Ordering::Greater if electorate.is_some_and(|e| e.sync.leader.as_ref() == Some(name)) => {
                ahead = true;
                continue;
            }
            std::cmp::Ordering::Greater => {
                return Verdict::Not(format!("Wal position of {name} is ahead of my wal position"));
            }
            std::cmp::Ordering::Equal => {
                let priority = peer.tags.failover_priority();
                let former = former_leader == Some(name);
                let counts = quorum.is_none() || votes_here;
                if peer.position.is_valid() && priority > me.priority && !former && counts {
                    return Verdict::Not(format!(
                        "{name} has equally tolerable WAL position and priority {priority}, while this node has \
                         priority {}",
                        me.priority
                    ));
                }
            }
            std::cmp::Ordering::Less => {}
        }
        votes += i64::from(votes_here && peer.position.is_valid());
    }
    match quorum {
        Some((name, sync)) => elected(votes, sync, !ahead && sync.leader.as_ref() == Some(name)),
        None => Verdict::Take("nobody that may lead has more WAL".into()),
    }
}

/// Quorum commit: enough members have no more than we do, or we are who led last and nobody has more.
fn elected(votes: i64, sync: &SyncState, led_last: bool) -> Verdict {
    if votes >= i64::from(sync.quorum) {
        return Verdict::Take(format!("{votes} other members have no more WAL, {} are enough", sync.quorum));
    }
    if led_last {
        return Verdict::Take("this member led last and nobody has more WAL".into());
    }
    Verdict::Not(format!(
        "{} other members have to say that they have no more WAL, and {} do: an acknowledged commit could be missing \
         here",
        sync.quorum,
        votes.max(0)
    ))
}

fn lineage_order(peer: &PeerStatus, me: Standing) -> std::cmp::Ordering {
    let timelines = match (peer.timeline, me.timeline) {
        (Some(theirs), Some(mine)) => theirs.cmp(&mine),
        (Some(_), None) | (None, Some(_)) | (None, None) => std::cmp::Ordering::Equal,
    };
    timelines.then(peer.position.cmp(&me.position))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::Tags;
    use serde_json::json;

    fn peer(timeline: u32, position: u64, tags: serde_json::Value) -> Option<PeerStatus> {
        Some(PeerStatus {
            in_recovery: true,
            position: Lsn(position),
            timeline: Some(Timeline(timeline)),
            tags: Tags(tags.as_object().cloned().unwrap_or_default()),
            watchdog_failed: false,
            state: "running".into(),
        })
    }

    #[test]
    fn lineage_comes_before_position() {
        let me = Standing { position: Lsn(100), timeline: Some(Timeline(2)), priority: 1 };
        let primary = peer(2, 1, json!({})).map(|p| PeerStatus { in_recovery: false, ..p });
        for (what, answer, takes) in [
            ("silent", None, true),
            ("behind", peer(2, 99, json!({})), true),
            ("equal", peer(2, 100, json!({})), true),
            ("ahead", peer(2, 101, json!({})), false),
            ("ahead on a dead branch", peer(1, 500, json!({})), true),
            ("behind on a newer branch", peer(3, 1, json!({})), false),
            ("ahead but nofailover", peer(2, 500, json!({"nofailover": true})), true),
            ("equal with higher priority", peer(2, 100, json!({"failover_priority": 2})), false),
            ("a live primary", primary, false),
        ] {
            let answers = Answers::from([("b".into(), answer)]);
            let verdict = healthiest(me, &answers, None, None);
            assert_eq!(matches!(verdict, Verdict::Take(_)), takes, "{what}: {verdict:?}");
        }
    }

    #[test]
    fn with_quorum_commit_votes_decide() {
        let me = Standing { position: Lsn(100), timeline: Some(Timeline(2)), priority: 1 };
        let key = |quorum: u32, standbys: &[&str]| SyncState {
            leader: Some("a".into()),
            quorum,
            standbys: standbys.iter().map(|n| MemberName::from(*n)).collect(),
            revision: None,
        };
        let (same, less, more) = (peer(2, 100, json!({})), peer(2, 90, json!({})), peer(2, 101, json!({})));
        let hidden = peer(2, 90, json!({"nofailover": true}));
        for (what, name, sync, answers, takes) in [
            ("a vote is enough", "b", key(1, &["b", "c"]), vec![("c", less.clone())], true),
            ("nobody votes", "b", key(1, &["b", "c"]), vec![("c", None)], false),
            ("no vote is needed", "b", key(0, &["b"]), vec![], true),
            ("strangers do not vote", "b", key(1, &["b", "c"]), vec![("d", less.clone())], false),
            ("an outsider needs one more", "d", key(1, &["b", "c"]), vec![("c", less.clone())], false),
            ("and can have it", "d", key(1, &["b", "c"]), vec![("b", same.clone()), ("c", less.clone())], true),
            ("a voter has more", "b", key(1, &["b", "c"]), vec![("c", more.clone())], false),
            ("the former leader has more", "b", key(1, &["b", "c"]), vec![("a", more), ("c", less.clone())], true),
            ("the former leader votes", "b", key(1, &["b", "c"]), vec![("a", same)], true),
            ("who may not lead votes", "b", key(1, &["b", "c"]), vec![("c", hidden)], true),
            ("who led last needs no votes", "a", key(1, &["b", "c"]), vec![("c", None)], true),
        ] {
            let answers: Answers = answers.into_iter().map(|(n, a)| (MemberName::from(n), a)).collect();
            let name = MemberName::from(name);
            let verdict = healthiest(me, &answers, None, Some(Electorate { me: &name, sync: &sync, quorum: true }));
            assert_eq!(matches!(verdict, Verdict::Take(_)), takes, "{what}: {verdict:?}");
        }
    }

    #[test]
    fn in_priority_mode_the_former_leader_may_have_more() {
        let me = Standing { position: Lsn(100), timeline: Some(Timeline(2)), priority: 1 };
        let sync = SyncState { leader: Some("a".into()), standbys: vec!["b".into()], ..SyncState::default() };
        let name = MemberName::from("b");
        for (peer_name, takes) in [("a", true), ("c", false)] {
            let answers = Answers::from([(peer_name.into(), peer(2, 101, json!({})))]);
            let verdict = healthiest(me, &answers, None, Some(Electorate { me: &name, sync: &sync, quorum: false }));
            assert_eq!(matches!(verdict, Verdict::Take(_)), takes, "{peer_name}: {verdict:?}");
        }
    }
}
