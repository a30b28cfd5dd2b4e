//! The page that keeper and guard share: the lease goes in, what the guard knows comes out.
//!
//! The page is anonymous memory (a sealed memfd) that the guard makes and hands over with its socket, not a file
//! in the run directory: a store into a mapped file can block for as long as its disk does, and neither a heartbeat
//! nor a deadline may wait for a disk. It lives as long as the guard, which is as long as it means anything.
//!
//! Two sections, one writer each. The lease is written by the keeper's thread alone, under a sequence counter: a reader
//! sees all of one write or tries again, and a writer that was killed half-way leaves the section torn, for which
//! readers keep what they saw before. `armed` is one word of its own, so that arming waits for nobody. Everything
//! is atomic; no lock exists.
//!
//! New fields go to the end, where older ones find zeroes; a change of meaning raises [`PAGE_VERSION`].

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, fence};
use std::time::Duration;

use jogi_core::Tick;
use jogi_core::lease::{Deadlines, Lease};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

use crate::pidfd::ProcessId;
use crate::rundir::fnv1a;

/// Raised when a field changes its meaning.
pub const PAGE_VERSION: u32 = 1;

const MAGIC: u64 = u64::from_le_bytes(*b"jogipage");
pub(super) const SIZE: usize = 4096;

/// How often a reader tries again while the lease is being written. A write takes nanoseconds; more tries mean that
/// its writer is stopped or dead.
const TRIES: u32 = 64;

/// Which lock the page speaks of: fingerprints of the lease's id and of the revision that created the leader key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseIdentity {
    pub lease: u64,
    pub created: u64,
}

/// The lease section.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseOnPage {
    pub identity: LeaseIdentity,
    pub ttl: Duration,
    pub lease: Lease,
}

/// What the guard last did on its own account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acted {
    #[default]
    Nothing,
    /// Fast shutdown, because `soft` had passed or the lock's generation had changed.
    Shutdown,
    /// SIGKILL to everything, because `hard` had passed.
    Killed,
}

/// The guard's section.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuardOnPage {
    pub guard: ProcessId,
    /// All zero when there is none.
    pub postmaster: ProcessId,
    pub acted: Acted,
    pub acted_at: Tick,
}

#[repr(C)]
struct Layout {
    magic: AtomicU64,
    version: AtomicU32,
    armed: AtomicU32,

    lease_sequence: AtomicU32,
    exec_errno: AtomicI32,
    lease_hash: AtomicU64,
    created_hash: AtomicU64,
    generation: AtomicU64,
    ttl: AtomicU64,
    valid_until: AtomicU64,
    soft: AtomicU64,
    hard: AtomicU64,

    guard_sequence: AtomicU32,
    acted: AtomicU32,
    acted_at: AtomicU64,
    guard_pid: AtomicU64,
    guard_started: AtomicU64,
    postmaster_pid: AtomicU64,
    postmaster_started: AtomicU64,
}

const _: () = assert!(size_of::<Layout>() <= SIZE);

/// The mapping; unmapped with the last handle.
struct Mapping(*const Layout);

// SAFETY: the memory is only ever accessed through atomics.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this size; nobody holds a reference beyond the last handle.
        let _ = unsafe { rustix::mm::munmap(self.0.cast_mut().cast(), SIZE) };
    }
}

/// A handle on the page, cheap to clone. Writes of the lease belong to the keeper's thread alone.
#[derive(Clone)]
pub struct Page {
    memory: Arc<Mapping>,
    /// Wakes the guard when it must look earlier than it planned to.
    doorbell: Arc<OwnedFd>,
}

impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Page").field("lease", &self.lease()).field("guard", &self.guard()).finish()
    }
}

impl LeaseIdentity {
    /// From the store's own names for the lease and for the revision that created the leader key.
    pub fn new(session: &str, created: &str) -> LeaseIdentity {
        LeaseIdentity { lease: fnv1a(session.as_bytes()), created: fnv1a(created.as_bytes()) }
    }
}

