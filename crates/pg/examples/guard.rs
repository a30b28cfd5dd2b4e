//! The guard alone, for the tests of this crate: `guard guard --run-dir …`, as the one binary runs it.
//!
//! Its allocator ends the process when the guard allocates after its preparations, so that every test is one for that.

use std::alloc::{GlobalAlloc, Layout, System};

struct NoneAfterStart;

// SAFETY: what is given out is the system allocator's.
unsafe impl GlobalAlloc for NoneAfterStart {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if jogi_pg::guard::has_started() {
            let _ = rustix::io::write(std::io::stderr(), b"the guard allocated after its start\n");
            std::process::abort();
        }
        // SAFETY: passed on as it came.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: passed on as it came.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: NoneAfterStart = NoneAfterStart;

fn main() {
    jogi_pg::guard::main()
}
