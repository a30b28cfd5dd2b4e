//! docs/options.md is made from the table of options; this keeps it so. `UPDATE_DOCS=1` writes it anew.

use std::path::Path;

#[test]
fn the_reference_page_is_the_table() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/options.md");
    let made = jogi_config::options::reference_markdown();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&page, &made).expect("the page can be written");
    }
    let found = std::fs::read_to_string(&page).expect("docs/options.md is there");
    assert!(found == made, "docs/options.md is not what the table says: run this test with UPDATE_DOCS=1");
}
