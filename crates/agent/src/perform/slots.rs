//! Replication slots: on our own server, and copied from the leader's.

use std::collections::BTreeMap;
use std::time::Duration;

use jogi_core::SlotName;
use jogi_core::ha::{Failure, LogicalPlan, Outcome, SlotPlan, Upstream, Yield};
use jogi_pg::connect::SqlError;
use jogi_pg::instance::Instance;
use jogi_pg::slots;

use super::blocking;

pub(super) async fn change(instance: &Instance, plan: &SlotPlan, limit: Duration) -> Outcome {
    slots::change(instance, plan, limit).await.map(|()| Yield::Done).map_err(failed)
}

pub(super) async fn work(instance: &Instance, plan: &LogicalPlan, limit: Duration) -> Outcome {
    slots::work_on_logical(instance, plan, limit).await.map(|lost| Yield::LogicalSlots { lost }).map_err(failed)
}

pub(super) async fn horizon(instance: &Instance, from: &Upstream, names: &[SlotName], limit: Duration) -> Outcome {
    let told = slots::horizon(instance, from, names, limit).await;
    told.map(Yield::Horizon).map_err(|error| elsewhere(from, &error))
}

/// Reads the leader's slots and lays each ready that can be used here.
pub(super) async fn fetch(instance: &Instance, from: &Upstream, names: &[SlotName], limit: Duration) -> Outcome {
    let fetched = slots::fetch(instance, from, names, limit).await.map_err(|error| elsewhere(from, &error))?;
    let data_dir = instance.data_dir().to_owned();
    let staged = blocking(move || {
        let mut ready = BTreeMap::new();
        let mut left_out = Vec::new();
        for slot in fetched {
            match slots::stage(&data_dir, &slot) {
                Ok(()) => _ = ready.insert(slot.name, slot.catalog_xmin),
                Err(why) => left_out.push(why),
            }
        }
        Yield::Fetched { ready, left_out }
    });
    staged.await
}

pub(super) async fn install(instance: &Instance, names: Vec<SlotName>) -> Outcome {
    let data_dir = instance.data_dir().to_owned();
    blocking(move || slots::install(&data_dir, &names)).await?.map_err(Failure::Failed)?;
    Ok(Yield::Done)
}

fn failed(error: SqlError) -> Failure {
    Failure::Failed(error.to_string())
}

fn elsewhere(from: &Upstream, error: &SqlError) -> Failure {
    Failure::Unreachable(format!("{}:{}: {error}", from.host, from.port))
}
