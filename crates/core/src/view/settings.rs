//! The dynamic settings that decide how a herd behaves (the store's `config` key).

use std::time::Duration;

use serde_json::Value;

use super::{integer, truth};

/// How commits wait for standbys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncMode {
    #[default]
    Off,
    Priority,
    Quorum,
}

/// The standby_cluster section, when it makes this a standby cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandbyCluster {
    pub host: Option<String>,
    pub port: Option<String>,
    pub primary_slot_name: Option<String>,
    pub restore_command: Option<String>,
    pub archive_cleanup_command: Option<String>,
    pub recovery_min_apply_delay: Option<String>,
    pub create_replica_methods: Vec<String>,
}

impl StandbyCluster {
    /// Every address of the primary: hosts and ports are lists as libpq has them, with one port for each host or one for
    /// all. A port alone is one on this machine.
    pub fn addresses(&self) -> Vec<(String, u16)> {
        const DEFAULT_PORT: u16 = 5432;
        let list = |text: &Option<String>| -> Vec<String> {
            text.iter().flat_map(|t| t.split(',')).map(|part| part.trim().to_owned()).collect()
        };
        let ports: Vec<u16> = list(&self.port).iter().map(|port| port.parse().unwrap_or(DEFAULT_PORT)).collect();
        let hosts = match (&self.host, &self.port) {
            (None, Some(_)) => vec!["localhost".to_owned()],
            (Some(_), _) | (None, None) => list(&self.host),
        };
        let port = |i: usize| ports.get(i).or(ports.last()).copied().unwrap_or(DEFAULT_PORT);
        hosts.into_iter().enumerate().map(|(i, host)| (host, port(i))).filter(|(host, _)| !host.is_empty()).collect()
    }
}

/// The dynamic settings that the rules read, with Patroni's defaults. `ttl`, `loop_wait` and
/// `retry_timeout` have our own floors of 2, 1 and 1 seconds and no rule about their sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub ttl: Duration,
    pub loop_wait: Duration,
    pub retry_timeout: Duration,
    pub maximum_lag_on_failover: u64,
    pub maximum_lag_on_syncnode: i64,
    pub max_timelines_history: usize,
    pub check_timeline: bool,
    pub primary_start_timeout: Duration,
    /// Zero is unlimited; it binds in the synchronous modes only.
    pub primary_stop_timeout: Duration,
    pub sync_mode: SyncMode,
    pub sync_strict: bool,
    pub sync_node_count: u32,
    pub failsafe_mode: bool,
    pub pause: bool,
    pub member_slots_ttl: Duration,
    /// For how long a race is put off while WAL still comes (4.2).
    pub primary_race_backoff: Duration,
    pub use_slots: bool,
    pub use_pg_rewind: bool,
    pub remove_on_rewind_failure: bool,
    pub remove_on_diverged_timelines: bool,
    pub standby_cluster: Option<StandbyCluster>,
}

pub const TTL_FLOOR_SECONDS: u64 = 2;
pub const LOOP_WAIT_FLOOR_SECONDS: u64 = 1;
pub const RETRY_TIMEOUT_FLOOR_SECONDS: u64 = 1;

impl Default for Settings {
    fn default() -> Self {
        Settings::from_value(&Value::Null)
    }
}

impl Settings {
    /// Reads the settings from a dynamic configuration; what is missing or makes no sense has its default.
    pub fn from_value(config: &Value) -> Settings {
        let seconds = |names: &[&str], default: u64, floor: u64| {
            let given = names.iter().find_map(|n| config.get(n)).and_then(integer).and_then(|i| u64::try_from(i).ok());
            Duration::from_secs(given.unwrap_or(default).max(floor))
        };
        let flag = |name: &str| config.get(name).and_then(truth).unwrap_or(false);
        let number = |name: &str| config.get(name).and_then(integer);
        let postgresql = config.get("postgresql");
        let postgresql_flag =
            |name: &str, default| postgresql.and_then(|p| p.get(name)).and_then(truth).unwrap_or(default);
        let sync_mode = match config.get("synchronous_mode") {
            Some(Value::String(s)) if s.eq_ignore_ascii_case("quorum") => SyncMode::Quorum,
            Some(value) if truth(value) == Some(true) => SyncMode::Priority,
            Some(_) | None => SyncMode::Off,
        };
        let sync_strict = flag("synchronous_mode_strict");
        let node_count = number("synchronous_node_count").and_then(|n| u32::try_from(n).ok()).unwrap_or(1);
        Settings {
            ttl: seconds(&["ttl"], 30, TTL_FLOOR_SECONDS),
            loop_wait: seconds(&["loop_wait"], 10, LOOP_WAIT_FLOOR_SECONDS),
            retry_timeout: seconds(&["retry_timeout"], 10, RETRY_TIMEOUT_FLOOR_SECONDS),
            maximum_lag_on_failover: number("maximum_lag_on_failover")
                .and_then(|n| n.try_into().ok())
                .unwrap_or(1 << 20),
            maximum_lag_on_syncnode: number("maximum_lag_on_syncnode").unwrap_or(-1),
            max_timelines_history: number("max_timelines_history").and_then(|n| n.try_into().ok()).unwrap_or(0),
            check_timeline: flag("check_timeline"),
            primary_start_timeout: seconds(&["primary_start_timeout", "master_start_timeout"], 300, 0),
            primary_stop_timeout: seconds(&["primary_stop_timeout", "master_stop_timeout"], 0, 0),
            sync_mode,
            sync_strict,
            sync_node_count: node_count.max(u32::from(sync_strict)),
            failsafe_mode: flag("failsafe_mode"),
            pause: flag("pause"),
            primary_race_backoff: seconds(&["primary_race_backoff"], 0, 0),
            member_slots_ttl: config.get("member_slots_ttl").and_then(time_span).unwrap_or(Duration::from_secs(1800)),
            use_slots: postgresql_flag("use_slots", true),
            use_pg_rewind: postgresql_flag("use_pg_rewind", false),
            remove_on_rewind_failure: postgresql_flag("remove_data_directory_on_rewind_failure", false),
            remove_on_diverged_timelines: postgresql_flag("remove_data_directory_on_diverged_timelines", false),
            standby_cluster: config.get("standby_cluster").and_then(standby_cluster),
        }
    }

