//! Backups: all durable rows of one moment in one file, and back; but not which
//! nodes have left, for nobody must be shut out by an old file. The file
//! says which version it has, and its end is a checksum of all before, so a
//! file that was cut or changed is known before anything is restored.
//!
//! Format, version 1: a line of text; then parts, each a length (u32, little
//! endian) and so many bytes of postcard: a list of rows with their table, key,
//! value and time; then a length of 0, how many rows there are (u64), and the
//! SHA-256 of all bytes before it.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;
use tracing::info;

use crate::cluster::durable::change::{Change, ChangeError, Expect};
use crate::cluster::durable::row::{Row, millis_of};
use crate::cluster::durable::{Durable, Table};
use crate::storage::{Reads, StoreError};

/// What a backup begins with.
const HEAD: &[u8] = b"jabiru backup 1\n";

/// The same of whatever version.
const HEAD_OF_ALL: &[u8] = b"jabiru backup ";

/// Rows in a part.
const PART_ROWS: usize = 512;

/// The bytes of a part; ours have at most [`PART_ROWS`] rows of half a MiB.
const PART_BYTES_MAX: u32 = 512 << 20;

/// The bytes of a part, about.
const PART_BYTES: usize = 1 << 20;

/// Rows that are restored at a time.
const TOGETHER: usize = 1_024;

/// What a backup was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackedUp {
    /// Rows in the file.
    pub rows: u64,
    /// Rows that are damaged on this disk, and are not in it.
    pub damaged: u64,
}

/// What became of a backup's rows.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// They are as in the backup again.
    pub restored: u64,
    /// They were there already, and stay as they are.
    pub kept: u64,
}

/// Why there is no backup, or nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The system does not let us.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is something else.
    #[error("{0} is no backup of Jabiru; nothing was changed")]
    Foreign(PathBuf),
    /// It was made by another version.
    #[error("{0} was written by another version of Jabiru; nothing was changed")]
    Version(PathBuf),
    /// It was cut, or something in it is not as it was written.
    #[error("{0} is damaged or not complete; nothing was changed")]
    Damaged(PathBuf),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Some rows could not be restored.
    #[error("after {restored} rows: {source}; those stay, and the command may be given again")]
    Change {
        /// How many were before.
        restored: u64,
        /// What the change ended with.
        source: ChangeError,
    },
    /// The node stops.
    #[error("this node stops")]
    Stops,
}

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    table: Table,
    key: Vec<u8>,
    value: Bytes,
    /// When it was written, in milliseconds since 1970: for people who look.
    time: u64,
}

impl Durable {
    /// Writes all rows of this moment into a file that only this node's user
    /// may read; a former file of that name is replaced when it is complete.
    ///
    /// # Errors
    /// [`BackupError`].
    pub async fn back_up(self: &Arc<Self>, path: PathBuf) -> Result<BackedUp, BackupError> {
        let durable = Arc::clone(self);
        let write = move || {
            let snapshot = durable.store.snapshot()?;
            let failed = |source| BackupError::File { path: path.clone(), source };
            let done = into_file(&*snapshot, &path, failed)?;
            info!(file = %path.display(), rows = done.rows, "a backup is written");
            Ok(done)
        };
        tokio::task::spawn_blocking(write).await.unwrap_or(Err(BackupError::Stops))
    }

    /// Brings back the rows of a file that are not there now; with `overwrite`,
    /// also those that have another value. Each is a change like any other.
    ///
    /// # Errors
    /// [`BackupError`]. A file that is not whole changes nothing.
    pub async fn restore(
        self: &Arc<Self>,
        path: PathBuf,
        overwrite: bool,
    ) -> Result<Restored, BackupError> {
        let (parts, mut coming) = tokio::sync::mpsc::channel(2);
        let reading = tokio::task::spawn_blocking(move || {
            // once to know that it is whole, once to take it
            read_file(&path, |_| true)?;
            read_file(&path, |part| parts.blocking_send(part).is_ok())
        });
        let mut restored = Restored::default();
        let mut changes = JoinSet::new();
        while let Some(part) = coming.recv().await {
            for kept in part {
                let now = self.get(kept.table, &kept.key)?;
                let stays = now.is_some_and(|now| !overwrite || now == kept.value);
                if stays {
                    restored.kept += 1;
                    continue;
                }
                if changes.len() >= TOGETHER {
                    count(changes.join_next().await, &mut restored)?;
                }
                let expect = if overwrite { Expect::Any } else { Expect::Absent };
                let change = Change::put(kept.table, kept.key, kept.value).expect(expect);
                let durable = Arc::clone(self);
                changes.spawn(async move { durable.change([change]).await });
            }
        }
        while let Some(ended) = changes.join_next().await {
            count(Some(ended), &mut restored)?;
        }
        reading.await.unwrap_or(Err(BackupError::Stops))?;
        info!(restored = restored.restored, kept = restored.kept, "a backup was restored");
        Ok(restored)
    }
}

