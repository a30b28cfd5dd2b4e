//! `jogi store`: etcd's flags and variables where they mean the same.

use std::net::SocketAddr;
use std::path::PathBuf;

/// The built-in store: etcd's v3 API (its JSON gateway) on one server, without etcd.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Where the data are; an empty directory begins a new store
    #[arg(long, env = "ETCD_DATA_DIR", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Addresses that clients connect to (HOST:PORT or a URL; https needs a certificate)
    #[arg(
        long,
        visible_alias = "listen-client-urls",
        env = "ETCD_LISTEN_CLIENT_URLS",
        value_name = "ADDR",
        value_delimiter = ',',
        default_value = "127.0.0.1:2379"
    )]
    pub listen_client: Vec<String>,
    /// URLs that clients are told of; without it the addresses that are listened on
    #[arg(
        long,
        visible_alias = "advertise-client-urls",
        env = "ETCD_ADVERTISE_CLIENT_URLS",
        value_name = "URL",
        value_delimiter = ','
    )]
    pub advertise_client: Vec<String>,
    /// This member's name
    #[arg(long, env = "ETCD_NAME", default_value = "default")]
    pub name: String,
    /// The server's certificate (PEM)
    #[arg(long, env = "ETCD_CERT_FILE", value_name = "FILE")]
    pub cert_file: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, env = "ETCD_KEY_FILE", value_name = "FILE", requires = "cert_file")]
    pub key_file: Option<PathBuf>,
    /// Clients must show a certificate of the trusted CA
    #[arg(long, env = "ETCD_CLIENT_CERT_AUTH", requires = "trusted_ca_file")]
    pub client_cert_auth: bool,
    /// Whose client certificates are trusted (PEM)
    #[arg(long, env = "ETCD_TRUSTED_CA_FILE", value_name = "FILE")]
    pub trusted_ca_file: Option<PathBuf>,
    /// Bytes of keys, values and history above which nothing is put
    #[arg(long, env = "ETCD_QUOTA_BACKEND_BYTES", default_value_t = 64 * 1024 * 1024, value_name = "BYTES")]
    pub quota_backend_bytes: u64,
    /// Revisions of history to keep (etcd's variable of this name counts hours unless told otherwise, and is not read)
    #[arg(long, default_value_t = 10_000, value_name = "REVISIONS",
          value_parser = clap::value_parser!(i64).range(100..=1_000_000_000))]
    pub auto_compaction_retention: i64,
    /// Bytes of log after which a snapshot takes its place
    #[arg(long, default_value_t = 16 * 1024 * 1024, value_name = "BYTES")]
    pub snapshot_bytes: u64,
    /// Not supported: this version has one server
    #[arg(long, visible_alias = "listen-peer-urls", env = "ETCD_LISTEN_PEER_URLS", value_name = "ADDR", hide = true)]
    pub listen_peer: Option<String>,
    /// Not supported but for this member alone
    #[arg(long, env = "ETCD_INITIAL_CLUSTER", value_name = "NAME=URL,…", hide = true)]
    pub initial_cluster: Option<String>,
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listen {
    pub host: String,
    pub port: u16,
    pub tls: bool,
}

impl Options {
    /// What this version cannot do is refused, and not passed over.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let members =
            self.initial_cluster.as_deref().map_or(0, |text| text.split(',').filter(|m| !m.is_empty()).count());
        if members > 1 {
            anyhow::bail!(
                "--initial-cluster names {members} members, and this version's store has one server: give none, or use etcd"
            );
        }
        if self.listen_peer.is_some() {
            anyhow::bail!("--listen-peer: this version's store has one server and no peers: leave it out, or use etcd");
        }
        Ok(())
    }

    pub(crate) fn listen(&self) -> anyhow::Result<Vec<Listen>> {
        let listen: Vec<Listen> = self.listen_client.iter().map(|text| listen(text)).collect::<Result<_, _>>()?;
        if let (Some(address), None) = (listen.iter().find(|l| l.tls), &self.cert_file) {
            anyhow::bail!("--listen-client names https at port {}, which needs --cert-file", address.port);
        }
        Ok(listen)
    }
}

fn listen(text: &str) -> anyhow::Result<Listen> {
    let (tls, rest) = match text.split_once("://") {
        None => (false, text),
        Some(("http", rest)) => (false, rest),
        Some(("https", rest)) => (true, rest),
        Some((other, _)) => anyhow::bail!("--listen-client '{text}': {other} is not supported, http and https are"),
    };
    let rest = rest.trim_end_matches('/');
    let port = |text: &str| text.parse::<u16>().ok();
    let parsed = rest.rsplit_once(':').and_then(|(host, number)| Some((host, port(number)?)));
    let Some((host, port)) = parsed.filter(|(host, _)| !host.is_empty()) else {
        anyhow::bail!("--listen-client '{text}' is no HOST:PORT");
    };
    Ok(Listen { host: host.trim_matches(['[', ']']).to_owned(), port, tls })
}

impl Listen {
    /// As clients name it.
    pub fn url(&self, bound: SocketAddr) -> String {
        format!("{}://{bound}", if self.tls { "https" } else { "http" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_etcd_writes_them() {
        let of = |host: &str, port, tls| Some(Listen { host: host.into(), port, tls });
        for (text, expected) in [
            ("127.0.0.1:2379", of("127.0.0.1", 2379, false)),
            ("http://0.0.0.0:2379", of("0.0.0.0", 2379, false)),
            ("https://db1:2379/", of("db1", 2379, true)),
            ("http://[::1]:2379", of("::1", 2379, false)),
            ("unix:///tmp/x", None),
            ("2379", None),
            (":2379", None),
            ("db1:99999", None),
        ] {
            assert_eq!(listen(text).ok(), expected, "{text}");
        }
    }
}
