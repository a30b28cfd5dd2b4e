//! Keeping the guard in memory: a guard that must be read from a swapping disk is late.
//!
//! Only what is resident is locked, page by page, after the kill path has been walked once: locking everything would pull
//! in the whole program, and an ordinary user may lock a few megabytes. What the limit does not cover stays
//! unlocked, the writable pages first in line; the status says how much is locked.

use std::ffi::c_void;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::mm::Advice;

use super::page::{Page, SIZE};
use crate::pidfd::{each_line, open_proc};

const MOST_AREAS: usize = 192;
/// In an entry of the page map: the page is in memory.
const PRESENT: u64 = 1 << 63;
/// In an entry of the page map: the page is a file's (or shared), not a private copy.
const OF_FILE: u64 = 1 << 61;

#[derive(Clone, Copy, Default)]
struct Area {
    start: usize,
    end: usize,
    writable: bool,
}

/// Gives back what only the start needed: pages that are the program's file as it is on disk. What is used again comes
/// back from there; what was written (relocated) since stays.
pub(super) fn forget_start() {
    let mut areas = [Area::default(); MOST_AREAS];
    let count = own_areas(&mut areas);
    let Ok(pagemap) = open_proc(own_pid(), "pagemap") else { return };
    for area in areas[..count].iter().filter(|area| !area.writable) {
        let _ = each_run(
            &pagemap,
            area,
            |entry| entry & (PRESENT | OF_FILE) == PRESENT | OF_FILE,
            |start, length| {
                // SAFETY: clean pages of a private, read-only mapping of a file: read again, they are the same.
                unsafe { rustix::mm::madvise(start as *mut c_void, length, Advice::LinuxDontNeed) }.is_ok()
            },
        );
    }
}

/// Locks the pages that are resident now; answers how many bytes.
pub(super) fn lock_resident(page: &Page) -> u64 {
    let mut areas = [Area::default(); MOST_AREAS];
    let count = own_areas(&mut areas);
    let Ok(pagemap) = open_proc(own_pid(), "pagemap") else { return 0 };
    let mut locked = 0;
    let mut lock = |start: usize, length: usize| {
        // SAFETY: locking changes nothing that a program can see; the range is mapped.
        let done = unsafe { rustix::mm::mlock(start as *mut c_void, length) }.is_ok();
        locked += if done { length as u64 } else { 0 };
        done
    };
    lock(page.address() as usize, SIZE);
    for writable in [true, false] {
        for area in areas[..count].iter().filter(|area| area.writable == writable) {
            // Not permitted, or over the limit: then the rest is not locked either.
            if !each_run(&pagemap, area, |entry| entry & PRESENT != 0, &mut lock) {
                return locked;
            }
        }
    }
    locked
}

/// Private areas of this process, as far as they fit.
fn own_areas(areas: &mut [Area]) -> usize {
    let Ok(maps) = open_proc(own_pid(), "maps") else { return 0 };
    let mut count = 0;
    let _ = each_line(&maps, |line| {
        if let (Some(area), Some(slot)) = (parse_area(line), areas.get_mut(count)) {
            *slot = area;
            count += 1;
        }
    });
    count
}

/// `55d0-55d8 r-xp …`. Nothing for what cannot be read, is shared, or belongs to the kernel.
fn parse_area(line: &[u8]) -> Option<Area> {
    let line = str::from_utf8(line).ok()?;
    let (range, rest) = line.split_once(' ')?;
    let flags = rest.as_bytes().get(..4)?;
    if flags[0] != b'r' || flags[3] != b'p' || line.ends_with("[vvar]") || line.ends_with("[vsyscall]") {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    let number = |text| usize::from_str_radix(text, 16).ok();
    Some(Area { start: number(start)?, end: number(end)?, writable: flags[1] == b'w' })
}

/// Calls `work` with start and length of each run of pages whose entry in the page map is `wanted`, until it answers
/// `false`, which is the answer then.
fn each_run(
    pagemap: &OwnedFd,
    area: &Area,
    wanted: impl Fn(u64) -> bool,
    mut work: impl FnMut(usize, usize) -> bool,
) -> bool {
    let page_size = rustix::param::page_size();
    let mut run = area.start;
    let mut at = area.start;
    let mut entries = [0_u8; 8 * 128];
    while at < area.end {
        let length = ((area.end - at) / page_size * 8).min(entries.len());
        let offset = (at / page_size * 8) as u64;
        let Ok(read) = rustix::io::pread(pagemap.as_fd(), &mut entries[..length], offset) else { return false };
        if read < 8 {
            break;
        }
        for entry in entries[..read].as_chunks::<8>().0 {
            if !wanted(u64::from_ne_bytes(*entry)) {
                if at > run && !work(run, at - run) {
                    return false;
                }
                run = at + page_size;
            }
            at += page_size;
        }
    }
    at <= run || work(run, at - run)
}

fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// Makes the kernel's out-of-memory killer prefer others, as far as we may; answers the value as it was, which
/// the postmaster gets back.
pub(super) fn avoid_oom_killer() -> Option<i32> {
    let mut buffer = [0; 16];
    let text = crate::pidfd::read_proc(own_pid(), "oom_score_adj", &mut buffer).ok()?;
    let before = str::from_utf8(text).ok()?.trim().parse().ok()?;
    // Below its own minimum only a privileged process may go: refused otherwise, and nothing is lost.
    set_oom_score(-1000);
    Some(before)
}

/// Sets our own score. Only system calls: also used between fork and exec.
pub(super) fn set_oom_score(score: i32) -> bool {
    use std::fmt::Write as _;
    let mut text = crate::pidfd::Text::<16>::new();
    let _ = write!(text, "{score}");
    let file = rustix::fs::open(c"/proc/self/oom_score_adj", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
    file.is_ok_and(|file| rustix::io::write(&file, text.as_bytes()).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_are_read_from_maps() {
        let area = parse_area(b"55d000-55f000 rw-p 00000000 08:01 42   /usr/bin/jogi").expect("private");
        assert_eq!((area.start, area.end, area.writable), (0x55d000, 0x55f000, true));
        assert!(parse_area(b"55d000-55f000 r-xp 00000000 08:01 42   /usr/bin/jogi").is_some_and(|area| !area.writable));
        for line in [
            "55d000-55f000 rw-s 00000000 00:01 42   /memfd:jogi (deleted)",
            "55d000-55f000 ---p 00000000 00:00 0",
            "7ffd00-7ffd40 r--p 00000000 00:00 0    [vvar]",
            "",
        ] {
            assert!(parse_area(line.as_bytes()).is_none(), "{line}");
        }
    }
}