type Ended = Result<Result<crate::cluster::durable::Made, ChangeError>, tokio::task::JoinError>;

fn count(ended: Option<Ended>, restored: &mut Restored) -> Result<(), BackupError> {
    match ended {
        Some(Ok(Ok(_))) => restored.restored += 1,
        // somebody has made it meanwhile
        Some(Ok(Err(ChangeError::Exists))) => restored.kept += 1,
        Some(Ok(Err(source))) => {
            return Err(BackupError::Change { restored: restored.restored, source });
        }
        Some(Err(_)) => return Err(BackupError::Stops),
        None => {}
    }
    Ok(())
}

fn into_file(
    reads: &dyn Reads,
    path: &Path,
    failed: impl Fn(io::Error) -> BackupError,
) -> Result<BackedUp, BackupError> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    match fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(&part).map_err(&failed)?;
    let done = write_all(reads, BufWriter::new(&file), &failed).and_then(|done| {
        file.sync_all().map_err(&failed)?;
        fs::rename(&part, path).map_err(&failed)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = File::open(folder.unwrap_or(Path::new("."))).map_err(&failed)?;
        folder.sync_all().map_err(&failed)?;
        Ok(done)
    });
    if done.is_err() {
        // half a backup is worth nothing
        let _ = fs::remove_file(&part);
    }
    done
}

/// Bytes on their way into a file, and their checksum.
struct Summed<W> {
    inner: W,
    sum: Sha256,
}

impl<W: Write> Summed<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.inner.write_all(bytes)
    }

    fn part(&mut self, rows: &[Kept]) -> io::Result<()> {
        let part = postcard::to_stdvec(rows).map_err(io::Error::other)?;
        let length = u32::try_from(part.len()).map_err(io::Error::other)?;
        self.put(&length.to_le_bytes())?;
        self.put(&part)
    }

    /// After the last part: how many rows there are, and the checksum.
    fn end(&mut self, rows: u64) -> io::Result<()> {
        self.put(&0u32.to_le_bytes())?;
        self.put(&rows.to_le_bytes())?;
        let sum = self.sum.clone().finalize();
        self.inner.write_all(&sum)?;
        self.inner.flush()
    }
}

fn write_all(
    reads: &dyn Reads,
    file: impl Write,
    failed: &impl Fn(io::Error) -> BackupError,
) -> Result<BackedUp, BackupError> {
    let mut out = Summed { inner: file, sum: Sha256::new() };
    let mut done = BackedUp { rows: 0, damaged: 0 };
    out.put(HEAD).map_err(failed)?;
    // who has left the cluster is not what was lost
    for table in Table::ALL.iter().filter(|table| **table != Table::Nodes) {
        let (prefix, mut from) = ([table.prefix()], Vec::new());
        loop {
            let rows = reads.scan(&prefix, &from, PART_ROWS)?;
            let is_last = rows.len() < PART_ROWS;
            let mut part = Vec::new();
            let mut bytes = 0;
            for (key, stored) in rows {
                from = [&key, &[0][..]].concat();
                let Some(row) = Row::read(&stored) else {
                    done.damaged += 1;
                    continue;
                };
                let Some(value) = row.value else { continue };
                bytes += stored.len();
                let key = key.get(1..).unwrap_or_default().to_vec();
                part.push(Kept { table: *table, key, value, time: millis_of(row.stamp.time) });
                if bytes >= PART_BYTES {
                    out.part(&part).map_err(failed)?;
                    done.rows += part.len() as u64;
                    (part, bytes) = (Vec::new(), 0);
                }
            }
            if !part.is_empty() {
                out.part(&part).map_err(failed)?;
                done.rows += part.len() as u64;
            }
            if is_last {
                break;
            }
        }
    }
    out.end(done.rows).map_err(failed)?;
    Ok(done)
}

