//! YAML read and printed as the real PyYAML does: `golden/*.jsonl`, made by `golden/generate.py`.

use jogi_config::yaml::{self, Style};
use serde_json::Value;

fn rows(name: &str) -> Vec<Value> {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect("the samples are in the repository");
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

#[test]
fn values_print_as_pyyaml_prints_them() {
    let styles = [
        ("block", Style::default()),
        ("wide", Style { width: 200, ..Style::default() }),
        ("ascii", Style { allow_unicode: false, ..Style::default() }),
        ("unsorted", Style { sort_keys: false, ..Style::default() }),
        ("flow", Style { flow: true, ..Style::default() }),
    ];
    let mut wrong = Vec::new();
    let rows = rows("dump.jsonl");
    for row in &rows {
        for (name, style) in &styles {
            let ours = yaml::emit(&row["value"], style);
            if Some(ours.as_str()) != row[*name].as_str() {
                wrong.push(format!("{name} of {}:\n{ours:?}\n{}", row["value"], row[*name]));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), rows.len(), wrong[..wrong.len().min(20)].join("\n"));
}

#[test]
fn texts_read_as_pyyaml_reads_them() {
    let mut wrong = Vec::new();
    let rows = rows("load.jsonl");
    for row in &rows {
        let text = row["text"].as_str().expect("a text");
        match (yaml::parse(text), row.get("error").is_some()) {
            (Ok(ours), false) if ours == row["value"] => {}
            (Err(error), true) => assert!(error.line > 0 && error.column > 0 && !error.message.is_empty(), "{error}"),
            // More lenient than PyYAML: tabs, marks in flow style. No text that it reads reads otherwise.
            (Ok(_), true) => {}
            (ours, false) => wrong.push(format!("{text:?}:\n  ours {ours:?}\n  PyYAML {}", row["value"])),
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), rows.len(), wrong[..wrong.len().min(40)].join("\n"));
}

proptest::proptest! {
    #[test]
    fn what_is_printed_reads_back(value in values(), width in 20usize..200, allow_unicode: bool, flow: bool) {
        let style = Style { sort_keys: false, allow_unicode, flow, width };
        let text = yaml::emit(&value, &style);
        proptest::prop_assert_eq!(yaml::parse(&text), Ok(value), "{}", text);
    }

    #[test]
    fn no_text_brings_the_reader_down(text in "[-a:\\[\\]{},&*!|>'\"%#?\n\t 1<é]{0,60}") {
        let _ = yaml::parse(&text);
    }
}

/// Values whose keys do not fold into one another and whose floats are finite.
fn values() -> impl proptest::strategy::Strategy<Value = Value> {
    use proptest::prelude::*;
    let text = prop_oneof![
        "[ -~\\n]{0,40}",
        "(on|off|null|~|0[0-7]{1,3}|[0-9]{1,4}(:[0-5][0-9])?|[0-9.e+-]{1,6}|<<|=|-|---|2001-12-14)",
        "([a-z]{1,12} ){5,30}",
        "\\PC{0,20}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Value::from),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(text.clone(), inner, 0..5).prop_map(|map| map.into_iter().collect::<Value>()),
        ]
    })
}
