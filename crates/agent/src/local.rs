//! The part of the configuration that the rules read, made from what the operator wrote.

use jogi_config::HostPort;
use jogi_core::ha::Local;
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
