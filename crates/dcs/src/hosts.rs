//! The servers: which to ask first, which failed, and those that a store itself names.
//!
//! Configured servers stay for ever. Servers that a store names are added behind them, not put in their place:
//! a member list full of addresses that only the store's own network can reach is a common mistake.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jogi_core::Tick;
use jogi_net::boot_now;

/// Servers taken from a store's member list; more are ignored.
const MAX_DISCOVERED: usize = 16;

/// One server.
pub(crate) struct Host {
    /// `http://HOST:PORT`, without a slash at the end.
    pub url: String,
    configured: bool,
    state: Mutex<HostState>,
}

#[derive(Clone, Copy, Default)]
struct HostState {
    failed_at: Option<Tick>,
    answered_at: Tick,
    prefix: Option<&'static str>,
}

pub(crate) struct Hosts {
    list: Mutex<List>,
}

struct List {
    hosts: Vec<Arc<Host>>,
    /// The one that answered last.
    preferred: Option<Arc<Host>>,
}

impl Host {
    fn new(url: &str, configured: bool) -> Arc<Host> {
        let url = url.trim_end_matches('/').to_owned();
        Arc::new(Host { url, configured, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, HostState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn answered_at(&self) -> Tick {
        self.state().answered_at
    }

    /// Whether its last try failed or was overtaken.
    pub(crate) fn is_suspect(&self) -> bool {
        self.state().failed_at.is_some()
    }

    /// etcd v3: the gateway's path on this server, when it is known not to be the usual one.
    pub(crate) fn prefix(&self) -> Option<&'static str> {
        self.state().prefix
    }

    pub(crate) fn learn_prefix(&self, prefix: &'static str) {
        self.state().prefix = Some(prefix);
    }
}

impl Hosts {
    pub(crate) fn new(urls: &[String]) -> Hosts {
        let hosts = urls.iter().map(|url| Host::new(url, true)).collect();
        Hosts { list: Mutex::new(List { hosts, preferred: None }) }
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All servers in the order of trying: the one that answered last, those not known to fail, then
    /// those that failed, the longest ago first.
    pub(crate) fn order(&self) -> Vec<Arc<Host>> {
        let list = self.list();
        let mut hosts = list.hosts.clone();
        let is_preferred = |host: &Arc<Host>| list.preferred.as_ref().is_some_and(|p| Arc::ptr_eq(p, host));
        hosts.sort_by_key(|host| {
            let failed_at = host.state().failed_at;
            (failed_at.is_some(), !is_preferred(host), failed_at)
        });
        hosts
    }

    pub(crate) fn answered(&self, host: &Arc<Host>) {
        let mut state = host.state();
        state.failed_at = None;
        state.answered_at = boot_now();
        drop(state);
        let mut list = self.list();
        if !list.preferred.as_ref().is_some_and(|p| Arc::ptr_eq(p, host)) {
            list.preferred = Some(host.clone());
        }
    }

    pub(crate) fn failed(&self, host: &Host) {
        host.state().failed_at = Some(boot_now());
    }

    /// Takes over the store's member list. Addresses of another protocol than the configured ones are left out:
    /// credentials must not leave by a door that is less guarded.
    pub(crate) fn discovered(&self, urls: impl IntoIterator<Item = String>) {
        let mut list = self.list();
        let protocol = list.hosts.first().and_then(|h| h.url.split("://").next()).unwrap_or("http").to_owned();
        let mut hosts: Vec<Arc<Host>> = list.hosts.iter().filter(|h| h.configured).cloned().collect();
        for url in urls.into_iter().take(MAX_DISCOVERED) {
            let url = url.trim_end_matches('/');
            let same_protocol = url.strip_prefix(protocol.as_str()).is_some_and(|rest| rest.starts_with("://"));
            if !same_protocol || hosts.iter().any(|h| h.url == url) {
                continue;
            }
            let known = list.hosts.iter().find(|h| h.url == url).cloned();
            hosts.push(known.unwrap_or_else(|| Host::new(url, false)));
        }
        list.hosts = hosts;
    }

    /// All known servers, for messages.
    pub(crate) fn describe(&self) -> String {
        let list = self.list();
        list.hosts.iter().map(|h| h.url.as_str()).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(hosts: &Hosts) -> Vec<String> {
        hosts.order().iter().map(|h| h.url.replace("http://", "")).collect()
    }

    #[test]
    fn the_last_to_answer_comes_first_and_the_failed_come_last() {
        let hosts = Hosts::new(&["http://a/".into(), "http://b".into(), "http://c".into()]);
        let [a, b, c] = &hosts.order()[..] else { panic!("three servers") };
        assert_eq!(order(&hosts), ["a", "b", "c"]);
        hosts.answered(c);
        assert_eq!(order(&hosts), ["c", "a", "b"]);
        hosts.failed(c);
        assert_eq!(order(&hosts), ["a", "b", "c"], "failing loses the preference");
        hosts.failed(a);
        assert_eq!(order(&hosts), ["b", "c", "a"], "the longest ago first");
        hosts.failed(b);
        assert_eq!(order(&hosts), ["c", "a", "b"]);
        hosts.answered(a);
        assert_eq!(order(&hosts), ["a", "c", "b"]);
    }

    #[test]
    fn the_member_list_adds_servers_and_never_removes_configured_ones() {
        let hosts = Hosts::new(&["http://a:1".into()]);
        let urls = |urls: &[&str]| urls.iter().map(|u| u.to_string()).collect::<Vec<_>>();
        hosts.discovered(urls(&["http://a:1", "http://b:1/", "https://c:1", "http://b:1", "httpx://d:1", "unix:e"]));
        assert_eq!(order(&hosts), ["a:1", "b:1"]);
        let b = hosts.order()[1].clone();
        hosts.answered(&b);
        hosts.discovered(urls(&["http://b:1", "http://f:1"]));
        assert_eq!(order(&hosts), ["b:1", "a:1", "f:1"], "what is known of a server stays");
        hosts.discovered(urls(&[]));
        assert_eq!(order(&hosts), ["a:1"]);
    }
}
