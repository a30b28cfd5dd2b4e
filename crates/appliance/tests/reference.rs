//! docs/environment.md is made from the table of variables; this keeps it so. `UPDATE_DOCS=1` writes it anew.

use std::path::Path;

#[test]
fn the_reference_page_is_the_table() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/environment.md");
    let made = jogi_appliance::variables::reference_markdown();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&page, &made).expect("the page can be written");
    }
    let found = std::fs::read_to_string(&page).expect("docs/environment.md is there");
    assert!(found == made, "docs/environment.md is not what the table says: run this test with UPDATE_DOCS=1");
}

/// The decisions stay pure: what they need of the machine is in the facts.
#[test]
fn decisions_read_nothing() {
    for dir in ["plan", "variables"] {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(dir);
        for file in std::fs::read_dir(dir).expect("a folder of sources").flatten() {
            let text = std::fs::read_to_string(file.path()).expect("a source");
            for outside in ["std::fs", "std::env", "std::net::Tcp", "std::process", "::now()", "tokio"] {
                assert!(!text.contains(outside), "{} reaches for {outside}", file.path().display());
            }
        }
    }
}
