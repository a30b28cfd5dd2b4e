//! The configuration of a cluster without anybody's wishes.

use serde_json::{Value, json};

use super::quote::{in_command, quoted, word};
use super::{Settings, archive, hba, tls};
use crate::document::Document;
use crate::facts::{Facts, Provider};
use crate::source::Source;
use crate::variables::{Sourced, Values};

const MEMORY: Source = Source::Machine("this machine's memory");

pub(super) fn template(values: &Values, facts: &Facts, settings: &Settings) -> Document {
    let mut config = Document::default();
    config.put_sourced(&["scope"], settings.scope.clone());
    if !matches!(settings.namespace.value.as_str(), "" | "default") {
        config.put_sourced(&["namespace"], settings.namespace.clone());
    }
    restapi(values, settings, &mut config);
    bootstrap(values, facts, settings, &mut config);
    postgresql(values, facts, settings, &mut config);
    parameters(values, facts, settings, &mut config);
    callbacks(values, settings, &mut config);
    replica_methods(values, settings, &mut config);
    config
}

fn restapi(values: &Values, settings: &Settings, config: &mut Document) {
    config.put_sourced(&["restapi", "listen"], settings.api_port.clone().map(|port| format!(":{port}")));
    let address = values.filled("RESTAPI_CONNECT_ADDRESS").unwrap_or_else(|| settings.address(&settings.api_port));
    config.put_sourced(&["restapi", "connect_address"], address);
    for (key, file) in tls::rest_files(values, settings) {
        config.put_sourced(&["restapi", key], file);
    }
}

fn bootstrap(values: &Values, facts: &Facts, settings: &Settings, config: &mut Document) {
    let init = settings.human_role.clone().map(|role| format!("/scripts/post_init.sh {}", quoted(&role)));
    config.put_sourced(&["bootstrap", "post_init"], init);
    let locale = values.text("INITDB_LOCALE", "en_US").map(|locale| format!("{locale}.UTF-8"));
    let initdb = json!([{"encoding": "UTF8"}, {"locale": locale.value}, "data-checksums"]);
    config.put(&["bootstrap", "initdb"], initdb, locale.source);
    config.defaults(
        &["bootstrap", "dcs"],
        [
            ("ttl", 30.into()),
            ("loop_wait", 10.into()),
            ("retry_timeout", 10.into()),
            ("maximum_lag_on_failover", 33_554_432.into()),
        ],
    );
    config.defaults(&["bootstrap", "dcs", "postgresql"], [("use_pg_rewind", true.into()), ("use_slots", true.into())]);
    config.defaults(
        &["bootstrap", "dcs", "postgresql", "parameters"],
        [
            ("archive_mode", "on".into()),
            ("archive_timeout", "1800s".into()),
            ("autovacuum_analyze_scale_factor", 0.02.into()),
            ("autovacuum_max_workers", 5.into()),
            ("autovacuum_vacuum_scale_factor", 0.05.into()),
            ("checkpoint_completion_target", 0.9.into()),
            ("hot_standby", "on".into()),
            ("log_autovacuum_min_duration", 0.into()),
            ("log_checkpoints", "on".into()),
            ("log_connections", "on".into()),
            ("log_disconnections", "on".into()),
            ("log_line_prefix", "%t [%p]: [%l-1] %c %x %d %u %a %h ".into()),
            ("log_lock_waits", "on".into()),
            ("log_min_duration_statement", 500.into()),
            ("log_statement", "ddl".into()),
            ("log_temp_files", 0.into()),
            ("max_replication_slots", 10.into()),
            ("max_wal_senders", 10.into()),
            ("tcp_keepalives_idle", 900.into()),
            ("tcp_keepalives_interval", 100.into()),
            ("track_functions", "all".into()),
            ("wal_compression", "on".into()),
            ("wal_level", "hot_standby".into()),
            ("wal_log_hints", "on".into()),
        ],
    );
    let connections = (facts.memory_mb / 30).clamp(100, 1000);
    config.put(&["bootstrap", "dcs", "postgresql", "parameters", "max_connections"], connections, MEMORY);
}

fn postgresql(values: &Values, facts: &Facts, settings: &Settings, config: &mut Document) {
    let mut put = |key: &str, value: Sourced<String>| config.put_sourced(&["postgresql", key], value);
    put("name", settings.name.clone());
    put("listen", settings.port.clone().map(|port| format!("*:{port}")));
    put("connect_address", values.filled("PG_CONNECT_ADDRESS").unwrap_or_else(|| settings.address(&settings.port)));
    put("data_dir", settings.data.clone());
    put("pgpass", values.text("RW_DIR", "/run").map(|dir| format!("{dir}/postgresql/pgpass")));
    config.defaults(&["postgresql"], [("use_unix_socket", true.into()), ("use_unix_socket_repl", true.into())]);
    for (section, role, default) in [("superuser", "SUPERUSER", "postgres"), ("replication", "STANDBY", "standby")] {
        let password = if section == "superuser" { "zalando" } else { "standby" };
        let path = |key| ["postgresql", "authentication", section, key];
        config.put_sourced(&path("username"), values.text(&format!("PGUSER_{role}"), default));
        config.put_sourced(&path("password"), values.text(&format!("PGPASSWORD_{role}"), password));
    }
    let lines = hba::lines(values, settings);
    config.put_sourced(&["postgresql", "pg_hba"], lines);
    let listen = if facts.dual_stack { "::" } else { "0.0.0.0" };
    config.put(
        &["postgresql", "parameters", "bg_mon.listen_address"],
        listen,
        Source::Machine("what sockets this host has"),
    );
}

