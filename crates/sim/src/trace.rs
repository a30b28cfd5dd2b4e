//! What happened, in order, as lines a person can read.

use crate::clock::Moment;

/// What a line is about. A transcript shows the kinds that tell the story; a full trace shows all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// Something was done to the herd.
    Fault,
    /// A member changed its mind.
    Decision,
    /// A change of the leader key.
    Lock,
    /// A server started, ended, became writable.
    Server,
    /// The guard acted.
    Guard,
    /// An answer to a request.
    Reply,
    /// A sentence that the agent would log.
    Note,
    /// A check failed.
    Violation,
    /// An effect began or ended.
    Effect,
    /// Every request of the store.
    Store,
}

impl Topic {
    /// Shown in transcripts.
    pub fn tells_the_story(self) -> bool {
        match self {
            Topic::Fault
            | Topic::Decision
            | Topic::Lock
            | Topic::Server
            | Topic::Guard
            | Topic::Reply
            | Topic::Violation => true,
            Topic::Note | Topic::Effect | Topic::Store => false,
        }
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub at: Moment,
    pub topic: Topic,
    /// The member's name; empty for the world's own.
    pub who: String,
    pub text: String,
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:>9} {:<3} {}", self.at.to_string(), self.who, self.text)
    }
}

impl Line {
    /// The line as transcripts have it: without the time, which every new effect shifts a little.
    pub fn untimed(&self) -> String {
        format!("{:<3} {}", self.who, self.text).trim_end().to_owned()
    }
}

/// The lines so far; nothing is kept unless it was asked for.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    pub level: Level,
    pub lines: Vec<Line>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    #[default]
    Off,
    Story,
    /// The story and what the agents would log.
    Notes,
    Everything,
}

impl Trace {
    pub fn wants(&self, topic: Topic) -> bool {
        match self.level {
            Level::Off => false,
            Level::Story => topic.tells_the_story(),
            Level::Notes => topic.tells_the_story() || topic == Topic::Note,
            Level::Everything => true,
        }
    }

    pub fn add(&mut self, at: Moment, topic: Topic, who: &str, text: String) {
        self.lines.push(Line { at, topic, who: who.to_owned(), text });
    }
}
