//! One request of the machine, asked of the store.

use std::sync::Arc;
use std::time::Duration;

use jogi_core::lease::keeper::{Answer, Ask};
use jogi_core::view::Leader;
use jogi_dcs::{Acquired, Beat, Dcs, DcsError, LeaderKey};

/// Asks, and answers within `limit` or with nothing.
pub(super) async fn ask(dcs: Arc<dyn Dcs>, ask: Ask, limit: Duration) -> Answer {
    let answer = match &ask {
        Ask::Open { ttl } => dcs.open_session(*ttl, limit).await.map(Answer::Opened),
        Ask::Beat { session, read_leader } => dcs.beat(session, *read_leader, limit).await.map(beat),
        Ask::Reattach { session, created } => dcs.reattach(session, created, limit).await.map(acquired),
        Ask::Acquire { session, expect } => dcs.acquire(session, expect, limit).await.map(acquired),
        Ask::Release { created, status } => dcs.release(created, status.as_deref(), limit).await.map(Answer::Released),
    };
    answer.unwrap_or_else(|error: DcsError| Answer::Nothing(error.to_string()))
}

fn beat(beat: Beat) -> Answer {
    match beat {
        Beat::Extended { leader } => Answer::Extended { leader: leader.map(leader_key) },
        Beat::SessionGone => Answer::SessionGone,
    }
}

fn leader_key(key: LeaderKey) -> Leader {
    Leader { name: key.name, revision: key.revision, created: key.created, session: key.session }
}

fn acquired(acquired: Acquired) -> Answer {
    match acquired {
        Acquired::Yes { created, .. } => Answer::Ours { created },
        Acquired::Conflict => Answer::Conflict,
        Acquired::SessionGone => Answer::SessionGone,
    }
}
