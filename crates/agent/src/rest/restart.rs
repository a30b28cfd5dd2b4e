//! `POST /restart` and `DELETE /restart` (rest-api 9).

use jogi_config::postgres::units::parse_int;
use jogi_config::python;
use jogi_core::Wall;
use jogi_core::ha::{Request, Restart};
use serde_json::{Map, Value};

use super::answer::Answer;
use super::api::{Api, CORE_PATIENCE, OPERATION_PATIENCE};
use super::schedule;

pub(super) async fn post(api: &Api, body: Map<String, Value>) -> Answer {
    if api.snapshot().settings.pause && body.contains_key("schedule") {
        return Answer::text(500, "Can't schedule restart in the paused state");
    }
    match read(&body, api.now().wall) {
        Ok(restart) => api.ask(Request::Restart(restart), OPERATION_PATIENCE).await.into(),
        Err(refusal) => refusal,
    }
}

pub(super) async fn delete(api: &Api) -> Answer {
    api.ask(Request::CancelRestart, CORE_PATIENCE).await.into()
}

/// The conditions, judged in the order in which they stand in the body.
fn read(body: &Map<String, Value>, now: Wall) -> Result<Restart, Answer> {
    let refuse = |text: String| Err(Answer::text(400, text));
    let mut restart = Restart::default();
    for (key, value) in body {
        match key.as_str() {
            "schedule" => restart.schedule = Some(schedule::parse(value, "restart", now)?),
            "role" => match value.as_str() {
                Some(role @ ("primary" | "standby_leader" | "replica")) => restart.role = Some(role.to_owned()),
                _ => {
                    return refuse("PostgreSQL role should be either primary, standby_leader, or replica".to_owned());
                }
            },
            "postgres_version" => {
                let text = python::str(value);
                restart.older_than = Some(version(&text).map_err(|why| Answer::text(400, why))?);
                restart.postgres_version = Some(text);
            }
            "timeout" => {
                let seconds = parse_int(value, Some("s")).and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0);
                let Some(seconds) = seconds else {
                    return refuse("Timeout should be a positive number of seconds".to_owned());
                };
                restart.timeout = Some(seconds);
            }
            "restart_pending" => restart.only_pending = true,
            _ => return refuse(format!("Unknown filter for the scheduled restart: {key}")),
        }
    }
    Ok(restart)
}

/// `15.2` → 150002, `9.6.3` → 90603, as PostgreSQL numbers its versions.
fn version(text: &str) -> Result<u32, String> {
    let parts: Option<Vec<u16>> = text.split('.').map(|part| part.trim().parse().ok()).collect();
    let Some(parts) = parts else { return Err(format!("Invalid PostgreSQL version: {text}")) };
    match parts.into_iter().map(u32::from).collect::<Vec<_>>()[..] {
        [major, minor] if major >= 10 => Ok(major * 10_000 + minor),
        [major, middle, minor] => Ok(major * 10_000 + middle * 100 + minor),
        _ => Err(format!("Invalid PostgreSQL version format: X.Y or X.Y.Z is accepted: {text}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Wall = Wall(1_795_348_800_000_000);

    fn read_json(value: Value) -> Result<Restart, Answer> {
        read(value.as_object().expect("an object"), NOW)
    }

    #[test]
    fn conditions_are_read() {
        let restart = read_json(
            json!({"role": "replica", "postgres_version": "15.2", "timeout": "1min", "restart_pending": false}),
        );
        let restart = restart.expect("good conditions");
        assert_eq!(restart.role.as_deref(), Some("replica"));
        assert_eq!((restart.older_than, restart.postgres_version.as_deref()), (Some(150_002), Some("15.2")));
        assert_eq!((restart.timeout, restart.only_pending), (Some(60), true), "any value asks for pending ones");
    }

    #[test]
    fn refusals_are_patronis() {
        for (body, text) in [
            (json!({"role": "leader"}), "PostgreSQL role should be either primary, standby_leader, or replica"),
            (json!({"postgres_version": "abc"}), "Invalid PostgreSQL version: abc"),
            (json!({"postgres_version": "9.6"}), "Invalid PostgreSQL version format: X.Y or X.Y.Z is accepted: 9.6"),
            (json!({"timeout": 0}), "Timeout should be a positive number of seconds"),
            (json!({"timeout": "x"}), "Timeout should be a positive number of seconds"),
            (json!({"who": 1, "role": "x"}), "Unknown filter for the scheduled restart: who"),
            (json!({"schedule": "2026-11-23"}), "Timezone information is mandatory for the scheduled restart"),
        ] {
            assert_eq!(read_json(body.clone()), Err(Answer::text(400, text)), "{body}");
        }
    }

    #[test]
    fn versions_are_numbered_as_postgres_does() {
        for (text, number) in [("15.2", 150_002), ("10.1", 100_001), ("9.6.3", 90_603)] {
            assert_eq!(version(text), Ok(number));
        }
        assert!(version("15").is_err() && version("").is_err());
    }
}
