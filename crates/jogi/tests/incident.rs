//! "It failed over in the night: what happened?": the members' records, told as one story.

mod common;

use jogi_testkit::herd::{CHANGE_WITHIN, Herd};
use jogi_testkit::wait;
use serde_json::{Value, json};

#[test]
fn an_incident_is_told_when_it_is_over() {
    let Some(spec) = common::spec_on_loopback() else { return };
    let dcs = json!({"ttl": 5, "loop_wait": 1, "retry_timeout": 2, "primary_start_timeout": 0});
    let herd = spec.dcs(dcs).start();
    let old = herd.wait_leader().name.clone();
    herd.member(&old).kill_postmaster();
    let new = herd.wait_new_leader(&old).name.clone();
    herd.wait_healthy();
    let told = wait_told(&herd, &new);
    assert_eq!((&told["lost"], &told["won"]), (&json!(old), &json!(new)), "{told}");
    let because = told["lost_because"].as_str().expect("a reason");
    assert!(because.starts_with("the postmaster (pid ") && because.contains("ended by itself"), "{because}");
    assert_eq!(told["won_because"], "nobody that may lead has more WAL");
    let paused = told["writes_paused_seconds"].as_f64().expect("a number");
    assert!(paused > 0.0 && paused < 5.0, "{paused} s");
    // Every line is in order of time, and every member has its say.
    let moments = told["moments"].as_array().expect("lines");
    let times: Vec<&str> = moments.iter().filter_map(|line| line["at"].as_str()).collect();
    assert!(times.is_sorted(), "{times:?}");
    for member in herd.members() {
        assert!(moments.iter().any(|line| line["member"] == member.name), "{} in {told}", member.name);
    }

    let pretty = herd.ctl_ok(&["incident", "herd", "--last", "1"]).stdout;
    let headline = pretty.lines().next().unwrap_or_default();
    assert!(headline.contains(&format!("{old} lost the lead, {new} won it; writes paused for ")), "{pretty}");
    outlives_the_agent(&herd, &old, &told);
}

/// The story of the one change from `old`, once the winner is known.
fn wait_told(herd: &Herd, won: &str) -> Value {
    wait::value("the story of the failover", CHANGE_WITHIN, || {
        let all = herd.ctl_ok(&["incident", "herd", "-f", "json"]).json();
        all.as_array()?.last().filter(|incident| incident["won"] == won).cloned()
    })
}

fn outlives_the_agent(herd: &Herd, old: &str, told: &Value) {
    let member = herd.member(old);
    member.kill_agent();
    member.start_agent();
    herd.wait_healthy();
    let again = wait_told(herd, told["won"].as_str().expect("a name"));
    assert_eq!((&again["lost_because"], &again["writes_ended"]), (&told["lost_because"], &told["writes_ended"]));
}
