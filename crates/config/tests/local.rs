//! The local configuration: files and variables in, typed values, warnings or all problems out.

use std::collections::BTreeMap;
use std::path::Path;

use jogi_config::local::StoreSection;
use jogi_config::local::{LogFormat, LogType, ServerTokens, VerifyClient, WatchdogMode};
use jogi_config::postgres::effective_postgresql;
use jogi_config::{ClientConfig, ConfigError, HostPort, Loaded, Local};
use serde_json::json;

const MINIMAL: &str = "
scope: demo
name: n1
etcd3: {hosts: [10.0.0.8:2379, '[fd00::1]:2380']}
restapi: {listen: '0.0.0.0:8008', connect_address: '10.0.0.1:8008'}
postgresql:
  listen: 0.0.0.0:5432
  connect_address: 10.0.0.1:5432
  data_dir: /data
  authentication:
    superuser: {username: postgres, password: hunter2, sslmode: require, sslpassword: hunter3}
    replication: {username: rep, password: hunter4}
";

fn load_with(texts: &[&str], env: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let files: Vec<(String, String)> =
        texts.iter().enumerate().map(|(i, text)| (format!("{i}.yml"), (*text).to_owned())).collect();
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Local::load(&files, &env)
}

fn load(texts: &[&str]) -> Loaded {
    load_with(texts, &[]).expect("a configuration that starts")
}

fn problems(result: Result<Loaded, ConfigError>) -> Vec<String> {
    result.expect_err("problems").problems.iter().map(ToString::to_string).collect()
}

#[test]
fn a_small_file_has_patronis_defaults() {
    let Loaded { local, warnings } = load(&[MINIMAL]);
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!((local.name.as_str(), local.scope.as_str(), local.namespace.as_str()), ("n1", "demo", "/service"));
    assert_eq!(local.postgresql.listen, HostPort::new("0.0.0.0", 5432));
    assert_eq!(local.postgresql.config_dir, Path::new("/data"));
    assert_eq!((local.postgresql.database.as_str(), local.postgresql.pgpass.as_ref()), ("postgres", None));
    assert_eq!(local.watchdog.mode, WatchdogMode::Automatic);
    assert_eq!(local.watchdog.safety_margin, 5);
    assert_eq!((local.log.kind, local.log.level.as_str(), local.log.max_queue_size), (LogType::Plain, "INFO", 1000));
    assert_eq!(local.restapi.verify_client, VerifyClient::None);
    assert_eq!(local.bootstrap.initdb, Ok(vec![]));
    let StoreSection::Etcd3(etcd) = &local.store else { panic!("{:?}", local.store) };
    assert_eq!(etcd.urls(), ["http://10.0.0.8:2379", "http://[fd00::1]:2380"]);
    let superuser = local.postgresql.authentication.superuser.clone().expect("given");
    assert_eq!(
        superuser.conninfo().to_dsn(150_000),
        "user=postgres password=hunter2 sslmode=require sslpassword=hunter3"
    );
    assert_eq!(local.postgresql.authentication.rewind(150_000), Some(&superuser));
}

#[test]
fn secrets_do_not_show() {
    let text = MINIMAL
        .replace(
            "restapi: {",
            "restapi: {authentication: {username: u, password: hunter5}, keyfile_password: hunter6, ",
        )
        .replace("etcd3: {", "etcd3: {username: u, password: hunter7, ");
    let shown = format!("{:?}", load(&[&text]));
    assert!(!shown.contains("hunter"), "{shown}");
    let broken = text.replace("hunter5}", "hunter5");
    let shown = format!("{:?}", load_with(&[&broken], &[]));
    assert!(!shown.contains("hunter"), "{shown}");
}

