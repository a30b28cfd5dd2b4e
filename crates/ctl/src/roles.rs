//! Members by role, as `--role` names them.

use clap::ValueEnum;
use jogi_core::view::{Cluster, Member, MemberData};

use crate::failure::Failure;

/// `-r`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    Leader,
    /// The leader, unless it is a standby cluster's.
    Primary,
    /// The leader, unless it is a primary.
    StandbyLeader,
    Replica,
    Standby,
    Any,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Leader => "leader",
            Role::Primary => "primary",
            Role::StandbyLeader => "standby-leader",
            Role::Replica => "replica",
            Role::Standby => "standby",
            Role::Any => "any",
        }
    }
}

/// The holder of the lock; without a key of its own it is a name and nothing more.
pub fn leader(cluster: &Cluster) -> Option<Member> {
    let leader = cluster.leader.as_ref()?;
    let stub = || Member {
        name: leader.name.clone(),
        data: MemberData::default(),
        revision: leader.revision.clone(),
        session: None,
    };
    Some(cluster.leader_member().cloned().unwrap_or_else(stub))
}

/// All members with the role, in the order of their names.
pub fn members(cluster: &Cluster, role: Role) -> Vec<Member> {
    let leader = leader(cluster);
    let published = leader.as_ref().map_or("", |leader| leader.data.role());
    match role {
        Role::Leader => leader.into_iter().collect(),
        Role::Primary if published == "standby_leader" => Vec::new(),
        Role::Primary => leader.into_iter().collect(),
        Role::StandbyLeader if published == "primary" => Vec::new(),
        Role::StandbyLeader => leader.into_iter().collect(),
        Role::Replica | Role::Standby => {
            cluster.members.values().filter(|member| !cluster.is_leader(&member.name)).cloned().collect()
        }
        Role::Any => cluster.members.values().cloned().collect(),
    }
}

/// One member, by role (the leader when nothing is said) or by name.
pub fn one(cluster: &Cluster, role: Option<Role>, name: Option<&str>) -> Result<Option<Member>, Failure> {
    match (role, name) {
        (Some(_), Some(_)) => Err(Failure::said("--role and --member are mutually exclusive options")),
        (None, Some(name)) => Ok(members(cluster, Role::Any).into_iter().find(|member| member.name.as_str() == name)),
        (role, None) => Ok(members(cluster, role.unwrap_or(Role::Leader)).into_iter().next()),
    }
}

/// All members that can be asked, the leader first.
pub fn leader_first(cluster: &Cluster) -> Vec<Member> {
    let leader = leader(cluster).filter(|leader| leader.data.api_url().is_some());
    let others = members(cluster, Role::Replica).into_iter().filter(|member| member.data.api_url().is_some());
    leader.into_iter().chain(others).collect()
}

#[cfg(test)]
mod tests {
    use jogi_core::view::{KeyValue, Revision};

    use super::*;

    fn cluster(leader_role: &str) -> Cluster {
        let kv = |path: &str, value: String| KeyValue {
            path: path.into(),
            value,
            revision: Revision::default(),
            created: Revision::default(),
            session: None,
        };
        Cluster::from_keys([
            kv("leader", "b".into()),
            kv("members/a", r#"{"api_url":"http://a"}"#.into()),
            kv("members/b", format!(r#"{{"api_url":"http://b","role":"{leader_role}"}}"#)),
            kv("members/c", "{}".into()),
        ])
    }

    fn names(members: &[Member]) -> Vec<&str> {
        members.iter().map(|member| member.name.as_str()).collect()
    }

    #[test]
    fn roles_are_patronictls() {
        for (published, role, expected) in [
            ("primary", Role::Leader, &["b"][..]),
            ("master", Role::Primary, &["b"]),
            ("standby_leader", Role::Primary, &[]),
            ("replica", Role::Primary, &["b"]),
            ("replica", Role::StandbyLeader, &["b"]),
            ("primary", Role::StandbyLeader, &[]),
            ("primary", Role::Replica, &["a", "c"]),
            ("primary", Role::Standby, &["a", "c"]),
            ("primary", Role::Any, &["a", "b", "c"]),
        ] {
            assert_eq!(names(&members(&cluster(published), role)), expected, "{published} {role:?}");
        }
    }

    #[test]
    fn one_member_is_the_leader_unless_asked_otherwise() {
        let cluster = cluster("primary");
        let name = |role, member| one(&cluster, role, member).expect("allowed").map(|m| m.name.to_string());
        assert_eq!(name(None, None).as_deref(), Some("b"));
        assert_eq!(name(Some(Role::Replica), None).as_deref(), Some("a"));
        assert_eq!(name(None, Some("c")).as_deref(), Some("c"));
        assert_eq!(name(None, Some("x")), None);
        assert!(one(&cluster, Some(Role::Any), Some("a")).is_err());
        assert_eq!(names(&leader_first(&cluster)), ["b", "a"]);
    }

    #[test]
    fn a_leader_without_a_key_is_a_name() {
        let mut cluster = cluster("primary");
        cluster.members.remove("b");
        assert_eq!(leader(&cluster).map(|leader| leader.name.to_string()).as_deref(), Some("b"));
        assert_eq!(names(&leader_first(&cluster)), ["a"]);
    }
}
