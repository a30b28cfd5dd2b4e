//! What this member is configured to be: the part of the local configuration that rules read.

use serde_json::Value;

use crate::MemberName;
use crate::lease::watchdog::WatchdogMode;
use crate::view::{Settings, Tags};

/// This member. Built by the agent from the local configuration and the binaries found.
#[derive(Clone, Debug, PartialEq)]
pub struct Local {
    pub name: MemberName,
    pub scope: String,
    /// `postgres://HOST:PORT/DB` as published.
    pub conn_url: String,
    pub api_url: String,
    pub proxy_url: Option<String>,
    pub tags: Tags,
    /// The version published in the member key: that of Patroni whose behaviour this is.
    pub version: &'static str,
    /// Version number of the installed binaries, e.g. 150020.
    pub binaries: u32,
    /// A `bootstrap` section stands: this member may make a cluster.
    pub may_bootstrap: bool,
    /// `bootstrap.dcs`: the first dynamic configuration.
    pub bootstrap_dcs: Value,
    pub has_pre_promote: bool,
    pub has_before_stop: bool,
    /// Local values win over the dynamic ones.
    pub use_pg_rewind: Option<bool>,
    pub remove_on_rewind_failure: Option<bool>,
    pub remove_on_diverged_timelines: Option<bool>,
    /// A replica method works without a running source.
    pub has_leaderless_method: bool,
    pub watchdog: WatchdogMode,
    /// `watchdog.safety_margin`, seconds; negative: half of `ttl`.
    pub watchdog_margin: i64,
    /// Seconds to wait for a start (`pg_ctl_timeout`).
    pub start_wait_seconds: u64,
}

impl Local {
    pub fn removes_on_rewind_failure(&self, settings: &Settings) -> bool {
        self.remove_on_rewind_failure.unwrap_or(settings.remove_on_rewind_failure)
    }

    pub fn removes_on_divergence(&self, settings: &Settings) -> bool {
        self.remove_on_diverged_timelines.unwrap_or(settings.remove_on_diverged_timelines)
    }

    pub fn uses_rewind(&self, settings: &Settings) -> bool {
        self.use_pg_rewind.unwrap_or(settings.use_pg_rewind)
    }
}
