//! Priority mode: every commit waits for all synchronous standbys, and each of them may succeed.
//!
//! Invariant: whoever stands in the `sync` key is waited for by every commit of this primary, and has all earlier ones.
//! So the key is narrowed before the names are, and widened after they are in force and the standby has caught up.
//! When a synchronous standby is replaced by another while both live, both are waited for until the new one has caught
//! up, and one write of the key names the one instead of the other: there is a successor at every moment
//! (fault-scenarios F7).

use super::{Change, Kind, Names, Plan, StandbyNames};
use crate::MemberName;

/// How things stand on the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub me: MemberName,
    /// The key.
    pub leader: Option<MemberName>,
    pub quorum: u32,
    pub voters: Names,
    /// What the running server shows.
    pub names: StandbyNames,
    /// It is certain that every commit since a known moment waits by these names.
    pub in_force: bool,
    /// Those of the names that have everything written before that moment.
    pub confirmed: Names,
    /// Who should be synchronous.
    pub active: Names,
    /// Who streams and may be synchronous.
    pub present: Names,
    /// Who does not want to be.
    pub unwilling: Names,
    pub strict: bool,
}

/// The next change.
pub fn next(s: &Standing) -> Plan {
    let key = |standbys: Names| Plan::Change(Change::Key { leader: s.me.clone(), quorum: 0, standbys });
    if s.leader.as_ref() != Some(&s.me) || s.quorum > 0 {
        return key(Names::new());
    }
    // Somebody else has changed the names.
    let covered = &s.voters & &s.names.indispensable();
    if covered != s.voters {
        return key(covered);
    }
    let held = s.strict && s.active.is_empty();
    let staying: Names = match held {
        // Nothing is acknowledged without them: they stay legal successors while commits wait for their return.
        true => &s.voters - &s.unwilling,
        false => &s.voters & &s.present,
    };
    if staying != s.voters {
        return key(staying);
    }
    let caught_up = s.active.iter().all(|name| s.voters.contains(name) || s.confirmed.contains(name));
    let surplus = &s.voters - &s.active;
    let replaced = !surplus.is_empty() && !held && (s.in_force || s.active.is_empty()) && caught_up;
    if replaced && s.names.indispensable().is_superset(&s.active) {
        return key(s.active.clone());
    }
    let target = match (&s.active | &s.voters, s.strict) {
        (nobody, true) if nobody.is_empty() => StandbyNames::held(Kind::Priority),
        (names, _) => StandbyNames::all(names),
    };
    if s.names != target || !s.in_force {
        return Plan::Change(Change::Names(target));
    }
    let grown = &s.voters | &(&s.active & &s.confirmed);
    if grown != s.voters {
        return key(grown);
    }
    if held || !s.active.is_subset(&s.voters) { Plan::Wait } else { Plan::Rest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::names::PLACEHOLDER;

    fn set(text: &str) -> Names {
        text.split_whitespace().map(MemberName::from).collect()
    }

    fn key(standbys: &str) -> Plan {
        Plan::Change(Change::Key { leader: "a".into(), quorum: 0, standbys: set(standbys) })
    }

    fn names(text: &str) -> Plan {
        Plan::Change(Change::Names(StandbyNames::parse(text).expect("a value")))
    }

    /// The leader a at rest with `voters`.
    fn at_rest(voters: &str) -> Standing {
        Standing {
            me: "a".into(),
            leader: Some("a".into()),
            quorum: 0,
            voters: set(voters),
            names: StandbyNames::all(set(voters)),
            in_force: true,
            confirmed: set(voters),
            active: set(voters),
            present: set(voters),
            unwilling: Names::new(),
            strict: false,
        }
    }

    #[test]
    fn the_table() {
        let b = at_rest("b");
        let none = Standing { active: set("b"), present: set("b"), ..at_rest("") };
        let gone = Standing { active: set(""), present: set(""), ..b.clone() };
        let swap = Standing { active: set("c"), present: set("b c"), ..b.clone() };
        let both = StandbyNames::all(set("b c"));
        for (what, standing, plan) in [
            ("at rest", b.clone(), Plan::Rest),
            ("the mode is new", Standing { leader: None, ..at_rest("") }, key("")),
            ("another led before", Standing { leader: Some("z".into()), ..b.clone() }, key("")),
            ("it was a quorum before", Standing { quorum: 1, ..b.clone() }, key("")),
            ("a first standby: the names first", none.clone(), names("b")),
            ("then it has to catch up", Standing { names: StandbyNames::all(set("b")), ..none.clone() }, Plan::Wait),
            (
                "then the key",
                Standing { names: StandbyNames::all(set("b")), confirmed: set("b"), ..none.clone() },
                key("b"),
            ),
            (
                "not before it is certain that commits wait",
                Standing { names: StandbyNames::all(set("b")), confirmed: set("b"), in_force: false, ..none },
                names("b"),
            ),
            ("a standby is gone: the key first", gone.clone(), key("")),
            ("then the names", Standing { voters: set(""), ..gone.clone() }, names("")),
            ("strict: commits wait for its return", Standing { strict: true, ..gone.clone() }, Plan::Wait),
            (
                "strict: it does not want to be waited for",
                Standing { strict: true, unwilling: set("b"), ..gone.clone() },
                key(""),
            ),
            ("strict: then for whoever comes", Standing { strict: true, voters: set(""), ..gone }, names(PLACEHOLDER)),
            ("another is better: both are waited for", swap.clone(), names("2 (b,c)")),
            (
                "and neither named before the other has caught up",
                Standing { names: both.clone(), ..swap.clone() },
                Plan::Wait,
            ),
            (
                "one write replaces the one by the other",
                Standing { names: both.clone(), confirmed: set("b c"), ..swap.clone() },
                key("c"),
            ),
            (
                "then the names are narrowed",
                Standing { names: both, confirmed: set("b c"), voters: set("c"), ..swap },
                names("c"),
            ),
            ("one of two goes", Standing { active: set("b"), present: set("b"), ..at_rest("b c") }, key("b")),
            ("one alone lags too far", Standing { active: set(""), ..b.clone() }, key("")),
            ("fewer are asked for: the key first", Standing { active: set("b"), ..at_rest("b c") }, key("b")),
            ("the names were changed behind our back", Standing { names: StandbyNames::off(), ..b.clone() }, key("")),
            (
                "any one of two is not both",
                Standing { names: StandbyNames::any(1, set("b c")), ..at_rest("b c") },
                key(""),
            ),
            (
                "after a start of ours nothing is certain",
                Standing { in_force: false, confirmed: set(""), ..b },
                names("b"),
            ),
        ] {
            assert_eq!(next(&standing), plan, "{what}");
        }
    }
}
