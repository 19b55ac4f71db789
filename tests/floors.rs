//! The house: every room imports only rooms on lower floors, every file says
//! what it is, and no file has grown too long to be read.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// From the lowest to the highest; rooms of one floor do not know each other.
const FLOORS: [&[&str]; 12] = [
    &["metrics", "drain", "units", "golden"],
    &["xml"],
    &["xmpp"],
    &["stream", "net", "storage"],
    &["cluster"],
    &["session_manager", "s2s_manager"],
    &["extension"],
    &["local_router", "im", "xep"],
    &["router"],
    &["door", "admin"],
    &["config"],
    &["server"],
];

/// They may know everybody.
const ROOF: [&str; 3] = ["cli", "main", "lib"];

/// Lines of a file without its tests. A file that needs more is two.
const LINES_MAX: usize = 360;

fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("text");
                let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
                found.push((path.strip_prefix(root).expect("inside").to_owned(), text));
            }
        }
    }
    found
}

fn room(path: &Path) -> String {
    let first = path.components().next().expect("not empty").as_os_str();
    first.to_string_lossy().trim_end_matches(".rs").to_owned()
}

fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text)
}

#[test]
fn rooms_import_only_rooms_below() {
    let floors: BTreeMap<&str, usize> = FLOORS
        .iter()
        .enumerate()
        .flat_map(|(floor, rooms)| rooms.iter().map(move |room| (*room, floor)))
        .collect();
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let own = room(&path);
        if ROOF.contains(&own.as_str()) {
            continue;
        }
        let Some(floor) = floors.get(own.as_str()) else {
            wrong.push(format!("{} stands on no floor", path.display()));
            continue;
        };
        for (at, _) in text.match_indices("crate::") {
            let rest = &text[at + "crate::".len()..];
            let other: String = rest
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || *c == '_' || c.is_ascii_digit())
                .collect();
            let is_below = floors.get(other.as_str()).is_some_and(|other| other < floor);
            if other != own && !is_below {
                wrong.push(format!("{} imports {other}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_is() {
    for (path, text) in sources() {
        assert!(text.starts_with("//!"), "{} does not say what it is", path.display());
    }
}

#[test]
fn no_file_is_too_long_to_be_read() {
    for (path, text) in sources() {
        let lines = without_tests(&text).lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines", path.display());
    }
}
