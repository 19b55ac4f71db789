//! The cookie: the one secret that makes nodes a cluster. Who has it is
//! trusted with everything, as with Erlang's.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hkdf::Hkdf;
use rand::TryRngCore;
use sha2::Sha256;
use zeroize::Zeroizing;

/// Bytes of a cookie, at least: 128 bits.
const BYTES_MIN: usize = 16;

/// Random bytes in a cookie that we make.
const BYTES_MADE: usize = 32;

/// The environment variable that may hold it.
pub const VARIABLE: &str = "JABIRU_COOKIE";

/// What the keys made of a cookie are for. Each purpose has its own, so that
/// what one leaks does not open another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Sealing gossip datagrams.
    Gossip,
    /// Proving oneself on a mesh connection.
    Mesh,
    /// Making up what accounts that do not exist seem to have.
    MadeUpAccounts,
    /// Dialback keys (XEP-0185).
    Dialback,
    /// Showing which cookie it is.
    Fingerprint,
}

/// The secret.
pub struct Cookie(Zeroizing<Vec<u8>>);

/// Why there is no cookie.
#[derive(Debug, thiserror::Error)]
pub enum CookieError {
    /// The file cannot be read.
    #[error(
        "cannot read the cookie {path}; `jabiru cookie --write {path}` makes one, and all nodes need the same"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Others can read the file.
    #[error(
        "the cookie {path} can be read by others (mode {mode:03o}); `chmod 600 {path}` mends it"
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is too short to be a secret.
    #[error("a cookie has at least {BYTES_MIN} bytes; `jabiru cookie` makes one")]
    Short,
    /// There are too many.
    #[error("there may be two cookies, one a line: the one in use, then the other")]
    Many,
}

impl Cookie {
    /// A fresh one, from the kernel's random source.
    ///
    /// # Errors
    /// When the kernel gives no random bytes.
    pub fn generate() -> io::Result<Self> {
        let mut bytes = Zeroizing::new([0; BYTES_MADE]);
        rand::rngs::OsRng.try_fill_bytes(&mut *bytes).map_err(io::Error::other)?;
        Ok(Self(Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes).into_bytes())))
    }

    /// Takes the text of a cookie; white space around it is not part of it.
    ///
    /// # Errors
    /// [`CookieError::Short`].
    pub fn new(text: &str) -> Result<Self, CookieError> {
        let text = text.trim();
        if text.len() < BYTES_MIN {
            return Err(CookieError::Short);
        }
        Ok(Self(Zeroizing::new(text.as_bytes().to_vec())))
    }

    /// The text of the file at `path`, which nobody else may read.
    ///
    /// # Errors
    /// [`CookieError`], with the cure.
    pub fn text_of(path: &Path) -> Result<Zeroizing<String>, CookieError> {
        use std::os::unix::fs::PermissionsExt;
        let failed = |source| CookieError::Read { path: path.to_owned(), source };
        let mode = fs::metadata(path).map_err(failed)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(CookieError::Open { path: path.to_owned(), mode });
        }
        fs::read_to_string(path).map(Zeroizing::new).map_err(failed)
    }

    /// The text, to be written into a file or shown to its owner.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The key for one purpose (HKDF-SHA256, RFC 5869).
    pub fn key(&self, purpose: Purpose) -> Zeroizing<[u8; 32]> {
        let label: &[u8] = match purpose {
            Purpose::Gossip => b"jabiru 1 gossip",
            Purpose::Mesh => b"jabiru 1 mesh",
            Purpose::MadeUpAccounts => b"jabiru 1 made-up accounts",
            Purpose::Dialback => b"jabiru 1 dialback",
            Purpose::Fingerprint => b"jabiru 1 fingerprint",
        };
        let mut key = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(None, &self.0)
            .expand(label, &mut *key)
            .expect("32 bytes are far below the limit of HKDF");
        key
    }
}

impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cookie(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_cookie_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("cookie");
        let cookie = Cookie::generate().expect("random bytes");
        fs::write(&path, cookie.text()).expect("written");
        for (mode, is_fine) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("mode");
            assert_eq!(Cookie::text_of(&path).is_ok(), is_fine, "{mode:o}");
        }
    }

    #[test]
    fn a_short_cookie_is_none_and_none_is_shown() {
        assert!(matches!(Cookie::new("monster"), Err(CookieError::Short)));
        let cookie = Cookie::new(" 0123456789abcdef\n").expect("long enough");
        assert_eq!(cookie.text(), "0123456789abcdef");
        assert_eq!(format!("{cookie:?}"), "Cookie(..)");
    }

    #[test]
    fn each_purpose_has_its_own_key() {
        let cookie = Cookie::new("0123456789abcdef").expect("long enough");
        assert_ne!(cookie.key(Purpose::Gossip), cookie.key(Purpose::Mesh));
        let other = Cookie::new("0123456789abcdeF").expect("long enough");
        assert_ne!(cookie.key(Purpose::Gossip), other.key(Purpose::Gossip));
    }
}
