//! "I have Spilo's environment; what comes out runs, for ours and for Patroni."

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use jogi_testkit::patroni::Patroni;
use jogi_testkit::require::{self, Need, can};

/// `jogi configure` in an environment that is these variables alone.
fn configure(root: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jogi"));
    command.arg("configure").arg("--root").arg(root).args(arguments).env_clear();
    command.env("PATH", "/usr/bin:/bin").env("DEVELOP", "1").envs(variables.iter().copied());
    command.output().expect("jogi runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn what_is_generated_is_valid_for_us_and_for_patroni_but_for_the_place_of_the_name() {
    if !can(&[Need::PostgreSql]) {
        return;
    }
    let root = tempfile::tempdir().expect("a directory");
    // The checks connect to the store and look at the server's programs.
    let store = TcpListener::bind("127.0.0.1:0").expect("a port");
    let store = format!("127.0.0.1:{}", store.local_addr().expect("an address").port());
    let bin = require::postgres_bin().expect("it was asked for");
    let data = root.path().join("data").display().to_string();
    let user = format!("{{postgresql: {{bin_dir: '{}'}}}}", bin.display());
    let variables = [
        ("SCOPE", "demo"),
        ("ETCD3_HOST", store.as_str()),
        ("PGDATA", data.as_str()),
        ("WAL_S3_BUCKET", "backups"),
        ("AWS_ENDPOINT", "http://minio:9000"),
        ("RESTAPI_CONNECT_ADDRESS", "db.example.org:8008"),
        ("PG_CONNECT_ADDRESS", "db.example.org:5432"),
        ("PGPASSWORD_SUPERUSER", "a&b'\"#: *"),
        ("SPILO_CONFIGURATION", user.as_str()),
    ];
    let made = configure(root.path(), &[], &variables);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let config = root.path().join("run/postgres.yml");

    // Spilo's name stands under `postgresql`, where both daemons read it and neither validation looks.
    let validate = |program: &mut Command| {
        let output = program.args(["--validate-config", "--ignore-listen-port"]).arg(&config).output();
        let output = output.expect("the program runs");
        format!("{}{}", text(&output.stdout), text(&output.stderr)).trim().to_owned()
    };
    assert_eq!(validate(Command::new(env!("CARGO_BIN_EXE_jogi")).arg("agent")), "name  is not defined.");
    if let Some(patroni) = Patroni::find() {
        let said = validate(&mut Command::new(patroni.program("patroni")));
        // Its validation, unlike its daemon and ours, wants a host in `:8008`.
        let rest: Vec<&str> = said.lines().filter(|line| !line.starts_with("restapi.listen :8008 ")).collect();
        assert_eq!(rest, ["name  is not defined."]);
    }
}

#[test]
fn a_dry_run_tells_sources_and_hides_secrets() {
    let root = tempfile::tempdir().expect("a directory");
    let user = "{restapi: {authentication: {username: u, password: secret-of-rest}}}";
    let variables = [
        ("SCOPE", "demo"),
        ("PGPASSWORD_SUPERUSER", "secret-of-root"),
        ("WAL_GS_BUCKET", "backups"),
        ("PGBOUNCER_AUTH", "secret-of-users"),
        ("SPILO_CONFIGURATION", user),
    ];
    let shown = configure(root.path(), &["--dry-run"], &variables);
    assert!(shown.status.success(), "{}", text(&shown.stderr));
    let (out, said) = (text(&shown.stdout), text(&shown.stderr));
    for line in [
        "scope: demo  # SCOPE",
        "bootstrap.dcs.ttl: 30  # default",
        "restapi.authentication.username: u  # SPILO_CONFIGURATION",
    ] {
        assert!(out.contains(line), "{line}\n{out}");
    }
    assert!(!out.contains("secret-of"), "{out}");
    assert!(said.contains("not served yet: the WAL archive (WAL_GS_BUCKET"), "{said}");
    assert_eq!(std::fs::read_dir(root.path()).expect("a directory").count(), 0, "a dry run writes nothing");
}

#[test]
fn a_bad_environment_is_refused_whole_and_nothing_is_written() {
    let root = tempfile::tempdir().expect("a directory");
    let variables = [("PGPORT", "many"), ("CLONE_METHOD", "CLONE_WITH_WALE"), ("SSL_PRIVATE_KEY", "secret-of-tls")];
    let refused = configure(root.path(), &[], &variables);
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("PGPORT=many: expected a port"), "{said}");
    assert!(said.contains("CLONE_METHOD: the clone lacks a location"), "{said}");
    assert!(said.contains("SSL_PRIVATE_KEY=***"), "{said}");
    assert!(!said.contains("secret-of"), "{said}");
    assert_eq!(std::fs::read_dir(root.path()).expect("a directory").count(), 0);
}
