//! The authentication token, shared by all clients of one process.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A user's token, or the knowledge that none is needed.
pub(super) struct Login {
    user: Option<(String, String)>,
    token: Mutex<Token>,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A login has to come first.
    Wanted,
    /// No user is configured, or the server has authentication switched off.
    NotNeeded,
    Is(String),
}

impl Login {
    pub(super) fn new(username: Option<String>, password: Option<String>) -> Login {
        let user = username.map(|name| (name, password.unwrap_or_default()));
        let token = if user.is_some() { Token::Wanted } else { Token::NotNeeded };
        Login { user, token: Mutex::new(token) }
    }

    fn slot(&self) -> MutexGuard<'_, Token> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn token(&self) -> Token {
        self.slot().clone()
    }

    pub(super) fn learn(&self, token: Token) {
        *self.slot() = token;
    }

    /// A server refused `used`: unless somebody has logged in since, the next request must.
    pub(super) fn refused(&self, used: &Token) {
        let mut slot = self.slot();
        if *slot == *used && self.user.is_some() {
            *slot = Token::Wanted;
        }
    }

    /// Name and password.
    pub(super) fn user(&self) -> Option<&(String, String)> {
        self.user.as_ref()
    }
}
