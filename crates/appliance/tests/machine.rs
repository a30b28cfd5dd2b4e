//! The shell half: memory, metadata, files.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, put};
use jogi_appliance::facts::{Facts, Instance, Provider};
use jogi_appliance::plan::{File, plan};
use jogi_appliance::shell::{detect, memory_mb, write};
use jogi_appliance::variables::Environment;

#[test]
fn the_control_groups_limit_counts_where_it_is_smaller() {
    const V1: &str = "sys/fs/cgroup/memory/memory.limit_in_bytes";
    const V2: &str = "sys/fs/cgroup/memory.max";
    for (files, expected) in [
        (vec![], 16384),
        (vec![(V2, "max\n")], 16384),
        (vec![(V2, "2147483648\n")], 2048),
        (vec![(V1, "1073741824\n")], 1024),
        (vec![(V1, "9223372036854771712\n")], 16384),
        (vec![(V1, "1073741824\n"), (V2, "2147483648\n")], 1024),
        (vec![(V2, "rubbish")], 16384),
    ] {
        let root = tempfile::tempdir().expect("a directory");
        let all = files.iter().copied().chain([("proc/meminfo", "MemFree: 1 kB\nMemTotal:       16777216 kB\n")]);
        for (path, text) in all {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
            fs::write(path, text).expect("a file");
        }
        assert_eq!(memory_mb(root.path()), expected, "{files:?}");
    }
}

async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn run<F: Future>(test: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test)
}

/// Answers only with the token of before.
fn with_token(text: &'static str) -> axum::routing::MethodRouter {
    get(move |headers: HeaderMap| async move {
        match headers.get("X-aws-ec2-metadata-token").is_some_and(|token| token == "t0k") {
            true => (StatusCode::OK, text),
            false => (StatusCode::UNAUTHORIZED, ""),
        }
    })
}

#[test]
fn an_instance_of_aws_that_wants_tokens_is_read() {
    run(async {
        let aws = Router::new()
            .route("/latest/api/token", put(|| async { "t0k" }))
            .route("/latest/meta-data/ami-id", with_token("ami-1"))
            .route("/latest/meta-data/placement/availability-zone", with_token("eu-central-1a"))
            .route("/latest/meta-data/instance-id", with_token("i-1"))
            .route("/latest/meta-data/local-ipv4", with_token("172.31.0.5"));
        let (provider, instance) = detect(&serve(aws).await, None).await;
        assert_eq!(provider, Provider::Aws);
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(instance, Instance { zone: text("eu-central-1a"), id: text("i-1"), ip: text("172.31.0.5") });
    });
}

#[test]
fn googles_server_refuses_the_token_and_is_known_all_the_same() {
    run(async {
        let google = Router::new()
            .route("/", get(|| async { ([("Metadata-Flavor", "Google")], "") }))
            .route("/computeMetadata/v1/instance/zone", get(|| async { "projects/1/zones/europe-west1-b" }))
            .route("/computeMetadata/v1/instance/id", get(|| async { "42" }));
        let (provider, instance) = detect(&serve(google).await, None).await;
        assert_eq!((provider, instance.zone.as_deref()), (Provider::Google, Some("europe-west1-b")));
        assert_eq!(instance.id.as_deref(), Some("42"));
    });
}

#[test]
fn openstack_and_nobody_are_told_apart() {
    run(async {
        let json = r#"{"availability_zone": "nova", "uuid": "u-1"}"#;
        let openstack = Router::new().route("/openstack/latest/meta_data.json", get(move || async move { json }));
        let (provider, instance) = detect(&serve(openstack).await, None).await;
        assert_eq!((provider, instance.id.as_deref()), (Provider::OpenStack, Some("u-1")));
        // A portal that answers everything with a page.
        let portal = Router::new().fallback(|| async { "<html>" });
        assert_eq!(detect(&serve(portal).await, None).await.0, Provider::Local);
        let refuses = Router::new();
        assert_eq!(detect(&serve(refuses).await, None).await.0, Provider::Local);
        let token_alone = Router::new().route("/latest/api/token", put(|| async { "t0k" }));
        assert_eq!(detect(&serve(token_alone).await, None).await.0, Provider::Unsupported);
        assert_eq!(detect("http://127.0.0.1:1", None).await.0, Provider::Local);
    });
}

#[test]
fn files_are_not_replaced_unasked_and_secrets_are_closed() {
    let root = tempfile::tempdir().expect("a directory");
    let environment: Environment = [("SCOPE", "a"), ("WAL_GS_BUCKET", "b"), ("PGUSER_SUPERUSER", "first")]
        .map(|(name, text)| (name.to_owned(), text.to_owned()))
        .into();
    let facts = Facts { host_name: "h".into(), host_ip: "10.0.0.1".into(), memory_mb: 1000, ..Facts::default() };
    let put = |environment: &Environment, force: bool| {
        let plan = plan(environment, &facts).expect("a plan");
        let files: Vec<&File> = plan.files.iter().collect();
        write(&plan, &files, root.path(), force).expect("files")
    };
    put(&environment, false);
    let config = root.path().join("run/postgres.yml");
    let key = root.path().join("run/certs/server.key");
    let mode = |path: &std::path::Path| fs::metadata(path).expect("a file").permissions().mode() & 0o7777;
    assert_eq!((mode(&config), mode(&key)), (0o600, 0o600));
    let certificate = fs::read_to_string(root.path().join("run/certs/server.crt")).expect("a certificate");
    assert!(certificate.starts_with("-----BEGIN CERTIFICATE-----"));
    let first_key = fs::read_to_string(&key).expect("a key");

    let mut changed = environment.clone();
    changed.insert("PGUSER_SUPERUSER".into(), "second".into());
    let written = put(&changed, false);
    // TMPDIR is always written anew, as Spilo does.
    assert_eq!(written, [root.path().join("run/etc/wal-e.d/env/TMPDIR")]);
    assert!(fs::read_to_string(&config).expect("a file").contains("first"));
    put(&changed, true);
    assert!(fs::read_to_string(&config).expect("a file").contains("second"));
    assert_eq!(fs::read_to_string(&key).expect("a key"), first_key, "a key that is there is somebody's");
}
