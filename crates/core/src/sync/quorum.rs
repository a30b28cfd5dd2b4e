//! Quorum commit: a commit waits for any N of the standbys S, and a new leader needs the word of Q members beside
//! its own, of the voters V and the leader L. Patroni's resolver, step by step, behind a check of our own.
//!
//! Invariant: every set of members that can elect a leader has a member in common with every set that has
//! acknowledged a commit. Those that elect are any Q + 1 of V ∪ {L}; those that acknowledge are this primary and any N
//! of S. For commits to come that is `|V ∪ {L} ∪ S ∪ {me}| ≤ Q + N + 1`. For commits of before the present names were
//! in force it is a matter of who is known to have them: a change of the key must not admit an electing set that has
//! neither a member known to have them nor one of the electing sets of before inside it. Patroni's resolver has the
//! first half in it, and trusts for the second that a standby that once caught up has caught up; [`next`] checks both
//! for each step, and asks for more votes, or waits, where a step would break one.
//!
//! Only one step is taken at a time. The next one is found anew from what then stands, so that a step that was
//! interrupted, refused or overtaken needs no memory.

use super::{Change, Names, Plan, StandbyNames};
use crate::MemberName;

/// How things stand on the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// L: who last maintained the key.
    pub leader: MemberName,
    /// Q.
    pub quorum: u32,
    /// V.
    pub voters: Names,
    /// N.
    pub number: u32,
    /// S; empty when the names are `*` or the placeholder.
    pub sync: Names,
    /// C: how many of S are known to have everything from before the names were in force.
    pub confirmed: u32,
    /// A: who streams and should be waited for.
    pub active: Names,
    /// W: `synchronous_node_count`.
    pub wanted: u32,
    pub me: MemberName,
}

/// One step of the resolver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transition {
    /// Write the key.
    Quorum { leader: MemberName, quorum: u32, voters: Names },
    /// Put `ANY number (names)` in force.
    Sync { number: u32, names: Names },
    /// Nothing more can be said before standbys have caught up.
    Restart,
}

/// The state is not one that the resolver's own steps lead to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error(
        "electing and acknowledging sets may miss each other: {nodes} members, quorum {quorum}, {number} to confirm"
    )]
    NoOverlap { nodes: usize, quorum: u32, number: u32 },
    #[error("voters and synchronous standbys are different sets: only voters {voters:?}, only standbys {sync:?}")]
    Mismatch { voters: Names, sync: Names },
    #[error("a quorum of {quorum} of {of} members cannot be")]
    Quorum { quorum: i64, of: usize },
    #[error("{number} of {of} members cannot confirm")]
    Number { number: i64, of: usize },
}

/// The resolver's steps from this state, of which consecutive ones of a kind are one (nobody sees what is between).
/// With the reason why there are no more, when the resolver does not know how to go on: what it said so far is good.
pub fn resolve(state: &State) -> (Vec<Transition>, Option<Violation>) {
    let mut resolver = Resolver { s: state.clone(), steps: Vec::new() };
    resolver.s.number = state.number.min(len(&state.sync));
    let violation = resolver.run().err();
    (merged(resolver.steps), violation)
}

fn merged(steps: Vec<Transition>) -> Vec<Transition> {
    let mut merged: Vec<Transition> = Vec::new();
    for step in steps {
        match (merged.last_mut(), &step) {
            (Some(Transition::Restart), _) => break,
            (Some(last @ Transition::Quorum { .. }), Transition::Quorum { .. })
            | (Some(last @ Transition::Sync { .. }), Transition::Sync { .. }) => *last = step,
            (_, _) => merged.push(step),
        }
    }
    merged
}

/// The next change. `holders`: those of the standbys that are known to have everything from before the names in force
/// were (their number is C).
pub fn next(state: &State, holders: &Names) -> Plan {
    let (steps, violation) = resolve(state);
    let first = match (steps.into_iter().next(), violation) {
        (Some(first), _) => first,
        (None, None) => return Plan::Rest,
        (None, Some(_)) => return alone(state),
    };
    match first {
        Transition::Restart => Plan::Wait,
        Transition::Sync { number, names } if admits(state, number, &names) => {
            Plan::Change(Change::Names(StandbyNames::any(number, names)))
        }
        Transition::Sync { .. } => alone(state),
        Transition::Quorum { leader, quorum, voters } => {
            let changes = |q: &u32| (*q, &voters, &leader) != (state.quorum, &state.voters, &state.leader);
            match enough_votes(state, holders, quorum, &voters, &leader).filter(changes) {
                Some(quorum) => Plan::Change(Change::Key { leader, quorum, standbys: voters }),
                None => until_known(state, holders),
            }
        }
    }
}

