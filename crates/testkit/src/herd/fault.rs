//! What can happen to a member. Each fault returns only when it has taken effect, and fails the test when it does not.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use super::Member;
use crate::netns::Net;
use crate::process::{self, Signal};
use crate::wait;

const FOUND_WITHIN: Duration = Duration::from_secs(10);

impl Member {
    /// Sends the agent a signal that it handles itself (TERM, HUP).
    #[track_caller]
    pub fn signal_agent(&self, signal: Signal) {
        assert!(process::send(self.agent_pid(), signal), "{} has no agent to signal", self.name);
    }

    /// SIGKILL to the agent alone; its guard, its helpers and PostgreSQL are left.
    #[track_caller]
    pub fn kill_agent(&self) {
        process::kill_all(&[self.agent_pid()]);
        self.reap();
    }

    /// SIGSTOP to the agent alone.
    #[track_caller]
    pub fn freeze_agent(&self) {
        process::freeze(self.agent_pid());
    }

    #[track_caller]
    pub fn thaw_agent(&self) {
        process::thaw(self.agent_pid());
    }

    /// SIGKILL to the agent, its guard and its helpers at once: everything on the host but PostgreSQL.
    #[track_caller]
    pub fn kill_agent_tree(&self) {
        let pids = self.agent_tree();
        assert!(pids.contains(&self.agent_pid()), "{}'s agent is not on its host: {pids:?}", self.name);
        process::kill_all(&pids);
        self.reap();
    }

    /// SIGKILL to the postmaster. Its backends notice for themselves.
    #[track_caller]
    pub fn kill_postmaster(&self) {
        let pid = self.postmaster_pid();
        let leftover = process::shared_memory_files(&[pid]);
        process::kill_all(&[pid]);
        self.remember(leftover);
    }

    /// SIGSTOP to the postmaster: open sessions go on, new ones hang.
    #[track_caller]
    pub fn freeze_postmaster(&self) -> i32 {
        let pid = self.postmaster_pid();
        process::freeze(pid);
        pid
    }

    /// SIGSTOP to every process of PostgreSQL: a hung server.
    #[track_caller]
    pub fn freeze_server(&self) -> BTreeSet<i32> {
        let postmaster = self.postmaster_pid();
        process::freeze(postmaster);
        let pids = process::tree(postmaster);
        for pid in pids.iter().filter(|p| process::alive(**p)) {
            process::freeze(*pid);
        }
        pids
    }

    /// The server process of an open session, found by what it shows as its application name.
    #[track_caller]
    pub fn backend_of(&self, application: &str) -> i32 {
        let sql = format!("SELECT pid FROM pg_stat_activity WHERE application_name = '{application}' LIMIT 1");
        wait::value(&format!("a backend of {application} on {}", self.name), FOUND_WITHIN, || {
            self.try_sql(&sql).ok()?.first()?.first()?.as_ref()?.parse().ok()
        })
    }

    /// The processes that send WAL to the standbys.
    pub fn walsenders(&self) -> Vec<i32> {
        let is_sender = |p: &i32| process::command_line(*p).contains("walsender");
        self.postmaster().map(process::children).unwrap_or_default().into_iter().filter(is_sender).collect()
    }

    /// Pulls every plug: the host sees nobody, nobody sees it.
    #[track_caller]
    pub fn unplug(&self) {
        self.place.unplug(Net::Cluster, self.store);
        self.place.unplug(Net::Clients, self.seen_by_clients());
    }

    #[track_caller]
    pub fn plug(&self) {
        self.place.plug(Net::Cluster, self.store);
        self.place.plug(Net::Clients, self.seen_by_clients());
    }

    /// Cuts the way to the store and the other members; clients still reach this host.
    #[track_caller]
    pub fn cut_from_peers(&self) {
        self.place.unplug(Net::Cluster, self.store);
    }

    #[track_caller]
    pub fn rejoin_peers(&self) {
        self.place.plug(Net::Cluster, self.store);
    }

    /// A port that nobody listens on: the host refuses, and that is answer enough.
    fn seen_by_clients(&self) -> SocketAddr {
        SocketAddr::new(self.place.client_ip(), 9)
    }

    /// The host loses power: no link, no process. Its disk stays.
    #[track_caller]
    pub fn crash(&self) {
        self.unplug();
        assert!(self.kill_everything(), "processes outlived the crash of {}: {:?}", self.name, self.processes());
    }

    /// The crashed host is back, nothing runs on it.
    #[track_caller]
    pub fn power_on(&self) {
        self.plug();
    }

    /// Kills whatever runs on the host, again while something new appears. Whether nothing is left.
    pub(super) fn kill_everything(&self) -> bool {
        let empty = wait::poll(FOUND_WITHIN, || {
            let pids = self.note_processes();
            for pid in &pids {
                process::send(*pid, Signal::KILL);
            }
            pids.is_empty().then_some(())
        });
        self.reap();
        empty.is_some()
    }

    /// What runs on the host, its shared memory noted.
    pub(super) fn note_processes(&self) -> Vec<i32> {
        let pids = self.processes();
        self.remember(process::shared_memory_files(&pids));
        pids
    }

    /// Notes shared memory that a killed PostgreSQL leaves behind, for [`Member::remove_shared_memory`].
    fn remember(&self, files: BTreeSet<std::path::PathBuf>) {
        self.leftover.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(files);
    }

    /// Removes what killed servers left in shared memory; for the end, when nothing runs any more.
    pub(super) fn remove_shared_memory(&self) {
        for file in self.leftover.lock().unwrap_or_else(std::sync::PoisonError::into_inner).iter() {
            // Gone already when a later start of the server cleaned up.
            let _ = fs::remove_file(file);
        }
        let lock = fs::read_to_string(self.data_dir().join("postmaster.pid")).unwrap_or_default();
        if let Some(id) = lock.lines().nth(6).and_then(|l| l.split_whitespace().nth(1)) {
            // Gone already when the server stopped by itself.
            let _ = std::process::Command::new("ipcrm").args(["-m", id]).stderr(std::process::Stdio::null()).status();
        }
    }
}
