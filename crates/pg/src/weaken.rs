//! Protections taken away on purpose, as the environment of a debug build asks (see [`jogi_core::weaken`]).

use std::sync::OnceLock;

use jogi_core::weaken::{VARIABLE, Weaken};

/// What this process was asked to go without; nothing in a release build. A name that does not exist ends the
/// process: a test that weakens nothing would prove nothing.
pub fn asked() -> Weaken {
    static ASKED: OnceLock<Weaken> = OnceLock::new();
    *ASKED.get_or_init(|| match std::env::var(VARIABLE) {
        Ok(names) if cfg!(debug_assertions) => Weaken::parse(&names).unwrap_or_else(|why| {
            eprintln!("{VARIABLE}: {why}");
            std::process::exit(1)
        }),
        Ok(_) | Err(_) => Weaken::default(),
    })
}

/// For a process of ours that is started with a clean environment.
pub(crate) fn pass_on(command: &mut std::process::Command) {
    if let Some(names) = std::env::var_os(VARIABLE).filter(|_| !asked().is_empty()) {
        command.env(VARIABLE, names);
    }
}
