//! The cluster's keys in the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jogi_core::view::{Cluster, Condition, Failover, Key, Revision, Write, Written};
use jogi_dcs::{AVAILABLE, Dcs, DcsError, Freshness, Place, connect_to};

use crate::config::Config;
use crate::failure::Failure;

/// How long a store that does not answer at the start is tried.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// One try of them.
const TRY: Duration = Duration::from_secs(5);
const BETWEEN_TRIES: Duration = Duration::from_secs(1);
/// Once it has answered.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// One cluster: its name, and its keys.
pub struct Herd {
    pub name: String,
    pub group: Option<i64>,
    /// The configuration or the command line names a Citus group.
    pub citus: bool,
    store: Arc<dyn Dcs>,
    answered: AtomicBool,
}

impl Herd {
    /// Nothing is asked yet.
    pub fn new(config: &Config, name: &str, group: Option<i64>) -> Result<Herd, Failure> {
        let citus = group.is_some() || config.citus_group.is_some();
        // Without a group it is the coordinator's view, which is group 0.
        let place = Place {
            namespace: config.namespace.clone(),
            scope: name.to_owned(),
            group: citus.then(|| group.unwrap_or(0)),
            name: String::new(),
        };
        let store = connect(config, &place)?;
        Ok(Herd { name: name.to_owned(), group, citus, store, answered: AtomicBool::new(false) })
    }

    /// Reads the cluster linearizably. The first time a store that does not answer is tried for [`PATIENCE`].
    pub async fn load(&self) -> Result<Arc<Cluster>, Failure> {
        if !self.answered.load(Ordering::Relaxed) {
            let cluster = self.first_load().await?;
            self.answered.store(true, Ordering::Relaxed);
            return Ok(cluster);
        }
        Ok(self.store.load(Freshness::Linearizable, ANSWER_WITHIN).await?.cluster)
    }

    async fn first_load(&self) -> Result<Arc<Cluster>, Failure> {
        let deadline = Instant::now() + PATIENCE;
        let mut said = false;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let error = match self.store.load(Freshness::Linearizable, left.min(TRY)).await {
                Ok(view) => return Ok(view.cluster),
                Err(error @ (DcsError::Denied { .. } | DcsError::Forbidden { .. } | DcsError::Refused { .. })) => {
                    return Err(error.into());
                }
                Err(error) => error,
            };
            if Instant::now() + BETWEEN_TRIES >= deadline {
                return Err(Failure::said(format!(
                    "the store does not answer: tried {} for {} s, and the last try said: {error}. Check that it runs, and the address in the configuration or in --dcs-url",
                    self.store.describe(),
                    PATIENCE.as_secs()
                )));
            }
            if !said {
                eprintln!("waiting for the store ({error}); giving up after {} s", PATIENCE.as_secs());
                said = true;
            }
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
    }

    /// Replaces the dynamic configuration if it is still the one that was read. `false`: it is not.
    pub async fn write_config(&self, value: String, read: &Revision) -> Result<bool, Failure> {
        let write = Write::put(Key::Config, value).when(Condition::Unchanged(read.clone()));
        self.write(&write).await
    }

    /// Asks for a handover without any member's help.
    pub async fn write_failover(&self, request: &Failover) -> Result<bool, Failure> {
        self.write(&Write::put(Key::Failover, request.to_text())).await
    }

    /// Takes back the request that was read. `false`: it has changed meanwhile.
    pub async fn clear_failover(&self, read: &Revision) -> Result<bool, Failure> {
        let write = Write::put(Key::Failover, Failover::default().to_text());
        self.write(&write.when(Condition::Unchanged(read.clone()))).await
    }

    async fn write(&self, write: &Write) -> Result<bool, Failure> {
        match self.store.write(write, ANSWER_WITHIN).await? {
            Written::Done { .. } => Ok(true),
            Written::Conflict | Written::SessionGone => Ok(false),
        }
    }

    /// Deletes every key of the cluster.
    pub async fn remove(&self) -> Result<(), Failure> {
        Ok(self.store.remove_cluster(ANSWER_WITHIN).await?)
    }
}

fn connect(config: &Config, place: &Place) -> Result<Arc<dyn Dcs>, Failure> {
    match &config.store {
        Some(section) => Ok(connect_to(section, place)?),
        None => Err(Failure::said(format!(
            "Can not find suitable configuration of distributed configuration store\nAvailable implementations: {}",
            AVAILABLE.join(", ")
        ))),
    }
}
