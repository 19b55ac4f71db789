//! The three parts of an address in their one normal form.
//!
//! Stringprep (RFC 6122) as all servers in the field still do it, not PRECIS
//! (RFC 7622): two servers that normalise differently lock users out, and
//! two nodes of one cluster that did would look for one user in two homes.
//! ASCII, which is nearly everything, takes a path without tables.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use stringprep::{nodeprep, resourceprep};

use crate::xmpp::jid::JidError;

/// Bytes of one part after its normalisation (RFC 7622 §3.1).
pub const PART_BYTES_MAX: usize = 1023;

/// Bytes of one label of a domain (RFC 1035 §2.3.4).
pub(super) const LABEL_BYTES_MAX: usize = 63;

/// The part before the `@`.
///
/// # Errors
/// [`JidError::Local`] for what no account can be called.
pub fn local(text: &str) -> Result<Cow<'_, str>, JidError> {
    let prepared = if text.is_ascii() {
        lowercase(text)
    } else {
        stable(text, |text| nodeprep(text).ok().map(|done| Cow::Owned(done.into_owned())))
            .ok_or(JidError::Local)?
    };
    let allowed = |c: char| c > ' ' && c != '\u{7f}' && !"\"&'/:<>@".contains(c);
    sized(prepared, JidError::Local)
        .and_then(|done| if done.chars().all(allowed) { Ok(done) } else { Err(JidError::Local) })
}

/// The part after the `/`.
///
/// # Errors
/// [`JidError::Resource`] for what no session can be called.
pub fn resource(text: &str) -> Result<Cow<'_, str>, JidError> {
    let prepared = if text.is_ascii() {
        if text.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
            return Err(JidError::Resource);
        }
        Cow::Borrowed(text)
    } else {
        stable(text, |text| resourceprep(text).ok().map(|done| Cow::Owned(done.into_owned())))
            .ok_or(JidError::Resource)?
    };
    sized(prepared, JidError::Resource)
}

/// The domain: a name, an IPv4 address, or an IPv6 address in brackets. One
/// trailing dot is dropped (RFC 7622 §3.2).
///
/// # Errors
/// [`JidError::Domain`] for what is none of these.
pub fn domain(text: &str) -> Result<Cow<'_, str>, JidError> {
    let text = text.strip_suffix('.').unwrap_or(text);
    if let Some(address) = text.strip_prefix('[') {
        let address = address.strip_suffix(']').ok_or(JidError::Domain)?;
        let address: Ipv6Addr = address.parse().map_err(|_| JidError::Domain)?;
        return Ok(Cow::Owned(format!("[{address}]")));
    }
    let name = if text.is_ascii() && !has_a_label(text) {
        lowercase(text)
    } else {
        stable(text, to_unicode).ok_or(JidError::Domain)?
    };
    let name = sized(name, JidError::Domain)?;
    if name.parse::<Ipv4Addr>().is_ok() || name.split('.').all(is_label) {
        Ok(name)
    } else {
        Err(JidError::Domain)
    }
}

/// U-labels out of A-labels, mapped and checked by IDNA.
fn to_unicode(text: &str) -> Option<Cow<'_, str>> {
    let (name, checked) = idna::domain_to_unicode(text);
    checked.ok().map(|()| Cow::Owned(name))
}

fn has_a_label(text: &str) -> bool {
    let is_a_label = |label: &str| label.get(..4).is_some_and(|p| p.eq_ignore_ascii_case("xn--"));
    text.split('.').any(is_a_label)
}

/// A label of a host name, where `_` is tolerated as in the field.
fn is_label(label: &str) -> bool {
    let ends = !label.starts_with('-') && !label.ends_with('-');
    let known = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !label.is_empty() && label.len() <= LABEL_BYTES_MAX && ends && label.chars().all(known)
}

fn lowercase(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}

/// What changes again when it is prepared again names two users at once, and
/// is nobody.
fn stable<'a>(
    text: &'a str,
    prepare: impl Fn(&str) -> Option<Cow<'_, str>>,
) -> Option<Cow<'a, str>> {
    let once = prepare(text)?.into_owned();
    let again = prepare(&once)?;
    (again == once).then_some(Cow::Owned(once))
}

fn sized(part: Cow<'_, str>, error: JidError) -> Result<Cow<'_, str>, JidError> {
    if part.is_empty() || part.len() > PART_BYTES_MAX { Err(error) } else { Ok(part) }
}
