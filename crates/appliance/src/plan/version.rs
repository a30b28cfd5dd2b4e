//! Which PostgreSQL runs.

use crate::document::Document;
use crate::facts::Facts;
use crate::source::Source;
use crate::variables::{Environment, Problem, Sourced, Values};

use super::{Plan, user};

/// The newest major that the image has by default.
const NEWEST: &str = "18";

fn directory(version: &str) -> String {
    format!("/usr/lib/postgresql/{version}/bin")
}

/// `postgresql.bin_dir` of the user's mapping: the machine is asked for the version of what lies there.
pub fn configured_bin_dir(environment: &Environment) -> Option<String> {
    let (mapping, _) = user::mapping(&Values::read(environment))?;
    Some(mapping.get("postgresql")?.get("bin_dir")?.as_str()?.to_owned())
}

/// The effective major version; `bin_dir` is set to it. Data that is there wins over every wish.
pub(super) fn decide(
    values: &Values,
    facts: &Facts,
    config: &mut Document,
    plan: &mut Plan,
    problems: &mut Vec<Problem>,
) -> String {
    let path = ["postgresql", "bin_dir"];
    let configured = config.text(&path).filter(|dir| !dir.is_empty()).map(str::to_owned);
    let wanted = values.filled("PGVERSION");
    if let Some(data) = &facts.data_version {
        let of_data = facts.servers.get_key_value(&directory(data)).map(|(dir, _)| dir.clone());
        let fits = |dir: &String| facts.servers.get(dir) == Some(data);
        match of_data.or(configured.filter(fits)) {
            Some(dir) => config.put(&path, dir, Source::Machine("the version of the data directory")),
            None => problems.push(Problem::missing(
                "PGDATA",
                format!(
                    "the data is of PostgreSQL {data}, and there is no server of that version in {}: use an image that \
                     has it; the data was not touched",
                    directory(data)
                ),
            )),
        }
        if let Some(wanted) = wanted.filter(|wanted| wanted.value != *data) {
            plan.note(format!(
                "{}={} waits for an upgrade: the data is of PostgreSQL {data}, which goes on running",
                wanted.source, wanted.value
            ));
        }
        return data.clone();
    }
    let chosen = choose(configured, wanted, facts, plan);
    let version = facts.servers.get(&chosen.value).cloned();
    let of_name = || chosen.value.rsplit('/').nth(1).unwrap_or(NEWEST).to_owned();
    let version = version.unwrap_or_else(of_name);
    config.put_sourced(&path, chosen);
    version
}

/// For an empty data directory.
fn choose(
    configured: Option<String>,
    wanted: Option<Sourced<String>>,
    facts: &Facts,
    plan: &mut Plan,
) -> Sourced<String> {
    if let Some(dir) = configured {
        if !facts.servers.contains_key(&dir) {
            plan.warn(format!("postgresql.bin_dir {dir} has no PostgreSQL server whose version could be asked"));
        }
        return Sourced::new(dir, Source::Variable("SPILO_CONFIGURATION".into()));
    }
    let asked = wanted.unwrap_or_else(|| Sourced::new(NEWEST.to_owned(), Source::Default));
    let dir = directory(&asked.value);
    if facts.servers.contains_key(&dir) {
        return Sourced::new(dir, asked.source);
    }
    match &facts.server_of_path {
        Some(found) => {
            if asked.source != Source::Default {
                plan.warn(format!("{}={}: there is no server in {dir}; {found} is used", asked.source, asked.value));
            }
            Sourced::new(found.clone(), Source::Machine("the server in PATH"))
        }
        None => {
            plan.warn(format!("there is no PostgreSQL on this machine; the configuration is for a server in {dir}"));
            Sourced::new(dir, asked.source)
        }
    }
}
