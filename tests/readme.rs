//! The README says what the server can do: no more and no less than the server
//! says of itself.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The head of the table, what is said in the stream itself, and what is not
/// there.
const UNSAID: [&str; 4] = ["|", "RFC 6120", "SASL", "not yet"];

#[test]
fn the_readme_lists_what_the_extensions_say_of_themselves() {
    let im = jabiru::im::all(&jabiru::im::config::Config::default());
    let xep = jabiru::xep::all(&jabiru::xep::config::Config::default());
    let own = jabiru::server::operated::operated(&jabiru::config::Config::default());
    let said: BTreeSet<String> = im
        .iter()
        .chain(&xep)
        .chain(&own)
        .map(|extension| extension.about().specification.to_owned())
        .collect();
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(readme).expect("readable");
    let table = readme.split("## What it does").nth(1).expect("the section");
    let table = table.split("\n## ").next().expect("its text");
    let cells = table.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    let written: BTreeSet<String> =
        cells.filter(|cell| !UNSAID.contains(cell)).map(Into::into).collect();
    assert_eq!(written, said);
}
