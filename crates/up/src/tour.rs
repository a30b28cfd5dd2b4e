//! What the person sees: progress while the herd comes up, then how to use it.

use std::process::Command;

use serde_json::Value;

use crate::account::Account;
use crate::layout::Layout;

/// One line per stage, with the time that it took.
pub struct Stage {
    begun: std::time::Instant,
}

impl Stage {
    pub fn begin(what: &str) -> Stage {
        use std::io::Write as _;
        let mut out = std::io::stdout();
        let _ = write!(out, "{what} … ");
        let _ = out.flush();
        Stage { begun: std::time::Instant::now() }
    }

    pub fn done(self) {
        say!("{:.1} s", self.begun.elapsed().as_secs_f64());
    }
}

/// The members of a `/cluster` document by name and role.
pub fn roles(cluster: &Value) -> Vec<(String, String, String)> {
    let text = |m: &Value, field: &str| m.get(field).and_then(Value::as_str).unwrap_or("").to_owned();
    let members = cluster.get("members").and_then(Value::as_array);
    members.into_iter().flatten().map(|m| (text(m, "name"), text(m, "role"), text(m, "state"))).collect()
}

pub fn leader(cluster: &Value) -> Option<String> {
    roles(cluster).into_iter().find(|(_, role, _)| role == "leader").map(|(name, ..)| name)
}

/// How to reach the herd.
pub fn print(layout: &Layout, account: &Account, server_major: u32) {
    let hosts = vec!["127.0.0.1"; usize::from(layout.members)].join(",");
    let ports: Vec<String> = (1..=layout.members).map(|m| layout.pg_port(m).to_string()).collect();
    let ports = ports.join(",");
    let passfile = layout.passfile();
    let psql = |session: &str| {
        format!(
            "psql 'host={hosts} port={ports} user=postgres dbname=postgres passfile={} target_session_attrs={session}'",
            passfile.display()
        )
    };
    say!("\nread and write (finds the primary):\n  {}", psql("read-write"));
    if server_major >= 14 {
        say!("\nread only (a standby, where there is one):\n  {}", psql("prefer-standby"));
    } else {
        // The psql beside an older server does not know the word.
        say!("\nread only (any member; SELECT pg_is_in_recovery() tells which kind):\n  {}", psql("any"));
    }
    say!("\nREST:");
    for member in 1..=layout.members {
        say!("  {}  http://127.0.0.1:{}", layout.name(member), layout.rest_port(member));
    }
    say!(
        "\npasswords: {} (mode 0600)   logs: {}",
        layout.passwords_file().display(),
        layout.dir.join("logs").display()
    );
    let ctl = format!("{} ctl -c {}", layout.program().display(), layout.config_file(1).display());
    say!("\n{ctl} list");
    let mut list = Command::new(layout.program());
    list.args(["ctl", "-c"]).arg(layout.config_file(1)).arg("list").current_dir("/");
    account.apply(&mut list);
    match list.output() {
        Ok(output) => say!("{}", String::from_utf8_lossy(&output.stdout).trim_end()),
        Err(error) => say!("  (could not be run: {error})"),
    }
    say!("\nCtrl-C stops everything; the same command starts it again with its data.");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_leader_is_found_in_a_cluster_document() {
        let document = json!({"members": [
            {"name": "member-1", "role": "replica", "state": "streaming"},
            {"name": "member-2", "role": "leader", "state": "running"},
        ]});
        assert_eq!(leader(&document).as_deref(), Some("member-2"));
        assert_eq!(roles(&document).len(), 2);
        assert_eq!(leader(&json!({})), None);
    }
}
