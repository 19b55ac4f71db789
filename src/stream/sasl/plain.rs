//! PLAIN (RFC 4616): a password under TLS.

use std::fmt;

use zeroize::Zeroizing;

use crate::stream::sasl::credentials::Credentials;
use crate::stream::sasl::failure::Failure;

/// What the client says.
pub struct Plain {
    /// Whose session it wants; empty: its own.
    pub authorization: String,
    /// Its name.
    pub name: String,
    password: Zeroizing<String>,
}

/// A check that takes some milliseconds of a processor: not for the thread
/// that serves other clients.
pub struct PlainCheck {
    credentials: Credentials,
    password: Zeroizing<String>,
}

impl Plain {
    /// Reads `authorization NUL name NUL password`.
    ///
    /// # Errors
    /// [`Failure::MalformedRequest`].
    pub fn read(message: Vec<u8>) -> Result<Self, Failure> {
        let message = Zeroizing::new(message);
        let text = std::str::from_utf8(&message).map_err(|_| Failure::MalformedRequest)?;
        let mut parts = text.split('\0');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(authorization), Some(name), Some(password), None) if !name.is_empty() => {
                Ok(Self {
                    authorization: authorization.into(),
                    name: name.into(),
                    password: Zeroizing::new(password.into()),
                })
            }
            _ => Err(Failure::MalformedRequest),
        }
    }

    /// The check against what is kept of the account's password.
    pub fn check(self, credentials: Credentials) -> PlainCheck {
        PlainCheck { credentials, password: self.password }
    }
}

impl PlainCheck {
    /// Whether the password is right.
    pub fn run(self) -> bool {
        self.credentials.matches(&self.password)
    }
}

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plain").finish_non_exhaustive()
    }
}

impl fmt::Debug for PlainCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlainCheck").finish_non_exhaustive()
    }
}
