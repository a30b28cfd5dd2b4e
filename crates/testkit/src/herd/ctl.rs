//! The control tool, run as an operator would.

use std::io::Write;
use std::process::{Output, Stdio};

use serde_json::Value;

use super::spec::words;
use super::{Herd, Member};
use crate::require;

/// What the tool printed, and how it ended.
#[derive(Clone, Debug)]
pub struct CtlOutput {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl CtlOutput {
    fn of(out: &Output) -> CtlOutput {
        CtlOutput {
            code: out.status.code(),
            stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
        }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or(Value::Null)
    }
}

impl Herd {
    /// Runs the control tool with the first member's file, on the store's host: `herd.ctl(&["list", "-f", "json"])`.
    pub fn ctl(&self, args: &[&str]) -> CtlOutput {
        self.ctl_with(&self.members()[0], args)
    }

    /// The same with another member's file.
    pub fn ctl_with(&self, member: &Member, args: &[&str]) -> CtlOutput {
        let words = self.ctl_words(member);
        let mut command = require::as_server_user();
        command.args(&words).args(args).current_dir(member.dir()).stdin(std::process::Stdio::null());
        command.env("HOME", member.dir()).env("LC_ALL", "C.UTF-8").env_remove("COLUMNS");
        let out = self.store().run(move || command.output());
        let out = out.unwrap_or_else(|e| panic!("running {words:?} {args:?}: {e}"));
        CtlOutput::of(&out)
    }

    /// Runs another control tool, by its template, with an answer to each question as a line of `input`, and nothing else
    /// on its stdin.
    pub fn ctl_by(&self, template: &str, args: &[&str], input: &str, env: &[(&str, &str)]) -> CtlOutput {
        let member = &self.members()[0];
        let words = words(template, &member.config_path());
        let mut command = require::as_server_user();
        command.args(&words).args(args).current_dir(member.dir());
        command.env("HOME", member.dir()).env("LC_ALL", "C.UTF-8").env("TZ", "UTC").env_remove("COLUMNS");
        command.envs(env.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let out = self.store().run(move || {
            let mut child = command.spawn()?;
            // A tool that asks nothing closes this before it is written.
            let _ = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input.as_bytes()));
            child.wait_with_output()
        });
        let out = out.unwrap_or_else(|e| panic!("running {words:?} {args:?}: {e}"));
        CtlOutput::of(&out)
    }

    /// Runs the tool and checks that it succeeded.
    #[track_caller]
    pub fn ctl_ok(&self, args: &[&str]) -> CtlOutput {
        let out = self.ctl(args);
        assert_eq!(out.code, Some(0), "ctl {args:?}: {out:?}");
        out
    }
}
