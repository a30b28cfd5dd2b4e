//! Another configuration while the agent runs: from files (SIGHUP, `POST /reload`) and from the store.
//!
//! A configuration that cannot be used changes nothing. What counts only at a start keeps its old value, and
//! the log says so.

use std::sync::Arc;

use jogi_config::Loaded;
use jogi_config::postgres::effective_postgresql;
use jogi_core::ha::{Local, Reply};
use jogi_pg::binaries::Binaries;
use jogi_pg::instance::Instance;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};

use super::Input;
use crate::local::rules;
use crate::logging::Logging;
use crate::notify;
use crate::perform::Performer;
use crate::source::Source;

/// What reading the configuration again has brought; the text says why it cannot be used.
pub(crate) type Reloaded = Result<(Loaded, Binaries), String>;

pub(crate) struct Reloader {
    source: Source,
    configuration: watch::Sender<Arc<jogi_config::Local>>,
    dynamic: Arc<Value>,
    /// What the core was last told.
    told: Local,
}

impl Reloader {
    pub(crate) fn new(
        source: Source,
        configuration: watch::Sender<Arc<jogi_config::Local>>,
        instance: &Instance,
    ) -> Reloader {
        Reloader { source, configuration, dynamic: Arc::clone(&instance.dynamic), told: rules(instance) }
    }

    /// Begins to read everything again; it comes back as [`Input::Reloaded`].
    pub(crate) fn begin(&self, inbox: mpsc::Sender<Input>, reply: Option<oneshot::Sender<Reply>>) {
        notify::reloading();
        let (source, dynamic) = (self.source.clone(), Arc::clone(&self.dynamic));
        tokio::spawn(async move {
            let read = tokio::task::spawn_blocking(move || read(&source, &dynamic)).await;
            let outcome = Box::new(read.unwrap_or_else(|_| Err("an internal error ended it".into())));
            let _ = inbox.send(Input::Reloaded { outcome, reply }).await;
        });
    }

    /// Puts a configuration that was read into force; answers what the core is to be told.
    pub(crate) fn apply(&mut self, outcome: Reloaded, performer: &Performer) -> Option<Local> {
        let (loaded, binaries) = match outcome {
            Ok(read) => read,
            Err(why) => {
                tracing::error!("the configuration was not reloaded, the old one stays in force: {why}");
                return None;
            }
        };
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        let before = performer.instance();
        let local = Arc::new(keep_fixed(&before.local, loaded.local));
        let instance = Instance::new(Arc::clone(&local), Arc::clone(&self.dynamic), Arc::new(binaries));
        let told = rules(&instance);
        if let Err(error) = performer.configure(instance) {
            tracing::error!("the configuration was not reloaded, the old one stays in force: {error}");
            return None;
        }
        if let Some(logging) = Logging::current().filter(|_| before.local.log != local.log) {
            logging.reload(&local.log);
        }
        let changed = *before.local != *local;
        self.configuration.send_replace(local);
        tracing::info!("the configuration was reloaded{}", if changed { "" } else { "; nothing in it has changed" });
        self.told = told.clone();
        Some(told)
    }

    /// The store's configuration has changed. Answers what the core is to be told, if that has changed with it.
    pub(crate) fn follow_dynamic(&mut self, dynamic: &Arc<Value>, performer: &Performer) -> Option<Local> {
        self.dynamic = Arc::clone(dynamic);
        let before = performer.instance();
        let instance = before.with_dynamic(Arc::clone(dynamic));
        for warning in &instance.effective.warnings {
            if !before.effective.warnings.contains(warning) {
                tracing::warn!("{warning}");
            }
        }
        if instance.effective.bin_dir != before.effective.bin_dir
            || instance.effective.bin_names != before.effective.bin_names
        {
            tracing::warn!("the place of PostgreSQL's programs has changed: it takes effect with the next reload");
        }
        let told = rules(&instance);
        if let Err(error) = performer.configure(instance) {
            tracing::error!("the dynamic configuration cannot be followed: {error}");
            return None;
        }
        let changed = told != self.told;
        self.told = told.clone();
        changed.then_some(told)
    }
}

fn read(source: &Source, dynamic: &Value) -> Reloaded {
    let loaded = source.load().map_err(|error| error.to_string())?;
    let effective = effective_postgresql(dynamic, &loaded.local);
    let binaries =
        Binaries::locate(effective.bin_dir.as_deref(), &effective.bin_names).map_err(|error| error.to_string())?;
    Ok((loaded, binaries))
}

/// What a running agent cannot change keeps its old value (configuration 18).
fn keep_fixed(old: &jogi_config::Local, mut new: jogi_config::Local) -> jogi_config::Local {
    let mut fixed = Vec::new();
    let mut keep = |what: &'static str, differs: bool| {
        if differs {
            fixed.push(what);
        }
    };
    keep("name", old.name != new.name);
    keep("scope", old.scope != new.scope);
    keep("namespace", old.namespace != new.namespace);
    keep("postgresql.data_dir", old.postgresql.data_dir != new.postgresql.data_dir);
    keep("postgresql.config_dir", old.postgresql.config_dir != new.postgresql.config_dir);
    keep(new.store.name(), old.store != new.store);
    for what in fixed {
        tracing::warn!("{what} has changed in the configuration: it takes effect when the agent is started again");
    }
    new.name = old.name.clone();
    new.scope = old.scope.clone();
    new.namespace = old.namespace.clone();
    new.postgresql.data_dir = old.postgresql.data_dir.clone();
    new.postgresql.config_dir = old.postgresql.config_dir.clone();
    new.store = old.store.clone();
    new
}
