//! Whatever a server answers, every operation ends within its deadline with an answer or an error (F12: a store
//! that answers with an error code nobody listed is a store that did not answer).

use std::io::{Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use jogi_core::view::{Condition, Expect, Key, Revision, Session, Write};
use jogi_dcs::{Dcs, DcsError, Etcd3, Etcd3Options, Freshness};
use proptest::prelude::*;

const DEADLINE: Duration = Duration::from_millis(150);

/// Answers every request with the same status and body, one request per connection.
fn serve(status: u16, body: Vec<u8>) -> (String, impl FnOnce()) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (stop, stopped) = channel::<()>();
    let server = thread::spawn(move || {
        for stream in listener.incoming() {
            if stopped.try_recv().is_ok() {
                return;
            }
            let Ok(stream) = stream else { continue };
            let body = body.clone();
            thread::spawn(move || answer(stream, status, &body));
        }
    });
    let end = move || {
        let _ = stop.send(());
        let _ = TcpStream::connect(address);
        let _ = server.join();
    };
    (format!("http://{address}"), end)
}

fn answer(mut stream: TcpStream, status: u16, body: &[u8]) {
    let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
    let mut request = [0u8; 16 * 1024];
    let _ = stream.read(&mut request);
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(body);
}

async fn every_operation(dcs: &Arc<dyn Dcs>) -> Vec<(&'static str, Duration, Option<DcsError>)> {
    let (session, created) = (Session("77".into()), Revision("5".into()));
    let put = Write::put(Key::Sync, "{}").when(Condition::Unchanged(created.clone()));
    macro_rules! timed {
        ($name:literal, $call:expr) => {
            async {
                let began = Instant::now();
                let error = $call.await.err();
                ($name, began.elapsed(), error)
            }
        };
    }
    let (a, b, c, d, e, f, g, h) = tokio::join!(
        timed!("load", dcs.load(Freshness::Linearizable, DEADLINE)),
        timed!("open_session", dcs.open_session(Duration::from_secs(30), DEADLINE)),
        timed!("beat", dcs.beat(&session, true, DEADLINE)),
        timed!("acquire", dcs.acquire(&session, &Expect::free(), DEADLINE)),
        timed!("reattach", dcs.reattach(&session, &created, DEADLINE)),
        timed!("release", dcs.release(&created, Some("{}"), DEADLINE)),
        timed!("write", dcs.write(&put, DEADLINE)),
        timed!("remove_cluster", dcs.remove_cluster(DEADLINE)),
    );
    vec![a, b, c, d, e, f, g, h]
}

fn run(status: u16, body: Vec<u8>) -> Vec<(&'static str, Duration, Option<DcsError>)> {
    let (url, end) = serve(status, body);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let dcs: Arc<dyn Dcs> = Arc::new(Etcd3::new(Etcd3Options::plain(vec![url], "/s/d", "a")).expect("valid options"));
    let results = runtime.block_on(every_operation(&dcs));
    end();
    results
}

/// gRPC's codes, the gateway's forms, and codes that do not exist.
fn any_error_body() -> impl Strategy<Value = Vec<u8>> {
    let message = prop_oneof![
        Just("etcdserver: request timed out".to_owned()),
        Just("etcdserver: leader changed".to_owned()),
        Just("etcdserver: not a primary lessor".to_owned()),
        "[ -~]{0,60}",
    ];
    prop_oneof![
        (message.clone(), any::<i32>()).prop_map(|(m, c)| serde_json::json!({"error": m, "code": c})),
        (message.clone(), -1..20i32).prop_map(|(m, c)| serde_json::json!({"error": m, "message": m, "code": c})),
        (message, -1..20i32).prop_map(|(m, c)| serde_json::json!({"error": {"grpc_code": c, "message": m}})),
    ]
    .prop_map(|v| v.to_string().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 8, ..ProptestConfig::default() })]

    #[test]
    fn any_error_is_an_error_in_time(status in prop_oneof![400u16..600, Just(302u16), Just(204u16)], body in any_error_body()) {
        let says_gone = String::from_utf8_lossy(&body).contains("requested lease not found");
        for (name, took, error) in run(status, body) {
            prop_assert!(took < DEADLINE * 4, "{name} took {took:?}");
            prop_assert!(error.is_some() || says_gone, "{name} was answered");
        }
    }

    #[test]
    fn any_bytes_end_in_time(status in 200u16..600, body in prop::collection::vec(any::<u8>(), 0..200)) {
        for (name, took, error) in run(status, body) {
            prop_assert!(took < DEADLINE * 4, "{name} took {took:?}");
            prop_assert!(error.is_some(), "{name} was answered");
        }
    }
}

#[test]
fn an_empty_success_is_no_success_for_a_lock() {
    for body in ["{}", "[]", "null", "{\"result\":{}}", "{\"header\":{}}"] {
        for (name, _, error) in run(200, body.into()) {
            if matches!(name, "open_session") {
                assert!(error.is_some(), "{name} took {body} for a lease");
            }
        }
    }
}