#[test]
fn later_files_and_variables_win_and_null_deletes() {
    let second =
        "log: {level: DEBUG, dir: /log}\npostgresql: {pgpass: /p, parameters: {work_mem: 4MB}}\ntags: {a: 1}\n";
    let third = "log: {dir: null}\npostgresql: {parameters: {work_mem: 8MB, jit: off}}\n";
    let env = [
        ("PATRONI_NAME", "n2"),
        ("PATRONI_POSTGRESQL_DATA_DIR", "/other"),
        ("PATRONI_SUPERUSER_PASSWORD", "new"),
        ("HOME", "/"),
    ];
    let local = load_with(&[MINIMAL, second, third], &env).expect("valid").local;
    assert_eq!((local.name.as_str(), local.log.level.as_str(), local.log.dir.as_ref()), ("n2", "DEBUG", None));
    assert_eq!(local.postgresql.data_dir, Path::new("/other"));
    assert_eq!(local.postgresql.pgpass.as_deref(), Some(Path::new("/p")));
    let superuser = local.postgresql.authentication.superuser.clone().expect("given");
    assert_eq!(superuser.password.as_ref().map(|p| p.expose()), Some("new"));
    assert_eq!(superuser.username.as_deref(), Some("postgres"), "entries are merged, not replaced");
    let effective = effective_postgresql(&json!({}), &local);
    assert_eq!(
        (effective.parameters.text("work_mem"), effective.parameters.text("jit")),
        (Some("8MB".into()), Some("False".into()))
    );
}

#[test]
fn one_variable_can_be_the_whole_configuration() {
    let env = [("PATRONI_CONFIGURATION", MINIMAL), ("PATRONI_NAME", "ignored")];
    assert_eq!(load_with(&[], &env).expect("valid").local.name.as_str(), "n1");
    let with_file =
        load_with(&[MINIMAL], &[("PATRONI_CONFIGURATION", "name: other"), ("PATRONI_NAME", "n3")]).expect("valid");
    assert_eq!(with_file.local.name.as_str(), "n3");
    assert_eq!(problems(load_with(&[], &[])), ["Config is empty."]);
}

#[test]
fn variables_alone_are_enough() {
    let env = [
        ("PATRONI_NAME", "n1"),
        ("PATRONI_SCOPE", "demo"),
        ("PATRONI_ETCD3_HOSTS", "'a:1','b:2'"),
        ("PATRONI_RESTAPI_LISTEN", "0.0.0.0:8008"),
        ("PATRONI_RESTAPI_CONNECT_ADDRESS", "10.0.0.1:8008"),
        ("PATRONI_POSTGRESQL_LISTEN", "*:5432"),
        ("PATRONI_POSTGRESQL_DATA_DIR", "/d"),
        ("PATRONI_REPLICATION_USERNAME", "rep"),
        ("PATRONI_NAMESPACE", "/x/"),
    ];
    let Loaded { local, warnings } = load_with(&[], &env).expect("valid");
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(local.namespace, "/x");
    assert_eq!(local.postgresql.authentication.superuser, None);
}

#[test]
fn members_are_asked_at_the_port_that_a_url_without_one_has() {
    for (more, port) in [("", 80), ("certfile: /c.pem, ", 443)] {
        let restapi = format!("restapi: {{{more}listen: '0.0.0.0:8008', connect_address: 10.0.0.1}}\n");
        let local = load(&[MINIMAL, &restapi]).local;
        assert_eq!(local.restapi.connect_address, HostPort::new("10.0.0.1", port), "{more}");
    }
}

#[test]
fn all_problems_are_reported_together() {
    let broken = "a: [\n";
    let list = "- a\n";
    let found = problems(load_with(
        &[broken, list, "restapi: {listen: 'x:y', authentication: {username: u}}\npostgresql: []\nlog: 5\n"],
        &[],
    ));
    for part in [
        "0.yml, line 2, column 1: ",
        "1.yml: expected a mapping of options, found a list",
        "name: is missing",
        "scope: is missing",
        "restapi.listen: 'x:y' has no valid port",
        "restapi.authentication.password: is missing",
        "no store is configured: expected a section consul, etcd, etcd3",
        "postgresql: expected a mapping, found a list",
        "postgresql.data_dir: is missing",
        "postgresql.authentication.replication.username: is missing",
        "log: expected a mapping, found a number",
    ] {
        assert!(found.iter().any(|problem| problem.starts_with(part)), "{part:?} is not in {found:#?}");
    }
    assert_eq!(found.iter().filter(|problem| problem.contains("restapi.listen")).count(), 1, "{found:#?}");
}