/// Reads a backup to its end; `take` says whether to go on.
fn read_file(path: &Path, take: impl FnMut(Vec<Kept>) -> bool) -> Result<(), BackupError> {
    let failed = |source| BackupError::File { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    match read_all(BufReader::new(file), take) {
        Ok(()) => Ok(()),
        Err(Unreadable::Foreign) => Err(BackupError::Foreign(path.to_owned())),
        Err(Unreadable::Version) => Err(BackupError::Version(path.to_owned())),
        Err(Unreadable::Damaged) => Err(BackupError::Damaged(path.to_owned())),
        Err(Unreadable::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(BackupError::Damaged(path.to_owned()))
        }
        Err(Unreadable::Io(error)) => Err(failed(error)),
    }
}

enum Unreadable {
    Foreign,
    Version,
    Damaged,
    Io(io::Error),
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn read_all(
    mut file: impl Read,
    mut take: impl FnMut(Vec<Kept>) -> bool,
) -> Result<(), Unreadable> {
    let mut sum = Sha256::new();
    let mut head = Vec::new();
    file.by_ref().take(HEAD.len() as u64).read_to_end(&mut head)?;
    match head.as_slice() {
        HEAD => sum.update(HEAD),
        head if head.starts_with(HEAD_OF_ALL) => return Err(Unreadable::Version),
        _ => return Err(Unreadable::Foreign),
    }
    let mut rows = 0u64;
    loop {
        let mut length = [0; 4];
        file.read_exact(&mut length)?;
        sum.update(length);
        let length = u32::from_le_bytes(length);
        if length == 0 {
            break;
        }
        if length > PART_BYTES_MAX {
            return Err(Unreadable::Damaged);
        }
        // no more memory than there is file
        let mut part = Vec::new();
        file.by_ref().take(length.into()).read_to_end(&mut part)?;
        sum.update(&part);
        let part: Vec<Kept> = postcard::from_bytes(&part).map_err(|_| Unreadable::Damaged)?;
        rows += part.len() as u64;
        if !take(part) {
            return Ok(());
        }
    }
    let mut end = [0; 8];
    file.read_exact(&mut end)?;
    sum.update(end);
    let mut theirs = Vec::new();
    file.read_to_end(&mut theirs)?;
    let is_whole = u64::from_le_bytes(end) == rows && theirs == sum.finalize().as_slice();
    if is_whole { Ok(()) } else { Err(Unreadable::Damaged) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::durable::layout::row_key;
    use crate::cluster::durable::row::{Stamp, time_of};
    use crate::cluster::node::NodeId;
    use crate::storage::memory::Memory;
    use crate::storage::{Store, Write as Put};

    fn backup(rows: u32) -> (Vec<u8>, BackedUp) {
        let store = Memory::default();
        for row in 0..rows {
            let stamp = Stamp::after(None, time_of(5), NodeId::new(1, 1));
            // each tenth was removed
            let value = (row % 10 != 0).then(|| Bytes::from(vec![7; 3_000]));
            let key = row_key(Table::Vcard, format!("u{row}@im").as_bytes());
            let stored = Row { stamp, by: 1, value }.written();
            store.write(&[Put::Put(key, stored)]).expect("written");
        }
        let mut file = Vec::new();
        let failed = |source| BackupError::File { path: "x".into(), source };
        let done = write_all(&store, &mut file, &failed).expect("written");
        (file, done)
    }

    #[test]
    fn what_is_backed_up_comes_back() {
        let (file, done) = backup(1_500);
        assert_eq!(done, BackedUp { rows: 1_350, damaged: 0 });
        let mut rows = Vec::new();
        let read = read_all(&*file, |part| {
            rows.extend(part);
            true
        });
        assert!(read.is_ok());
        assert_eq!(rows.len(), 1_350);
        assert!(rows.iter().all(|row| row.table == Table::Vcard && row.value.len() == 3_000));
        assert!(rows.iter().any(|row| row.key == b"u11@im" && row.time == 5));
    }

    #[test]
    fn a_backup_stays_as_it_is() {
        let mut golden = crate::golden::Golden::of("durable", "backup");
        let value = Bytes::from_static(b"value");
        let kept = |table: &Table| {
            vec![Kept { table: *table, key: b"romeo@im".to_vec(), value: value.clone(), time: 300 }]
        };
        let parts: Vec<_> = Table::ALL.iter().map(kept).collect();
        let written = |parts: &Vec<Vec<Kept>>| {
            let mut out = Summed { inner: Vec::new(), sum: Sha256::new() };
            out.put(HEAD).expect("written");
            parts.iter().for_each(|part| out.part(part).expect("written"));
            let rows = parts.iter().map(|part| part.len() as u64).sum();
            out.end(rows).expect("written");
            out.inner
        };
        let read = |file: &[u8]| {
            let mut parts = Vec::new();
            let read = read_all(file, |part| {
                parts.push(part);
                true
            });
            read.is_ok().then_some(parts)
        };
        golden.keeps("a row of each table", &parts, written, read);
        golden.writes("head", HEAD);
        golden.end();
    }

    #[test]
    fn whatever_is_changed_in_a_backup_is_seen() {
        let (file, _) = backup(30);
        let is_whole = |file: &[u8]| read_all(file, |_| true).is_ok();
        assert!(is_whole(&file));
        for at in (0..file.len()).step_by(97).chain(file.len() - 45..file.len()) {
            let mut changed = file.clone();
            changed[at] ^= 0x10;
            assert!(!is_whole(&changed), "byte {at} was changed");
            assert!(!is_whole(&file[..at]), "{at} bytes are all");
        }
        assert!(!is_whole(&[&file[..], b"x"].concat()));
        assert!(matches!(read_all(&b"PK\x03\x04"[..], |_| true), Err(Unreadable::Foreign)));
        assert!(matches!(read_all(&b"jabiru backup 9\n"[..], |_| true), Err(Unreadable::Version)));
    }
}
