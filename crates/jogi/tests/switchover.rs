//! "I want that member to lead now", by REST and by the control tool, with writes going on; and what is refused.

mod common;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jogi_testkit::herd::{CHANGE_WITHIN, Change, Herd, Member, Writers};
use jogi_testkit::wait;
use serde_json::{Value, json};

#[test]
fn the_lead_goes_where_it_is_sent_and_no_row_is_lost() {
    let Some(spec) = common::spec() else { return };
    // The third member may never lead: every choice between candidates must pass it by.
    let herd = spec.member_config("n3", json!({"tags": {"nofailover": true}})).start();
    refused_with_a_reason(&herd);

    let writers = herd.start_writers();
    by_rest_to_a_candidate(&herd, &writers);
    by_the_control_tool_to_anybody(&herd, &writers);
    by_hand_as_a_failover(&herd, &writers);
    at_a_set_time(&herd, &writers);
    let journal = writers.finish();
    herd.wait_healthy();
    herd.assert_nothing_lost(&journal);
    let logs: String = herd.members().iter().map(Member::log).collect();
    let promoted_and_reloaded = logs.matches("received SIGHUP, reloading configuration files").count();
    let complaints = logs.matches("cannot be changed without restarting the server").count();
    assert!(promoted_and_reloaded > 0 && complaints == 0, "{complaints} complaints in {promoted_and_reloaded} reloads");
}