    pub fn is_sync(&self) -> bool {
        self.sync_mode != SyncMode::Off && self.standby_cluster.is_none()
    }
}

fn standby_cluster(section: &Value) -> Option<StandbyCluster> {
    let text = |name: &str| match section.get(name) {
        Some(Value::String(s)) if !s.is_empty() => Some(s.clone()),
        Some(Value::Number(n)) => Some(n.to_string()),
        Some(_) | None => None,
    };
    let methods = section.get("create_replica_methods").and_then(Value::as_array);
    let cluster = StandbyCluster {
        host: text("host"),
        port: text("port"),
        primary_slot_name: text("primary_slot_name"),
        restore_command: text("restore_command"),
        archive_cleanup_command: text("archive_cleanup_command"),
        recovery_min_apply_delay: text("recovery_min_apply_delay"),
        create_replica_methods: methods
            .map(|m| m.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect())
            .unwrap_or_default(),
    };
    let active = cluster.host.is_some() || cluster.port.is_some() || cluster.restore_command.is_some();
    active.then_some(cluster)
}

/// A time with PostgreSQL's units (`ms`, `s`, `min`, `h`, `d`), seconds without one.
fn time_span(value: &Value) -> Option<Duration> {
    if let Some(seconds) = integer(value) {
        return u64::try_from(seconds).ok().map(Duration::from_secs);
    }
    let text = value.as_str()?.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(digits);
    let milliseconds: f64 = match unit.trim() {
        "us" => 0.001,
        "ms" => 1.0,
        "s" => 1e3,
        "min" => 6e4,
        "h" => 3.6e6,
        "d" => 8.64e7,
        _ => return None,
    };
    let number: f64 = number.parse().ok()?;
    Some(Duration::from_millis((number * milliseconds) as u64))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_are_patronis() {
        let s = Settings::default();
        assert_eq!((s.ttl.as_secs(), s.loop_wait.as_secs(), s.retry_timeout.as_secs()), (30, 10, 10));
        assert_eq!(s.maximum_lag_on_failover, 1048576);
        assert_eq!(s.member_slots_ttl.as_secs(), 1800);
        assert!(s.use_slots && !s.pause && s.sync_mode == SyncMode::Off && s.standby_cluster.is_none());
    }

    #[test]
    fn values_are_read_as_people_write_them() {
        let s = Settings::from_value(&json!({
            "ttl": "1", "loop_wait": 0, "pause": "on", "synchronous_mode": "quorum",
            "master_start_timeout": 0, "member_slots_ttl": "5min", "synchronous_mode_strict": true,
            "synchronous_node_count": 0, "standby_cluster": {"host": "", "port": 5433},
        }));
        assert_eq!((s.ttl.as_secs(), s.loop_wait.as_secs()), (2, 1), "raised to our floors");
        assert!(s.pause && s.primary_start_timeout.is_zero());
        assert_eq!((s.sync_mode, s.sync_node_count), (SyncMode::Quorum, 1));
        assert_eq!(s.member_slots_ttl.as_secs(), 300);
        assert_eq!(s.standby_cluster.and_then(|c| c.port).as_deref(), Some("5433"));
    }

    #[test]
    fn a_remote_primary_may_have_several_addresses() {
        for (section, expected) in [
            (json!({"host": "a"}), vec![("a", 5432)]),
            (json!({"host": "a,b", "port": 5433}), vec![("a", 5433), ("b", 5433)]),
            (json!({"host": "a, b", "port": "5433,5434"}), vec![("a", 5433), ("b", 5434)]),
            (json!({"port": 5433}), vec![("localhost", 5433)]),
            (json!({"restore_command": "cp"}), vec![]),
        ] {
            let settings = Settings::from_value(&json!({"standby_cluster": section}));
            let found = settings.standby_cluster.map(|c| c.addresses()).unwrap_or_default();
            let expected: Vec<_> = expected.into_iter().map(|(h, p)| (h.to_owned(), p)).collect();
            assert_eq!(found, expected, "{section}");
        }
    }
}