#[test]
fn what_patroni_starts_with_starts_with_a_warning() {
    let text = MINIMAL
        .replace("10.0.0.1", "127.0.0.1")
        .replace("  data_dir: /data", "  data_dir: /data\n  datadir: /x\n  parameters: {max_connections: 5}")
        + "bootstrap: {dcs: {ttl: 5, pause: maybe}, initdb: [pgdata, encoding]}\nwatchdog: {mode: sometimes}\n\
           tags: {nofailover: true, failover_priority: 1}\nlog: {level: LOUD, mode: 9999}\nconsul: {host: x}\nrestapi: {verify_client: maybe, allowlist_include_members: 7}\n";
    let text = text
        .replace("restapi: {listen: '0.0.0.0:8008', connect_address: '127.0.0.1:8008'}\n", "")
        .replace("restapi: {", "restapi: {listen: '0.0.0.0:8008', connect_address: 'localhost:8008', ");
    let Loaded { local, warnings } = load(&[&text]);
    for part in [
        "unknown key 'postgresql.datadir' (0.yml, line 9): did you mean 'data_dir'?",
        "postgresql.connect_address is 127.0.0.1:5432: members on other machines cannot connect there",
        "restapi.connect_address is localhost:8008",
        "bootstrap.dcs.ttl is 5: members that run Patroni will use 20",
        "bootstrap.dcs.pause: expected on or off, found 'maybe'",
        "bootstrap.initdb: pgdata option for initdb is not allowed",
        "watchdog.mode is ignored: expected one of automatic",
        "Conflicting configuration between nofailover: True and failover_priority: 1. Defaulting to nofailover: True",
        "log.level is ignored",
        "log.mode is ignored: expected 0 to 511, found 9999",
        "there are several store sections (consul, etcd3); consul is used",
        "restapi.verify_client is ignored",
        "restapi.allowlist_include_members: expected on or off",
        "postgresql.parameters: max_connections ignored here",
    ] {
        assert!(warnings.iter().any(|warning| warning.starts_with(part)), "{part:?} is not in {warnings:#?}");
    }
    assert_eq!(local.watchdog.mode, WatchdogMode::Off);
    assert!(local.bootstrap.initdb.is_err());
    assert!(matches!(local.store, StoreSection::Consul(_)));
}

#[test]
fn old_forms_are_understood() {
    let text = "
scope: demo
zookeeper: {exhibitor: {hosts: [h], port: 1}}
restapi: {listen: '10.0.0.1:8008'}
postgresql:
  name: old
  listen: 10.0.0.1
  data_dir: /data
  replication: {username: rep, password: x, network: 127.0.0.1/32}
  pg_rewind: {username: su, password: y}
";
    let Loaded { local, .. } = load(&[text]);
    assert_eq!(local.name.as_str(), "old");
    assert!(matches!(local.store, StoreSection::Exhibitor(_)));
    assert_eq!(local.restapi.connect_address, HostPort::new("10.0.0.1", 8008));
    assert_eq!(local.postgresql.listen.port, 5432);
    let roles = &local.postgresql.authentication;
    assert_eq!(roles.replication.username.as_deref(), Some("rep"));
    assert_eq!(roles.superuser.as_ref().and_then(|role| role.username.as_deref()), Some("su"));
    assert!(effective_postgresql(&json!({}), &local).use_pg_rewind);
}

