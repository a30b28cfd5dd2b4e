//! `jogi agent`, with the options of Patroni's daemon (configuration 16).

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use jogi_agent::Options;
use jogi_agent::local::VERSION;

use crate::{sample, validate};

#[derive(Debug, Args)]
pub struct Arguments {
    /// The configuration: a YAML file, or a directory of them. Without it PATRONI_* variables are the configuration.
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

    /// Print (or write to FILE) a sample configuration, and end.
    #[arg(long, group = "instead", value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    generate_sample_config: Option<PathBuf>,
}

/// The exit code of what ends by itself; the daemon ends the process.
pub fn main(arguments: Arguments) -> ExitCode {
    if arguments.version {
        println!("patroni {VERSION}");
        return ExitCode::SUCCESS;
    }
    if let Some(file) = &arguments.generate_sample_config {
        return sample::main(file);
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
