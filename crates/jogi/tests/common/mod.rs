//! What every black-box test begins with.

use jogi_testkit::herd::HerdSpec;

/// Three members on hosts of their own, running the binary under test. `None` when the machine cannot carry them: the
/// reason is printed, and under `CI=true` the test fails.
#[allow(dead_code, reason = "each test file takes what it needs")]
pub fn spec() -> Option<HerdSpec> {
    let spec = HerdSpec::new(env!("CARGO_BIN_EXE_jogi"));
    spec.possible().then_some(spec)
}

/// The same on 127.0.0.1, for tests that cut no links and need no hosts of their own.
#[allow(dead_code, reason = "each test file takes what it needs")]
pub fn spec_on_loopback() -> Option<HerdSpec> {
    let spec = HerdSpec::new(env!("CARGO_BIN_EXE_jogi")).on_loopback();
    spec.possible().then_some(spec)
}
