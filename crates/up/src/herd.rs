//! The run of a herd from its first to its last process.

use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::account::Account;
use crate::children::Service;
use crate::layout::{self, Layout};
use crate::store::StoreCommand;
use crate::tour::{self, Stage};
use crate::{Options, account};

/// How long the store and the first leader may take to come up before something must be wrong.
const STORE_WAIT: Duration = Duration::from_secs(30);
const LEADER_WAIT: Duration = Duration::from_secs(120);
const MEMBERS_WAIT: Duration = Duration::from_secs(600);
/// How long one process may take to end.
const STOP_WAIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);
const WATCH: Duration = Duration::from_secs(1);

struct Herd {
    layout: Layout,
    http: reqwest::Client,
    store: Service,
    agents: Vec<Service>,
}

/// Starts everything, shows it, and keeps it until a signal asks for the end.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    let account = Account::choose()?;
    let layout = Layout {
        dir: account.place(&options.dir)?,
        members: options.members,
        port: options.port,
        pg_bin: layout::find_pg_bin(options.pg_bin.as_deref())?,
    };
    let store = layout.store_command()?;
    check_ports(&layout)?;
    let server_major = check_programs(&layout, &account)?;
    let resumed = layout.store_is_made();
    let _only_us = layout.claim(&account)?;
    layout.prepare(&account)?;
    if let Some(name) = account.name() {
        say!("PostgreSQL refuses root: everything runs as {name}");
    }
    let what = if resumed { "resuming" } else { "making" };
    say!("{what} a herd of {} in {}", layout.members, layout.dir.display());
    let members_there = layout.members_there();
    if members_there > layout.members {
        say!("({members_there} members have data there: those above {} stay stopped)", layout.members);
    }

    let mut herd = Herd::new(layout, store, &account)?;
    let mut signals = Signals::new()?;
    let result = tokio::select! {
        started = herd.start() => started,
        () = signals.asked() => Err(anyhow::anyhow!("interrupted")),
    };
    if let Err(error) = result {
        herd.stop().await;
        return Err(error);
    }
    tour::print(&herd.layout, &account, server_major);
    tokio::select! {
        () = signals.asked() => say!(""),
        error = herd.keep() => {
            herd.stop().await;
            return Err(error);
        }
    }
    herd.stop().await;
    Ok(())
}

impl Herd {
    fn new(layout: Layout, store: StoreCommand, account: &Account) -> anyhow::Result<Herd> {
        let http = jogi_net::http::client(&jogi_net::http::HttpOptions::default()).context("no HTTP client")?;
        let StoreCommand { program, args } = store;
        let store = Service::new("store", &program, args, &layout.dir, &layout.log_file("store"), account);
        let agents = (1..=layout.members)
            .map(|member| {
                let args = vec!["agent".to_owned(), layout.config_file(member).display().to_string()];
                let (name, dir) = (layout.name(member), layout.member_dir(member));
                Service::new(&name, &layout.program(), args, &dir, &layout.log_file(&name), account)
            })
            .collect();
        Ok(Herd { layout, http, store, agents })
    }

    async fn start(&mut self) -> anyhow::Result<()> {
        let stage = Stage::begin("store");
        self.store.start()?;
        let health = format!("http://127.0.0.1:{}/health", self.layout.store_port());
        self.wait(STORE_WAIT, "the store", async |herd: &Herd| herd.get(&health).await.is_some()).await?;
        stage.done();

        let stage = Stage::begin("agents and primary");
        for agent in &mut self.agents {
            agent.start()?;
        }
        self.wait(LEADER_WAIT, "a primary", async |herd: &Herd| {
            herd.cluster().await.is_some_and(|c| tour::leader(&c).is_some())
        })
        .await?;
        stage.done();

        let stage = Stage::begin("standbys");
        let members = usize::from(self.layout.members);
        self.wait(MEMBERS_WAIT, "every standby", async |herd: &Herd| {
            let Some(cluster) = herd.cluster().await else { return false };
            let roles = tour::roles(&cluster);
            roles.len() >= members && roles.iter().all(|(_, _, state)| state == "running" || state == "streaming")
        })
        .await?;
        stage.done();
        Ok(())
    }

