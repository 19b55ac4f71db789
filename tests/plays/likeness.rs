//! Whether what was heard is what the play expects.
//!
//! `*` stands for any value or text, `?` for a value that may also be missing,
//! `{name}` for one that is the same wherever the name stands. Child elements
//! may come in any order; with `...` there may be others beside them.

use std::collections::BTreeMap;

use super::tree::{Name, Tree};

/// What the names of a play stand for so far.
pub type Known = BTreeMap<String, String>;

/// Other children may be there.
const MORE: &str = "...";

/// Compares what `me` heard with what was expected, and notes what names
/// stand for. `me` is its full JID: a stanza without `from` is from its own
/// account, one without `to` is to it (RFC 6120 §8.1).
pub fn compare(expected: &Tree, heard: &Tree, me: &str, known: &mut Known) -> Result<(), String> {
    let mut tried = known.clone();
    let own = me.split('/').next().unwrap_or_default();
    let may_miss = |(ns, name): &Name, value: &str| match (ns.as_str(), name.as_str()) {
        ("", "from") => value == own,
        ("", "to") => value == own || value == me,
        _ => false,
    };
    same(expected, heard, &may_miss, &mut tried)?;
    *known = tried;
    Ok(())
}

fn same(
    expected: &Tree,
    heard: &Tree,
    may_miss: &dyn Fn(&Name, &str) -> bool,
    known: &mut Known,
) -> Result<(), String> {
    let name = &expected.name.1;
    if expected.name != heard.name {
        let ((ns, name), (other_ns, other)) = (&expected.name, &heard.name);
        return Err(format!("<{other} xmlns='{other_ns}'> is no <{name} xmlns='{ns}'>"));
    }
    for (key, wanted) in &expected.attributes {
        match heard.attributes.get(key) {
            Some(value) => value_is(wanted, value, known)
                .map_err(|why| format!("{} of <{name}>: {why}", key.1))?,
            None if wanted == "?" => {}
            None => return Err(format!("<{name}> has no {}", key.1)),
        }
    }
    for (key, value) in &heard.attributes {
        let is_lang = key.0 == "http://www.w3.org/XML/1998/namespace" && key.1 == "lang";
        if !expected.attributes.contains_key(key) && !is_lang && !may_miss(key, value) {
            return Err(format!("<{name}> has {}='{value}'", key.1));
        }
    }
    let text = expected.text.trim();
    let more = text.contains(MORE);
    let text = if more { text.replace(MORE, "").trim().to_owned() } else { expected.text.clone() };
    if !more || !text.is_empty() {
        value_is(&text, &heard.text, known).map_err(|why| format!("text of <{name}>: {why}"))?;
    }
    children(&expected.children, &heard.children.iter().collect::<Vec<_>>(), more, known)
        .map_err(|why| format!("in <{name}>: {why}"))
}

/// Finds for each that is expected one that was heard.
fn children(
    expected: &[Tree],
    heard: &[&Tree],
    more: bool,
    known: &mut Known,
) -> Result<(), String> {
    let Some((first, rest)) = expected.split_first() else {
        return match heard.first() {
            Some(other) if !more => Err(format!("nobody expects {other}")),
            _ => Ok(()),
        };
    };
    let mut reasons = Vec::new();
    for (at, candidate) in heard.iter().enumerate() {
        let mut tried = known.clone();
        let mut left = heard.to_vec();
        left.remove(at);
        let fits = same(first, candidate, &|_, _| false, &mut tried)
            .and_then(|()| children(rest, &left, more, &mut tried));
        match fits {
            Ok(()) => {
                *known = tried;
                return Ok(());
            }
            Err(why) if candidate.name == first.name => reasons.push(why),
            Err(_) => {}
        }
    }
    match reasons.len() {
        0 => Err(format!("there is no {first}")),
        1 => Err(reasons.remove(0)),
        _ => Err(format!("nothing fits {first}")),
    }
}

fn value_is(wanted: &str, value: &str, known: &mut Known) -> Result<(), String> {
    if wanted == "*" || wanted == "?" {
        return Ok(());
    }
    let wanted = match name_of(wanted) {
        Some(name) => match known.get(name) {
            Some(known) => known.clone(),
            None => {
                known.insert(name.to_owned(), value.to_owned());
                return Ok(());
            }
        },
        None => wanted.to_owned(),
    };
    if wanted == value { Ok(()) } else { Err(format!("'{value}' is not '{wanted}'")) }
}

