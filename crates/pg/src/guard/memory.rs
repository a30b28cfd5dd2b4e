//! Keeping the guard in memory: a guard that must be read from a swapping disk is late.
//!
//! Only what is resident is locked, page by page, after the kill path has been walked once: locking everything would pull
//! in the whole program, and an ordinary user may lock a few megabytes. What the limit does not cover stays
//! unlocked, the writable pages first in line; the status says how much is locked.

use std::ffi::c_void;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use super::page::{Page, SIZE};
use crate::pidfd::{each_line, open_proc};

const MOST_AREAS: usize = 192;
const PRESENT: u64 = 1 << 63;

#[derive(Clone, Copy, Default)]
struct Area {
    start: usize,
    end: usize,
    writable: bool,
}

/// Locks the pages that are resident now; answers how many bytes.
pub(super) fn lock_resident(page: &Page) -> u64 {
    let mut areas = [Area::default(); MOST_AREAS];
    let count = own_areas(&mut areas);
    let Ok(pagemap) = open_proc(own_pid(), "pagemap") else { return 0 };
    let mut locked = lock(page.address() as usize, SIZE).unwrap_or(0);
    for writable in [true, false] {
        for area in areas[..count].iter().filter(|area| area.writable == writable) {
            match lock_area(&pagemap, area) {
                Ok(bytes) => locked += bytes,
                Err(bytes) => return locked + bytes,
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

/// Locks each run of resident pages. `Err` holds what was locked before the limit was reached.
fn lock_area(pagemap: &OwnedFd, area: &Area) -> Result<u64, u64> {
    let page_size = rustix::param::page_size();
    let mut locked = 0;
    let mut run = area.start;
    let mut at = area.start;
    let mut entries = [0_u8; 8 * 128];
    while at < area.end {
        let wanted = ((area.end - at) / page_size * 8).min(entries.len());
        let offset = (at / page_size * 8) as u64;
        let Ok(read) = rustix::io::pread(pagemap.as_fd(), &mut entries[..wanted], offset) else { return Err(locked) };
        if read < 8 {
            break;
        }
        for entry in entries[..read].as_chunks::<8>().0 {
            if u64::from_ne_bytes(*entry) & PRESENT == 0 {
                locked += lock(run, at - run).ok_or(locked)?;
                run = at + page_size;
            }
            at += page_size;
        }
    }
    Ok(locked + lock(run, at.saturating_sub(run)).ok_or(locked)?)
}

/// `None`: not permitted, or over the limit.
fn lock(start: usize, length: usize) -> Option<u64> {
    if length == 0 {
        return Some(0);
    }
    // SAFETY: locking changes nothing that a program can see; the range is mapped.
    unsafe { rustix::mm::mlock(start as *mut c_void, length) }.ok()?;
    Some(length as u64)
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
