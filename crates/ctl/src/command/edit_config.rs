//! `edit-config`: the dynamic configuration, changed in the store under compare-and-swap.

use std::io::{Read, Write};
use std::process::Command;

use clap::Args;
use jogi_config::{dynamic, yaml};
use jogi_core::view::compact;
use serde_json::{Map, Value};

use super::diff;
use crate::cli::ClusterArgument;
use crate::failure::Failure;
use crate::output::say;
use crate::prompt;
use crate::session::Session;
use crate::store::Herd;

const STDIN: &str = "-";

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    pub cluster: ClusterArgument,

    /// Do not show changes
    #[arg(short, long)]
    pub quiet: bool,

    /// Set a value: PATH=VALUE, dots in the path, the value is YAML, null deletes. Can be given several times
    #[arg(short, long, value_name = "PATH=VALUE")]
    pub set: Vec<String>,

    /// Set a parameter of PostgreSQL; short for -s postgresql.parameters. Can be given several times
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub pg: Vec<String>,

    /// Merge in this file; - is stdin
    #[arg(long, value_name = "FILE")]
    pub apply: Option<String>,

    /// Put this file in place of the configuration; - is stdin
    #[arg(long, value_name = "FILE")]
    pub replace: Option<String>,

    /// Do not ask for confirmation at any point
    #[arg(long)]
    pub force: bool,
}

pub async fn run(session: &Session, arguments: Arguments) -> Result<(), Failure> {
    let herd = session.herd_of_group(&arguments.cluster)?;
    let cluster = herd.load().await?;
    let Some(read) = &cluster.config else {
        return Err(Failure::said(format!("The config key does not exist in the cluster {}", herd.name)));
    };
    let before = yaml::dump(&read.value);
    let (after, changed) = match arguments.changed(&read.value)? {
        Some(changed) => (yaml::dump(&changed), changed),
        None => edit(&herd, &before)?,
    };
    if changed == *read.value {
        return if arguments.quiet { Ok(()) } else { say("Not changed") };
    }
    if !arguments.quiet {
        diff::show(&before, &after)?;
    }
    if arguments.reads_stdin() && !arguments.force {
        return say("Use --force option to apply changes");
    }
    if !arguments.force && !prompt::confirm("Apply these changes?").await? {
        return Ok(());
    }
    match herd.write_config(compact(&changed), &read.revision).await? {
        true => say("Configuration changed"),
        false => Err(Failure::said("Config modification aborted due to concurrent changes")),
    }
}

impl Arguments {
    fn reads_stdin(&self) -> bool {
        [&self.apply, &self.replace].into_iter().any(|file| file.as_deref() == Some(STDIN))
    }

    /// The configuration as the options change it, in their order; `None` without any.
    fn changed(&self, config: &Value) -> Result<Option<Value>, Failure> {
        let mut changed = config.clone();
        if let Some(file) = &self.replace {
            changed = Value::Object(Map::new());
            apply(&mut changed, file)?;
        }
        if let Some(file) = &self.apply {
            apply(&mut changed, file)?;
        }
        let failed = |error: dynamic::SetError| Failure::said(error.to_string());
        for setting in &self.set {
            dynamic::set(&mut changed, setting).map_err(failed)?;
        }
        for setting in &self.pg {
            dynamic::set_parameter(&mut changed, setting).map_err(failed)?;
        }
        let any = self.replace.is_some() || self.apply.is_some() || !self.set.is_empty() || !self.pg.is_empty();
        Ok(any.then_some(changed))
    }
}

fn apply(config: &mut Value, file: &str) -> Result<(), Failure> {
    let read = || {
        let mut text = String::new();
        match file {
            STDIN => std::io::stdin().read_to_string(&mut text).map(|_| text),
            path => std::fs::read_to_string(path),
        }
    };
    let text = read().map_err(|error| Failure::said(format!("cannot read {file}: {error}")))?;
    let changes = parse(&text, file)?;
    dynamic::patch(config, &changes);
    Ok(())
}

fn parse(text: &str, what: &str) -> Result<Value, Failure> {
    match yaml::parse(text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(Failure::said(format!("{what}: expected a mapping of options"))),
        Err(error) => Err(Failure::said(format!("{what}: {error}"))),
    }
}

/// The text and the value that the user's editor leaves behind. Blocks while it runs.
fn edit(herd: &Herd, before: &str) -> Result<(String, Value), Failure> {
    let editor = editor()
        .ok_or_else(|| Failure::said("EDITOR environment variable is not set. editor or vi are not available"))?;
    let failed = |error: std::io::Error| Failure::said(format!("the configuration cannot be edited: {error}"));
    let prefix = format!("{}-config-", herd.name.replace('/', "_"));
    let mut file = tempfile::Builder::new().prefix(&prefix).suffix(".yaml").tempfile().map_err(failed)?;
    file.write_all(before.as_bytes()).map_err(failed)?;
    file.flush().map_err(failed)?;
    let status = Command::new(&editor).arg(file.path()).status();
    let status = status.map_err(|error| {
        Failure::said(format!("the editor {} cannot be started: {error}", editor.to_string_lossy()))
    })?;
    if !status.success() {
        return Err(Failure::said(match status.code() {
            Some(code) => format!("Editor exited with return code {code}"),
            None => format!("Editor ended by {status}"),
        }));
    }
    // Read by name: editors replace files.
    let after = std::fs::read_to_string(file.path()).map_err(failed)?;
    let value = parse(&after, "the edited configuration")?;
    Ok((after, value))
}

fn editor() -> Option<std::ffi::OsString> {
    let given = std::env::var_os("EDITOR").filter(|editor| !editor.is_empty());
    let found = || ["editor", "vi"].into_iter().find_map(|name| diff::program(name.into()));
    given.or_else(|| found().map(Into::into))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn arguments() -> Arguments {
        Arguments {
            cluster: ClusterArgument::default(),
            quiet: false,
            set: Vec::new(),
            pg: Vec::new(),
            apply: None,
            replace: None,
            force: false,
        }
    }

    #[test]
    fn options_apply_in_their_order() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).expect("written");
            path.display().to_string()
        };
        let all = Arguments {
            replace: Some(file("replace", "ttl: 20\nloop_wait: 5\n")),
            apply: Some(file("apply", "loop_wait: null\npostgresql: {parameters: {work_mem: 1MB}}\n")),
            set: vec!["pause=true".into()],
            pg: vec!["work_mem=4MB".into()],
            ..arguments()
        };
        let changed = all.changed(&json!({"old": 1})).expect("valid");
        assert_eq!(changed, Some(json!({"ttl": 20, "postgresql": {"parameters": {"work_mem": "4MB"}}, "pause": true})));
        assert_eq!(arguments().changed(&json!({})).expect("valid"), None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let set = Arguments { set: vec!["broken".into()], ..arguments() };
        let error = set.changed(&json!({})).expect_err("no equals sign").to_string();
        assert_eq!(error, "Invalid parameter setting broken");
        let missing = Arguments { apply: Some("/no/such/file".into()), ..arguments() };
        assert!(missing.changed(&json!({})).expect_err("missing").to_string().contains("/no/such/file"));
        assert!(parse("- a", "f").is_err() && parse("a: [", "f").is_err());
    }
}
