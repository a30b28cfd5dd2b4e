//! `version`.

use clap::Args;
use jogi_config::python;
use jogi_core::view::Member;
use serde_json::Value;

use crate::PATRONI_VERSION;
use crate::failure::Failure;
use crate::output::say;
use crate::roles::{self, Role};
use crate::session::Session;

#[derive(Debug, Args)]
pub struct Arguments {
    pub cluster_name: Option<String>,

    pub member_names: Vec<String>,

    /// Citus group
    #[arg(long)]
    pub group: Option<i64>,
}

pub async fn run(session: &Session, arguments: Arguments) -> Result<(), Failure> {
    say(format_args!("patronictl version {PATRONI_VERSION}"))?;
    let Some(name) = arguments.cluster_name else { return Ok(()) };
    say("")?;
    let cluster = session.herd_named(&name, arguments.group)?.load().await?;
    let wanted = |member: &Member| {
        let named =
            arguments.member_names.is_empty() || arguments.member_names.iter().any(|n| n == member.name.as_str());
        named && member.data.api_url().is_some()
    };
    for member in roles::members(&cluster, Role::Any).iter().filter(|member| wanted(member)) {
        match session.rest.status(member).await {
            Ok(reply) => say(line(member, &reply.json()))?,
            Err(error) => say(format_args!("{}: failed to get version: {error}", member.name))?,
        }
    }
    Ok(())
}

fn line(member: &Member, status: &Value) -> String {
    if !status.is_object() {
        return format!("{}: failed to get version: the answer is no status document", member.name);
    }
    let version = status.get("patroni").and_then(|patroni| patroni.get("version")).unwrap_or(&Value::Null);
    let server = status.get("server_version").and_then(Value::as_u64).filter(|version| *version > 0);
    let server = server.map(|version| format!(" PostgreSQL {}", server_version(version))).unwrap_or_default();
    format!("{}: Patroni {}{server}", member.name, python::str(version))
}

/// `150010` → `15.10`, `90624` → `9.6.24`.
fn server_version(version: u64) -> String {
    match version < 100_000 {
        true => format!("{}.{}.{}", version / 10_000, version / 100 % 100, version % 100),
        false => format!("{}.{}", version / 10_000, version % 100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_printed_as_people_know_them() {
        for (version, text) in [(90624, "9.6.24"), (100000, "10.0"), (140008, "14.8"), (150010, "15.10")] {
            assert_eq!(server_version(version), text);
        }
    }
}
