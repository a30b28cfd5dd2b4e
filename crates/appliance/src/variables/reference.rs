//! The reference page of the variables, made from the table.

use super::{COPIES, Served, all};

/// The whole of docs/environment.md.
pub fn reference_markdown() -> String {
    let mut page = String::from(
        "# The appliance's variables\n\n\
         Made from the table in the code. The sections are those of Spilo's variables: 1 identity and paths, 2 users,\n\
         access and TLS, 3 stores, 4.1 archive, 4.2 its storage, 4.3 clone, 4.4 standby cluster, 4.5 logs, 25 ours.\n\
         Names with `WALE` are read as with `WALG`, `WAL_GCS_BUCKET` and `WALG_GCS_PREFIX` as with `GS`.\n\
         † exists with `CLONE_` and `STANDBY_` before it too. 🔒 is never shown. How it all fits together:\n\
         [appliance.md](appliance.md).\n",
    );
    let mut section = "";
    for row in all() {
        if row.section != section {
            section = row.section;
            page.push_str(&format!(
                "\n## Section {section}\n\n| name | value | default | what it does | state |\n|---|---|---|---|---|\n"
            ));
        }
        let marks = format!("{}{}", if row.copied { " †" } else { "" }, if row.secret { " 🔒" } else { "" });
        let default = if row.default.is_empty() { "–" } else { row.default };
        let state = match row.served {
            Served::Yes => "served".to_owned(),
            Served::NotYet(what) => format!("written out; not served yet: {what}"),
            Served::Ignored => "tolerated, not read".to_owned(),
        };
        page.push_str(&format!(
            "| `{}`{marks} | {} | {default} | {} | {state} |\n",
            row.name,
            row.kind.expected(),
            row.doc
        ));
    }
    let names = all().len() + all().iter().filter(|row| row.copied).count() * COPIES.len();
    page.push_str(&format!("\n{names} names, and any option of a store by its name.\n"));
    page
}
