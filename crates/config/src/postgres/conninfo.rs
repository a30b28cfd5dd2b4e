//! Connection strings: parsing, and printing in Patroni's order of keys.

use std::collections::BTreeMap;
use std::fmt;

/// The parameters of a connection. `Debug` hides the password.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Conninfo(pub BTreeMap<String, String>);

impl fmt::Debug for Conninfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Conninfo {
    /// Reads `key=value …` or a `postgres://` URI. `None` when it is neither.
    pub fn parse(_text: &str) -> Option<Conninfo> {
        todo!()
    }

    /// Adds what Patroni assumes when not given: sslmode, gssencmode, channel_binding `prefer`,
    /// sslnegotiation `postgres`, each from the version on that knows it.
    pub fn with_defaults(self, _version: u32) -> Conninfo {
        todo!()
    }

    /// `key=value …` in Patroni's order, quotes, backslashes and spaces escaped, without what the version
    /// does not know; `passfile` in place of `password` when there is one.
    pub fn to_dsn(&self, _version: u32) -> String {
        todo!()
    }

    /// True when every wanted key has the wanted value here.
    pub fn satisfies(&self, _wanted: &Conninfo) -> bool {
        todo!()
    }
}

/// The lines of a password file for one role at each host of a comma list; `None` without a password.
pub fn pgpass_text(_conninfo: &Conninfo) -> Option<String> {
    todo!()
}
