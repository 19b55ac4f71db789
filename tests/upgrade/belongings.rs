//! What an account has besides its messages: a vCard, private XML, a block
//! list, a roster.

use super::support::raw::Raw;
use super::support::{Node, SOON};

/// Requests, and what is in their answers.
const KEPT: [(&str, &str); 3] = [
    ("<vCard xmlns='vcard-temp'><FN>Romeo Montague</FN></vCard>", "<FN>Romeo Montague</FN>"),
    (
        "<query xmlns='jabber:iq:private'><notes xmlns='urn:x:notes'>by the wall</notes></query>",
        "by the wall</notes>",
    ),
    (
        "<block xmlns='urn:xmpp:blocking'><item jid='tybalt@example.org'/></block>",
        "tybalt@example.org",
    ),
];

const ASKED: [&str; 4] = [
    "<vCard xmlns='vcard-temp'/>",
    "<query xmlns='jabber:iq:private'><notes xmlns='urn:x:notes'/></query>",
    "<blocklist xmlns='urn:xmpp:blocking'/>",
    "<query xmlns='jabber:iq:roster'/>",
];

/// Those of one account.
pub struct Belongings {
    user: String,
    /// The answers to all of [`ASKED`].
    answers: Vec<String>,
}

impl Belongings {
    /// A user leaves some at a node.
    pub fn leave(node: &Node, user: &str) -> Belongings {
        let mut raw = Raw::direct(node);
        raw.bind(user, user, "home");
        for (request, _) in KEPT {
            let said = ask(&mut raw, "set", request);
            assert!(said.contains("type='result'"), "{said}");
        }
        let answers = asked(&mut raw);
        for ((_, part), answer) in KEPT.iter().zip(&answers) {
            assert!(answer.contains(part), "{answer}");
        }
        Belongings { user: user.to_owned(), answers }
    }

    /// They are at this node as they were left.
    #[track_caller]
    pub fn are_at(&self, node: &Node) {
        let mut raw = Raw::direct(node);
        raw.bind(&self.user, &self.user, "home");
        assert_eq!(asked(&mut raw), self.answers, "{}", node.name);
    }
}

fn asked(raw: &mut Raw) -> Vec<String> {
    ASKED.iter().map(|request| ask(raw, "get", request)).collect()
}

/// The answer to a request.
fn ask(raw: &mut Raw, kind: &str, request: &str) -> String {
    raw.say(format!("<iq type='{kind}' id='asked'>{request}</iq>").as_bytes());
    let mut heard = String::new();
    let begin = std::time::Instant::now();
    // a pushed request may come before, and an answer may be empty
    loop {
        let at = heard.find("id='asked'").and_then(|at| heard[..at].rfind("<iq"));
        let answer = at.map(|at| &heard[at..]);
        let end = answer.and_then(|answer| super::support::wire::whole(answer.as_bytes()));
        if let (Some(answer), Some(end)) = (answer, end) {
            return answer[..end].to_owned();
        }
        let is_open = raw.more(&mut heard) && begin.elapsed() < SOON;
        assert!(is_open, "no answer: {heard}");
    }
}
