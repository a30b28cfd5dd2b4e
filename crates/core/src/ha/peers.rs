//! Rounds of questions to the other members. A round ends when everybody has answered or fallen silent; a
//! silent member delays it by at most `min(0.3 s, ttl/10)`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::flight::Purpose;
use super::machine::Ha;
use super::{Act, Lane, Outcome, PeerStatus, Yield};
use crate::{MemberName, Tick};

/// What a round is for: answers to one question are no answers to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RoundFor {
    Race,
    Switchover,
    /// May others take over from a primary that died or hangs?
    Takeover,
    /// Has a successor everything that the stopped primary has?
    Heir,
}

#[derive(Clone, Debug)]
pub(super) struct Round {
    pub purpose: RoundFor,
    pub began: Tick,
    pending: BTreeSet<MemberName>,
    answers: Answers,
    /// Those of the silent whose agent says that their server is coming up.
    starting: BTreeSet<MemberName>,
}

/// `None`: silent, or a member whose server does not answer it.
pub(super) type Answers = BTreeMap<MemberName, Option<PeerStatus>>;

/// The longest that a silent member may delay a round.
const SILENCE_MAX: Duration = Duration::from_millis(300);

impl Round {
    /// The positions of those who answered.
    pub fn positions(&self) -> Vec<crate::Lsn> {
        self.answers.values().flatten().map(|p| p.position).collect()
    }

    /// A member whose server is coming up, when one was asked.
    pub fn starting(&self) -> Option<&MemberName> {
        self.starting.first()
    }
}

impl Ha {
    /// The answers of `names` for `purpose`, when a round of at most `max_age` has ended (zero: any age, until
    /// the caller throws the round away). Begins one where there is none.
    pub(super) fn polled(
        &mut self,
        purpose: RoundFor,
        names: &BTreeSet<MemberName>,
        max_age: Duration,
    ) -> Option<Answers> {
        let now = self.now.boot;
        if let Some(round) = &self.round
            && round.purpose == purpose
        {
            if !round.pending.is_empty() {
                return None;
            }
            let fresh = max_age.is_zero() || now.since(round.began) <= max_age;
            let complete = names.iter().all(|n| round.answers.contains_key(n));
            if fresh && complete {
                return Some(round.answers.clone());
            }
        }
        self.ask_all(purpose, names);
        self.round.as_ref().filter(|r| r.pending.is_empty()).map(|r| r.answers.clone())
    }

    fn ask_all(&mut self, purpose: RoundFor, names: &BTreeSet<MemberName>) {
        let peers = self.peers();
        let patience = SILENCE_MAX.min(self.settings.ttl / 10);
        let mut round = Round {
            purpose,
            began: self.now.boot,
            pending: BTreeSet::new(),
            answers: BTreeMap::new(),
            starting: BTreeSet::new(),
        };
        for name in names {
            let url = peers.get(name).and_then(|m| m.data.api_url()).map(str::to_owned);
            let asked = url.and_then(|api_url| {
                let act = Act::Ask { member: name.clone(), api_url };
                self.issue(Lane::Peer(name.clone()), act, patience, Purpose::Ask(name.clone()))
            });
            match asked {
                Some(_) => _ = round.pending.insert(name.clone()),
                // Nowhere to ask, or still silent since the last question.
                None => _ = round.answers.insert(name.clone(), None),
            }
        }
        self.round = Some(round);
    }

    pub(super) fn asked(&mut self, name: MemberName, outcome: Outcome) {
        let Some(round) = &mut self.round else { return };
        if round.pending.remove(&name) {
            let answer = match outcome {
                Ok(Yield::Answered(document)) => {
                    if super::peer::is_starting(&document) {
                        round.starting.insert(name.clone());
                    }
                    PeerStatus::parse(&document)
                }
                Ok(_) | Err(_) => None,
            };
            round.answers.insert(name, answer);
        }
    }
}
