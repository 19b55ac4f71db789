//! The cookies of this moment: the first is used, all are accepted. Operators
//! change the cookie of a running cluster by adding the new one on all nodes,
//! then putting it first on all, then leaving the old one out.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::KeyInit;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::cluster::cookie::{Cookie, CookieError, Purpose};

/// The most cookies at a time: the one in use, and the one that comes or goes.
pub const COOKIES_MAX: usize = 2;

/// Hex digits of a fingerprint: enough to tell two cookies apart, far too few
/// to tell one of them.
const FINGERPRINT_DIGITS: usize = 8;

/// What the cookies of one moment open and prove. The first is used.
pub struct Keys {
    pub(super) mesh: Vec<Zeroizing<[u8; 32]>>,
    pub(super) gossip: Vec<XChaCha20Poly1305>,
    fingerprints: Vec<String>,
    dialback: Vec<Zeroizing<[u8; 32]>>,
    /// Of the one in use.
    made_up: Zeroizing<[u8; 32]>,
}

/// Shared by all who seal and prove.
pub struct Keyring(RwLock<Arc<Keys>>);

impl Keys {
    fn of(cookies: &[Cookie]) -> Self {
        let gossip =
            |cookie: &Cookie| XChaCha20Poly1305::new((&*cookie.key(Purpose::Gossip)).into());
        Self {
            mesh: cookies.iter().map(|cookie| cookie.key(Purpose::Mesh)).collect(),
            gossip: cookies.iter().map(gossip).collect(),
            fingerprints: cookies.iter().map(fingerprint).collect(),
            dialback: cookies.iter().map(|cookie| cookie.key(Purpose::Dialback)).collect(),
            made_up: cookies
                .first()
                .map(|one| one.key(Purpose::MadeUpAccounts))
                .unwrap_or_default(),
        }
    }
}

impl Keyring {
    /// One cookie, used and accepted.
    pub fn of(cookie: &Cookie) -> Arc<Self> {
        Arc::new(Self(RwLock::new(Arc::new(Keys::of(std::slice::from_ref(cookie))))))
    }

    /// The cookies in `text`, one a line.
    ///
    /// # Errors
    /// [`CookieError`].
    pub fn new(text: &str) -> Result<Arc<Self>, CookieError> {
        Ok(Arc::new(Self(RwLock::new(Arc::new(Keys::of(&lines(text)?))))))
    }

    /// The cookies in the file at `path`, which nobody else may read.
    ///
    /// # Errors
    /// [`CookieError`], with the cure.
    pub fn read(path: &Path) -> Result<Arc<Self>, CookieError> {
        Self::new(&Cookie::text_of(path)?)
    }

    /// Reads the file once more. True: there are others than before. From now
    /// on they are used; connections that stand are left alone.
    ///
    /// # Errors
    /// [`CookieError`]; then nothing changes.
    pub fn read_again(&self, path: &Path) -> Result<bool, CookieError> {
        let keys = Keys::of(&lines(&Cookie::text_of(path)?)?);
        let mut now = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let is_other = now.fingerprints != keys.fingerprints;
        if is_other {
            *now = Arc::new(keys);
        }
        Ok(is_other)
    }

    /// What they are good for now.
    pub fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What makes up what accounts that do not exist seem to have: of the cookie
    /// that is in use when this is called.
    pub fn made_up(&self) -> Zeroizing<[u8; 32]> {
        self.keys().made_up.clone()
    }

    /// What dialback keys are made of, the one in use first: any node knows
    /// those of any other.
    pub fn dialback(&self) -> Vec<Zeroizing<[u8; 32]>> {
        self.keys().dialback.clone()
    }

    /// A short name for each, the one in use first. It tells nobody a cookie,
    /// and an operator whether two nodes have the same.
    pub fn fingerprints(&self) -> Vec<String> {
        self.keys().fingerprints.clone()
    }
}

fn lines(text: &str) -> Result<Vec<Cookie>, CookieError> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let cookies = lines.map(Cookie::new).collect::<Result<Vec<_>, _>>()?;
    match cookies.len() {
        0 => Err(CookieError::Short),
        count if count > COOKIES_MAX => Err(CookieError::Many),
        _ => Ok(cookies),
    }
}

fn fingerprint(cookie: &Cookie) -> String {
    let hash = Sha256::digest(*cookie.key(Purpose::Fingerprint));
    let digits: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.get(..FINGERPRINT_DIGITS).unwrap_or_default().to_owned()
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Keyring").field(&self.fingerprints()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    const OLD: &str = "0123456789abcdef";
    const NEW: &str = "fedcba9876543210";

    #[test]
    fn the_first_line_is_used_and_both_are_accepted() {
        let both = Keyring::new(&format!("{OLD}\n{NEW}\n")).expect("two cookies");
        let one = Keyring::of(&Cookie::new(NEW).expect("long enough"));
        let (both, one) = (both.keys(), one.keys());
        assert_eq!((both.mesh.len(), both.gossip.len()), (2, 2));
        assert_eq!(both.mesh.get(1), one.mesh.first());
        assert!(matches!(Keyring::new(""), Err(CookieError::Short)));
        assert!(matches!(Keyring::new(&format!("{OLD}\nshort")), Err(CookieError::Short)));
        let three = format!("{OLD}\n{NEW}\n{OLD}x");
        assert!(matches!(Keyring::new(&three), Err(CookieError::Many)));
    }

    #[test]
    fn a_file_that_cannot_be_read_again_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("cookie");
        fs::write(&path, OLD).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("mode");
        let ring = Keyring::read(&path).expect("a cookie");
        let before = ring.fingerprints();
        assert_eq!(ring.read_again(&path).ok(), Some(false));
        fs::write(&path, "short").expect("written");
        assert!(ring.read_again(&path).is_err());
        assert_eq!(ring.fingerprints(), before);
        fs::write(&path, format!("{NEW}\n{OLD}")).expect("written");
        assert_eq!(ring.read_again(&path).ok(), Some(true));
        assert_eq!(ring.fingerprints().get(1), before.first());
    }
}