/// A step that has to wait until more is known of who has what.
fn until_known(state: &State, holders: &Names) -> Plan {
    let streaming = &state.sync & &state.active;
    if !streaming.is_subset(holders) {
        return Plan::Wait;
    }
    // A voter that streams and is not waited for yet can come to have everything.
    let (number, more) = (state.number.max(1), &state.sync | &(&state.voters & &state.active));
    if more != state.sync && admits(state, number, &more) {
        return Plan::Change(Change::Names(StandbyNames::any(number, more)));
    }
    alone(state)
}

/// Whatever else stands there: with nobody but ourselves to elect, nothing can be missed.
fn alone(state: &State) -> Plan {
    if state.voters.is_empty() && state.quorum == 0 && state.leader == state.me {
        return Plan::Wait;
    }
    Plan::Change(Change::Key { leader: state.me.clone(), quorum: 0, standbys: Names::new() })
}

/// Whether commits to come are safe when the key stays and the names become these.
fn admits(state: &State, number: u32, names: &Names) -> bool {
    if state.voters.is_empty() && state.leader == state.me {
        return true;
    }
    let mut everybody = &state.voters | names;
    everybody.extend([state.leader.clone(), state.me.clone()]);
    len(&everybody) <= state.quorum + number + 1
}

/// The smallest number of votes, at least `quorum`, with which nobody is elected that misses an acknowledged commit.
/// `None`: not even all voters together are known to have everything.
fn enough_votes(state: &State, holders: &Names, quorum: u32, voters: &Names, leader: &MemberName) -> Option<u32> {
    if voters.is_empty() && *leader == state.me {
        return Some(0);
    }
    let before: Names = state.voters.iter().chain([&state.leader]).cloned().collect();
    // Every electing set without us has one of the former electing sets in it.
    let new_faces = len(&(voters - &before));
    let as_before = state.quorum + new_faces;
    // Or every electing set without us has a member that has everything.
    let lacking = len(&(voters - holders));
    let for_old_commits = lacking.min(as_before);
    // And for those to come: electing and acknowledging sets meet.
    let mut everybody = voters | &state.sync;
    everybody.extend([leader.clone(), state.me.clone()]);
    let for_new_commits = len(&everybody).saturating_sub(state.number.min(len(&state.sync)) + 1);
    let enough = quorum.max(for_old_commits).max(for_new_commits);
    (enough < len(voters).max(1)).then_some(enough)
}

fn len(names: &Names) -> u32 {
    u32::try_from(names.len()).unwrap_or(u32::MAX)
}

/// The names under which a new leader is promoted: with the key as it stands, enough of the others confirm
/// (ha-rules 11.4). `None`: the key names nobody.
pub fn before_promotion(
    me: &MemberName,
    leader: Option<&MemberName>,
    quorum: u32,
    voters: &Names,
) -> Option<StandbyNames> {
    let mut everybody = voters.clone();
    everybody.insert(leader?.clone());
    let mut number = len(&everybody).saturating_sub(quorum + 1);
    if !everybody.remove(me) {
        number += 1;
    }
    Some(StandbyNames::any(number.min(len(&everybody)), everybody))
}

/// Patroni's `QuorumStateResolver`, with its names.
struct Resolver {
    s: State,
    steps: Vec<Transition>,
}

impl Resolver {
    fn run(&mut self) -> Result<(), Violation> {
        match self.take_over() {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(_) => {
                let (quorum, voters) = (i64::from(len(&self.s.sync)) - i64::from(self.s.number), self.s.sync.clone());
                self.s.leader = self.s.me.clone();
                self.quorum_update(quorum, voters, None, true)?;
            }
        }
        let streaming = len(&(&self.s.sync & &self.s.active));
        if self.s.confirmed == 0 && streaming > 0 {
            self.s.confirmed = streaming.min(len(&self.s.voters).saturating_sub(self.s.quorum));
        }
        self.unsteady()?;
        self.remove_gone()?;
        self.add_new()?;
        self.change_factor()
    }

    /// After a failover the old leader becomes a voter. `true`: standbys have yet to connect.
    fn take_over(&mut self) -> Result<bool, Violation> {
        if self.s.me == self.s.leader {
            return self.check().map(|()| false);
        }
        let mut voters = self.s.voters.clone();
        voters.remove(&self.s.me);
        voters.insert(self.s.leader.clone());
        if self.s.sync.is_empty() {
            let number = i64::from(len(&voters)) - i64::from(self.s.quorum);
            self.sync_update(number, voters.clone())?;
        }
        let me = self.s.me.clone();
        self.quorum_update(i64::from(self.s.quorum), voters, Some(me), true)?;
        Ok((&self.s.sync & &self.s.active).is_empty())
    }

