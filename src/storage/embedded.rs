//! The store that needs nothing else: one file, by redb. Chosen by
//! measurement; the figures are in `benches/README.md`.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use redb::{Database, DatabaseError, Durability, ReadOnlyTable, ReadableDatabase, TableDefinition};

use crate::storage::{Reads, Rows, Store, StoreError, Write};

/// All rows are in one table of redb; the rooms above part them by prefix.
const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");

/// Memory for pages that were read. A guess: a million accounts need 400 MB
/// on disk, and the busy ones fit here.
const CACHE_BYTES: usize = 64 << 20;

/// One file.
pub struct Embedded {
    /// `None`: it failed, and could not be opened again yet.
    database: RwLock<Option<Database>>,
    is_closed: AtomicBool,
    path: PathBuf,
    place: Arc<str>,
}

/// The file as it was.
struct Snapshot {
    rows: ReadOnlyTable<&'static [u8], &'static [u8]>,
    place: Arc<str>,
}

/// Why the file cannot be used. It is left as it is.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("the store {path} is in use: does another node run with this data directory?")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// It is no store, or it is damaged.
    #[error(
        "the store {path} is damaged or none of ours ({reason}); nothing was changed: restore a backup, or move it away, and this node takes a fresh copy from the others"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What redb says.
        reason: String,
    },
    /// The system does not let us.
    #[error("the store {path} cannot be opened: {reason}")]
    Forbidden {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
}

impl Embedded {
    /// Opens the file, or makes it; only its owner may read it.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        use std::os::unix::fs::OpenOptionsExt;
        let forbidden = |error: &dyn fmt::Display| OpenError::Forbidden {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|error| forbidden(&error))?;
        }
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        drop(options.open(path).map_err(|error| forbidden(&error))?);
        let place = path.display().to_string().into();
        let database = RwLock::new(Some(open(path)?));
        let is_closed = AtomicBool::new(false);
        Ok(Self { database, is_closed, path: path.to_owned(), place })
    }

    fn failed(&self, error: &redb::Error) -> StoreError {
        StoreError { place: Arc::clone(&self.place), reason: error.to_string().into() }
    }

    fn rows(&self) -> Result<Snapshot, StoreError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or_else(|| self.closed())?;
        let rows = || -> Result<_, redb::Error> { Ok(database.begin_read()?.open_table(ROWS)?) };
        let rows = rows().map_err(|error| self.failed(&error))?;
        Ok(Snapshot { rows, place: Arc::clone(&self.place) })
    }

    fn closed(&self) -> StoreError {
        StoreError {
            place: Arc::clone(&self.place),
            reason: "it is closed, or failed and cannot be opened again yet".into(),
        }
    }
}

/// Opens the file, and says whose fault it is if it cannot be.
fn open(path: &Path) -> Result<Database, OpenError> {
    // redb checks what it reads with assertions here and there
    let opened = std::panic::catch_unwind(|| create(path));
    let damaged = |reason: String| OpenError::Damaged { path: path.to_owned(), reason };
    match opened {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(redb::Error::DatabaseAlreadyOpen)) => {
            Err(OpenError::InUse { path: path.to_owned() })
        }
        Ok(Err(redb::Error::Io(error))) if is_of_the_system(&error) => {
            Err(OpenError::Forbidden { path: path.to_owned(), reason: error.to_string() })
        }
        Ok(Err(error)) => Err(damaged(error.to_string())),
        Err(_) => Err(damaged("its pages make no sense".into())),
    }
}

/// Whether the file itself may be whole.
fn is_of_the_system(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::PermissionDenied
            | ErrorKind::StorageFull
            | ErrorKind::QuotaExceeded
            | ErrorKind::FileTooLarge
            | ErrorKind::ReadOnlyFilesystem
    )
}

fn create(path: &Path) -> Result<Database, redb::Error> {
    let database = Database::builder().set_cache_size(CACHE_BYTES).create(path).map_err(
        |error| match error {
            DatabaseError::DatabaseAlreadyOpen => redb::Error::DatabaseAlreadyOpen,
            other => other.into(),
        },
    )?;
    let writing = database.begin_write()?;
    writing.open_table(ROWS)?;
    writing.commit()?;
    Ok(database)
}

impl Reads for Snapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let value = self.rows.get(key).map_err(|error| self.failed(error))?;
        Ok(value.map(|value| value.value().to_vec()))
    }

    fn scan(&self, prefix: &[u8], from: &[u8], limit: usize) -> Result<Rows, StoreError> {
        let mut found = Vec::new();
        let range = self.rows.range(from.max(prefix)..).map_err(|error| self.failed(error))?;
        for row in range.take(limit) {
            let (key, value) = row.map_err(|error| self.failed(error))?;
            if !key.value().starts_with(prefix) {
                break;
            }
            found.push((key.value().to_vec(), value.value().to_vec()));
        }
        Ok(found)
    }
}

