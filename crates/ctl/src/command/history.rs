//! `history`.

use clap::Args;
use jogi_core::view::HistoryEntry;
use serde_json::Value;

use crate::cli::ClusterArgument;
use crate::failure::Failure;
use crate::output::{Format, Rows, say};
use crate::session::Session;

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    pub cluster: ClusterArgument,

    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    pub format: Format,
}

pub async fn run(session: &Session, arguments: Arguments) -> Result<(), Failure> {
    let cluster = session.herd_of_group(&arguments.cluster)?.load().await?;
    let entries = cluster.history.as_ref().map(|key| key.value.0.as_slice()).unwrap_or_default();
    say(rows(entries).render(arguments.format, "\t"))
}

fn rows(entries: &[HistoryEntry]) -> Rows {
    let row = |entry: &HistoryEntry| -> Vec<Value> {
        vec![
            entry.parent.0.into(),
            entry.switched_at.0.into(),
            entry.reason.as_str().into(),
            entry.at.as_deref().unwrap_or_default().into(),
            entry.new_leader.as_deref().unwrap_or_default().into(),
        ]
    };
    let columns = ["TL", "LSN", "Reason", "Timestamp", "New Leader"].map(str::to_owned);
    Rows { columns: Some(columns.into()), rows: entries.iter().map(row).collect() }
}

#[cfg(test)]
mod tests {
    use jogi_core::view::HistoryKey;

    use super::*;

    #[test]
    fn missing_fields_are_empty() {
        let text = r#"[[1,67407200,"no recovery target specified","2026-11-22T22:05:26.642398+00:00","n0"],
            [2,67408200,"no recovery target specified"]]"#;
        let history = HistoryKey::parse(text).expect("an array");
        let expected = "\
+----+----------+------------------------------+----------------------------------+------------+
| TL |      LSN | Reason                       | Timestamp                        | New Leader |
+----+----------+------------------------------+----------------------------------+------------+
|  1 | 67407200 | no recovery target specified | 2026-11-22T22:05:26.642398+00:00 | n0         |
|  2 | 67408200 | no recovery target specified |                                  |            |
+----+----------+------------------------------+----------------------------------+------------+";
        assert_eq!(rows(&history.0).render(Format::Pretty, ""), expected);
        assert!(
            rows(&history.0).render(Format::Tsv, "\t").ends_with("\n2\t67408200\tno recovery target specified\t\t")
        );
    }
}
