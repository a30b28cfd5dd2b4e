//! The command line: patronictl's options, names and short forms.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::command::*;

/// Looks at a cluster and changes it. Also when called as `patronictl`.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Options {
    /// Configuration file, or a directory of them [default: patronictl.yaml in ~/.config/patroni]
    #[arg(short, long, value_name = "FILE", env = "PATRONICTL_CONFIG_FILE", hide_env_values = true)]
    pub config_file: Option<PathBuf>,

    /// Where the store is: SCHEME://HOST[:PORT][/NAMESPACE], instead of the configuration's
    #[arg(short, long, value_name = "URL", visible_alias = "dcs", env = "DCS_URL", hide_env_values = true)]
    pub dcs_url: Option<String>,

    /// Do not verify the certificates of members
    #[arg(short = 'k', long)]
    pub insecure: bool,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the members of clusters
    List(list::Arguments),
    /// Show the members of clusters as a tree of replication
    Topology(topology::Arguments),
    /// Hand the leadership over to a replica
    Switchover(switchover::Arguments),
    /// Make a replica the leader, also when there is no leader
    Failover(failover::Arguments),
    /// Restart PostgreSQL on members
    Restart(restart::Arguments),
    /// Reload the configuration of members
    Reload(reload::Arguments),
    /// Copy a member's data anew
    Reinit(reinit::Arguments),
    /// Switch automatic failover off
    Pause(pause::Arguments),
    /// Switch automatic failover on again
    Resume(pause::Arguments),
    /// Show the configuration of a cluster
    ShowConfig(show_config::Arguments),
    /// Change the configuration of a cluster
    EditConfig(edit_config::Arguments),
    /// Show the failovers and switchovers of the past
    History(history::Arguments),
    /// Show the version of this tool and of running members
    Version(version::Arguments),
    /// Print how to connect to a member; to the leader when none is named
    Dsn(dsn::Arguments),
    /// Discard what is scheduled
    Flush(flush::Arguments),
    /// Remove a cluster from the store
    Remove(remove::Arguments),
    /// Run SQL on a member
    Query(query::Arguments),
    /// Make the cluster follow another one
    DemoteCluster(demote_cluster::Arguments),
    /// Make a cluster that follows another one stand alone
    PromoteCluster(promote_cluster::Arguments),
    /// Tell the last failovers: who lost the lead, who won it and why, how long writes paused
    Incident(incident::Arguments),
    /// Show what each member is doing, why, and what it waits for
    Why(why::Arguments),
}

/// `[CLUSTER_NAME] [--group N]`.
#[derive(Clone, Debug, Default, Args)]
pub struct ClusterArgument {
    /// The cluster [default: the scope of the configuration]
    pub cluster_name: Option<String>,

    /// Citus group
    #[arg(long)]
    pub group: Option<i64>,
}

/// `CLUSTER_NAME [MEMBER_NAMES]... [--group N] [--force]`.
#[derive(Clone, Debug, Args)]
pub struct MembersArgument {
    pub cluster_name: String,

    pub member_names: Vec<String>,

    /// Citus group
    #[arg(long)]
    pub group: Option<i64>,

    /// Do not ask for confirmation at any point
    #[arg(long)]
    pub force: bool,
}

/// `-W` and `-w SECONDS`.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct WatchArgument {
    /// Repeat every 2 seconds
    #[arg(short = 'W')]
    pub often: bool,

    /// Repeat every X seconds
    #[arg(short, long, value_name = "X")]
    pub watch: Option<f64>,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Tool {
        #[command(flatten)]
        options: Options,
    }

    fn parse(words: &[&str]) -> Result<Command, clap::Error> {
        Tool::try_parse_from(["patronictl"].iter().chain(words)).map(|tool| tool.options.command)
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Tool::command().debug_assert();
    }

    #[test]
    fn what_to_flush_is_the_last_word() {
        for (words, members) in [
            (&["flush", "demo", "restart"][..], &[][..]),
            (&["flush", "demo", "a", "b", "restart", "--force"], &["a", "b"]),
            (&["flush", "--force", "demo", "-r", "any", "a", "switchover"], &["a"]),
        ] {
            match parse(words).expect("a command line of patronictl") {
                Command::Flush(arguments) => assert_eq!(arguments.member_names, members, "{words:?}"),
                other => panic!("{words:?}: {other:?}"),
            }
        }
        for words in [&["flush", "demo"][..], &["flush", "demo", "a"], &["flush", "restart"]] {
            assert_eq!(parse(words).expect_err("a mistake").exit_code(), 2, "{words:?}");
        }
    }

    #[test]
    fn short_forms_mean_what_they_mean_to_patronictl() {
        match parse(&["query", "demo", "-c", "select 1", "-d", "db", "-f", "/dev/null", "-U", "u", "-W"]) {
            Ok(Command::Query(query)) => {
                assert_eq!((query.command.as_deref(), query.dbname.as_deref()), (Some("select 1"), Some("db")));
                assert!(query.watch.often && query.file.is_some());
            }
            other => panic!("{other:?}"),
        }
        match parse(&["switchover", "--primary", "a", "demo"]) {
            Ok(Command::Switchover(switchover)) => assert_eq!(switchover.leader.as_deref(), Some("a")),
            other => panic!("{other:?}"),
        }
        match parse(&["edit-config", "-s", "a=1", "-s", "b=2", "-p", "c=3"]) {
            Ok(Command::EditConfig(edit)) => assert_eq!((edit.set.len(), edit.pg.len()), (2, 1)),
            other => panic!("{other:?}"),
        }
        let options = Tool::try_parse_from(["x", "--dcs", "etcd3://h", "-k", "list"]).expect("valid").options;
        assert!(options.insecure && options.dcs_url.as_deref() == Some("etcd3://h"));
        assert_eq!(parse(&[]).expect_err("no command").exit_code(), 2);
    }
}