impl Snapshot {
    fn failed(&self, error: redb::StorageError) -> StoreError {
        StoreError { place: Arc::clone(&self.place), reason: error.to_string().into() }
    }
}

impl Reads for Embedded {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.rows()?.get(key)
    }

    fn scan(&self, prefix: &[u8], from: &[u8], limit: usize) -> Result<Rows, StoreError> {
        self.rows()?.scan(prefix, from, limit)
    }
}

impl Store for Embedded {
    fn snapshot(&self) -> Result<Box<dyn Reads + Send>, StoreError> {
        Ok(Box::new(self.rows()?))
    }

    fn write(&self, batch: &[Write]) -> Result<(), StoreError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or_else(|| self.closed())?;
        let write = || -> Result<_, redb::Error> {
            let mut writing = database.begin_write()?;
            writing.set_durability(Durability::Immediate)?;
            {
                let mut rows = writing.open_table(ROWS)?;
                for write in batch {
                    match write {
                        Write::Put(key, value) => rows.insert(&**key, &**value)?,
                        Write::Delete(key) => rows.remove(&**key)?,
                    };
                }
            }
            Ok(writing.commit()?)
        };
        write().map_err(|error| self.failed(&error))
    }

    fn reopen(&self) -> Result<(), StoreError> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if self.is_closed.load(Ordering::Relaxed) {
            return Err(self.closed());
        }
        // the file can be opened once at a time
        drop(database.take());
        let opened = open(&self.path).map_err(|error| StoreError {
            place: Arc::clone(&self.place),
            reason: error.to_string().into(),
        })?;
        *database = Some(opened);
        Ok(())
    }

    fn close(&self) {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        self.is_closed.store(true, Ordering::Relaxed);
        drop(database.take());
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Embedded({})", self.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::memory::Memory;

    /// Every store must do this.
    fn keeps_the_contract(store: &dyn Store) {
        let put = |key: &str, value: &str| Write::Put(key.into(), value.into());
        store.write(&[put("a/1", "x"), put("a/2", "y"), put("b/1", "z")]).expect("written");
        store.write(&[Write::Delete(b"a/1".to_vec()), put("a/3", "w")]).expect("written");
        assert_eq!(store.get(b"a/1").expect("read"), None);
        assert_eq!(store.get(b"a/2").expect("read"), Some(b"y".to_vec()));
        let keys = |prefix: &[u8], from: &[u8], limit| -> Vec<String> {
            let rows = store.scan(prefix, from, limit).expect("read");
            rows.into_iter().map(|(key, _)| String::from_utf8(key).expect("text")).collect()
        };
        assert_eq!(keys(b"a/", b"", 9), ["a/2", "a/3"]);
        assert_eq!(keys(b"a/", b"a/2\0", 9), ["a/3"]);
        assert_eq!(keys(b"", b"", 2), ["a/2", "a/3"]);
        assert_eq!(keys(b"c", b"", 9), [""; 0]);
    }

    #[test]
    fn all_stores_do_the_same() {
        keeps_the_contract(&Memory::default());
        let folder = tempfile::tempdir().expect("a folder");
        keeps_the_contract(&Embedded::open(&folder.path().join("rows")).expect("a store"));
    }

    #[test]
    fn rows_stay_and_nobody_else_may_read_them() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("new/rows");
        let store = Embedded::open(&path).expect("a store");
        store.write(&[Write::Put(b"k".to_vec(), b"v".to_vec())]).expect("written");
        let second = Embedded::open(&path).expect_err("it is in use");
        assert!(matches!(second, OpenError::InUse { .. }), "{second}");
        drop(store);
        let again = Embedded::open(&path).expect("a store");
        assert_eq!(again.get(b"k").expect("read"), Some(b"v".to_vec()));
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o077, 0);
    }

    #[test]
    fn a_damaged_file_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("rows");
        let store = Embedded::open(&path).expect("a store");
        store.write(&[Write::Put(b"k".to_vec(), vec![7; 100_000])]).expect("written");
        drop(store);
        let whole = fs::read(&path).expect("readable");
        let cut = whole.get(..whole.len() / 2).expect("half");
        let mut torn = whole.clone();
        torn.get_mut(..64).expect("a header").fill(0xAA);
        for damaged in [cut, &torn, b"this is no store, but a text"] {
            fs::write(&path, damaged).expect("writable");
            let error = Embedded::open(&path).expect_err("it is damaged");
            assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
            assert!(error.to_string().contains("rows"), "{error}");
            assert_eq!(fs::read(&path).expect("readable"), damaged);
        }
    }
}
