//! Which members a command is meant for, and whether it is meant.

use std::collections::BTreeSet;

use jogi_core::view::{Cluster, Member};

use crate::failure::Failure;
use crate::listing;
use crate::prompt;
use crate::roles::{self, Role};
use crate::store::Herd;

/// What is to be done to whom.
pub struct Selection<'a> {
    pub names: &'a [String],
    pub role: Role,
    pub force: bool,
    /// The word in questions: `restart`.
    pub action: &'a str,
}

impl Selection<'_> {
    /// Shows the members and picks those meant; asks where nobody was named and the action is not for everybody.
    pub async fn members(&self, herd: &Herd, cluster: &Cluster) -> Result<Vec<Member>, Failure> {
        let candidates = roles::members(cluster, self.role);
        if self.names.is_empty() && candidates.is_empty() {
            return Err(Failure::said(format!("{} cluster doesn't have any members", herd.name)));
        }
        listing::show(herd, cluster)?;
        let wanted = self.wanted(&candidates).await?;
        if let Some(stranger) = wanted.iter().find(|name| !candidates.iter().any(|m| m.name.as_str() == **name)) {
            return Err(Failure::said(format!("{stranger} is not a member of cluster")));
        }
        Ok(candidates.into_iter().filter(|member| wanted.contains(member.name.as_str())).collect())
    }

    async fn wanted(&self, candidates: &[Member]) -> Result<BTreeSet<String>, Failure> {
        let all = || candidates.iter().map(|member| member.name.to_string());
        if !self.names.is_empty() {
            let known: BTreeSet<String> = all().filter(|name| self.names.contains(name)).collect();
            return match known.is_empty() {
                true => Err(Failure::said(format!("No {} among provided members", self.role_in_words()))),
                false => Ok(known),
            };
        }
        // Nothing is destroyed just because nobody was named.
        match (self.action, self.force) {
            ("reinitialize", true) => Ok(BTreeSet::new()),
            ("reinitialize", false) => {
                let choice = all().collect::<Vec<_>>().join(", ");
                let question = format!("Which member do you want to {} [{choice}]?", self.action);
                Ok(BTreeSet::from([prompt::ask(&question, Some("")).await?]))
            }
            (_, _) => Ok(all().collect()),
        }
    }

    /// Patronictl quotes the roles of `--role` and not the one that reinit implies.
    fn role_in_words(&self) -> String {
        match self.action {
            "reinitialize" => self.role.as_str().to_owned(),
            _ => format!("'{}'", self.role.as_str()),
        }
    }

    /// The last question before anything is done.
    pub async fn confirm(&self, members: &[Member]) -> Result<(), Failure> {
        let question = format!("Are you sure you want to {} members {}?", self.action, names(members));
        if self.force || prompt::confirm(&question).await? {
            return Ok(());
        }
        Err(Failure::said(format!("Aborted {}", self.action)))
    }
}

pub fn names(members: &[Member]) -> String {
    members.iter().map(|member| member.name.as_str()).collect::<Vec<_>>().join(", ")
}
