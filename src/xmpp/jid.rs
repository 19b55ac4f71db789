//! Addresses (RFC 6122, RFC 7622): a value in hand is normalised.
//!
//! How each part is normalised is in `prep`.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::xmpp::plain::{self, Parts};
use crate::xmpp::prep;

/// The version of the normaliser. Nodes that normalise differently would
/// look for one user in two homes, so they compare it.
pub const NORMALISER: u16 = 1;

/// Why a text is no address; names the part that is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JidError {
    /// Before the `@`.
    #[error("no local part can be like this")]
    Local,
    /// Between `@` and `/`.
    #[error("no domain can be like this")]
    Domain,
    /// After the `/`.
    #[error("no resource can be like this")]
    Resource,
    /// A resource where none may be, or none where one must be.
    #[error("an address of another form is needed here")]
    Form,
}

/// Any address: `domain`, `local@domain`, `domain/resource` or
/// `local@domain/resource`.
#[derive(Clone)]
pub struct Jid {
    text: Arc<str>,
    /// Bytes of the local part; 0 where there is none.
    local: u16,
    /// Bytes of everything before the `/`.
    bare: u16,
}

/// An address without a resource.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BareJid(Jid);

/// An address with a resource.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FullJid(Jid);

/// A domain alone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(Jid);

impl Jid {
    /// Splits (RFC 7622 §3.1: first the `/`, then the `@`) and normalises.
    ///
    /// # Errors
    /// [`JidError`] with the part that is wrong.
    pub fn parse(text: &str) -> Result<Self, JidError> {
        match plain::parts(text) {
            Some(Parts { local, bare }) => {
                Ok(Self { text: text.into(), local: small(local), bare: small(bare) })
            }
            None => Self::prepare(text),
        }
    }

    fn prepare(text: &str) -> Result<Self, JidError> {
        let (bare, resource) = match text.split_once('/') {
            Some((bare, resource)) => (bare, Some(prep::resource(resource)?)),
            None => (text, None),
        };
        let (local, domain) = match bare.split_once('@') {
            Some((local, domain)) => (Some(prep::local(local)?), domain),
            None => (None, bare),
        };
        Ok(Self::join(local.as_deref(), &prep::domain(domain)?, resource.as_deref()))
    }

    /// The part before the `@`.
    pub fn local(&self) -> Option<&str> {
        self.text.get(..usize::from(self.local)).filter(|local| !local.is_empty())
    }

    /// The domain.
    pub fn domain(&self) -> &str {
        let start = if self.local == 0 { 0 } else { usize::from(self.local) + 1 };
        self.text.get(start..usize::from(self.bare)).unwrap_or_default()
    }

    /// The part after the `/`.
    pub fn resource(&self) -> Option<&str> {
        self.text.get(usize::from(self.bare) + 1..)
    }

    /// The address as it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The address without its resource, as it is written.
    pub fn bare_str(&self) -> &str {
        self.text.get(..usize::from(self.bare)).unwrap_or_default()
    }

    /// The address without its resource.
    pub fn bare(&self) -> BareJid {
        if self.resource().is_none() {
            return BareJid(self.clone());
        }
        BareJid(Self { text: Arc::from(self.bare_str()), local: self.local, bare: self.bare })
    }

    /// The address with its resource, if it has one.
    pub fn to_full(&self) -> Option<FullJid> {
        self.resource().is_some().then(|| FullJid(self.clone()))
    }

    /// Joins parts that are normal already.
    fn join(local: Option<&str>, domain: &str, resource: Option<&str>) -> Self {
        let length = |part: Option<&str>| part.map_or(0, |part| part.len() + 1);
        let mut text = String::with_capacity(length(local) + domain.len() + length(resource));
        if let Some(local) = local {
            text.push_str(local);
            text.push('@');
        }
        text.push_str(domain);
        let bare = text.len();
        if let Some(resource) = resource {
            text.push('/');
            text.push_str(resource);
        }
        Self { text: text.into(), local: small(local.map_or(0, str::len)), bare: small(bare) }
    }
}

/// Each part has at most 1023 bytes, so the places of all fit.
fn small(length: usize) -> u16 {
    u16::try_from(length).expect("parts are at most 1023 bytes")
}

