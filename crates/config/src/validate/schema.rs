//! Which keys must be there and what their values must be.

/// What a value must be.
pub(super) enum Rule {
    Str,
    Int,
    Bool,
    Dict,
    Number(Number),
    Word {
        words: &'static [&'static str],
        any_case: bool,
    },
    ConnectAddress,
    Listen,
    /// Several hosts before the port.
    ListenMany,
    Reachable,
    /// A text with commas, or a list.
    ReachableMany,
    ReachableList,
    DataDir,
    BinName,
    BinDir,
    LogFormat,
    WatchdogMode,
    SynchronousMode,
    Ip,
    List(&'static Rule),
    Either(&'static Rule, &'static Rule),
    Object(&'static [Field]),
}

pub(super) struct Number {
    pub least: i64,
    pub most: i64,
    pub unit: Option<&'static str>,
    pub aligned: i64,
    /// A text with a number in it does not do.
    pub exact: bool,
}

pub(super) enum Field {
    Must(&'static str, Rule),
    May(&'static str, Rule),
    OrDefault(&'static str, Rule, &'static str),
    /// At least one of them.
    OneOf(&'static [(&'static str, Rule)]),
    AtMostOne(&'static [(&'static str, Rule)]),
}

use Field::{AtMostOne, May, Must, OneOf, OrDefault};
use Rule::*;

const fn number(least: i64, most: i64) -> Rule {
    Rule::Number(self::Number { least, most, unit: None, aligned: 1, exact: false })
}

const fn exact(least: i64, most: i64) -> Rule {
    Rule::Number(self::Number { least, most, unit: None, aligned: 1, exact: true })
}

const fn at_least(least: i64) -> Rule {
    number(least, i64::MAX)
}

const PORT: Rule = exact(i64::MIN, 65535);
const STACK_SIZE: Rule =
    Rule::Number(self::Number { least: 65536, most: i64::MAX, unit: Some("B"), aligned: 65536, exact: true });
const SLOTS_TTL: Rule =
    Rule::Number(self::Number { least: 0, most: i64::MAX, unit: Some("s"), aligned: 1, exact: false });

const fn words(words: &'static [&'static str]) -> Rule {
    Word { words, any_case: false }
}

const ROLE: Rule = Object(&[Must("username", Str), May("password", Str)]);
const TEXTS: Rule = List(&Str);

const ETCD: Rule = Object(&[
    OneOf(&[
        ("host", Reachable),
        ("hosts", ReachableMany),
        ("srv", Str),
        ("srv_suffix", Str),
        ("url", Str),
        ("proxy", Str),
    ]),
    May("protocol", Str),
    May("username", Str),
    May("password", Str),
    May("cacert", Str),
    May("cert", Str),
    May("key", Str),
]);

const LOG: Rule = Object(&[
    May("type", words(&["plain", "json"])),
    May("level", words(&["DEBUG", "INFO", "WARN", "WARNING", "ERROR", "FATAL", "CRITICAL"])),
    May("traceback_level", Word { words: &["DEBUG", "ERROR"], any_case: true }),
    May("format", LogFormat),
    May("dateformat", Str),
    May("static_fields", Dict),
    May("max_queue_size", Int),
    May("dir", Str),
    May("file_num", Int),
    May("file_size", Int),
    May("mode", exact(0, 511)),
    May("loggers", Dict),
    May("deduplicate_heartbeat_logs", Bool),
]);

const CTL: Rule = Object(&[
    May("insecure", Bool),
    May("cacert", Str),
    May("certfile", Str),
    May("keyfile", Str),
    May("keyfile_password", Str),
]);

const RESTAPI: Rule = Object(&[
    May("thread_pool_size", exact(5, i64::MAX)),
    Must("listen", Listen),
    Must("connect_address", ConnectAddress),
    May("authentication", Object(&[Must("username", Str), Must("password", Str)])),
    May("certfile", Str),
    May("keyfile", Str),
    May("keyfile_password", Str),
    May("cafile", Str),
    May("ciphers", Str),
    May("verify_client", words(&["none", "optional", "required"])),
    May("allowlist", TEXTS),
    May("allowlist_include_members", Bool),
    May("http_extra_headers", Dict),
    May("https_extra_headers", Dict),
    May("request_queue_size", exact(0, 4096)),
    May("server_tokens", Word { words: &["minimal", "productonly", "original"], any_case: true }),
]);

const DCS_POSTGRESQL: Rule = Object(&[
    May(
        "parameters",
        Object(&[
            May("max_connections", number(1, 262_143)),
            May("max_locks_per_transaction", number(10, 2_147_483_647)),
            May("max_prepared_transactions", number(0, 262_143)),
            May("max_replication_slots", number(0, 262_143)),
            May("max_wal_senders", number(0, 262_143)),
            May("max_worker_processes", number(0, 262_143)),
        ]),
    ),
    May("use_pg_rewind", Bool),
    May("pg_hba", TEXTS),
    May("pg_ident", TEXTS),
    May("pg_ctl_timeout", at_least(0)),
    May("use_slots", Bool),
]);

const STANDBY_CLUSTER: Rule = Object(&[
    OneOf(&[("host", Str), ("port", PORT), ("restore_command", Str)]),
    May("primary_slot_name", Str),
    May("create_replica_methods", TEXTS),
    May("archive_cleanup_command", Str),
    May("recovery_min_apply_delay", Str),
]);