#[test]
fn etcd_can_be_named_in_every_way() {
    for (section, urls, user) in [
        ("{host: a}", vec!["http://a:2379"], None),
        ("{host: 'a:1', port: 5, protocol: https}", vec!["https://a:5"], None),
        ("{hosts: 'a:1, b', port: 7}", vec!["http://a:1", "http://b:7"], None),
        ("{url: 'https://u:p@h'}", vec!["https://h:2379"], Some("u")),
        ("{url: 'http://[fd00::1]:5'}", vec!["http://[fd00::1]:5"], None),
        ("{proxy: 'http://h:1', host: x}", vec!["http://h:1"], None),
        ("{srv: example.org}", vec![], None),
    ] {
        let text = MINIMAL.replace("{hosts: [10.0.0.8:2379, '[fd00::1]:2380']}", section);
        let StoreSection::Etcd3(etcd) = load(&[&text]).local.store else { panic!("{section}") };
        assert_eq!(etcd.urls(), urls, "{section}");
        assert_eq!(etcd.username.as_deref(), user, "{section}");
        assert_eq!(etcd.use_proxies, section.contains("proxy"), "{section}");
    }
    for section in ["{}", "{hosts: ['a:x']}", "{url: 'h:1'}", "[]", "{username: u}"] {
        let text = MINIMAL.replace("{hosts: [10.0.0.8:2379, '[fd00::1]:2380']}", section);
        let found = problems(load_with(&[&text], &[]));
        assert_eq!(found.len(), 1, "{section}: {found:?}");
        assert!(found[0].starts_with("etcd3"), "{found:?}");
    }
}

#[test]
fn sections_are_typed() {
    let text = MINIMAL.to_owned()
        + "
log:
  type: json
  format: [asctime, {message: msg}]
  mode: 0640
  static_fields: {app: demo}
ctl: {insecure: on, authentication: {username: a, password: 1234}}
bootstrap:
  method: restore
  restore:
    command: /bin/restore --fast
    threshold: 5
    no_params: true
    recovery_conf: {recovery_target_timeline: latest}
  dcs: {postgresql: {parameters: {max_connections: 50}}}
  initdb: [data-checksums, {encoding: UTF8}]
  pg_hba: [a, b]
  post_init: /bin/post
citus: {group: 1, database: c}
watchdog: {mode: off}
";
    let text = text.replace(
        "restapi: {",
        "restapi: {server_tokens: ProductOnly, allowlist: '10.0.0.0/8,h', http_extra_headers: {X-A: 1}, ",
    );
    let Loaded { local, warnings } = load(&[&text]);
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!((local.log.kind, local.log.mode), (LogType::Json, Some(0o640)));
    let LogFormat::Fields(fields) = &local.log.format else { panic!("{:?}", local.log.format) };
    assert_eq!((fields[1].field.as_str(), fields[1].printed.as_str()), ("message", "msg"));
    assert!(local.ctl.insecure);
    assert_eq!(local.ctl.authentication.as_ref().map(|a| a.password.expose()), Some("1234"));
    assert_eq!(local.restapi.server_tokens, ServerTokens::ProductOnly);
    assert_eq!(local.restapi.allowlist, ["10.0.0.0/8", "h"]);
    assert_eq!(local.restapi.http_extra_headers, [("X-A".to_owned(), "1".to_owned())]);
    let custom = local.bootstrap.custom.as_ref().expect("a method");
    assert_eq!(
        (custom.method.as_str(), custom.command.as_str(), custom.no_params),
        ("restore", "/bin/restore --fast", true)
    );
    assert_eq!(custom.arguments, [("threshold".to_owned(), "5".to_owned())]);
    assert_eq!(local.bootstrap.initdb, Ok(vec!["--data-checksums".to_owned(), "--encoding=UTF8".to_owned()]));
    assert_eq!(local.bootstrap.post_bootstrap.as_deref(), Some("/bin/post"));
    assert_eq!(local.bootstrap.dcs["synchronous_mode"], "quorum", "the default beside citus");
    assert_eq!(local.watchdog.mode, WatchdogMode::Off);
}

#[test]
fn the_control_tool_needs_nothing() {
    let none = ClientConfig::load(&[], &BTreeMap::new()).expect("an empty configuration");
    assert_eq!((none.scope, none.store, none.namespace.as_str()), (None, None, "/service"));
    let file = ("ctl.yml".to_owned(), "scope: demo\netcd3: {host: a}\nctl: {insecure: true}\n".to_owned());
    let some = ClientConfig::load(&[file], &BTreeMap::new()).expect("a configuration");
    assert_eq!((some.scope.as_deref(), some.ctl.insecure), (Some("demo"), true));
    let broken = ("ctl.yml".to_owned(), "etcd3: {}\n".to_owned());
    assert!(ClientConfig::load(&[broken], &BTreeMap::new()).is_err());
}