impl BareJid {
    /// Parses an address that must have no resource.
    ///
    /// # Errors
    /// [`JidError`] with the part that is wrong.
    pub fn parse(text: &str) -> Result<Self, JidError> {
        Jid::parse(text)?.try_into()
    }

    /// An account's address from a name that was not normalised.
    ///
    /// # Errors
    /// [`JidError::Local`].
    pub fn of_account(local: &str, domain: &Domain) -> Result<Self, JidError> {
        Ok(Self(Jid::join(Some(&prep::local(local)?), domain.as_str(), None)))
    }

    /// One of its sessions.
    ///
    /// # Errors
    /// [`JidError::Resource`].
    pub fn with_resource(&self, resource: &str) -> Result<FullJid, JidError> {
        let resource = prep::resource(resource)?;
        Ok(FullJid(Jid::join(self.0.local(), self.0.domain(), Some(&resource))))
    }

    /// The part before the `@`.
    pub fn local(&self) -> Option<&str> {
        self.0.local()
    }

    /// The domain.
    pub fn domain(&self) -> &str {
        self.0.domain()
    }

    /// The address as it is written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FullJid {
    /// Parses an address that must have a resource.
    ///
    /// # Errors
    /// [`JidError`] with the part that is wrong.
    pub fn parse(text: &str) -> Result<Self, JidError> {
        Jid::parse(text)?.try_into()
    }

    /// The address without its resource.
    pub fn bare(&self) -> BareJid {
        self.0.bare()
    }

    /// The part after the `/`.
    pub fn resource(&self) -> &str {
        self.0.resource().unwrap_or_default()
    }

    /// The domain.
    pub fn domain(&self) -> &str {
        self.0.domain()
    }

    /// The address as it is written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The address as any.
    pub fn as_jid(&self) -> &Jid {
        &self.0
    }
}

impl Domain {
    /// Parses a domain that must stand alone.
    ///
    /// # Errors
    /// [`JidError`] with the part that is wrong.
    pub fn parse(text: &str) -> Result<Self, JidError> {
        let jid = Jid::parse(text)?;
        let alone = jid.local == 0 && jid.resource().is_none();
        if alone { Ok(Self(jid)) } else { Err(JidError::Form) }
    }

    /// The domain as it is written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl From<BareJid> for Jid {
    fn from(jid: BareJid) -> Self {
        jid.0
    }
}

impl From<FullJid> for Jid {
    fn from(jid: FullJid) -> Self {
        jid.0
    }
}

impl From<Domain> for Jid {
    fn from(domain: Domain) -> Self {
        domain.0
    }
}

impl TryFrom<Jid> for BareJid {
    type Error = JidError;

    fn try_from(jid: Jid) -> Result<Self, JidError> {
        if jid.resource().is_none() { Ok(Self(jid)) } else { Err(JidError::Form) }
    }
}

impl TryFrom<Jid> for FullJid {
    type Error = JidError;

    fn try_from(jid: Jid) -> Result<Self, JidError> {
        if jid.resource().is_some() { Ok(Self(jid)) } else { Err(JidError::Form) }
    }
}

impl PartialEq for Jid {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Jid {}

impl PartialOrd for Jid {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Jid {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

impl Hash for Jid {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

/// Text out and in for all forms: they are read with the same checks as any
/// address.
macro_rules! as_text {
    ($($form:ident: $text:expr;)*) => { $(
        impl fmt::Display for $form {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let text: fn(&$form) -> &str = $text;
                f.write_str(text(self))
            }
        }

        impl fmt::Debug for $form {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl std::str::FromStr for $form {
            type Err = JidError;

            fn from_str(text: &str) -> Result<Self, JidError> {
                Self::parse(text)
            }
        }

        impl Serialize for $form {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let text: fn(&$form) -> &str = $text;
                serializer.serialize_str(text(self))
            }
        }

        impl<'de> Deserialize<'de> for $form {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Self::parse(&text).map_err(de::Error::custom)
            }
        }
    )* };
}

as_text! {
    Jid: Jid::as_str;
    BareJid: BareJid::as_str;
    FullJid: FullJid::as_str;
    Domain: Domain::as_str;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, proptest};

    #[track_caller]
    fn good(text: &str, normal: &str) {
        let jid = Jid::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!(jid.as_str(), normal);
        assert_eq!(Jid::parse(normal), Ok(jid), "the normal form is its own normal form");
    }

