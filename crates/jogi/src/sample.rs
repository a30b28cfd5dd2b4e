//! `--generate-sample-config`: a configuration to begin with.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::UdpSocket;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

use jogi_agent::Source;
use jogi_config::env;
use jogi_config::postgres::BinNames;
use jogi_config::sample::{SampleInput, sample_config};
use jogi_pg::binaries::Binaries;
use serde_json::Value;

/// Prints the sample, or writes it to a file.
pub fn main(file: Option<&Path>) -> ExitCode {
    let environment = Source::new(None);
    let variables = env::read(environment.environment()).config;
    let bin_dir = variables.get("postgresql").and_then(|section| section.get("bin_dir")).and_then(Value::as_str);
    let binaries = match Binaries::locate(bin_dir.map(Path::new), &bin_names()) {
        Ok(binaries) => binaries,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let input = SampleInput {
        hostname: host_name(),
        address: address(),
        version: binaries.version,
        bin_dir: binaries.postgres.parent().map(|dir| dir.display().to_string()),
    };
    write(&sample_config(&input, environment.environment()), file)
}

/// To a file that only its owner may read, as there will be passwords in it; without a file, or with `-`, to stdout.
pub fn write(text: &str, file: Option<&Path>) -> ExitCode {
    let Some(file) = file.filter(|file| *file != Path::new("-")) else {
        print!("{text}");
        return ExitCode::SUCCESS;
    };
    let written = || {
        if let Some(dir) = file.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600).open(file)?.write_all(text.as_bytes())
    };
    match written() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot write {}: {error}", file.display());
            ExitCode::FAILURE
        }
    }
}

fn bin_names() -> BinNames {
    let name = str::to_owned;
    BinNames {
        pg_ctl: name("pg_ctl"),
        initdb: name("initdb"),
        pg_controldata: name("pg_controldata"),
        pg_basebackup: name("pg_basebackup"),
        postgres: name("postgres"),
        pg_isready: name("pg_isready"),
        pg_rewind: name("pg_rewind"),
    }
}

pub fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// The address from which this host would reach others. Nothing is sent: connecting a UDP socket only asks the
/// routing table.
pub fn address() -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip().to_string())
}
