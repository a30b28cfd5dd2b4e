//! `--validate-config`: everything that is wrong with a configuration, one line each.

use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use jogi_agent::Source;
use jogi_config::sample::{Machine, validate};
use jogi_config::{HostPort, yaml};
use jogi_pg::data_dir;
use serde_json::Value;

#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub ignore_listen_port: bool,
    pub print: bool,
}

/// How long a server of the store may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(3);

/// Prints the findings; the exit code is 1 when there are any.
pub fn main(config: Option<PathBuf>, options: Options) -> ExitCode {
    let loaded = match Source::new(config).load() {
        Ok(loaded) => loaded,
        Err(error) => {
            println!("{error}");
            return ExitCode::FAILURE;
        }
    };
    for warning in &loaded.warnings {
        eprintln!("{warning}");
    }
    let raw = Value::Object(loaded.local.raw.0.clone());
    if options.print {
        print!("{}", yaml::dump(&raw));
    }
    let machine = ThisMachine { ignore_listen_port: options.ignore_listen_port };
    let findings = validate(&raw, &machine);
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

struct ThisMachine {
    ignore_listen_port: bool,
}

impl Machine for ThisMachine {
    fn can_listen(&self, address: &HostPort) -> Result<(), String> {
        if self.ignore_listen_port {
            return Ok(());
        }
        for host in address.hosts() {
            let host = if host.is_empty() || host == "*" { "0.0.0.0" } else { host };
            TcpListener::bind((host, address.port)).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn can_connect(&self, address: &HostPort) -> Result<(), String> {
        let found = (address.host.as_str(), address.port).to_socket_addrs().map_err(|error| error.to_string())?;
        let mut last = "it has no address".to_owned();
        for one in found {
            match TcpStream::connect_timeout(&one, CONNECT) {
                Ok(_) => return Ok(()),
                Err(error) => last = error.to_string(),
            }
        }
        Err(last)
    }

    fn data_dir(&self, path: &str) -> Result<(), String> {
        let path = Path::new(path);
        if data_dir::is_empty(path).map_err(|error| error.to_string())? {
            return Ok(());
        }
        if data_dir::major_version(path).is_none() {
            return Err("data dir for the cluster is not empty, but doesn't contain \"PG_VERSION\" file".into());
        }
        if !path.join("pg_wal").exists() {
            return Err("data dir for the cluster is not empty, but doesn't contain \"pg_wal\" directory".into());
        }
        Ok(())
    }

    fn program(&self, bin_dir: Option<&str>, name: &str) -> Result<(), String> {
        let found = match bin_dir {
            Some(dir) => Path::new(dir).join(name).is_file(),
            None => std::env::var_os("PATH")
                .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(name).is_file())),
        };
        if found { Ok(()) } else { Err(format!("does not contain '{name}'")) }
    }
}
