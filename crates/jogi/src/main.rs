//! The one binary. The guard branches off before anything else: no runtime, no argument parser, no thread.

mod agent;
mod generate;
mod sample;
mod sim;
mod validate;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// PostgreSQL high availability in one binary.
#[derive(Debug, Parser)]
#[command(name = "jogi", version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The daemon of one member. Also when called as `patroni`.
    Agent(agent::Arguments),
    /// Makes the configuration of a member from the environment of Spilo's image.
    Configure(jogi_appliance::Options),
    /// Looks at a cluster and changes it. Also when called as `patronictl`.
    Ctl(Box<jogi_ctl::Options>),
    /// WAL in object storage, in WAL-G's layout. Also when called as `wal-g`.
    Archive(jogi_archive::Options),
    /// A herd of members on this machine, with a store of its own, for trying and for development.
    Up(jogi_up::Options),
    Store(Box<jogi_store::Options>),
    /// Simulated herds with random faults, in virtual time: looks for split brain, lost commits and dead ends.
    Sim(sim::Arguments),
}

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|name| name == "guard") {
        jogi_pg::guard::main()
    }
    let Cli { command } = Cli::parse_from(arguments(std::env::args_os().collect()));
    match command {
        Command::Agent(arguments) => agent::main(arguments),
        Command::Configure(options) => jogi_appliance::main(&options),
        Command::Ctl(options) => jogi_ctl::main(*options),
        Command::Archive(options) => jogi_archive::main(options),
        Command::Up(options) => jogi_up::main(&options),
        Command::Store(options) => jogi_store::main(&options),
        Command::Sim(arguments) => sim::main(arguments),
    }
}

/// The arguments as if we had been called by our own name: `patroni X` is `jogi agent X`, `patronictl X` is `jogi ctl X`,
/// `wal-g X` is `jogi archive X`.
fn arguments(given: Vec<OsString>) -> Vec<OsString> {
    let called = given.first().and_then(|path| Path::new(path).file_name()).and_then(|name| name.to_str());
    let command = match called {
        Some("patroni") => "agent",
        Some("patronictl") => "ctl",
        Some("wal-g") => "archive",
        _ => return given,
    };
    let rest = given.into_iter().skip(1);
    ["jogi".into(), command.into()].into_iter().chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn we_answer_to_others_names() {
        let words = |given: &[&str]| arguments(given.iter().map(OsString::from).collect());
        assert_eq!(words(&["/usr/bin/patroni", "/etc/p.yml"]), ["jogi", "agent", "/etc/p.yml"]);
        assert_eq!(words(&["patronictl", "-c", "f", "list"]), ["jogi", "ctl", "-c", "f", "list"]);
        assert_eq!(words(&["/bin/wal-g", "wal-fetch", "f", "p"]), ["jogi", "archive", "wal-fetch", "f", "p"]);
        assert_eq!(words(&["jogi", "agent", "x"]), ["jogi", "agent", "x"]);
    }
}