const BOOTSTRAP: Rule = Object(&[
    Must(
        "dcs",
        Object(&[
            May("ttl", at_least(20)),
            May("loop_wait", at_least(1)),
            May("retry_timeout", at_least(3)),
            May("maximum_lag_on_failover", at_least(0)),
            May("maximum_lag_on_syncnode", at_least(-1)),
            May("member_slots_ttl", SLOTS_TTL),
            May("postgresql", DCS_POSTGRESQL),
            May("primary_start_timeout", at_least(0)),
            May("primary_stop_timeout", at_least(0)),
            May("standby_cluster", STANDBY_CLUSTER),
            May("synchronous_mode", SynchronousMode),
            May("synchronous_mode_strict", Bool),
            May("synchronous_node_count", at_least(1)),
        ]),
    ),
    May("initdb", List(&Either(&Str, &Dict))),
    May("method", Str),
]);

const CONSUL: Rule = Object(&[
    OneOf(&[("host", Reachable), ("url", Str)]),
    May("port", PORT),
    May("scheme", Str),
    May("token", Str),
    May("verify", Bool),
    May("cacert", Str),
    May("cert", Str),
    May("key", Str),
    May("dc", Str),
    May("checks", TEXTS),
    May("register_service", Bool),
    May("service_tags", TEXTS),
    May("service_check_interval", Str),
    May("service_check_tls_server_name", Str),
    May("consistency", words(&["default", "consistent", "stale"])),
]);

const EXHIBITOR: Rule = Object(&[Must("hosts", TEXTS), Must("port", PORT), May("poll_interval", exact(1, i64::MAX))]);

const RAFT: Rule = Object(&[
    Must("self_addr", ConnectAddress),
    May("bind_addr", Listen),
    Must("partner_addrs", ReachableList),
    May("data_dir", Str),
    May("password", Str),
]);

const ZOOKEEPER: Rule = Object(&[
    Must("hosts", ReachableMany),
    May("use_ssl", Bool),
    May("cacert", Str),
    May("cert", Str),
    May("key", Str),
    May("key_password", Str),
    May("verify", Bool),
    May("set_acls", Dict),
    May("auth_data", Dict),
]);

const KUBERNETES: Rule = Object(&[
    Must("labels", Object(&[])),
    May("bypass_api_service", Bool),
    May("namespace", Str),
    May("scope_label", Str),
    May("role_label", Str),
    May("leader_label_value", Str),
    May("follower_label_value", Str),
    May("standby_leader_label_value", Str),
    May("tmp_role_label", Str),
    May("use_endpoints", Bool),
    May("pod_ip", Ip),
    May("ports", List(&Object(&[Must("name", Str), Must("port", PORT)]))),
    May("cacert", Str),
    May("retriable_http_codes", Either(&Int, &List(&Int))),
    May("bootstrap_labels", Dict),
]);

const POSTGRESQL: Rule = Object(&[
    Must("listen", ListenMany),
    Must("connect_address", ConnectAddress),
    May("proxy_address", ConnectAddress),
    Must("authentication", Object(&[Must("replication", ROLE), Must("superuser", ROLE), May("rewind", ROLE)])),
    Must("data_dir", DataDir),
    May(
        "bin_name",
        Object(&[
            May("pg_ctl", BinName),
            May("initdb", BinName),
            May("pg_controldata", BinName),
            May("pg_basebackup", BinName),
            May("postgres", BinName),
            May("pg_isready", BinName),
            May("pg_rewind", BinName),
        ]),
    ),
    OrDefault("bin_dir", BinDir, ""),
    May("parameters", Object(&[May("unix_socket_directories", Str)])),
    May("pg_hba", TEXTS),
    May("pg_ident", TEXTS),
    May("pg_ctl_timeout", at_least(0)),
    May("use_pg_rewind", Bool),
]);

const TAGS: Rule = Object(&[
    AtMostOne(&[("nofailover", Bool), ("failover_priority", exact(0, i64::MAX))]),
    May("clonefrom", Bool),
    May("noloadbalance", Bool),
    May("replicatefrom", Str),
    AtMostOne(&[("nosync", Bool), ("sync_priority", exact(0, i64::MAX))]),
    May("nostream", Bool),
]);

pub(super) static SCHEMA: Rule = Object(&[
    Must("name", Str),
    Must("scope", Str),
    May("thread_pool_size", exact(5, i64::MAX)),
    May("thread_stack_size", STACK_SIZE),
    May("log", LOG),
    May("ctl", CTL),
    Must("restapi", RESTAPI),
    May("bootstrap", BOOTSTRAP),
    OneOf(&[
        ("consul", CONSUL),
        ("etcd", ETCD),
        ("etcd3", ETCD),
        ("exhibitor", EXHIBITOR),
        ("kubernetes", KUBERNETES),
        ("raft", RAFT),
        ("zookeeper", ZOOKEEPER),
    ]),
    May("citus", Object(&[Must("database", Str), Must("group", exact(0, i64::MAX))])),
    Must("postgresql", POSTGRESQL),
    May(
        "watchdog",
        Object(&[May("mode", WatchdogMode), May("device", Str), May("safety_margin", exact(-1, i64::MAX))]),
    ),
    May("tags", TAGS),
]);
