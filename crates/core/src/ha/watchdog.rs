//! The kernel watchdog: on while this server is, or is about to be, writable under the lock; off in pause and where no
//! server of ours can write (ha-rules 18).
//!
//! The keeper pings it with the renewals that it counts. An agent that dies leaves it running: the host is reset unless
//! the next agent opens it in time.

use std::time::Duration;

use super::flight::{Purpose, SHORT};
use super::machine::Ha;
use super::note::NoteLevel;
use super::op::{Kind, Stand, Step};
use super::{Act, Decision, Lane, Outcome};
use crate::Tick;
use crate::lease::watchdog::{WatchdogMode, timeout};

/// The pause before a watchdog that could not be used is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// What is known of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Watchdog {
    /// The timeout in seconds with which it runs.
    active: Option<u32>,
    /// Why it cannot be used, by the last try.
    unusable: Option<String>,
    tried_at: Option<Tick>,
}

impl Ha {
    fn watchdog_timeout(&self) -> Result<u32, String> {
        timeout(self.settings.ttl, self.settings.loop_wait, self.local.watchdog_margin)
    }

    /// Whether this member must not lead: it has to have a watchdog and cannot use it.
    pub(super) fn watchdog_failed(&self) -> bool {
        self.local.watchdog == WatchdogMode::Required && self.watchdog_lacks().is_some()
    }

    fn watchdog_lacks(&self) -> Option<String> {
        self.watchdog_timeout().err().or_else(|| self.watchdog.unusable.clone())
    }

    /// Opens and closes it as the situation asks.
    pub(super) fn watchdog_turn(&mut self) {
        let off = self.local.watchdog == WatchdogMode::Off;
        let writes = self.lock().is_some() && self.may_write() && !self.paused();
        let wanted = self.watchdog_timeout().ok().filter(|_| !off);
        match (wanted, self.watchdog.active) {
            (Some(wanted), Some(active)) if writes && wanted == active => {}
            (Some(wanted), _) if writes => self.open_watchdog(wanted),
            // A promotion has opened it already, and a close is over when nothing can write.
            (_, Some(_)) if !self.may_write() && !self.is_about_to_write() || self.paused() || wanted.is_none() => {
                self.issue(Lane::Watchdog, Act::CloseWatchdog, SHORT, Purpose::CloseWatchdog);
            }
            (Some(_), None) if self.local.watchdog == WatchdogMode::Required && self.watchdog_is_due() => {
                self.watchdog.tried_at = Some(self.now.boot);
                self.issue(Lane::Watchdog, Act::TryWatchdog, SHORT, Purpose::TryWatchdog);
            }
            (_, _) => {}
        }
    }

    fn is_about_to_write(&self) -> bool {
        let kind = self.op.as_ref().map(|op| op.kind);
        matches!(kind, Some(Kind::Promote | Kind::Start | Kind::Restart | Kind::Bootstrap))
    }

    fn watchdog_is_due(&self) -> bool {
        self.watchdog.tried_at.is_none_or(|at| self.now.boot.since(at) >= AGAIN)
    }

    fn open_watchdog(&mut self, seconds: u32) {
        if self.watchdog.unusable.is_some() && !self.watchdog_is_due() {
            return;
        }
        self.watchdog.tried_at = Some(self.now.boot);
        self.issue(Lane::Watchdog, Act::OpenWatchdog { seconds }, SHORT, Purpose::OpenWatchdog(seconds));
    }

    /// Before a server becomes writable.
    pub(super) fn watchdog_step_first(&self) -> Option<Step> {
        (self.local.watchdog != WatchdogMode::Off && !self.paused()).then_some(Step::Watchdog)
    }

    /// The effect of a step that is not to go on without it where it is required.
    pub(super) fn watchdog_step(&self) -> Result<Option<Act>, String> {
        let required = self.local.watchdog == WatchdogMode::Required;
        match self.watchdog_timeout() {
            Ok(seconds) => Ok(Some(Act::OpenWatchdog { seconds })),
            Err(why) if required => Err(why),
            Err(_) => Ok(None),
        }
    }

    /// How such a step has ended.
    pub(super) fn watchdog_stands(&mut self, outcome: Outcome) -> Stand {
        let Ok(seconds) = self.watchdog_timeout() else { return self.without_watchdog() };
        self.watchdog.tried_at = Some(self.now.boot);
        self.watchdog_opened(seconds, outcome);
        if self.watchdog.active.is_some() { Stand::Over } else { self.without_watchdog() }
    }

    fn without_watchdog(&self) -> Stand {
        match self.watchdog_lacks().filter(|_| self.watchdog_failed()) {
            Some(why) => Stand::Failed(format!("the watchdog is required and cannot be used: {why}")),
            None => Stand::Over,
        }
    }

    pub(super) fn watchdog_opened(&mut self, seconds: u32, outcome: Outcome) {
        match outcome {
            Ok(_) => (self.watchdog.active, self.watchdog.unusable) = (Some(seconds), None),
            Err(failure) => self.watchdog_missing(failure.to_string()),
        }
    }

    pub(super) fn watchdog_closed(&mut self, outcome: &Outcome) {
        match outcome {
            Ok(_) => self.watchdog.active = None,
            Err(failure) => {
                self.note(
                    NoteLevel::Error,
                    format!("the watchdog could not be closed: {failure}; it may reset this host"),
                );
            }
        }
    }

    pub(super) fn watchdog_tried(&mut self, outcome: Outcome) {
        match outcome {
            Ok(_) => self.watchdog.unusable = None,
            Err(failure) => self.watchdog_missing(failure.to_string()),
        }
    }

    fn watchdog_missing(&mut self, why: String) {
        self.watchdog.active = None;
        if self.watchdog.unusable.as_ref() != Some(&why) {
            match self.local.watchdog {
                WatchdogMode::Required => {
                    let text = format!("the watchdog cannot be used, and this member must not lead without: {why}");
                    self.note(NoteLevel::Error, text);
                }
                // Most machines have none, and nobody asked for it.
                WatchdogMode::Automatic | WatchdogMode::Off => {}
            }
            self.watchdog.unusable = Some(why);
        }
    }

    /// A primary that must have a watchdog and has none.
    pub(super) fn unwatched_primary(&mut self) -> Option<Decision> {
        if self.paused() || self.watchdog.active.is_some() || !self.watchdog_failed() {
            return None;
        }
        let why = self.watchdog_lacks()?;
        let because = format!("the watchdog is required and cannot be used: {why}");
        match self.takeover_possible() {
            None => Some(Decision::new("no action", because).waiting("the answers of the other members")),
            Some(true) => Some(self.bequeath(&because, true)),
            Some(false) => Some(self.close(&because, true)),
        }
    }
}
