//! Answers go to the instance that has asked, whatever the policy says: a
//! request of one among several instances carries a mark at the end of its id,
//! which every answer repeats (RFC 6120 §8.1.3), and nobody but us reads.

use crate::cluster::hash::stable;
use crate::router::balance::Candidate;
use crate::xmpp::kind::{IqType, Kind};
use crate::xmpp::stanza::Stanza;

/// What stands between an id and the mark.
const DIVIDER: &str = "~i";

/// Hexadecimal digits of a mark.
const DIGITS: usize = 16;

/// The instance that has asked: the hash of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asker(u64);

impl Asker {
    /// It, if it is among these.
    pub(super) fn among(self, candidates: &[Candidate]) -> Option<&Candidate> {
        candidates.iter().find(|one| stable(one.name.as_bytes()) == self.0)
    }
}

/// The id of a request of an instance, with its mark.
pub(super) fn marked(id: &str, instance: &str) -> Box<str> {
    let mark = stable(instance.as_bytes());
    format!("{id}{DIVIDER}{mark:0DIGITS$x}").into()
}

/// The id that was answered, and who had asked; `None`: it is no answer, or of
/// a request without a mark.
pub(super) fn asked(stanza: &Stanza) -> Option<(Box<str>, Asker)> {
    if !matches!(stanza.kind, Kind::Iq(IqType::Result | IqType::Error)) {
        return None;
    }
    let id = stanza.id.as_deref()?;
    let (rest, mark) = id.split_at_checked(id.len().checked_sub(DIGITS)?)?;
    let asker = Asker(u64::from_str_radix(mark, 16).ok()?);
    Some((rest.strip_suffix(DIVIDER)?.into(), asker))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(id: &str) -> Stanza {
        let text = format!("<iq from='a@im' to='gw' id='{id}' type='result'/>");
        Stanza::parse_bytes(text.into()).expect("a stanza")
    }

    #[test]
    fn the_mark_is_taken_off_again() {
        for id in ["1", "", "ü~i0123456789abcdef", "~i"] {
            let marked = marked(id, "paris");
            let (original, asker) = asked(&answer(&marked)).expect("a mark");
            assert_eq!((&*original, asker), (id, Asker(stable(b"paris"))));
        }
    }

    #[test]
    fn what_has_no_mark_stays() {
        for id in
            ["1", "0123456789abcdef", "x~i0123456789abcde", "x~i0123456789abcdeg", "üüüüüüüüü"]
        {
            assert_eq!(asked(&answer(id)), None, "{id}");
        }
    }
}
