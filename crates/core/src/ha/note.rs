//! Sentences for the log, bounded: a machine that nobody reads from keeps the first ones and drops the rest.

use super::MomentKind;
use super::machine::Ha;

/// Something that a person reading the log ought to know, beside the decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub level: NoteLevel,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteLevel {
    Info,
    Warning,
    Error,
}

/// A bound on the sentences that wait to be logged.
const NOTES_MAX: usize = 64;

impl Ha {
    pub(super) fn note(&mut self, level: NoteLevel, text: impl Into<String>) {
        let text = text.into();
        self.remember(MomentKind::Noted, text.as_str());
        if self.notes.len() < NOTES_MAX {
            self.notes.push_back(Note { level, text });
        }
    }
}
