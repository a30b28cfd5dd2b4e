//! Whether the archiver of a server that shuts down is still at work.
//!
//! After the shutdown checkpoint PostgreSQL waits for its walsenders and for one last round of the archiver, and either
//! may take long. The archiver must not be cut short: a standby counts what it has received as archived by its primary.

use crate::pidfd;

/// Whether a child of this postmaster is its archiver; also when that cannot be found out. Blocking, some milliseconds.
pub fn works(postmaster: i32) -> bool {
    let mut found = false;
    let looked = pidfd::each_pid(|pid| found = found || is_archiver(pid, postmaster));
    found || looked.is_err()
}

fn is_archiver(pid: i32, postmaster: i32) -> bool {
    let mut buffer = [0; 512];
    // What has ended meanwhile works no more.
    pidfd::stat(pid).is_ok_and(|stat| stat.parent == postmaster)
        && pidfd::title(pid, &mut buffer).is_ok_and(is_archiver_title)
}

/// `postgres: [cluster_name: ]archiver[ last was 00000001…]`, until PostgreSQL 10 "archiver process". Sessions of a user
/// of that name have ended before anybody asks.
fn is_archiver_title(title: &[u8]) -> bool {
    pidfd::activities(title).any(|activity| activity == b"archiver" || activity.starts_with(b"archiver "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archiver_is_told_from_the_others() {
        let archivers = [
            "postgres: archiver",
            "postgres: archiver process   last was 000000010000000000000003",
            "postgres: main: archiver archiving 000000010000000000000003",
            "postgres: a: b: archiver failed on 000000010000000000000003",
        ];
        let others = [
            "postgres: main: walsender archiver 10.0.0.1(5) streaming 0/3000060",
            "postgres: archiver: checkpointer",
            "postgres: main: archivers",
            "/usr/lib/postgresql/15/bin/postgres -D /archiver",
        ];
        for title in archivers {
            assert!(is_archiver_title(title.as_bytes()), "{title}");
        }
        for title in others {
            assert!(!is_archiver_title(title.as_bytes()), "{title}");
        }
    }
}
