//! Cleaning up when the test itself is killed: a small process that waits for the test's end and removes what it left.
//!
//! A test that ends, or panics, cleans up itself. One that is killed (a time limit, an abort, the user) cannot; then the
//! pipe to the janitor closes without a word, and it does the work.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Reads a word; without one, thaws what the test froze under its prefix `$1` (it would die of no signal), kills what runs in the namespaces of the prefix or works below the directory `$2`, deletes
/// both, and does so again for what started meanwhile.
const SCRIPT: &str = r#"
read -r word && exit 0
shared=
for group in /sys/fs/cgroup/freezer/"$1"* ; do echo THAWED >"$group/freezer.state"; done
for group in /sys/fs/cgroup/"$1"* /sys/fs/cgroup/unified/"$1"* ; do echo 0 >"$group/cgroup.freeze"; done
for round in 1 2 3; do
    for ns in $(ls /run/netns 2>/dev/null | grep "^$1-"); do
        for p in $(ip netns pids "$ns"); do
            shared="$shared $(grep -o '/dev/shm/PostgreSQL[.0-9]*' "/proc/$p/maps" 2>/dev/null)"
            kill -9 "$p" 2>/dev/null
        done
    done
    for p in /proc/[0-9]*; do
        case "$(readlink "$p/cwd")" in "$2"/*) kill -9 "${p#/proc/}" 2>/dev/null ;; esac
    done
    sleep 0.2
done
for ns in $(ls /run/netns 2>/dev/null | grep "^$1-"); do ip netns del "$ns"; done
rmdir /sys/fs/cgroup/freezer/"$1"* /sys/fs/cgroup/"$1"* /sys/fs/cgroup/unified/"$1"* 2>/dev/null
rm -rf "$2" $shared
"#;

pub struct Janitor(Child);

impl Janitor {
    pub fn hire(prefix: &str, workdir: &Path) -> io::Result<Janitor> {
        let mut command = Command::new("setsid");
        command.args(["sh", "-c", SCRIPT, "janitor", prefix]).arg(workdir).current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Janitor(command.spawn()?))
    }

    /// All is clean already.
    pub fn dismiss(&mut self) {
        if let Some(mut pipe) = self.0.stdin.take() {
            // If it is dead already there is nobody to dismiss.
            let _ = pipe.write_all(b"clean\n");
        }
        let _ = self.0.wait();
    }
}
