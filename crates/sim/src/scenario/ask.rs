//! Requests of an operator in full: `ask a restart {"role": "replica", "in": 30}`.

use std::time::Duration;

use jogi_core::Wall;
use jogi_core::ha::{Request, Restart, When};
use serde_json::Value;

/// The request of that kind. A field `in` counts seconds from `now`; `at` is a text that is published as it is.
pub fn request(kind: &str, fields: &Value, now: Wall) -> Result<Request, String> {
    let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
    let flag = |name: &str| fields.get(name).and_then(Value::as_bool).unwrap_or(false);
    let number = |name: &str| fields.get(name).and_then(Value::as_u64);
    let when = when(fields, now)?;
    Ok(match kind {
        "switchover" => Request::Switchover {
            manual_failover: flag("failover"),
            leader: text("leader"),
            candidate: text("candidate"),
            scheduled_at: when,
        },
        "cancel-switchover" => Request::CancelSwitchover,
        "restart" => Request::Restart(Restart {
            role: text("role"),
            older_than: number("older_than").and_then(|n| u32::try_from(n).ok()),
            postgres_version: text("postgres_version"),
            only_pending: flag("only_pending"),
            timeout: number("timeout"),
            schedule: when,
            postmaster_start: None,
        }),
        "cancel-restart" => Request::CancelRestart,
        "reload" => Request::Reload,
        "reinitialize" => Request::Reinitialize { force: flag("force"), from_leader: flag("from_leader") },
        "wake" => Request::Wake,
        other => return Err(format!("nobody can ask for '{other}'")),
    })
}

fn when(fields: &Value, now: Wall) -> Result<Option<When>, String> {
    let Some(seconds) = fields.get("in").and_then(Value::as_f64) else { return Ok(None) };
    let at = Wall(now.0 + (seconds * 1e6) as i64);
    let text = match fields.get("at").and_then(Value::as_str) {
        Some(text) => text.to_owned(),
        None => isoformat(at)?,
    };
    Ok(Some(When { text, at }))
}

/// As Python prints it, in UTC.
fn isoformat(at: Wall) -> Result<String, String> {
    let whole = jiff::Timestamp::from_second(at.0.div_euclid(1_000_000)).map_err(|e| e.to_string())?;
    let micros = Duration::from_micros(at.0.rem_euclid(1_000_000).unsigned_abs()).subsec_micros();
    Ok(format!("{}.{micros:06}+00:00", whole.strftime("%Y-%m-%dT%H:%M:%S")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schedule_counts_from_now() {
        let now = Wall(1_795_388_400_250_000);
        let asked = request("switchover", &json!({"leader": "a", "in": 30}), now).expect("a request");
        let Request::Switchover { scheduled_at: Some(when), .. } = asked else { panic!("{asked:?}") };
        assert_eq!(when.text, "2026-11-22T23:00:30.250000+00:00");
        assert_eq!(jogi_core::ha::schedule::parse(&when.text), Some(when.at));
    }
}
