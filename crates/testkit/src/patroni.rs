//! The real Patroni, for tests that put it beside ours.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::{require, wait};

/// A first installation downloads some megabytes.
const INSTALLED_WITHIN: Duration = Duration::from_secs(300);

/// Where its programs are.
#[derive(Clone, Debug)]
pub struct Patroni {
    bin: PathBuf,
}

impl Patroni {
    /// Found, or installed from PyPI by `scripts/patroni.sh`. `None`, with the reason printed, where that cannot be: a
    /// machine without Python or without the registry is not at fault, so this is no failure in CI either.
    #[must_use]
    pub fn find() -> Option<Patroni> {
        match installed() {
            Ok(bin) => Some(Patroni { bin }),
            Err(why) => {
                require::did_not_run(&why);
                None
            }
        }
    }

    /// `patroni`, `patronictl`, `python3` …
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// The template of the agent's command.
    pub fn agent(&self) -> String {
        format!("{} {{config}}", self.program("patroni").display())
    }

    /// The template of the control tool's command.
    pub fn ctl(&self) -> String {
        format!("{} -c {{config}}", self.program("patronictl").display())
    }
}

fn installed() -> Result<PathBuf, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/patroni.sh");
    let mut command = Command::new(&script);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| format!("{} does not start: {e}", script.display()))?;
    if wait::poll(INSTALLED_WITHIN, || child.try_wait().ok().flatten()).is_none() {
        let _ = child.kill().and_then(|()| child.wait());
        return Err(format!("Patroni was not installed within {INSTALLED_WITHIN:?}"));
    }
    let out = child.wait_with_output().map_err(|e| format!("{}: {e}", script.display()))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let bin = PathBuf::from(text(&out.stdout));
    match out.status.success() && bin.join("patroni").is_file() {
        true => Ok(bin),
        false => Err(format!("there is no Patroni to compare with: {}", text(&out.stderr))),
    }
}
