//! The data directory, and the life of this node that begins in it.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::warn;

use crate::cluster::node::NodeId;
use crate::server::errors::StartError;

/// The file that keeps the last life's generation, in the data directory.
const GENERATION_FILE: &str = "generation";

/// Makes the data directory, for its owner alone.
pub(super) fn prepare(path: &Path) -> Result<(), StartError> {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = std::fs::DirBuilder::new();
    builder
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| StartError::Data { path: path.to_owned(), source })
}

/// A generation that is greater than all former ones, whatever the clock says.
pub(super) fn next_life(data_dir: &Path) -> Result<NodeId, StartError> {
    let path = data_dir.join(GENERATION_FILE);
    let last = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let clock = u64::try_from(clock.as_millis()).unwrap_or(u64::MAX);
    if let Some(last) = last.filter(|last: &u64| *last > clock) {
        warn!(seconds = (last - clock) / 1_000, "the clock is behind the last start of this node");
    }
    let generation = last.map_or(clock, |last: u64| clock.max(last.saturating_add(1)));
    let next = data_dir.join(format!("{GENERATION_FILE}.new"));
    std::fs::write(&next, generation.to_string())
        .and_then(|()| std::fs::rename(&next, &path))
        .map_err(|source| StartError::Data { path, source })?;
    Ok(NodeId::new(generation, rand::random()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_life_is_later_than_the_last_whatever_the_clock_says() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = next_life(folder.path()).expect("writable");
        let second = next_life(folder.path()).expect("writable");
        assert!(second.generation > first.generation);
        let ahead = u64::MAX - 5;
        std::fs::write(folder.path().join(GENERATION_FILE), ahead.to_string()).expect("writable");
        assert_eq!(next_life(folder.path()).expect("writable").generation, ahead + 1);
    }
}
