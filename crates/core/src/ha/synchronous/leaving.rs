//! A standby that commits may wait for asks to be released before its server ends.

use super::super::machine::Ha;
use super::super::op::{Stand, Step};
use super::super::timer::Timer;

impl Ha {
    /// Whether commits of the leader may wait for us (ha-rules 11.6).
    pub(in crate::ha) fn is_on_sync_duty(&self) -> bool {
        let Some(cluster) = self.cluster() else { return false };
        let led = cluster.leader.as_ref().is_some_and(|l| cluster.sync.leader.as_ref() == Some(&l.name));
        self.settings.is_sync() && self.lease.lock.is_none() && led && cluster.sync.is_standby(self.me())
    }

    /// What precedes the end of our server: a commit that waits for it would wait until it is back.
    pub(in crate::ha) fn leaving_steps(&self) -> Vec<Step> {
        if self.is_on_sync_duty() && self.is_running() { vec![Step::LeaveSync] } else { Vec::new() }
    }

    /// Asks to be released, until it is so or too much time has passed: then commits wait for our return.
    pub(in crate::ha) fn release_stands(&mut self) -> Stand {
        let limit = self.settings.loop_wait * 2;
        let leaving = &mut self.sync.leaving;
        let until = *leaving.get_or_insert(self.now.boot + limit);
        if self.is_on_sync_duty() && self.now.boot < until {
            self.timers.set_earlier(Timer::Retry, until);
            return Stand::Waiting;
        }
        Stand::Over
    }
}
