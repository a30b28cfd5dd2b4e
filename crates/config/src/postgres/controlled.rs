//! The parameters that only the store may set.

/// How the value of a controlled parameter is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Never settable: it follows from the local configuration.
    Fixed,
    WalLevel,
    True,
    Bool,
    AtLeast(i64),
    /// At least so many megabytes.
    AtLeastMegabytes(i64),
}

/// A controlled parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Controlled {
    pub name: &'static str,
    /// Empty when it follows from the local configuration.
    pub default: &'static str,
    pub check: Check,
    /// First major version that has it.
    pub since: u32,
    /// Passed on the postmaster's command line.
    pub command_line: bool,
}

/// In the order of the command line.
pub const CONTROLLED: [Controlled; 0] = [];
