//! The guard alone, for the tests of this crate: `guard guard --run-dir …`, as the one binary runs it.

fn main() {
    jogi_pg::guard::main()
}