    /// Waits for a condition; a process that ends meanwhile is an error with the end of its log.
    async fn wait(
        &mut self,
        patience: Duration,
        what: &str,
        condition: impl AsyncFn(&Herd) -> bool,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            if condition(self).await {
                return Ok(());
            }
            for service in self.agents.iter_mut().chain([&mut self.store]) {
                if let Some(status) = service.ended() {
                    let log = self.layout.log_file(&service.name);
                    say!("");
                    bail!("{} ended ({status}) while {what} was awaited:\n{}", service.name, tail(&log));
                }
            }
            if Instant::now() > deadline {
                say!("");
                bail!(
                    "{what} did not come up within {} s; the logs in {} say why",
                    patience.as_secs(),
                    self.layout.dir.join("logs").display()
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Starts again what ends by itself, and says who leads when that changes. Returns only with an error.
    async fn keep(&mut self) -> anyhow::Error {
        let mut leader = self.cluster().await.and_then(|c| tour::leader(&c));
        loop {
            tokio::time::sleep(WATCH).await;
            if let Err(error) = self.revive().await {
                return error;
            }
            let now = self.cluster().await.and_then(|c| tour::leader(&c));
            if now.is_some() && now != leader {
                say!("the primary is now {}", now.as_deref().unwrap_or(""));
                leader = now;
            }
        }
    }

    async fn revive(&mut self) -> anyhow::Result<()> {
        for service in self.agents.iter_mut().chain([&mut self.store]) {
            if let Some(status) = service.ended() {
                say!("{} ended ({status}) and is started again", service.name);
                tokio::time::sleep(service.pause()).await;
                service.start()?;
            }
        }
        Ok(())
    }

    /// Standbys first, so that the primary's end is not followed by a failover that nobody wants.
    async fn stop(&mut self) {
        let leader = self.cluster().await.and_then(|c| tour::leader(&c));
        let stage = Stage::begin("stopping");
        let (last, first): (Vec<&mut Service>, Vec<&mut Service>) =
            self.agents.iter_mut().partition(|a| Some(&a.name) == leader.as_ref());
        for agent in first.into_iter().chain(last).chain([&mut self.store]) {
            if !agent.stop(STOP_WAIT).await {
                say!("{} did not end within {} s and was killed", agent.name, STOP_WAIT.as_secs());
            }
        }
        stage.done();
    }

    async fn get(&self, url: &str) -> Option<Value> {
        let answer = self.http.get(url).timeout(Duration::from_secs(2)).send().await.ok()?;
        answer.json().await.ok()
    }

    /// The cluster as the first member that answers sees it.
    async fn cluster(&self) -> Option<Value> {
        for member in 1..=self.layout.members {
            let url = format!("http://127.0.0.1:{}/cluster", self.layout.rest_port(member));
            if let Some(cluster) = self.get(&url).await {
                return Some(cluster);
            }
        }
        None
    }
}

/// Ctrl-C, `kill`, and a terminal that is closed: all ask for the same orderly end.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}

fn check_ports(layout: &Layout) -> anyhow::Result<()> {
    let members = (1..=layout.members).flat_map(|m| [layout.pg_port(m), layout.rest_port(m)]);
    for port in members.chain([layout.store_port(), layout.store_peer_port()]) {
        if let Err(error) = TcpListener::bind(("127.0.0.1", port)) {
            bail!(
                "port {port} on 127.0.0.1 cannot be used ({error}): if a herd runs already, end it first; else choose \
                 other ports with --port"
            );
        }
    }
    Ok(())
}

/// PostgreSQL's programs must run under the account that the herd has. Returns their major version.
fn check_programs(layout: &Layout, account: &account::Account) -> anyhow::Result<u32> {
    let mut command = Command::new(layout.pg_bin.join("postgres"));
    command.arg("--version").current_dir("/");
    account.apply(&mut command);
    let output = command.output().with_context(|| format!("cannot run {}/postgres", layout.pg_bin.display()))?;
    if !output.status.success() {
        bail!("{}/postgres --version failed: {}", layout.pg_bin.display(), String::from_utf8_lossy(&output.stderr));
    }
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    say!("{version}");
    major_of(&version).with_context(|| {
        format!("{}/postgres --version said {version:?}, which names no version", layout.pg_bin.display())
    })
}

/// Of `postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)`, `… 18beta1`.
fn major_of(version: &str) -> Option<u32> {
    let number = version.split_whitespace().nth(2)?;
    let digits = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    number[..digits].parse().ok()
}

fn tail(log: &std::path::Path) -> String {
    const LINES: usize = 15;
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(LINES);
    format!("{}\n(all of it: {})", lines[from..].join("\n"), log.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_what_postgres_says() {
        for (said, major) in [
            ("postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)", Some(15)),
            ("postgres (PostgreSQL) 18beta1", Some(18)),
            ("postgres (PostgreSQL) 9.6.24", Some(9)),
            ("postgres (PostgreSQL) devel", None),
            ("", None),
        ] {
            assert_eq!(major_of(said), major, "{said}");
        }
    }
}