    #[track_caller]
    fn bad(text: &str, error: JidError) {
        assert_eq!(Jid::parse(text), Err(error), "{text:?}");
    }

    #[test]
    fn addresses_have_one_normal_form() {
        good("example.org", "example.org");
        good("EXAMPLE.org.", "example.org");
        good("Juliet@Example.ORG/Balcony", "juliet@example.org/Balcony");
        good("juliet@example.org/a@b/c d", "juliet@example.org/a@b/c d");
        good("example.org/res", "example.org/res");
        good("192.0.2.7", "192.0.2.7");
        good("juliet@[2001:DB8:0::1]/x", "juliet@[2001:db8::1]/x");
        good("fussball.example", "fussball.example");
        good("JULIÉ@example.org", "julié@example.org");
        good("ａdmin@example.org", "admin@example.org");
        good("admin\u{ad}@example.org", "admin@example.org");
        good("xn--bcher-kva.example", "bücher.example");
        good("BÜCHER.example", "bücher.example");
        good("a@example.org/\u{2168}", "a@example.org/IX");
    }

    #[test]
    fn what_is_no_address_names_its_wrong_part() {
        bad("", JidError::Domain);
        bad("@example.org", JidError::Local);
        bad("juliet@", JidError::Domain);
        bad("juliet@example.org/", JidError::Resource);
        bad("ju liet@example.org", JidError::Local);
        bad("ju:liet@example.org", JidError::Local);
        bad("ju\u{200b}\u{0}liet@example.org", JidError::Local);
        bad("juliet@exa mple.org", JidError::Domain);
        bad("juliet@example..org", JidError::Domain);
        bad("juliet@-example.org", JidError::Domain);
        bad("juliet@[::g]", JidError::Domain);
        bad("juliet@[::1", JidError::Domain);
        bad("juliet@xn--example-.org", JidError::Domain);
        bad("a@b@example.org", JidError::Domain);
        bad("juliet@example.org/\u{7}", JidError::Resource);
        bad(&format!("{}@example.org", "a".repeat(1024)), JidError::Local);
        bad(&format!("a@example.org/{}", "é".repeat(512)), JidError::Resource);
        bad(&format!("{}.org", "a".repeat(64)), JidError::Domain);
    }

    #[test]
    fn a_name_that_changes_twice_is_nobody() {
        // The letters that once opened somebody else's account at a music
        // service: nodeprep of nodeprep differs from nodeprep.
        let spotted = Jid::parse("ᴮᴵᴳᴮᴵᴿᴰ@example.org");
        if let Ok(jid) = spotted {
            assert_eq!(Jid::parse(jid.as_str()).expect("normal"), jid);
        }
    }

    #[test]
    fn forms_are_kept_apart() {
        assert_eq!(BareJid::parse("a@example.org/r"), Err(JidError::Form));
        assert_eq!(FullJid::parse("a@example.org"), Err(JidError::Form));
        assert_eq!(Domain::parse("a@example.org"), Err(JidError::Form));
        let full = FullJid::parse("a@example.org/r").expect("it is full");
        assert_eq!(full.bare().as_str(), "a@example.org");
        assert_eq!(full.as_jid().local(), Some("a"));
        assert_eq!(full.domain(), "example.org");
        assert_eq!(full.resource(), "r");
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_parser(text in any::<String>()) {
            if let Ok(jid) = Jid::parse(&text) {
                assert_eq!(Jid::parse(jid.as_str()), Ok(jid));
            }
        }

        #[test]
        fn what_is_plain_is_prepared_alike(
            text in "([a-zA-Z0-9.+_@-]{0,6}@)?[a-zA-Z0-9._-]{0,9}(xn--)?[a-z0-9.-]{0,4}(/[ -~]{0,5})?"
        ) {
            assert_eq!(Jid::parse(&text), Jid::prepare(&text));
            if let (Ok(one), Ok(other)) = (Jid::parse(&text), Jid::prepare(&text)) {
                assert_eq!((one.local, one.bare), (other.local, other.bare));
            }
        }

        #[test]
        fn no_text_of_the_shape_breaks_it(text in "\\PC{0,9}@[a-zA-Zé.-]{0,9}/\\PC{0,9}") {
            if let Ok(jid) = Jid::parse(&text) {
                assert_eq!(Jid::parse(jid.as_str()), Ok(jid));
            }
        }
    }
}
