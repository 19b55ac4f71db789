//! Durable tables on real nodes: many change the same rows at once, and all
//! have the same in the end. What one row is, is tested beside it.

mod support;

use std::process::{Command, Stdio};

use support::{DOMAIN, JABIRU, Nodes};

#[test]
fn many_changes_of_one_row_on_all_nodes_end_in_the_same() {
    let nodes = Nodes::start(3);
    for user in 0..4 {
        nodes.account(&format!("u{user}"), "first");
    }
    let password = nodes.folder.path().join("password");
    std::fs::write(&password, "another").expect("writable");
    let file = format!("--password-file={}", password.display());
    // each of these asks its own node, at the same time
    let changes: Vec<_> = (0..60)
        .map(|at| {
            let node = &nodes.list[at % 3];
            let jid = format!("u{}@{DOMAIN}", at % 4);
            let socket = format!("--socket={}", node.socket());
            let (word, rest) = match at % 5 {
                0 => ("remove", vec![jid]),
                1 => ("add", vec![jid, file.clone()]),
                _ => ("password", vec![jid, file.clone()]),
            };
            Command::new(JABIRU)
                .args(["user", &socket, word])
                .args(rest)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("it starts")
        })
        .collect();
    for mut change in changes {
        // some of them must fail: what they want is there already, or not
        change.wait().expect("it ends");
    }
    nodes.wait_until_all_agree();
    let lists: Vec<String> =
        nodes.list.iter().map(|node| node.jabiru(&["user", "list"], "")).collect();
    assert!(lists.windows(2).all(|pair| pair[0] == pair[1]), "{lists:?}");
    let rows = |node: &support::Node| {
        let status = node.status().expect("it answers");
        let nodes = status["nodes"].as_array().expect("a list").clone();
        nodes.iter().map(|node| node["durable_rows"].as_u64()).collect::<Vec<_>>()
    };
    assert_eq!(rows(&nodes.list[0]), vec![Some(4); 3], "tombstones are rows");
}
