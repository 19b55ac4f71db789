//! Durable tables on real nodes: many change the same rows at once, and all
//! have the same in the end. What one row is, is tested beside it.

mod support;

use std::path::Path;
use std::process::{Command, Stdio};

use support::disk::SmallDisk;
use support::{DOMAIN, JABIRU, Nodes, run, wait_for};

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
    assert_eq!(
        rows(&nodes.list[0]),
        vec![Some(4 + 3 + 1); 3],
        "tombstones are rows, each node has one, and the cluster has a secret"
    );
}

#[test]
fn a_full_disk_refuses_changes_loses_nothing_and_recovers() {
    let mut nodes = Nodes::prepare(2, "");
    let disk = SmallDisk::mount(&nodes.list[0].folder.join("data"), "8m");
    nodes.list.iter_mut().for_each(support::Node::start);
    nodes.wait_until_all_agree();
    let mut kept = Vec::new();
    let mut add = |node: &support::Node, user: usize| {
        let jid = format!("u{user:03}@{DOMAIN}");
        let socket = format!("--socket={}", node.socket());
        let added = run(&["user", &socket, "add", &jid], "secret");
        if added.status.success() {
            kept.push(jid);
        }
        (added.status.success(), String::from_utf8_lossy(&added.stderr).into_owned())
    };
    for user in 0..10 {
        assert!(add(&nodes.list[0], user).0);
    }
    disk.fill();
    let refused = (10..800).map(|user| add(&nodes.list[0], user)).find(|(added, _)| !added);
    let (_, said) = refused.expect("there was no room for 800 accounts");
    assert!(said.contains("store"), "{said}");
    wait_for("it is not ready", || nodes.list[0].http("/readyz").starts_with("HTTP/1.1 503"));
    assert!(nodes.list[1].http("/readyz").starts_with("HTTP/1.1 200"));
    wait_for("the other node says so", || {
        nodes.list[1].verdict().is_some_and(|verdict| verdict.contains("n0 cannot keep changes"))
    });
    disk.relieve();
    wait_for("it is ready again", || nodes.list[0].http("/readyz").starts_with("HTTP/1.1 200"));
    assert!(add(&nodes.list[0], 999).0);
    // what n1 kept alone meanwhile is fetched without waiting for a minute
    nodes.wait_until_all_agree();
    for node in &nodes.list {
        let accounts = node.accounts();
        let lost: Vec<&String> = kept.iter().filter(|jid| !accounts.contains(jid)).collect();
        assert!(lost.is_empty(), "{} has lost {lost:?}", node.name);
    }
    let log = nodes.list[0].log();
    assert!(log.contains("the store fails") && log.contains("the store works again"), "{log}");
}

#[test]
fn a_backup_brings_back_what_is_missing_and_older_values_if_wanted() {
    let mut nodes = Nodes::start(2);
    let rows = |node: &support::Node| node.status()?["nodes"][0]["durable_rows"].as_u64();
    wait_for("two nodes and a secret", || nodes.list.iter().all(|node| rows(node) == Some(3)));
    for user in ["removed", "changed", "kept"] {
        nodes.account(user, "first");
    }
    let file = nodes.folder.path().join("backup");
    let path = file.to_str().expect("text").to_owned();
    assert_eq!(nodes.list[0].jabiru(&["backup", &path], ""), "4 rows backed up\n", "and a secret");
    let mode = std::fs::metadata(&file).expect("a file").permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600);
    let jid = |user: &str| format!("{user}@{DOMAIN}");
    nodes.list[1].jabiru(&["user", "remove", &jid("removed")], "");
    nodes.list[1].jabiru(&["user", "password", &jid("changed")], "second");
    nodes.account("new", "first");

    // what is damaged or foreign changes nothing
    let whole = std::fs::read(&file).expect("readable");
    let other = nodes.folder.path().join("other");
    let restore = |node: &support::Node, words: &[&str]| {
        let socket = format!("--socket={}", node.socket());
        let output = run(&[&["restore", &socket], words].concat(), "");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    };
    for (bytes, word) in [
        (&whole[..whole.len() - 9], "damaged or not complete"),
        (&b"a,b,c\n"[..], "no backup"),
        (&b"jabiru backup 7\nxxxx"[..], "another version"),
    ] {
        std::fs::write(&other, bytes).expect("writable");
        let (is_done, said) = restore(&nodes.list[0], &[other.to_str().expect("text")]);
        assert!(!is_done && said.contains(word) && said.contains("nothing was changed"), "{said}");
    }
    let (is_done, said) = restore(&nodes.list[0], &["/nowhere/backup"]);
    assert!(!is_done && said.contains("/nowhere/backup: No such file"), "{said}");
    assert_eq!(nodes.list[0].accounts(), [jid("changed"), jid("kept"), jid("new")]);

    let done = (true, "1 row restored, 3 rows left as they are\n".to_owned());
    assert_eq!(restore(&nodes.list[1], &[&path]), done);
    let all = [jid("changed"), jid("kept"), jid("new"), jid("removed")];
    nodes.list.iter().for_each(|node| assert_eq!(node.accounts(), all));
    // only the older value is another
    assert_eq!(restore(&nodes.list[0], &[&path, "--overwrite"]), done);
    assert_eq!(
        restore(&nodes.list[0], &[&path, "--overwrite"]).1,
        "0 rows restored, 4 rows left as they are\n"
    );
    nodes.wait_until_all_agree();

    // a cluster that has lost everything
    for node in &mut nodes.list {
        node.stop();
        std::fs::remove_dir_all(node.folder.join("data")).expect("ours");
    }
    nodes.list.iter_mut().for_each(support::Node::start);
    nodes.wait_until_all_agree();
    assert_eq!(restore(&nodes.list[0], &[&path]).1, "4 rows restored, 0 rows left as they are\n");
    let all = [jid("changed"), jid("kept"), jid("removed")];
    nodes.list.iter().for_each(|node| assert_eq!(node.accounts(), all));
}

