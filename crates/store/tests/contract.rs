//! The contract of every store on ours, by the agent's own client.

#[allow(dead_code, reason = "some of it is for the faults of a real etcd")]
#[path = "../../dcs/tests/suite/mod.rs"]
mod suite;

use std::sync::Arc;

use jogi_dcs::{Dcs, Etcd3, Etcd3Options};
use jogi_store::{Options, Server};

use crate::suite::Store;

/// A store in a thread of its own, because the scenarios bring their own runtimes. It goes with the test's process.
struct OneStore {
    url: String,
    _dir: tempfile::TempDir,
}

impl OneStore {
    fn start() -> OneStore {
        let dir = tempfile::tempdir().expect("a directory");
        let options = options(dir.path());
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let server = Server::start(&options).await.expect("a store");
                tell.send(server.urls()[0].clone()).expect("the test waits");
                std::future::pending::<()>().await;
            });
        });
        OneStore { url: told.recv().expect("a store that listens"), _dir: dir }
    }

    fn connect(&self, base: &str, name: &str) -> Arc<dyn Dcs> {
        let options = Etcd3Options::plain(vec![self.url.clone()], base, name);
        Arc::new(Etcd3::new(options).expect("valid options"))
    }
}

fn options(dir: &std::path::Path) -> Options {
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }
    let dir = dir.display().to_string();
    let words = ["store", "--listen-client-urls", "http://127.0.0.1:0", "--data-dir", &dir];
    <Line as clap::Parser>::try_parse_from(words).expect("options").options
}

impl Store for OneStore {
    fn client(&self, name: &str) -> Arc<dyn Dcs> {
        self.connect("/service/demo", name)
    }

    fn neighbour(&self) -> Arc<dyn Dcs> {
        self.connect("/service/demo2", "z")
    }
}

crate::contract!(OneStore::start());