/// `name` of `{name}`.
fn name_of(wanted: &str) -> Option<&str> {
    let name = wanted.strip_prefix('{')?.strip_suffix('}')?;
    let is_word = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    is_word.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: &str = "romeo@localhost/garden";

    fn one(text: &str) -> Tree {
        Tree::parse_all(text).expect("XML").remove(0)
    }

    #[track_caller]
    fn like(expected: &str, heard: &str) -> Known {
        let mut known = Known::new();
        compare(&one(expected), &one(heard), ME, &mut known).expect("they are alike");
        known
    }

    #[track_caller]
    fn unlike(expected: &str, heard: &str, why: &str) {
        let found = compare(&one(expected), &one(heard), ME, &mut Known::new());
        assert_eq!(found.expect_err("they differ"), why, "{expected} and {heard}");
    }

    #[test]
    fn attributes_have_no_order_and_texts_no_play() {
        like("<message from='a' type='chat'/>", "<message type='chat' from='a' xml:lang='en'/>");
        unlike("<message/>", "<message type='chat'/>", "<message> has type='chat'");
        unlike("<message type='chat'/>", "<message/>", "<message> has no type");
        unlike("<presence id='1'/>", "<presence id='2'/>", "id of <presence>: '2' is not '1'");
        unlike(
            "<message><body>x</body></message>",
            "<message><body>x </body></message>",
            "in <message>: text of <body>: 'x ' is not 'x'",
        );
        unlike(
            "<message><x xmlns='a'/></message>",
            "<message><x xmlns='b'/></message>",
            "in <message>: there is no <x xmlns='a'/>",
        );
        unlike(
            "<message xml:lang='de'/>",
            "<message xml:lang='en'/>",
            "lang of <message>: 'en' is not 'de'",
        );
    }

    #[test]
    fn a_star_is_anything_and_a_question_mark_also_nothing() {
        like("<iq id='*'><x xmlns='a'>*</x></iq>", "<iq id='7'><x xmlns='a'>long</x></iq>");
        unlike("<iq id='*'/>", "<iq/>", "<iq> has no id");
        like("<iq id='?'/>", "<iq/>");
        like("<iq id='?'/>", "<iq id='3'/>");
    }

    #[test]
    fn a_name_is_the_same_wherever_it_stands() {
        let known =
            like("<iq id='{x}'><a>{x}</a><b>{y}</b></iq>", "<iq id='7'><a>7</a><b>8</b></iq>");
        assert_eq!((known["x"].as_str(), known["y"].as_str()), ("7", "8"));
        unlike(
            "<iq id='{x}'><a>{x}</a></iq>",
            "<iq id='7'><a>8</a></iq>",
            "in <iq>: text of <a>: '8' is not '7'",
        );
        // what fitted first does not bind what fits later
        let known =
            like("<iq><a k='{x}'/><b>{x}</b>...</iq>", "<iq><a k='1'/><a k='2'/><b>2</b></iq>");
        assert_eq!(known["x"], "2");
    }

    #[test]
    fn children_come_in_any_order_and_none_is_forgotten() {
        like("<iq><a/><b/></iq>", "<iq><b/><a/></iq>");
        unlike("<iq><a/></iq>", "<iq><a/><b/></iq>", "in <iq>: nobody expects <b/>");
        unlike("<iq><a/><a/></iq>", "<iq><a/></iq>", "in <iq>: there is no <a/>");
        like("<iq><a/>...</iq>", "<iq><b/><a/></iq>");
        unlike("<iq><a/>...</iq>", "<iq><b/></iq>", "in <iq>: there is no <a/>");
        unlike("<iq/>", "<iq>text</iq>", "text of <iq>: 'text' is not ''");
    }

    #[test]
    fn who_is_not_named_is_oneself() {
        like("<iq/>", "<iq from='romeo@localhost' to='romeo@localhost/garden'/>");
        like("<iq/>", "<iq to='romeo@localhost'/>");
        unlike("<iq/>", "<iq from='localhost'/>", "<iq> has from='localhost'");
        unlike("<iq/>", "<iq from='romeo@localhost/x'/>", "<iq> has from='romeo@localhost/x'");
        unlike("<iq/>", "<iq to='juliet@localhost'/>", "<iq> has to='juliet@localhost'");
        unlike(
            "<iq><m xmlns='a'/></iq>",
            "<iq><m xmlns='a' to='romeo@localhost'/></iq>",
            "in <iq>: <m> has to='romeo@localhost'",
        );
    }
}