#[test]
fn a_node_that_was_away_for_too_long_gives_up_what_was_removed() {
    let mut nodes = Nodes::prepare(3, "");
    for node in &nodes.list {
        node.configure("[cluster]\n", "[cluster]\ntombstones_kept = \"4s\"\n");
    }
    nodes.list.iter_mut().for_each(support::Node::start);
    nodes.wait_until_all_agree();
    for user in ["removed", "stays"] {
        nodes.account(user, "secret");
    }
    nodes.wait_until_all_agree();
    // it knows that it had the same as others, so it can have been away
    wait_for("it has met the others", || {
        nodes.list[2].log().contains("has the durable rows that the others have")
    });
    let old = nodes.list[2].folder.join("old");
    let data = nodes.list[2].folder.join("data");
    nodes.list[2].stop();
    copy(&data, &old);
    nodes.list[0].jabiru(&["user", "remove", &format!("removed@{DOMAIN}")], "");
    let rows = |node: &support::Node| {
        node.status().map(|status| status["nodes"][0]["durable_rows"].as_u64())
    };
    for node in &nodes.list[..2] {
        // an account, three nodes, and the secret of the cluster
        wait_for("the tombstone is gone", || rows(node) == Some(Some(1 + 3 + 1)));
    }
    // once with its own files, once with an old copy of them
    for time in 1..=2 {
        nodes.list[2].start();
        nodes.wait_until_all_agree();
        for node in &nodes.list {
            assert_eq!(node.accounts(), [format!("stays@{DOMAIN}")], "{}", node.name);
        }
        let log = nodes.list[2].log();
        assert!(log.matches("given up rows of its own").count() >= time, "{log}");
        nodes.list[2].stop();
        std::fs::remove_dir_all(&data).expect("ours");
        copy(&old, &data);
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("writable");
    for entry in std::fs::read_dir(from).expect("readable") {
        let path = entry.expect("readable").path();
        std::fs::copy(&path, to.join(path.file_name().expect("a file"))).expect("copied");
    }
}

#[test]
fn what_the_disk_has_changed_is_fetched_from_another_node() {
    let mut nodes = Nodes::start(2);
    nodes.account("romeo", "secret");
    nodes.wait_until_all_agree();
    // what its row holds is in a backup, right behind its key
    let name = format!("romeo@{DOMAIN}");
    let backup = nodes.folder.path().join("backup");
    nodes.list[0].jabiru(&["backup", backup.to_str().expect("text")], "");
    let backup = std::fs::read(&backup).expect("readable");
    let find = |text: &[u8], what: &[u8]| -> Vec<usize> {
        let places = text.windows(what.len()).enumerate();
        places.filter(|(_, window)| *window == what).map(|(at, _)| at).collect()
    };
    let begin = find(&backup, name.as_bytes())[0] + name.len() + 10;
    nodes.list[0].stop();
    let path = nodes.list[0].folder.join("data/store.redb");
    let mut file = std::fs::read(&path).expect("readable");
    let places = find(&file, &backup[begin..begin + 32]);
    assert!(!places.is_empty(), "the row is nowhere");
    places.into_iter().for_each(|at| file[at] ^= 0x01);
    std::fs::write(&path, file).expect("writable");
    nodes.list[0].start();
    nodes.wait_until_all_agree();
    wait_for("the row is there again", || {
        let socket = format!("--socket={}", nodes.list[0].socket());
        String::from_utf8_lossy(&run(&["user", &socket, "list"], "").stdout).contains(&name)
    });
    let log = nodes.list[0].log();
    // the engine may have seen it first, and gone back to what it had before
    let words = ["a row on our disk is damaged", "rows that were missed have been fetched"];
    assert!(words.iter().any(|word| log.contains(word)), "{log}");
    nodes.wait_until_all_agree();
}
