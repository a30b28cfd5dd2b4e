//! What is particular about one member: settings of its own, and oddities of its server that are no faults.

use jogi_core::ha::{Event, Local};
use jogi_core::lease::watchdog::WatchdogMode;
use serde_json::Value;

use crate::net::HostId;
use crate::world::World;

/// Set by a scenario before or while the member runs.
#[derive(Clone, Debug, Default)]
pub struct Quirks {
    /// Fields of the local configuration that are not the usual ones: `pre_promote`, `before_stop`, `bootstrap`, `rewind`,
    /// `watchdog_required`, `proxy_url`, `leaderless_method`, `remove_on_rewind_failure`, `remove_on_diverged_timelines`, `start_wait`.
    pub local: Value,
    pub scripts_fail: bool,
    /// A parameter was changed that needs a restart; a start of the server makes it so.
    pub pending_restart: bool,
    pub replay_paused: bool,
    /// There is no kernel watchdog.
    pub watchdog_fails: bool,
    /// The data directory cannot be read, for this reason.
    pub unreadable: Option<String>,
}

impl Quirks {
    pub fn apply(&self, local: &mut Local) {
        let flag = |name: &str| self.local.get(name).and_then(Value::as_bool);
        local.has_pre_promote = flag("pre_promote").unwrap_or(local.has_pre_promote);
        local.has_before_stop = flag("before_stop").unwrap_or(local.has_before_stop);
        local.may_bootstrap = flag("bootstrap").unwrap_or(local.may_bootstrap);
        local.use_pg_rewind = flag("rewind").or(local.use_pg_rewind);
        local.has_leaderless_method = flag("leaderless_method").unwrap_or(local.has_leaderless_method);
        local.remove_on_rewind_failure = flag("remove_on_rewind_failure").or(local.remove_on_rewind_failure);
        local.remove_on_diverged_timelines =
            flag("remove_on_diverged_timelines").or(local.remove_on_diverged_timelines);
        if flag("watchdog_required") == Some(true) {
            local.watchdog = WatchdogMode::Required;
        }
        if let Some(url) = self.local.get("proxy_url").and_then(Value::as_str) {
            local.proxy_url = Some(url.to_owned());
        }
        if let Some(seconds) = self.local.get("start_wait").and_then(Value::as_u64) {
            local.start_wait_seconds = seconds;
        }
    }
}

impl World {
    /// The local configuration of a member is another one from now on; a running agent reads it.
    pub fn configure_member(&mut self, host: HostId, local: Value) {
        self.hosts[host].quirks.local = local;
        if self.hosts[host].agent.is_some() {
            let local = self.local(host);
            self.core_hears(host, Event::Configured(Box::new(local)));
        }
    }
}
