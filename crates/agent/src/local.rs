//! The part of the configuration that the rules read, made from what the operator wrote.

use jogi_config::HostPort;
use jogi_config::local::WatchdogMode;
use jogi_core::ha::Local;
use jogi_core::lease::watchdog;
use jogi_core::view::truth;
use jogi_pg::instance::Instance;
use serde_json::Value;

/// The version published in the member key: that of the Patroni whose behaviour this is.
pub const VERSION: &str = "4.1.5";

/// Seconds that stand for "no limit" where PostgreSQL's start may take as long as it likes.
const NO_LIMIT_SECONDS: u64 = 365 * 24 * 3600;

/// What the rules read of a server's configuration.
pub fn rules(instance: &Instance) -> Local {
    let (local, effective) = (&*instance.local, &*instance.effective);
    let own = |name: &str| local.postgresql.raw.0.get(name).and_then(truth);
    let wait = effective.pg_ctl_timeout.as_secs();
    Local {
        name: local.name.clone(),
        scope: local.scope.clone(),
        conn_url: server_url(local, &connect_address(local)),
        api_url: api_url(local),
        proxy_url: local.postgresql.proxy_address.as_ref().map(|address| server_url(local, address)),
        tags: local.tags.clone(),
        version: VERSION,
        binaries: instance.binaries.version,
        may_bootstrap: local.raw.0.get("bootstrap").and_then(Value::as_object).is_some_and(|b| !b.is_empty()),
        bootstrap_dcs: local.bootstrap.dcs.clone(),
        has_pre_promote: effective.pre_promote.is_some(),
        has_before_stop: effective.before_stop.is_some(),
        use_pg_rewind: own("use_pg_rewind").or(local.postgresql.legacy_pg_rewind.then_some(true)),
        remove_on_rewind_failure: Some(effective.remove_data_directory_on_rewind_failure),
        remove_on_diverged_timelines: Some(effective.remove_data_directory_on_diverged_timelines),
        has_leaderless_method: effective
            .create_replica_methods
            .iter()
            .any(|method| method.section.get("no_leader").is_some_and(jogi_config::python::is_true)),
        watchdog: match local.watchdog.mode {
            WatchdogMode::Off => watchdog::WatchdogMode::Off,
            WatchdogMode::Automatic => watchdog::WatchdogMode::Automatic,
            WatchdogMode::Required => watchdog::WatchdogMode::Required,
        },
        watchdog_margin: local.watchdog.safety_margin,
        start_wait_seconds: if wait == 0 { NO_LIMIT_SECONDS } else { wait },
    }
}

/// `http(s)://HOST:PORT/patroni`.
pub fn api_url(local: &jogi_config::Local) -> String {
    let scheme = if local.restapi.certfile.is_some() { "https" } else { "http" };
    format!("{scheme}://{}/patroni", local.restapi.connect_address)
}

fn server_url(local: &jogi_config::Local, address: &HostPort) -> String {
    format!("postgres://{address}/{}", local.postgresql.database)
}

/// Where others reach the server: as configured, else where it listens.
fn connect_address(local: &jogi_config::Local) -> HostPort {
    if let Some(address) = &local.postgresql.connect_address {
        return address.clone();
    }
    let listen = &local.postgresql.listen;
    let everywhere = listen.hosts().any(|host| ["*", "localhost", "0.0.0.0", "127.0.0.1"].contains(&host));
    let host = if everywhere { "localhost" } else { listen.hosts().next().unwrap_or("localhost") };
    HostPort::new(host, listen.port)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use jogi_config::postgres::DescribeConfig;
    use jogi_pg::binaries::Binaries;
    use serde_json::json;

    use super::*;

    const YAML: &str = "
scope: demo
name: a
restapi: {listen: '0.0.0.0:8008', connect_address: '10.0.0.5:8008'}
etcd3: {host: '10.0.0.1:2379'}
bootstrap: {dcs: {ttl: 20}}
postgresql:
  listen: '*:5433'
  data_dir: /var/lib/pg
  authentication: {replication: {username: r, password: x}, superuser: {username: s, password: y}}
";

    fn instance(yaml: &str, dynamic: serde_json::Value) -> Instance {
        let files = [("test.yml".to_owned(), yaml.to_owned())];
        let local = jogi_config::Local::load(&files, &BTreeMap::new()).expect("a configuration").local;
        let program = || "/usr/bin/false".into();
        let binaries = Binaries {
            postgres: program(),
            initdb: program(),
            pg_ctl: program(),
            pg_controldata: program(),
            pg_basebackup: program(),
            pg_rewind: program(),
            pg_isready: program(),
            version: 150_020,
            known: DescribeConfig::default(),
        };
        Instance::new(Arc::new(local), Arc::new(dynamic), Arc::new(binaries))
    }

    #[test]
    fn addresses_are_published_as_others_reach_them() {
        let local = rules(&instance(YAML, json!({})));
        assert_eq!(local.conn_url, "postgres://localhost:5433/postgres", "no connect_address: where it listens");
        assert_eq!(local.api_url, "http://10.0.0.5:8008/patroni");
        assert_eq!((local.may_bootstrap, local.bootstrap_dcs["ttl"].as_i64()), (true, Some(20)));
        assert_eq!((local.binaries, local.version), (150_020, "4.1.5"));
        let v6 = format!("{YAML}  connect_address: 'fd00::5:5433'\n  proxy_address: 'p:6432'\n  database: app\n");
        let local = rules(&instance(&v6, json!({})));
        assert_eq!(local.conn_url, "postgres://[fd00::5]:5433/app");
        assert_eq!(local.proxy_url.as_deref(), Some("postgres://p:6432/app"));
    }

    #[test]
    fn local_values_win_over_the_stores_and_the_stores_count_where_there_are_none() {
        let dynamic = json!({"postgresql": {
            "use_pg_rewind": true,
            "pre_promote": "/bin/check",
            "remove_data_directory_on_rewind_failure": true,
            "pg_ctl_timeout": 0,
        }});
        let local = rules(&instance(YAML, dynamic.clone()));
        assert_eq!(local.use_pg_rewind, None, "the rules read the store's value themselves");
        assert_eq!((local.has_pre_promote, local.has_before_stop), (true, false));
        assert_eq!(local.remove_on_rewind_failure, Some(true));
        assert_eq!(local.start_wait_seconds, NO_LIMIT_SECONDS);
        let own = format!("{YAML}  use_pg_rewind: 'off'\n  remove_data_directory_on_rewind_failure: false\n");
        let local = rules(&instance(&own, dynamic));
        assert_eq!(local.use_pg_rewind, Some(false));
        assert_eq!(local.remove_on_rewind_failure, Some(false));
    }

    #[test]
    fn a_method_that_needs_no_source_is_known() {
        let with =
            format!("{YAML}  create_replica_methods: [archive]\n  archive: {{command: /bin/x, no_leader: true}}\n");
        assert!(rules(&instance(&with, json!({}))).has_leaderless_method);
        assert!(!rules(&instance(YAML, json!({}))).has_leaderless_method);
    }
}
