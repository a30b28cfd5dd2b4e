//! `jogi agent`, with the options of Patroni's daemon (configuration 16).

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use jogi_agent::Options;
use jogi_agent::local::VERSION;

use crate::{generate, sample, validate};

#[derive(Debug, Args)]
pub struct Arguments {
    /// The configuration: a YAML file, or a directory of them. Without it PATRONI_* variables are the configuration.
    /// With --generate-…: the file to write, instead of printing.
    config: Option<PathBuf>,

    /// Print the version and end.
    #[arg(short = 'v', long)]
    version: bool,

    /// Check the configuration, print what is wrong with it, and end.
    #[arg(long, group = "instead")]
    validate_config: bool,

    /// With --validate-config: do not check that the ports to listen on are free.
    #[arg(short, long, requires = "validate_config")]
    ignore_listen_port: bool,

    /// With --validate-config: print the merged configuration.
    #[arg(short, long, requires = "validate_config")]
    print: bool,

    /// Print (or write to CONFIG) a sample configuration, and end.
    #[arg(long, group = "instead")]
    generate_sample_config: bool,

    /// Print (or write to CONFIG) a configuration made from a server that runs on this machine, and end.
    #[arg(long, group = "instead")]
    generate_config: bool,

    /// With --generate-config: how to connect to the server [default: libpq's variables].
    #[arg(long, value_name = "DSN", requires = "generate_config")]
    dsn: Option<String>,
}

/// The exit code of what ends by itself; the daemon ends the process.
pub fn main(arguments: Arguments) -> ExitCode {
    if arguments.version {
        println!("patroni {VERSION}");
        return ExitCode::SUCCESS;
    }
    if arguments.generate_sample_config {
        return sample::main(arguments.config.as_deref());
    }
    if arguments.generate_config {
        return generate::main(arguments.config.as_deref(), arguments.dsn.as_deref());
    }
    if arguments.validate_config {
        let options = validate::Options { ignore_listen_port: arguments.ignore_listen_port, print: arguments.print };
        return validate::main(arguments.config, options);
    }
    jogi_agent::init::become_init_if_first();
    let exe = match std::env::current_exe() {
        Ok(exe) => exe,
        Err(error) => {
            eprintln!("cannot find this program's own file, which is needed to start the guard: {error}");
            return ExitCode::FAILURE;
        }
    };
    jogi_agent::main(Options { config: arguments.config, exe })
}