    /// A step of an earlier run was its last.
    fn unsteady(&mut self) -> Result<(), Violation> {
        let (sync, voters, active) = (self.s.sync.clone(), self.s.voters.clone(), self.s.active.clone());
        if sync != voters && sync.is_subset(&voters) {
            let gone = &voters - &(&sync | &active);
            if !gone.is_empty() {
                let quorum = i64::from(len(&voters)) - i64::from(len(&gone)) - i64::from(self.s.number);
                self.quorum_update(quorum, &voters - &gone, None, sync.is_subset(&active))?;
            }
            let add = &(&self.s.voters & &active) - &self.s.sync;
            if !add.is_empty() {
                self.sync_update(i64::from(self.s.number), &self.s.sync | &add)?;
            }
        } else if sync != voters && voters.is_subset(&sync) {
            self.unsteady_names(&sync, &active)?;
        }
        if self.s.voters != self.s.sync {
            let voters = &self.s.voters - &self.s.sync;
            return Err(Violation::Mismatch { voters, sync: &self.s.sync - &self.s.voters });
        }
        self.margin()
    }

    fn unsteady_names(&mut self, sync: &Names, active: &Names) -> Result<(), Violation> {
        let gone = sync - active;
        let left = sync - &gone;
        let common = self.s.voters.is_empty() || !(&left & &self.s.voters).is_empty();
        if !gone.is_empty() && !left.is_empty() && common {
            let number = self.s.number.min(len(&left));
            self.sync_update(i64::from(number), left)?;
        }
        let add = &(&self.s.sync - &self.s.voters) & active;
        if !add.is_empty() {
            let voters = &self.s.voters | &add;
            self.quorum_update(i64::from(len(&voters)) - i64::from(self.s.number), voters, None, true)?;
        }
        let dead = &self.s.sync - &self.s.voters;
        if !dead.is_empty() {
            let left = &self.s.sync - &dead;
            let number = self.s.number.min(len(&left));
            self.sync_update(i64::from(number), left)?;
        }
        Ok(())
    }

    /// In the middle of a change of the replication factor.
    fn margin(&mut self) -> Result<(), Violation> {
        let (quorum, number, voters) = (self.s.quorum, self.s.number, len(&self.s.voters));
        let least = i64::from(len(&self.s.sync)) - i64::from(number);
        if quorum + number.min(self.s.confirmed) > voters {
            if number > self.s.wanted {
                let number = i64::from(self.s.wanted).max(i64::from(voters) - i64::from(quorum));
                return self.sync_update(number, self.s.sync.clone());
            }
            return self.quorum_update(least, self.s.voters.clone(), None, true);
        }
        if number == self.s.wanted && quorum + number > voters && number > self.s.confirmed {
            return self.quorum_update(least, self.s.voters.clone(), None, true);
        }
        Ok(())
    }

    fn remove_gone(&mut self) -> Result<(), Violation> {
        let mut gone = &self.s.sync - &self.s.active;
        if gone.is_empty() {
            return Ok(());
        }
        if gone == self.s.sync {
            self.quorum_update(0, Names::new(), None, false)?;
            return self.sync_update(0, Names::new());
        }
        if self.s.quorum > 0 {
            let last: Names = gone.iter().rev().take(self.s.quorum as usize).cloned().collect();
            let sync = &self.s.sync - &last;
            let number = self.s.wanted.max(self.s.number).min(len(&sync));
            self.sync_update(i64::from(number), sync)?;
            let voters = &self.s.voters - &last;
            gone = &gone & &self.s.sync;
            let quorum = i64::from(len(&voters)) - i64::from(self.s.number);
            self.quorum_update(quorum, voters, None, gone.is_empty())?;
        }
        if !gone.is_empty() {
            let number = i64::from(self.s.number) - i64::from(len(&gone));
            let (sync, voters) = (&self.s.sync - &gone, &self.s.voters - &gone);
            let decrease = number - i64::from(self.s.wanted.min(len(&sync)));
            let quorum = if decrease == 0 { 0 } else { decrease.min(i64::from(len(&voters)) - 1) };
            self.quorum_update(quorum, voters, None, false)?;
            self.sync_update(number, sync)?;
        }
        Ok(())
    }

