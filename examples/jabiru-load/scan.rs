//! Finds stanzas in what a server writes, as cheaply as can be: only names and
//! ids are looked at. Servers write well-formed XML; a load need not check it.

/// One stanza that has come whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen<'a> {
    /// From `<` to `>`.
    pub text: &'a [u8],
    /// Its name.
    pub name: &'a [u8],
}

impl<'a> Seen<'a> {
    /// The value of an attribute of its own tag.
    pub fn attribute(&self, name: &str) -> Option<&'a str> {
        let end = memchr::memchr(b'>', self.text)?;
        let tag = self.text.get(..end)?;
        for at in memchr::memmem::find_iter(tag, name.as_bytes()) {
            let before = tag.get(at.checked_sub(1)?)?;
            let rest = tag.get(at + name.len()..)?;
            if let (b' ', [b'=', quote @ (b'\'' | b'"'), rest @ ..]) = (before, rest) {
                let end = memchr::memchr(*quote, rest)?;
                return std::str::from_utf8(rest.get(..end)?).ok();
            }
        }
        None
    }

    pub fn is(&self, name: &str) -> bool {
        self.name == name.as_bytes()
    }

    pub fn is_error(&self) -> bool {
        self.attribute("type") == Some("error")
    }
}

/// The first whole stanza, and how many bytes it ends at. `None`: it is not
/// whole yet.
pub fn next(bytes: &[u8]) -> Option<(Seen<'_>, usize)> {
    let start = memchr::memchr(b'<', bytes)?;
    let rest = bytes.get(start..)?;
    let tag = memchr::memchr(b'>', rest)?;
    let name_end = rest.iter().position(|byte| matches!(byte, b' ' | b'>' | b'/' | b'\n'))?;
    let closed = |end: usize| {
        let text = rest.get(..end)?;
        let name = rest.get(1..name_end.max(1)).unwrap_or_default();
        Some((Seen { text, name }, start + end))
    };
    // a processing instruction, the end of the stream, its beginning, or one
    // without content
    let is_whole = rest.get(tag.checked_sub(1)?) == Some(&b'/')
        || matches!(rest.get(1), Some(b'?' | b'/'))
        || rest.starts_with(b"<stream:stream");
    if is_whole {
        return closed(tag + 1);
    }
    // no stanza has one of its own name inside, in what a load makes servers
    // write, but for errors that bring no stanza back whole
    let name = rest.get(1..name_end)?;
    let mut from = tag;
    loop {
        let at = from + memchr::memmem::find(rest.get(from..)?, b"</")?;
        let after = rest.get(at + 2..)?;
        if after.starts_with(name) && after.get(name.len()) == Some(&b'>') {
            return closed(at + 3 + name.len());
        }
        from = at + 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &str, name: &str, length: usize) {
        let (seen, end) = next(bytes.as_bytes()).expect("one is whole");
        assert_eq!((std::str::from_utf8(seen.name), end), (Ok(name), length));
    }

    #[test]
    fn stanzas_are_found() {
        check("<message id='1'><body>x</body></message><a/>", "message", 40);
        check("<presence from='x'/><a/>", "presence", 20);
        check(" \n<iq type='result'></iq>", "iq", 25);
        check("<?xml version='1.0'?><stream:stream>", "?xml", 21);
        check("<stream:stream to='x'><a/>", "stream:stream", 22);
        check("</stream:stream>", "", 16);
        assert_eq!(next(b"<message><body>x</body></mess"), None);
        assert_eq!(next(b"<message id='1"), None);
        assert_eq!(next(b""), None);
    }

    #[test]
    fn attributes_are_those_of_the_own_tag() {
        let (seen, _) = next(b"<m xid='2' id=\"7\" type='error'><b id='3'/></m>").expect("whole");
        assert_eq!(seen.attribute("id"), Some("7"));
        assert_eq!(seen.attribute("to"), None);
        assert!(seen.is_error());
    }
}
