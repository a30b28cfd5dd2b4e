//! How much memory there is for this container.

use std::path::Path;

const MIB: u64 = 1024 * 1024;

/// MiB: the smaller of the physical memory and the control group's limit (version 1, else 2). `root` is `/`,
/// or a copy of the files for tests. What cannot be read sets no limit.
pub fn memory_mb(root: &Path) -> u64 {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).ok();
    let physical = read("proc/meminfo").and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
    });
    let limit = read("sys/fs/cgroup/memory/memory.limit_in_bytes").or_else(|| read("sys/fs/cgroup/memory.max"));
    // The word `max` is no number and no limit.
    let limit = limit.and_then(|text| text.trim().parse::<u64>().ok());
    physical.into_iter().chain(limit).min().unwrap_or(0) / MIB
}
