//! A decision explains itself: what the log line, REST, `ctl why` and traces show.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

/// What this member is doing, why, and what it waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// Patroni's status sentence for the same situation (ha-rules 27).
    pub state: Cow<'static, str>,
    /// The rule that led here, in a sentence.
    pub because: Cow<'static, str>,
    /// What has to happen before anything changes; empty when nothing is awaited.
    pub waiting_for: Cow<'static, str>,
}

impl Decision {
    pub fn new(state: impl Into<Cow<'static, str>>, because: impl Into<Cow<'static, str>>) -> Decision {
        Decision { state: state.into(), because: because.into(), waiting_for: Cow::Borrowed("") }
    }

    pub fn waiting(mut self, for_: impl Into<Cow<'static, str>>) -> Decision {
        self.waiting_for = for_.into();
        self
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.state)?;
        if !self.because.is_empty() {
            write!(f, ", because {}", self.because)?;
        }
        if !self.waiting_for.is_empty() {
            write!(f, "; waiting for {}", self.waiting_for)?;
        }
        Ok(())
    }
}
