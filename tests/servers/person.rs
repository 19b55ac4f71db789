//! Somebody with an account, who says and hears.

use crate::servers::service::{PASSWORD, Service};
use crate::support::raw::Raw;

/// Somebody who is online.
pub struct Person {
    pub jid: String,
    pub raw: Raw,
    heard: String,
}

impl Person {
    /// Makes the account, logs in on a node, and becomes available.
    #[track_caller]
    pub fn online(service: &Service, node: usize, user: &str) -> Person {
        service.account(user);
        let mut person = Person::bound(service, node, user);
        person.send("<presence/>");
        person.hears(&format!("<presence from='{}/phone'", person.jid.clone()));
        person
    }

    /// Logs in on a node.
    #[track_caller]
    pub fn bound(service: &Service, node: usize, user: &str) -> Person {
        let jid = format!("{user}@{}", service.domain);
        let mut raw = Raw::plain(&service.nodes.list[node]);
        raw.scram_at(service.domain, user, PASSWORD, "phone");
        let mut person = Person { jid, raw, heard: String::new() };
        person.send("<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>");
        person.hears("id='roster' type='result'");
        person
    }

    pub fn send(&mut self, stanza: &str) {
        self.raw.say(stanza.as_bytes());
    }

    /// A chat message.
    pub fn say_to(&mut self, other: &Person, words: &str) {
        let to = &other.jid;
        self.send(&format!("<message to='{to}' type='chat'><body>{words}</body></message>"));
    }

    /// Waits for some words; gives back all up to the end of them.
    #[track_caller]
    pub fn hears(&mut self, words: &str) -> String {
        let heard = self.raw.hear_on(std::mem::take(&mut self.heard), words);
        let Some(at) = heard.find(words) else { panic!("{}: no {words:?} in {heard:?}", self.jid) };
        let (before, after) = heard.split_at(at + words.len());
        self.heard = after.to_owned();
        before.to_owned()
    }

    /// Waits for the words of all of them, in any order; gives back all up to
    /// the last of them.
    #[track_caller]
    pub fn hears_all(&mut self, people: &[Person], words: impl Fn(&Person) -> String) -> String {
        let mut heard = std::mem::take(&mut self.heard);
        for person in people {
            heard = self.raw.hear_on(heard, &words(person));
        }
        heard
    }

    /// What was heard since, until something comes that we ask for now.
    #[track_caller]
    pub fn heard_till_now(&mut self) -> String {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let id = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let domain = self.jid.split_once('@').expect("an address").1.to_owned();
        self.send(&format!(
            "<iq type='get' id='now{id}' to='{domain}'><ping xmlns='urn:xmpp:ping'/></iq>"
        ));
        self.hears(&format!("id='now{id}' type='result'/>"))
    }
}
