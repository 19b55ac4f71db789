//! Why an attempt to authenticate failed (RFC 6120 §6.5).

use crate::xmpp::namespaces::SASL;

/// What the client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.word())]
pub enum Failure {
    /// The client gave up.
    Aborted,
    /// The account exists, the password is right, and it may not be used.
    AccountDisabled,
    /// This mechanism is for TLS only.
    EncryptionRequired,
    /// Not base64.
    IncorrectEncoding,
    /// Somebody else's address was asked for.
    InvalidAuthzid,
    /// No such mechanism here.
    InvalidMechanism,
    /// The message does not follow its mechanism's rules.
    MalformedRequest,
    /// Wrong name or password; which of them is not said.
    NotAuthorized,
    /// The accounts cannot be read now.
    TemporaryAuthFailure,
}

impl Failure {
    /// The condition's element.
    pub fn word(self) -> &'static str {
        match self {
            Self::Aborted => "aborted",
            Self::AccountDisabled => "account-disabled",
            Self::EncryptionRequired => "encryption-required",
            Self::IncorrectEncoding => "incorrect-encoding",
            Self::InvalidAuthzid => "invalid-authzid",
            Self::InvalidMechanism => "invalid-mechanism",
            Self::MalformedRequest => "malformed-request",
            Self::NotAuthorized => "not-authorized",
            Self::TemporaryAuthFailure => "temporary-auth-failure",
        }
    }

    /// Whether it counts as one of the attempts that a stream has. A client
    /// that gave up, or that we could not serve, has not guessed a password.
    pub fn is_attempt(self) -> bool {
        !matches!(self, Self::Aborted | Self::TemporaryAuthFailure)
    }

    /// The `<failure/>` element.
    pub fn to_xml(self) -> String {
        format!("<failure xmlns='{SASL}'><{}/></failure>", self.word())
    }
}
