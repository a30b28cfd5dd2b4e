//! What people should know about their environment, whatever comes of it.

use std::collections::BTreeMap;

use super::{Notice, Plan};
use crate::variables::{self, Kind, Served, Values, find, is_false};

pub(super) fn of_the_environment(values: &Values, plan: &mut Plan) {
    for warning in variables::unknown(values) {
        plan.warn(warning);
    }
    false_texts(values, plan);
    older_names(values, plan);
    admin(values, plan);
    not_served(values, plan);
    // A new cluster needs the first, every change of role the second.
    plan.notices.push(Notice::NotServed {
        what: "the programs below /scripts that the configuration calls (post_init.sh, on_role_change.sh, basebackup.sh)",
        variables: Vec::new(),
    });
}

/// Spilo takes these texts for true; who changes over should hear of it.
fn false_texts(values: &Values, plan: &mut Plan) {
    for (name, written) in values.names() {
        let is_flag = find(name).is_some_and(|row| row.kind == Kind::Flag);
        let Some(text) = values.get(name).filter(|text| is_flag && is_false(text)) else { continue };
        plan.note(format!("{written}={text} means false here (to Spilo any text that is not empty is true)"));
    }
}

fn older_names(values: &Values, plan: &mut Plan) {
    let older = |(name, written): (&str, &str)| (name != written).then(|| format!("{written} as {name}"));
    let read: Vec<String> = values.names().filter_map(older).collect();
    if !read.is_empty() {
        plan.note(format!("older names are read under today's: {}", read.join(", ")));
    }
}

/// Patroni 4 ignores `bootstrap.users`, so it is not written.
fn admin(values: &Values, plan: &mut Plan) {
    if values.flag("USE_ADMIN", values.has("PGPASSWORD_ADMIN")).value {
        plan.warn(
            "the login of PGUSER_ADMIN is not created: Patroni 4 ignores bootstrap.users, where Spilo asks for it; \
             create it by hand, under another name than admin, which stays a role without login",
        );
    }
}

/// One notice for each capability that something in the environment asks for.
fn not_served(values: &Values, plan: &mut Plan) {
    let mut asked: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    for (name, written) in values.names() {
        let filled = values.get(name).is_some_and(|text| !text.is_empty());
        let Some(Served::NotYet(what)) = find(name).map(|row| row.served).filter(|_| filled) else { continue };
        // A prefix moves a variable of the archive to what the prefix is about.
        let what = match name {
            name if name.starts_with("CLONE_") => "creating a cluster from a clone",
            name if name.starts_with("STANDBY_") => "standby clusters from an archive",
            _ => what,
        };
        asked.entry(what).or_default().push(written.to_owned());
    }
    plan.notices.extend(asked.into_iter().map(|(what, variables)| Notice::NotServed { what, variables }));
}
