//! `--generate-sample-config`: a configuration to begin with.

use std::net::UdpSocket;
use std::path::Path;
use std::process::ExitCode;

use jogi_agent::Source;
use jogi_config::postgres::BinNames;
use jogi_config::sample::{SampleInput, sample_config};
use jogi_pg::binaries::Binaries;

/// Prints the sample, or writes it to `file` (`-`: prints).
pub fn main(file: &Path) -> ExitCode {
    let binaries = match Binaries::locate(None, &bin_names()) {
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
    let text = sample_config(&input, Source::new(None).environment());
    if file == Path::new("-") {
        print!("{text}");
        return ExitCode::SUCCESS;
    }
    match std::fs::write(file, text) {
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

fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// The address from which this host would reach others. Nothing is sent: connecting a UDP socket only asks the
/// routing table.
fn address() -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip().to_string())
}