fn parameters(values: &Values, facts: &Facts, settings: &Settings, config: &mut Document) {
    let section = ["postgresql", "parameters"];
    let path = |key| [section[0], section[1], key];
    let archive = archive::of(values, settings, archive::Role::Main).filter(|_| !settings.demo);
    match &archive {
        Some(archive) => {
            let command = format!("envdir {} wal-g wal-push \"%p\"", in_command(&archive.directory));
            config.put(&path("archive_command"), command, archive.source.clone());
        }
        None => config.put(&path("archive_command"), "/bin/true", Source::Default),
    }
    let fraction = if settings.kubernetes { 5 } else { 4 };
    config.put(&path("shared_buffers"), format!("{}MB", facts.memory_mb / fraction), MEMORY);
    let hourly = match values.has("LOG_SHIP_HOURLY") {
        true => values.source("LOG_SHIP_HOURLY"),
        false => Source::Default,
    };
    let name = if settings.hourly { "postgresql-%u-%H.log" } else { "postgresql-%u.log" };
    config.put(&path("log_filename"), name, hourly.clone());
    config.put(&path("log_rotation_age"), if settings.hourly { "1h" } else { "1d" }, hourly);
    config.defaults(
        &section,
        [
            ("logging_collector", "on".into()),
            ("log_destination", "csvlog".into()),
            ("log_directory", "../pg_log".into()),
            ("log_file_mode", "0644".into()),
            ("log_truncate_on_rotation", "on".into()),
            ("ssl", "on".into()),
            ("bg_mon.history_buckets", 120.into()),
            ("pg_stat_statements.track_utility", "off".into()),
            ("extwlist.custom_path", "/scripts".into()),
        ],
    );
    for (key, file) in tls::server_files(values, settings) {
        config.put_sourced(&path(key), file);
    }
    if let Some(archive) = archive {
        let command = archive::restore_command(values, &archive.directory);
        config.put(&["postgresql", "recovery_conf", "restore_command"], command, archive.source);
    }
}

fn callbacks(values: &Values, settings: &Settings, config: &mut Document) {
    let role = word(&settings.human_role.value);
    let command = callback(values, settings);
    let script = command.as_ref().map_or("true", |command| command.value.as_str());
    let source = command.as_ref().map_or(settings.human_role.source.clone(), |command| command.source.clone());
    let change = format!("/scripts/on_role_change.sh {role} {script}");
    config.put(&["postgresql", "callbacks", "on_role_change"], change, source);
    if let Some(command) = command {
        config.put_sourced(&["postgresql", "callbacks", "on_start"], command.clone());
        config.put_sourced(&["postgresql", "callbacks", "on_stop"], command);
    }
}

/// Kubernetes without its store labels pods, AWS tags instances; elsewhere the user's.
fn callback(values: &Values, settings: &Settings) -> Option<Sourced<String>> {
    if settings.kubernetes && !settings.native {
        let source = values.source("KUBERNETES_SERVICE_HOST");
        return Some(Sourced::new("python3 /scripts/callback_role.py".into(), source));
    }
    if settings.provider == Provider::Aws && !settings.kubernetes {
        let mut command = "python3 /scripts/callback_aws.py".to_owned();
        if let Some(tag) = values.filled("AWS_LEADER_TAG_VALUE") {
            // Patroni's callbacks do not see the container's environment.
            command = format!("env {} {command}", word(&format!("AWS_LEADER_TAG_VALUE={}", tag.value)));
        }
        if let Some(address) = values.filled("EIP_ALLOCATION") {
            command = format!("{command} {}", word(&address.value));
        }
        return Some(Sourced::new(command, Source::Machine("the provider, aws")));
    }
    values.filled("CALLBACK_SCRIPT")
}

fn replica_methods(values: &Values, settings: &Settings, config: &mut Document) {
    let archive = archive::of(values, settings, archive::Role::Main).filter(|_| !settings.demo);
    let methods = match &archive {
        Some(_) => json!(["wal_g", "basebackup_fast_xlog"]),
        None => json!(["basebackup_fast_xlog"]),
    };
    let source = archive.as_ref().map_or(Source::Default, |archive| archive.source.clone());
    config.put(&["postgresql", "create_replica_method"], methods, source.clone());
    if let Some(archive) = archive {
        let command = format!("envdir {} bash /scripts/walg_restore.sh", word(&archive.directory));
        restore_method(values, &["postgresql", "wal_g"], command, source, config);
    }
    config.defaults(
        &["postgresql", "basebackup_fast_xlog"],
        [("command", "/scripts/basebackup.sh".into()), ("retries", 2.into())],
    );
}

/// A replica method that restores from an archive.
pub(super) fn restore_method(values: &Values, at: &[&str; 2], command: String, source: Source, config: &mut Document) {
    config.put(&[at[0], at[1], "command"], command, source);
    for (key, variable, default) in [
        ("threshold_megabytes", "WALG_BACKUP_THRESHOLD_MEGABYTES", 102_400),
        ("threshold_backup_size_percentage", "WALG_BACKUP_THRESHOLD_PERCENTAGE", 30),
    ] {
        let number = values.text(variable, "").map(|text| text.parse::<i64>().unwrap_or(default));
        config.put_sourced(&[at[0], at[1], key], number.map(Value::from));
    }
    config.defaults(at, [("retries", 2.into()), ("no_leader", 1.into())]);
}
