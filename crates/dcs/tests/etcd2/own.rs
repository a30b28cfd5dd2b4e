//! Several hosts, and what a server without the v2 API says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jogi_dcs::suite::SOON;
use jogi_dcs::{Dcs, DcsError, Etcd2, Etcd3Options, Freshness};
use jogi_testkit::etcd::Etcd;
use jogi_testkit::proxy::{Harm, Proxy};
use jogi_testkit::require::{Need, can};

use crate::contract::OneEtcd;

fn client(urls: Vec<String>) -> Arc<dyn Dcs> {
    Arc::new(Etcd2::new(Etcd3Options::plain(urls, "/service/demo", "a")).expect("valid options"))
}

#[tokio::test]
async fn dead_and_hanging_hosts_cost_one_try() {
    if !can(&[Need::Program("etcd")]) {
        return;
    }
    let server = OneEtcd::start();
    let hanging = Proxy::to(server.0.address(0));
    hanging.harm(Harm::Stall);
    let dcs = client(vec!["http://127.0.0.1:1".into(), hanging.url(), server.0.url(0)]);
    dcs.load(Freshness::Linearizable, SOON).await.expect("the third answers");
    let began = Instant::now();
    for _ in 0..20 {
        dcs.load(Freshness::Linearizable, SOON).await.expect("it is asked first now");
    }
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    let described = dcs.describe();
    assert!(described.contains("http://127.0.0.1:1") && described.starts_with("etcd (v2) at "), "{described}");
}

#[tokio::test]
async fn a_server_without_the_v2_api_is_said() {
    if !can(&[Need::Program("etcd")]) {
        return;
    }
    let server = Etcd::start();
    let error = client(server.urls()).load(Freshness::Linearizable, Duration::from_secs(2)).await;
    let error = error.expect_err("etcd 3.4 has it switched off");
    assert!(matches!(error, DcsError::Server { .. } | DcsError::Garbled { .. }), "{error}");
    assert!(error.to_string().contains("--enable-v2"), "{error}");
}
