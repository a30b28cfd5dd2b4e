//! What every black-box test begins with.

use jogi_testkit::herd::HerdSpec;

/// Three members on hosts of their own, running the binary under test. `None` when the machine cannot carry them: the
/// reason is printed, and under `CI=true` the test fails.
pub fn spec() -> Option<HerdSpec> {
    let spec = HerdSpec::new(env!("CARGO_BIN_EXE_jogi"));
    spec.possible().then_some(spec)
}
