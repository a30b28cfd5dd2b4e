//! The reference page, made of the table.

use super::{Kind, Layer, OptionRow, Reload, all};

/// The reference page: every option of the local and the dynamic configuration, as Markdown tables.
pub fn reference_markdown() -> String {
    let mut out = String::from(
        "# Configuration reference\n\n\
         Made from the table in `crates/config/src/options/table.rs`. Options of the local configuration stand in the\n\
         YAML files, those of the dynamic configuration in the store (`jogi ctl edit-config`) and, for a new cluster, below\n\
         `bootstrap.dcs`. Where an option may stand in both, the local value wins.\n",
    );
    section(&mut out, "Local configuration", |row| row.is_local());
    section(&mut out, "Dynamic configuration", |row| row.is_dynamic());
    out
}

fn section(out: &mut String, title: &str, wanted: fn(&OptionRow) -> bool) {
    out.push_str(&format!("\n## {title}\n"));
    let mut group = None;
    for row in all().iter().filter(|row| wanted(row)) {
        let name = row.path.split_once('.').map_or("", |(group, _)| group);
        if group != Some(name) {
            let heading = if name.is_empty() { "top level" } else { name };
            out.push_str(&format!(
                "\n### {heading}\n\n| Option | Type | Default | Variable | Takes effect | Meaning |\n|---|---|---|---|---|---|\n"
            ));
            group = Some(name);
        }
        out.push_str(&line(row));
    }
}

fn line(row: &OptionRow) -> String {
    let code = |text: &str| if text.is_empty() { "–".to_owned() } else { format!("`{text}`") };
    let layer = match row.layer {
        Layer::Local | Layer::Dynamic => "",
        Layer::Both => " (local or store)",
    };
    format!(
        "| `{}`{layer} | {} | {} | {} | {} | {} |\n",
        row.path,
        kind(row.kind),
        code(row.default),
        row.variable().as_deref().map_or_else(|| "–".into(), code),
        reload(row.reload),
        row.doc
    )
}

fn kind(kind: Kind) -> String {
    match kind {
        Kind::Text => "text".into(),
        Kind::Secret => "secret".into(),
        Kind::Bool => "on/off".into(),
        Kind::BoolOr(word) => format!("on/off or {word}"),
        Kind::Integer(least, i64::MAX) => format!("integer ≥ {least}"),
        Kind::Integer(least, most) => format!("integer {least} to {most}"),
        Kind::Port => "port".into(),
        Kind::Bytes => "size".into(),
        Kind::Seconds => "seconds".into(),
        Kind::Duration => "time".into(),
        Kind::Word(words) => words.join(", "),
        Kind::Address => "HOST:PORT".into(),
        Kind::Path => "path".into(),
        Kind::Command => "command".into(),
        Kind::List => "list".into(),
        Kind::Map => "mapping".into(),
        Kind::Dcs => "mapping, see below".into(),
        Kind::Any => "any".into(),
    }
}

fn reload(reload: Reload) -> &'static str {
    match reload {
        Reload::AtReload => "reload",
        Reload::AtRestart => "restart of the agent",
        Reload::PostgresRestart => "restart of PostgreSQL",
        Reload::OnceInLife => "new cluster only",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_lists_every_option_in_a_table() {
        let page = reference_markdown();
        for row in all() {
            assert!(page.contains(&format!("| `{}`", row.path)), "{}", row.path);
        }
        let broken = page.lines().filter(|line| line.starts_with("| `")).find(|line| line.matches(" | ").count() != 5);
        assert_eq!(broken, None);
    }
}