impl Page {
    /// Makes a new page. Done by the guard, before anybody else can see it.
    pub(super) fn create() -> io::Result<(OwnedFd, OwnedFd, Page)> {
        let memory = rustix::fs::memfd_create(c"jogi-guard-page", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&memory, SIZE as u64)?;
        rustix::fs::fcntl_add_seals(&memory, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let flags = rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK;
        let doorbell = rustix::event::eventfd(0, flags)?;
        let page = Page { memory: Arc::new(map(&memory)?), doorbell: Arc::new(doorbell.try_clone()?) };
        page.layout().version.store(PAGE_VERSION, Relaxed);
        page.layout().magic.store(MAGIC, Release);
        Ok((memory, doorbell, page))
    }

    /// Maps the page that a guard has handed over.
    pub(super) fn open(memory: OwnedFd, doorbell: OwnedFd) -> io::Result<Page> {
        if rustix::fs::fstat(&memory)?.st_size != SIZE as i64 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the guard's page has an unknown size"));
        }
        let page = Page { memory: Arc::new(map(&memory)?), doorbell: Arc::new(doorbell) };
        let layout = page.layout();
        let version = layout.version.load(Acquire);
        if layout.magic.load(Acquire) != MAGIC || version != PAGE_VERSION {
            let text = format!("the guard's page has version {version}, this program knows {PAGE_VERSION}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(page)
    }

    fn layout(&self) -> &Layout {
        // SAFETY: the mapping is SIZE bytes, page-aligned, sealed against shrinking, and lives as long as `memory`.
        unsafe { &*self.memory.0 }
    }

    /// Publishes a renewed lease, or a new one. Only the keeper's thread calls this.
    pub fn renew(&self, identity: LeaseIdentity, generation: u64, ttl: Duration, deadlines: &Deadlines) {
        let layout = self.layout();
        let earlier = self
            .lease()
            .is_none_or(|old| old.lease.generation != generation || deadlines.soft < old.lease.deadlines.soft);
        // A writer that died half-way left an odd number: it is taken over as if we had begun.
        let begun = layout.lease_sequence.load(Relaxed) | 1;
        layout.lease_sequence.store(begun, Relaxed);
        fence(Release);
        layout.lease_hash.store(identity.lease, Relaxed);
        layout.created_hash.store(identity.created, Relaxed);
        layout.generation.store(generation, Relaxed);
        layout.ttl.store(u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        layout.valid_until.store(deadlines.valid_until.0, Relaxed);
        layout.soft.store(deadlines.soft.0, Relaxed);
        layout.hard.store(deadlines.hard.0, Relaxed);
        layout.lease_sequence.store(begun.wrapping_add(1), Release);
        if earlier {
            self.ring();
        }
    }

    /// From now on a writable server is held to the deadlines.
    pub fn arm(&self) {
        self.layout().armed.store(1, SeqCst);
        self.ring();
    }

    /// From now on no deadline is held (pause). Does not call back a shutdown that a deadline has begun.
    pub fn disarm(&self) {
        self.layout().armed.store(0, SeqCst);
        self.ring();
    }

    /// The lease as it stands; `None` when its writer stopped half-way.
    pub fn lease(&self) -> Option<LeaseOnPage> {
        let layout = self.layout();
        let found = consistent(&layout.lease_sequence, || LeaseOnPage {
            identity: LeaseIdentity {
                lease: layout.lease_hash.load(Relaxed),
                created: layout.created_hash.load(Relaxed),
            },
            ttl: Duration::from_nanos(layout.ttl.load(Relaxed)),
            lease: Lease {
                generation: layout.generation.load(Relaxed),
                deadlines: Deadlines {
                    valid_until: Tick(layout.valid_until.load(Relaxed)),
                    soft: Tick(layout.soft.load(Relaxed)),
                    hard: Tick(layout.hard.load(Relaxed)),
                },
                armed: false,
            },
        })?;
        Some(LeaseOnPage { lease: Lease { armed: self.is_armed(), ..found.lease }, ..found })
    }

    pub fn is_armed(&self) -> bool {
        self.layout().armed.load(SeqCst) != 0
    }

    /// The lease, if a restarted agent may carry it on: the store must name the same lease and the same creation of
    /// the leader key (`identity`), and it must still be valid.
    pub fn adoptable(&self, identity: LeaseIdentity, now: Tick) -> Option<LeaseOnPage> {
        self.lease().filter(|found| {
            found.identity == identity && found.lease.generation != 0 && now < found.lease.deadlines.valid_until
        })
    }

    /// The guard's own section.
    pub fn guard(&self) -> Option<GuardOnPage> {
        let layout = self.layout();
        consistent(&layout.guard_sequence, || GuardOnPage {
            guard: load_id(&layout.guard_pid, &layout.guard_started),
            postmaster: load_id(&layout.postmaster_pid, &layout.postmaster_started),
            acted: Acted::from_code(layout.acted.load(Relaxed)),
            acted_at: Tick(layout.acted_at.load(Relaxed)),
        })
    }

    pub(super) fn write_guard(&self, section: &GuardOnPage) {
        let layout = self.layout();
        let begun = layout.guard_sequence.load(Relaxed) | 1;
        layout.guard_sequence.store(begun, Relaxed);
        fence(Release);
        layout.acted.store(section.acted.code(), Relaxed);
        layout.acted_at.store(section.acted_at.0, Relaxed);
        store_id(section.guard, &layout.guard_pid, &layout.guard_started);
        store_id(section.postmaster, &layout.postmaster_pid, &layout.postmaster_started);
        layout.guard_sequence.store(begun.wrapping_add(1), Release);
    }

    /// Where a child of the guard leaves why it could not become the program it was to be.
    pub(super) fn exec_errno(&self) -> &AtomicI32 {
        &self.layout().exec_errno
    }

    pub(super) fn address(&self) -> *mut std::ffi::c_void {
        self.memory.0.cast_mut().cast()
    }

    fn ring(&self) {
        // Full means that it rings already; it is never read to block anybody.
        let _ = rustix::io::write(self.doorbell.as_fd(), &1_u64.to_ne_bytes());
    }
}

impl Acted {
    pub(super) fn code(self) -> u32 {
        match self {
            Acted::Nothing => 0,
            Acted::Shutdown => 1,
            Acted::Killed => 2,
        }
    }

    pub(super) fn from_code(code: u32) -> Acted {
        match code {
            1 => Acted::Shutdown,
            2 => Acted::Killed,
            _ => Acted::Nothing,
        }
    }
}

fn map(memory: &OwnedFd) -> io::Result<Mapping> {
    // SAFETY: a new shared mapping at an address of the kernel's choice.
    let address = unsafe {
        rustix::mm::mmap(std::ptr::null_mut(), SIZE, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, memory, 0)?
    };
    Ok(Mapping(address.cast_const().cast()))
}

/// Reads under a sequence counter: even and unchanged, or again.
fn consistent<T>(sequence: &AtomicU32, read: impl Fn() -> T) -> Option<T> {
    for _ in 0..TRIES {
        let before = sequence.load(Acquire);
        let value = read();
        fence(Acquire);
        if before & 1 == 0 && sequence.load(Relaxed) == before {
            return Some(value);
        }
        std::hint::spin_loop();
    }
    None
}

fn load_id(pid: &AtomicU64, started: &AtomicU64) -> ProcessId {
    ProcessId { pid: i32::try_from(pid.load(Relaxed)).unwrap_or(0), started: started.load(Relaxed) }
}

fn store_id(id: ProcessId, pid: &AtomicU64, started: &AtomicU64) {
    pid.store(u64::try_from(id.pid).unwrap_or(0), Relaxed);
    started.store(id.started, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages() -> (Page, Page) {
        let (memory, doorbell, guard) = Page::create().expect("memfd");
        (guard, Page::open(memory, doorbell).expect("the same page"))
    }

    fn deadlines(n: u64) -> Deadlines {
        Deadlines { valid_until: Tick(n + 2), soft: Tick(n + 1), hard: Tick(n + 2) }
    }

    const IDENTITY: LeaseIdentity = LeaseIdentity { lease: 11, created: 12 };

    fn rings(page: &Page) -> bool {
        rustix::io::read(page.doorbell.as_fd(), &mut [0; 8]).is_ok()
    }

    #[test]
    fn what_the_keeper_writes_the_guard_reads() {
        let (guard, keeper) = pages();
        assert_eq!(guard.lease(), Some(LeaseOnPage::default()));
        keeper.renew(IDENTITY, 7, Duration::from_secs(5), &deadlines(100));
        keeper.arm();
        let found = guard.lease().expect("whole");
        assert_eq!(found.identity, IDENTITY);
        assert_eq!(found.lease, Lease { generation: 7, deadlines: deadlines(100), armed: true });
        keeper.disarm();
        assert!(!guard.is_armed());
    }

    #[test]
    fn the_guard_is_woken_only_when_it_must_look_earlier() {
        let (guard, keeper) = pages();
        keeper.renew(IDENTITY, 7, Duration::from_secs(5), &deadlines(100));
        assert!(rings(&guard), "a new generation");
        keeper.renew(IDENTITY, 7, Duration::from_secs(5), &deadlines(200));
        assert!(!rings(&guard), "later deadlines");
        keeper.renew(IDENTITY, 7, Duration::from_secs(2), &deadlines(150));
        assert!(rings(&guard), "an earlier deadline after a change of ttl");
        keeper.arm();
        assert!(rings(&guard), "armed");
    }

    #[test]
    fn a_torn_write_is_seen_as_such_and_mended_by_the_next_writer() {
        let (guard, keeper) = pages();
        keeper.renew(IDENTITY, 7, Duration::from_secs(5), &deadlines(100));
        keeper.layout().lease_sequence.fetch_add(1, Relaxed);
        assert_eq!(guard.lease(), None);
        keeper.renew(IDENTITY, 8, Duration::from_secs(5), &deadlines(300));
        assert_eq!(guard.lease().expect("whole again").lease.generation, 8);
    }

    #[test]
    fn only_the_same_valid_lock_is_adopted() {
        let (_guard, keeper) = pages();
        assert_eq!(keeper.adoptable(LeaseIdentity::default(), Tick(0)), None, "an empty page");
        keeper.renew(IDENTITY, 7, Duration::from_secs(5), &deadlines(100));
        assert!(keeper.adoptable(IDENTITY, Tick(101)).is_some());
        assert_eq!(keeper.adoptable(IDENTITY, Tick(102)), None, "expired");
        assert_eq!(keeper.adoptable(LeaseIdentity { created: 13, ..IDENTITY }, Tick(0)), None, "another creation");
        assert_eq!(keeper.adoptable(LeaseIdentity { lease: 13, ..IDENTITY }, Tick(0)), None, "another lease");
    }

    #[test]
    fn readers_never_see_half_a_write() {
        let (guard, keeper) = pages();
        let writer = std::thread::spawn(move || {
            for n in 1..200_000 {
                let identity = LeaseIdentity { lease: n, created: n };
                keeper.renew(identity, n, Duration::from_nanos(n), &deadlines(n));
            }
        });
        while !writer.is_finished() {
            let Some(found) = guard.lease() else { continue };
            let n = found.lease.generation;
            assert_eq!(found.identity, LeaseIdentity { lease: n, created: n });
            assert!(n == 0 || found.lease.deadlines == deadlines(n));
        }
        writer.join().expect("no panic");
    }

    #[test]
    fn the_guards_section() {
        let (guard, agent) = pages();
        let section = GuardOnPage {
            guard: ProcessId { pid: 1, started: 2 },
            postmaster: ProcessId { pid: 3, started: 4 },
            acted: Acted::Killed,
            acted_at: Tick(5),
        };
        guard.write_guard(&section);
        assert_eq!(agent.guard(), Some(section));
    }

    #[test]
    fn a_page_of_another_version_is_refused() {
        let (memory, doorbell, page) = Page::create().expect("memfd");
        page.layout().version.store(99, Relaxed);
        let error = Page::open(memory, doorbell).expect_err("unknown").to_string();
        assert!(error.contains("version 99"), "{error}");
    }
}
