//! How long each effect takes on the models.

use std::time::Duration;

use jogi_core::ha::Act;

use crate::rng::Rng;

/// Time from the beginning of an effect to its end, where nothing else decides it.
pub fn duration(act: &Act, slow_disk: u32, rng: &mut Rng) -> Duration {
    let slow = slow_disk.max(1);
    match act {
        Act::Acquire { .. }
        | Act::Release { .. }
        | Act::ReleaseStale { .. }
        | Act::Load
        | Act::Write(_)
        | Act::Ask { .. }
        | Act::AskFailsafe { .. }
        | Act::Cancel { .. }
        | Act::Reply { .. }
        | Act::Exit { .. } => Duration::ZERO,
        Act::Look => rng.millis(1, 8),
        Act::Compare { .. } => rng.millis(5, 30),
        Act::FindEndOfWal => rng.millis(3, 60),
        Act::ReadHistory { .. } | Act::ReserveTimelines { .. } => rng.millis(1, 3),
        Act::Intend { .. } | Act::Settle | Act::SaveDynamic { .. } => rng.millis(1, 5) * slow,
        Act::Configure { .. } => rng.millis(2, 15) * slow,
        Act::SyncNames { .. } => rng.millis(5, 60) * slow,
        Act::OpenWatchdog { .. } | Act::CloseWatchdog | Act::TryWatchdog => rng.millis(1, 3),
        Act::Reload | Act::Signal { .. } | Act::Arm { .. } => rng.millis(1, 2),
        Act::Launch { .. } | Act::Promote { .. } => rng.millis(2, 20),
        Act::Fence { .. } => Duration::from_millis(1),
        Act::Initdb => rng.millis(600, 1500) * slow,
        Act::PostBootstrap => rng.millis(80, 300) * slow,
        Act::PutAside { .. } => rng.millis(2, 20) * slow,
        Act::RemoveCopies { .. } => Duration::from_millis(40) * slow,
        Act::Clone { .. } => rng.millis(1000, 6000) * slow,
        Act::SingleUser => rng.millis(400, 2000) * slow,
        Act::Rewind { .. } => rng.millis(400, 2500) * slow,
        Act::ArchivePending | Act::ArchiveShutdown => rng.millis(5, 50),
        Act::LogicalSlots { .. } => rng.millis(20, 900),
        Act::AskHorizon { .. } | Act::FetchSlots { .. } => rng.millis(5, 30),
        Act::InstallSlots { .. } => rng.millis(2, 15) * slow,
        Act::Checkpoint => rng.millis(30, 700) * slow,
        Act::ResumeReplay | Act::Slots { .. } => rng.millis(2, 15),
        Act::Script { .. } => rng.millis(20, 200),
        Act::Callback { .. } => rng.millis(5, 50),
    }
}
