//! The herd's store: jogi's own. A herd that was made with etcd, by an earlier version, keeps its etcd.

use std::path::PathBuf;

use anyhow::bail;

use crate::layout::Layout;

/// What is run as the store.
pub struct StoreCommand {
    pub program: PathBuf,
    pub args: Vec<String>,
}

impl Layout {
    /// Whether there is a store's data: the herd was made before.
    pub fn store_is_made(&self) -> bool {
        self.store_dir().join("identity.json").exists() || self.has_etcd()
    }

    /// etcd's data directory holds this one.
    fn has_etcd(&self) -> bool {
        self.store_dir().join("member").exists()
    }

    pub fn store_command(&self) -> anyhow::Result<StoreCommand> {
        let client = format!("http://127.0.0.1:{}", self.store_port());
        let mut options = vec![
            ("--name", "store".to_owned()),
            ("--data-dir", self.store_dir().display().to_string()),
            ("--listen-client-urls", client.clone()),
            ("--advertise-client-urls", client),
        ];
        let (program, first) = if self.has_etcd() {
            options.extend(self.etcd_options());
            (find_etcd()?, None)
        } else {
            (self.program(), Some("store".to_owned()))
        };
        let words = options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
        Ok(StoreCommand { program, args: first.into_iter().chain(words).collect() })
    }

    fn etcd_options(&self) -> [(&'static str, String); 5] {
        let peer = format!("http://127.0.0.1:{}", self.store_peer_port());
        [
            ("--listen-peer-urls", peer.clone()),
            ("--initial-advertise-peer-urls", peer.clone()),
            ("--initial-cluster", format!("store={peer}")),
            ("--auto-compaction-retention", "1".to_owned()),
            ("--log-level", "warn".to_owned()),
        ]
    }
}

fn find_etcd() -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/bin".into(), "/usr/local/bin".into()]);
    match places.map(|dir| dir.join("etcd")).find(|p| p.exists()) {
        Some(program) => Ok(program),
        None => bail!(
            "this herd was made with etcd, and no etcd is found: install it (apt-get install etcd-server), or make a new \
             herd elsewhere with --dir"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_herd_made_with_etcd_keeps_it_and_a_new_one_has_ours() {
        let dir = tempfile::tempdir().expect("a directory");
        let layout = Layout { dir: dir.path().to_owned(), members: 1, port: 5532, pg_bin: PathBuf::new() };
        let ours = layout.store_command().expect("our own");
        assert_eq!((ours.program, ours.args[0].as_str()), (layout.program(), "store"));
        assert!(!layout.store_is_made());

        std::fs::create_dir_all(layout.store_dir().join("member")).expect("etcd's data");
        assert!(layout.store_is_made());
        match layout.store_command() {
            Ok(etcd) => {
                assert!(etcd.program.ends_with("etcd"));
                assert!(etcd.args.contains(&"--listen-peer-urls".to_owned()));
            }
            Err(missing) => assert!(missing.to_string().contains("made with etcd"), "{missing}"),
        }
    }
}
