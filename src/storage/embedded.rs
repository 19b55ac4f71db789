//! The store that needs nothing else: one file, by redb. Chosen by
//! measurement; the figures are in `benches/README.md`.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, DatabaseError, Durability, ReadableDatabase, TableDefinition};

use crate::storage::{Rows, Store, StoreError, Write};

/// All rows are in one table of redb; the rooms above part them by prefix.
const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");

/// Memory for pages that were read. A guess: a million accounts need 400 MB
/// on disk, and the busy ones fit here.
const CACHE_BYTES: usize = 64 << 20;

/// One file.
pub struct Embedded {
    database: Database,
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
        // redb checks what it reads with assertions here and there
        let opened = std::panic::catch_unwind(|| open(path));
        let database = match opened {
            Ok(Ok(database)) => database,
            Ok(Err(redb::Error::DatabaseAlreadyOpen)) => {
                return Err(OpenError::InUse { path: path.to_owned() });
            }
            Ok(Err(redb::Error::Io(error)))
                if error.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                return Err(forbidden(&error));
            }
            Ok(Err(error)) => {
                let reason = error.to_string();
                return Err(OpenError::Damaged { path: path.to_owned(), reason });
            }
            Err(_) => {
                let reason = "its pages make no sense".to_owned();
                return Err(OpenError::Damaged { path: path.to_owned(), reason });
            }
        };
        Ok(Self { database, place: path.display().to_string().into() })
    }

    fn failed(&self, error: impl Into<redb::Error>) -> StoreError {
        StoreError { place: Arc::clone(&self.place), reason: error.into().to_string().into() }
    }
}

fn open(path: &Path) -> Result<Database, redb::Error> {
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

impl Store for Embedded {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let get = || -> Result<_, redb::Error> {
            let rows = self.database.begin_read()?.open_table(ROWS)?;
            Ok(rows.get(key)?.map(|value| value.value().to_vec()))
        };
        get().map_err(|error| self.failed(error))
    }

    fn scan(&self, prefix: &[u8], from: &[u8], limit: usize) -> Result<Rows, StoreError> {
        let scan = || -> Result<_, redb::Error> {
            let rows = self.database.begin_read()?.open_table(ROWS)?;
            let mut found = Vec::new();
            for row in rows.range(from.max(prefix)..)?.take(limit) {
                let (key, value) = row?;
                if !key.value().starts_with(prefix) {
                    break;
                }
                found.push((key.value().to_vec(), value.value().to_vec()));
            }
            Ok(found)
        };
        scan().map_err(|error| self.failed(error))
    }

    fn write(&self, batch: &[Write]) -> Result<(), StoreError> {
        let write = || -> Result<_, redb::Error> {
            let mut writing = self.database.begin_write()?;
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
        write().map_err(|error| self.failed(error))
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