fn by_rest_to_a_candidate(herd: &Herd, writers: &Writers) {
    let (old, revision, since) = (herd.wait_leader(), herd.store().revision(), Instant::now());
    assert_eq!(old.name, "n1");
    let before = old.data_directory_identity();
    let reply = old.post("/switchover", &json!({"leader": "n1", "candidate": "n2"}));
    assert_eq!((reply.status, reply.body.as_str()), (200, "Successfully switched over to \"n2\""));
    writers.wait_ack_by("n2", since, CHANGE_WITHIN);
    herd.wait_healthy();
    herd.assert_never_two(writers.journal(), "n1", since);

    let changes = herd.changes_after(revision);
    let at = |what: &str, found: &dyn Fn(&Change) -> bool| {
        let change = changes.iter().find(|c| found(c));
        change.map(|c| c.revision).unwrap_or_else(|| panic!("never seen: {what} in {changes:#?}"))
    };
    let asked = at("the request", &|c| c.key == "failover" && text(c) == r#"{"leader":"n1","member":"n2"}"#);
    let released = at("the lock's release", &|c| c.key == "leader" && c.value.is_none());
    let taken = at("the new lock", &|c| c.key == "leader" && text(c) == "n2");
    let cleared = at("the cleared request", &|c| c.key == "failover" && text(c) == "{}");
    assert!(asked < released && released < taken && taken <= cleared, "{changes:#?}");
    // A store that can publishes the final position and releases the lock at once.
    let final_position = |c: &Change| c.key == "status" && asked < c.revision && c.revision <= released;
    assert!(
        changes.iter().any(final_position),
        "the final position comes with the release at the latest: {changes:#?}"
    );

    let history: Value = serde_json::from_str(&herd.key("history").expect("a history")).expect("JSON");
    let [entry] = &history.as_array().expect("an array")[..] else { panic!("{history}") };
    assert_eq!((&entry[0], &entry[2], &entry[4]), (&json!(1), &json!("no recovery target specified"), &json!("n2")));
    assert_eq!(herd.member("n2").status()["timeline"], 2);
    assert_eq!(old.data_directory_identity(), before, "the old leader follows with the data it has");
    let tags: Value = serde_json::from_str(&herd.key("members/n3").expect("n3 is there")).expect("JSON");
    assert_eq!(tags["tags"], json!({"nofailover": true}));
}

fn text(change: &Change) -> &str {
    change.value.as_deref().unwrap_or("(gone)")
}

fn by_the_control_tool_to_anybody(herd: &Herd, writers: &Writers) {
    let since = Instant::now();
    let out = herd.ctl_ok(&["switchover", "herd", "--force"]);
    assert!(out.stdout.contains("Current cluster topology"), "{out:?}");
    assert!(out.stdout.contains("Successfully switched over to \"n1\""), "only n1 may lead after n2: {out:?}");
    writers.wait_ack_by("n1", since, CHANGE_WITHIN);
    herd.wait_healthy();
    herd.assert_never_two(writers.journal(), "n2", since);
}

fn by_hand_as_a_failover(herd: &Herd, writers: &Writers) {
    let since = Instant::now();
    let out = herd.ctl_ok(&["failover", "herd", "--candidate", "n2", "--force"]);
    assert!(out.stdout.contains("Successfully failed over to \"n2\""), "{out:?}");
    writers.wait_ack_by("n2", since, CHANGE_WITHIN);
    herd.wait_healthy();
    herd.assert_never_two(writers.journal(), "n1", since);
}

fn at_a_set_time(herd: &Herd, writers: &Writers) {
    let leader = herd.wait_leader();
    let later = json!({"leader": leader.name, "candidate": "n1", "scheduled_at": utc_in(Duration::from_secs(3600))});
    let reply = leader.post("/switchover", &later);
    assert_eq!((reply.status, reply.body.as_str()), (202, "Switchover scheduled"));
    let shown = leader.get("/cluster").json();
    assert_eq!(shown["scheduled_switchover"]["from"], json!(leader.name));
    assert_eq!(shown["scheduled_switchover"]["to"], "n1");
    let delete = || leader.request("DELETE", "/switchover", None, CHANGE_WITHIN);
    let reply = delete();
    assert_eq!((reply.status, reply.body.as_str()), (200, "scheduled switchover deleted"));
    let reply = delete();
    assert_eq!((reply.status, reply.body.as_str()), (404, "no switchover is scheduled"));

    let since = Instant::now();
    let soon = json!({"leader": leader.name, "candidate": "n1", "scheduled_at": utc_in(Duration::from_secs(3))});
    assert_eq!(leader.post("/switchover", &soon).status, 202);
    writers.wait_ack_by("n1", since, CHANGE_WITHIN);
    assert!(since.elapsed() >= Duration::from_secs(2), "not before its time");
    herd.wait_healthy();
    herd.assert_never_two(writers.journal(), &leader.name, since);
}

/// ISO 8601 with offset, as REST demands it.
fn utc_in(from_now: Duration) -> String {
    let at = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970") + from_now;
    let (days, seconds) = (at.as_secs() / 86400, at.as_secs() % 86400);
    // Days since 1 March 0000 of the proleptic calendar, in which leap days end a year.
    let z = days + 719_468;
    let (era, day) = (z / 146_097, z % 146_097);
    let year_of_era = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let m = (5 * day_of_year + 2) / 153;
    let (d, month) = (day_of_year - (153 * m + 2) / 5 + 1, if m < 10 { m + 3 } else { m - 9 });
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (h, min, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{d:02}T{h:02}:{min:02}:{s:02}+00:00")
}

fn refused_with_a_reason(herd: &Herd) {
    let leader = herd.wait_leader();
    let revision = herd.store().revision();
    let past = "2020-01-01T00:00:00+00:00";
    for (path, body, status, reason) in [
        ("/switchover", json!({"candidate": "n2"}), 400, "Switchover could be performed only from a specific leader"),
        ("/switchover", json!({"leader": "n1", "candidate": "n1"}), 400, "Switchover target and source are the same"),
        ("/switchover", json!({"leader": "n2", "candidate": "n1"}), 412, "leader name does not match"),
        ("/switchover", json!({"leader": "n1", "candidate": "nobody"}), 412, "candidate does not exists"),
        (
            "/switchover",
            json!({"leader": "n1", "candidate": "n3"}),
            412,
            "switchover is not possible: no good candidates have been found",
        ),
        ("/failover", json!({"leader": ""}), 400, "Failover could be performed only to a specific candidate"),
        ("/failover", json!({"candidate": "n3"}), 412, "failover is not possible: no good candidates have been found"),
        ("/failover", json!({"candidate": "n2", "scheduled_at": past}), 400, "Failover can't be scheduled"),
        ("/switchover", json!({"leader": "n1", "scheduled_at": past}), 422, "Cannot schedule switchover in the past"),
        (
            "/switchover",
            json!({"leader": "n1", "scheduled_at": "2099-01-01T00:00:00"}),
            400,
            "Timezone information is mandatory for the scheduled switchover",
        ),
        (
            "/switchover",
            json!({"leader": "n1", "scheduled_at": "soon"}),
            422,
            "Unable to parse scheduled timestamp. It should be in an unambiguous format, e.g. ISO 8601",
        ),
    ] {
        let reply = leader.post(path, &body);
        assert_eq!((reply.status, reply.body.as_str()), (status, reason), "POST {path} {body}");
    }
    for (args, reason) in [
        (&["switchover", "--leader", "n2", "--force"][..], "Error: Member n2 is not the leader of cluster herd"),
        (&["failover", "--force"], "Error: Failover could be performed only to a specific candidate"),
        (
            &["switchover", "--candidate", "nobody", "--force"],
            "Error: Member nobody does not exist in cluster herd or is tagged as nofailover",
        ),
        (
            &["switchover", "--candidate", "n3", "--force"],
            "Error: Member n3 does not exist in cluster herd or is tagged as nofailover",
        ),
        (&["switchover", "--candidate", "n1", "--force"], "Error: Member n1 is already the leader of cluster herd"),
    ] {
        let out = herd.ctl(args);
        assert_eq!((out.code, out.stderr.trim()), (Some(1), reason), "ctl {args:?}: {out:?}");
    }
    wait::until("the leader goes on", CHANGE_WITHIN, || leader.is_primary());
    assert_eq!(herd.values_after(revision, "failover"), [], "a refused request leaves no trace");
    assert_eq!(herd.values_after(revision, "leader"), []);
}
