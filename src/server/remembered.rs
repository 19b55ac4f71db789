//! What a node remembers of the others over its own restarts, in its data
//! directory: where they were, so that it finds them without its seeds; and
//! what has happened.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tracing::warn;

use crate::cluster::handle::Cluster;
use crate::cluster::history::{ENTRIES_MAX, Entry, History};

/// The file with an address a line.
const NODES_FILE: &str = "nodes";

/// The file with an entry of the history a line, as JSON.
const EVENTS_FILE: &str = "events";

/// The most addresses that are remembered; more would only be more to try.
const NODES_MAX: usize = 64;

/// Between two looks where the others are.
const LOOK_PAUSE: Duration = Duration::from_millis(500);

/// After something has happened; more may happen at once.
const WRITE_PAUSE: Duration = Duration::from_millis(500);

/// Where the other nodes were when this one last saw any.
pub(super) fn nodes(data_dir: &Path) -> Vec<String> {
    let text = fs::read_to_string(data_dir.join(NODES_FILE)).unwrap_or_default();
    let lines = text.lines().filter(|line| line.parse::<std::net::SocketAddr>().is_ok());
    lines.take(NODES_MAX).map(str::to_owned).collect()
}

/// Keeps the file of nodes for ever. While this node is alone, it stays as it
/// is.
pub(super) async fn keep_nodes(cluster: Arc<Cluster>, data_dir: PathBuf) {
    let mut written = String::new();
    loop {
        sleep(LOOK_PAUSE).await;
        // where a node is, gossip may say later than that it is there
        let peers = cluster.peers();
        let visible = peers.iter().filter(|peer| peer.is_visible);
        let mut addresses: Vec<String> =
            visible.filter_map(|peer| Some(peer.address?.to_string())).collect();
        addresses.sort();
        addresses.truncate(NODES_MAX);
        let text = addresses.join("\n");
        if !text.is_empty() && text != written {
            match replace(&data_dir.join(NODES_FILE), &text) {
                Ok(()) => written = text,
                Err(error) => warn!(%error, "where the other nodes are cannot be written down"),
            }
        }
    }
}

/// What happened in former lives. A line that cannot be read is none.
pub(super) fn events(data_dir: &Path) -> Vec<Entry> {
    let text = fs::read_to_string(data_dir.join(EVENTS_FILE)).unwrap_or_default();
    let entries = text.lines().filter_map(|line| serde_json::from_str(line).ok());
    let mut entries: Vec<Entry> = entries.collect();
    let surplus = entries.len().saturating_sub(ENTRIES_MAX);
    entries.split_off(surplus)
}

/// Keeps the file of events for ever.
pub(super) async fn keep_events(cluster: Arc<Cluster>, data_dir: PathBuf) {
    loop {
        cluster.history.more().await;
        write_events(&cluster.history, &data_dir);
        sleep(WRITE_PAUSE).await;
    }
}

/// Writes the file of events now.
pub(super) fn write_events(history: &History, data_dir: &Path) {
    let lines =
        history.entries().into_iter().filter_map(|entry| serde_json::to_string(&entry).ok());
    let text = lines.collect::<Vec<_>>().join("\n");
    if let Err(error) = replace(&data_dir.join(EVENTS_FILE), &text) {
        warn!(%error, "what happened cannot be written down");
    }
}

/// The former file, or the whole new one.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut next = path.as_os_str().to_owned();
    next.push(".new");
    fs::write(&next, text)?;
    fs::rename(&next, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::history::What;

    #[test]
    fn what_cannot_be_read_is_not_remembered() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(nodes(folder.path()).is_empty() && events(folder.path()).is_empty());
        let text = "192.0.2.1:4369\nnonsense\n[2001:db8::1]:4369\n";
        fs::write(folder.path().join(NODES_FILE), text).expect("written");
        assert_eq!(nodes(folder.path()), ["192.0.2.1:4369", "[2001:db8::1]:4369"]);
        let history = History::default();
        history.note(What::Said { words: "one".into() });
        write_events(&history, folder.path());
        let path = folder.path().join(EVENTS_FILE);
        let text = fs::read_to_string(&path).expect("a file");
        fs::write(&path, format!("nonsense\n{text}\n{{\"at\":1}}")).expect("written");
        assert_eq!(events(folder.path()), history.entries());
    }
}