    fn add_new(&mut self) -> Result<(), Violation> {
        let mut new = &self.s.active - &self.s.sync;
        if new.is_empty() {
            return Ok(());
        }
        let wanted = self.s.wanted.min(len(&(&self.s.sync | &new)));
        if let Some(increase) = wanted.checked_sub(self.s.number).filter(|i| *i > 0) {
            // With nobody there yet it is safe to add all at once.
            let add: Names = match self.s.sync.is_empty() {
                true => new.clone(),
                false => new.iter().take(increase as usize).cloned().collect(),
            };
            let increase = if self.s.sync.is_empty() { increase } else { len(&add) };
            self.sync_update(i64::from(self.s.number + increase), &self.s.sync | &add)?;
            let voters = &self.s.voters | &add;
            self.quorum_update(i64::from(len(&voters)) - i64::from(wanted), voters, None, true)?;
            new = &new - &self.s.sync;
        }
        if !new.is_empty() {
            let voters = &self.s.voters | &new;
            let quorum = i64::from(len(&voters)) - i64::from(wanted);
            self.quorum_update(quorum, voters, None, wanted > self.s.confirmed)?;
            self.sync_update(i64::from(wanted), &self.s.sync | &new)?;
        }
        Ok(())
    }

    fn change_factor(&mut self) -> Result<(), Violation> {
        let change = i64::from(self.s.wanted.min(len(&self.s.sync))) - i64::from(self.s.number);
        let number = i64::from(self.s.number) + change;
        if change > 0 {
            self.sync_update(number, self.s.sync.clone())?;
            let quorum = i64::from(len(&self.s.voters)) - i64::from(self.s.number);
            return self.quorum_update(quorum, self.s.voters.clone(), None, true);
        }
        if change < 0 {
            if i64::from(self.s.quorum) - change < i64::from(len(&self.s.voters)) {
                let quorum = i64::from(len(&self.s.voters)) - number;
                let adjust = self.s.wanted > self.s.confirmed;
                self.quorum_update(quorum, self.s.voters.clone(), None, adjust)?;
            }
            self.sync_update(number, self.s.sync.clone())?;
        }
        Ok(())
    }

    fn quorum_update(
        &mut self,
        quorum: i64,
        voters: Names,
        leader: Option<MemberName>,
        adjust: bool,
    ) -> Result<(), Violation> {
        let wrong = Violation::Quorum { quorum, of: voters.len() };
        let Ok(mut quorum) = u32::try_from(quorum) else { return Err(wrong) };
        if quorum > 0 && quorum >= len(&voters) {
            return Err(wrong);
        }
        let mut voters = voters;
        let old_leader = self.s.leader.clone();
        if let Some(leader) = leader {
            self.s.leader = leader;
        } else if self.s.confirmed == 0 && self.s.voters.is_empty() {
            quorum = 0;
            voters = Names::new();
        } else if adjust {
            quorum += self.s.number.saturating_sub(self.s.confirmed);
        }
        if (&self.s.leader, quorum, &voters) == (&old_leader, self.s.quorum, &self.s.voters) {
            if !self.s.voters.is_empty() {
                return Ok(());
            }
            self.steps.push(Transition::Restart);
        }
        self.s.quorum = quorum;
        self.s.voters = voters.clone();
        self.check()?;
        self.steps.push(Transition::Quorum { leader: self.s.leader.clone(), quorum, voters });
        Ok(())
    }

    fn sync_update(&mut self, number: i64, names: Names) -> Result<(), Violation> {
        let wrong = Violation::Number { number, of: names.len() };
        let number = u32::try_from(number).ok().filter(|n| *n <= len(&names)).ok_or(wrong)?;
        self.s.number = number;
        self.s.sync = names.clone();
        self.check()?;
        self.steps.push(Transition::Sync { number, names });
        Ok(())
    }

    fn check(&self) -> Result<(), Violation> {
        let mut voters = self.s.voters.clone();
        voters.insert(self.s.leader.clone());
        let mut sync = self.s.sync.clone();
        sync.insert(self.s.me.clone());
        let nodes = (&voters | &sync).len();
        let (quorum, number) = (self.s.quorum, self.s.number);
        if !self.s.voters.is_empty() && nodes > quorum as usize + number as usize + 1 {
            return Err(Violation::NoOverlap { nodes, quorum, number });
        }
        if !voters.is_subset(&sync) && !sync.is_subset(&voters) {
            return Err(Violation::Mismatch { voters: &voters - &sync, sync: &sync - &voters });
        }
        Ok(())
    }
}

/// What a value of another kind reads as here: names of which all have to confirm are a quorum of all.
pub fn as_quorum(names: &StandbyNames) -> (u32, Names) {
    match names.names_members() {
        true => (names.number, names.names.clone()),
        false => (0, Names::new()),
    }
}

#[cfg(test)]
mod tests;
