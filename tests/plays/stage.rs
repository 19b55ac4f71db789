//! One performance of one play: the actors, what they do, and what they must
//! hear.

use std::collections::BTreeMap;
use std::fmt;

use super::client::{Client, Fault, condition};
use super::likeness::{Known, compare};
use super::script::{Act, Actor, Line, Play, Who};
use super::service::{PASSWORD, Rounds, Service};
use super::tree::Tree;

/// Rounds before somebody else does something: a row and a stanza after it.
const ROUNDS_BETWEEN: usize = 2;

/// How often homes are asked before silence is believed: a subscription goes
/// from one home to the other, and an answer back.
const TIMES_TO_SILENCE: usize = 3;

/// Where the actors are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placing {
    OneNode,
    EachOnAnother,
}

impl fmt::Display for Placing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Placing::OneNode => "all on one node",
            Placing::EachOnAnother => "each on another node",
        })
    }
}

/// A play as it is performed. `number` makes its accounts its own.
pub struct Stage<'a> {
    play: &'a Play,
    number: usize,
    service: &'a Service,
    rounds: &'a mut Rounds,
    /// By place in the cast.
    clients: BTreeMap<Who, Client>,
    passwords: BTreeMap<String, String>,
    known: Known,
    /// Who did something whose effect may not be everywhere yet.
    restless: Option<Who>,
}

/// Performs a play.
pub fn perform(
    play: &Play,
    number: usize,
    service: &Service,
    rounds: &mut Rounds,
) -> Result<(), String> {
    let mut stage = Stage {
        play,
        number,
        service,
        rounds,
        clients: BTreeMap::new(),
        passwords: BTreeMap::new(),
        known: Known::new(),
        restless: None,
    };
    stage.accounts().map_err(|why| format!("before it begins: {why}"))?;
    for line in &play.lines {
        stage.line(line).map_err(|why| format!("line {}: {why}", line.number))?;
    }
    stage.end().map_err(|why| format!("at the end: {why}"))
}

impl Stage<'_> {
    /// Everybody's account.
    fn accounts(&mut self) -> Result<(), Fault> {
        for actor in &self.play.cast {
            let bare = self.bare(actor);
            let is_made = self.passwords.contains_key(&bare);
            if is_made || !self.has_account(&bare) {
                continue;
            }
            self.service.account(&bare)?;
            self.passwords.insert(bare, PASSWORD.to_owned());
        }
        Ok(())
    }

    /// Whoever first opens a stream only has none: it may make one.
    fn has_account(&self, bare: &str) -> bool {
        let is_one = |who: Who| self.bare(&self.play.cast[who]) == bare;
        let first = self.play.lines.iter().find_map(|line| match &line.act {
            Act::Opens(who) if is_one(*who) => Some(false),
            Act::Comes { who, .. } | Act::ComesOnline(who) if is_one(*who) => Some(true),
            Act::Contacts { one, other, .. } if is_one(*one) || is_one(*other) => Some(true),
            _ => None,
        });
        first.unwrap_or(false)
    }

    fn line(&mut self, line: &Line) -> Result<(), Fault> {
        match &line.act {
            Act::Contacts { one, other, both } => self.contacts(*one, *other, *both),
            Act::Opens(who) => self.open(*who),
            Act::Comes { who, password } => self.come(*who, password.as_deref()),
            Act::ComesOnline(who) => self.come_online(*who),
            Act::CannotCome { who, password, condition } => {
                self.calm(None)?;
                self.open(*who)?;
                match self.authenticate(*who, password.as_deref())? {
                    Err(found) if found == *condition => {
                        self.clients.remove(who);
                        Ok(())
                    }
                    other => Err(format!("authentication said {other:?}")),
                }
            }
            Act::Says { who, words, at_once } => self.say(*who, words, *at_once),
            Act::Hears { who, stanzas, in_order } => self.hear(*who, stanzas, *in_order),
            Act::HearsNothing(who) => self.silence(*who),
            Act::Offered { who, feature, is_there } => self.offered(*who, feature, *is_there),
            Act::Goes(who) => {
                let mut client = self.leaving(*who)?;
                client.close()?;
                self.gone(*who)
            }
            Act::IsCutOff(who) => {
                // dropped, and no TLS alert is said
                drop(self.leaving(*who)?);
                self.gone(*who)
            }
            Act::IsThrownOut { who, condition } => self.thrown_out(*who, condition),
            Act::Operator { words, fails } => self.operate(words, *fails),
            Act::NodeIsKilled(who) => self.kill(*who),
            Act::Differ { one, other } => {
                let value = |name| self.known.get(name).ok_or(format!("who knows {name}?"));
                match value(one)? != value(other)? {
                    true => Ok(()),
                    false => Err(format!("both are {}", self.known[one])),
                }
            }
        }
    }

    fn open(&mut self, who: Who) -> Result<(), Fault> {
        if self.clients.contains_key(&who) {
            return Err(format!("{} is there already", self.play.cast[who].name));
        }
        let number = self.number;
        let node = self.node(who);
        let client = self.service.open(node, Box::new(move |text| unmap(text, number)))?;
        self.clients.insert(who, client);
        Ok(())
    }

    fn authenticate(
        &mut self,
        who: Who,
        password: Option<&str>,
    ) -> Result<Result<(), String>, Fault> {
        let bare = self.bare(&self.play.cast[who]);
        let known = self.passwords.get(&bare).cloned().unwrap_or(PASSWORD.to_owned());
        let user = bare.split('@').next().unwrap_or_default();
        let user = user.to_owned();
        self.client(who)?.authenticate(&user, password.unwrap_or(&known))
    }

    fn come(&mut self, who: Who, password: Option<&str>) -> Result<(), Fault> {
        self.calm(None)?;
        self.open(who)?;
        self.authenticate(who, password)?.map_err(|why| format!("authentication: {why}"))?;
        let jid = self.full(&self.play.cast[who]);
        let resource = jid.split_once('/').map_or("", |(_, resource)| resource);
        self.client(who)?.bind(resource)?;
        // other nodes route to it from here on
        self.service.wait_for_session(&jid, true)
    }

    fn come_online(&mut self, who: Who) -> Result<(), Fault> {
        self.come(who, None)?;
        let own = self.play.cast[who].jid.clone();
        let client = self.client(who)?;
        client.ask("<iq type='get' id='play-roster'><query xmlns='jabber:iq:roster'/></iq>")?;
        client.say("<presence/>");
        client.find("its own presence", |tree| {
            tree.is("presence") && tree.attribute("from") == Some(&own)
        })?;
        self.restless = Some(who);
        Ok(())
    }

    fn say(&mut self, who: Who, words: &str, at_once: bool) -> Result<(), Fault> {
        if !at_once {
            self.calm(Some(who))?;
        }
        let mut words = map(words, self.number);
        for (name, value) in &self.known {
            words = words.replace(&format!("{{{name}}}"), &map(value, self.number));
        }
        self.client(who)?.say(&words);
        self.restless = Some(who);
        Ok(())
    }

    fn hear(&mut self, who: Who, stanzas: &[Tree], in_order: bool) -> Result<(), Fault> {
        let me = self.play.cast[who].jid.clone();
        let mut awaited: Vec<&Tree> = stanzas.iter().collect();
        let mut heard = Vec::new();
        while !awaited.is_empty() {
            let next = self.client(who)?.next().map_err(|why| {
                report(&format!("{} {why}", self.play.cast[who].name), &heard, &awaited)
            })?;
            let candidates = if in_order { 1 } else { awaited.len() };
            let mut reasons = Vec::new();
            let place = awaited.iter().take(candidates).position(|expected| {
                compare(expected, &next, &me, &mut self.known)
                    .map_err(|why| reasons.push(why))
                    .is_ok()
            });
            heard.push(next.to_string());
            match place {
                Some(place) => drop(awaited.remove(place)),
                None => return Err(report(&reasons.join("; "), &heard, &awaited)),
            }
        }
        Ok(())
    }

    fn silence(&mut self, who: Who) -> Result<(), Fault> {
        self.quiet()?;
        let client = self.client(who)?;
        client.ping()?;
        nothing_left(client)
    }

    fn offered(&mut self, who: Who, feature: &Tree, is_there: bool) -> Result<(), Fault> {
        let me = self.play.cast[who].jid.clone();
        let features = self.client(who)?.features.clone().ok_or("no features were heard")?;
        let mut known = self.known.clone();
        let fits = |child: &Tree| compare(feature, child, &me, &mut known).is_ok();
        match features.children.iter().any(fits) == is_there {
            true => Ok(()),
            false => Err(format!("the features are {features}")),
        }
    }

    /// An actor that will not be there any more, and has heard all.
    fn leaving(&mut self, who: Who) -> Result<Client, Fault> {
        self.calm(None)?;
        if self.client(who)?.is_bound {
            self.client(who)?.ping()?;
        }
        let client = self.clients.remove(&who).ok_or("it is not there")?;
        nothing_left(&client)?;
        Ok(client)
    }

    /// Its session has ended; what follows from that is on its way.
    fn gone(&mut self, who: Who) -> Result<(), Fault> {
        let jid = self.full(&self.play.cast[who]);
        self.service.wait_for_session(&jid, false)?;
        self.rounds(ROUNDS_BETWEEN)
    }

    fn thrown_out(&mut self, who: Who, wanted: &str) -> Result<(), Fault> {
        let mut client = self.clients.remove(&who).ok_or("it is not there")?;
        let error = client.next()?;
        if condition(&error) != Some(wanted) {
            return Err(report("this is not the end", &[error.to_string()], &[]));
        }
        client.ends()?;
        nothing_left(&client)
    }

    fn operate(&mut self, words: &[String], fails: bool) -> Result<(), Fault> {
        self.calm(None)?;
        let words: Vec<String> = words.iter().map(|word| map(word, self.number)).collect();
        let output = self.service.operate(&words)?;
        if output.status.success() == fails {
            let said = [output.stdout, output.stderr].concat();
            return Err(format!("{words:?}: {}", String::from_utf8_lossy(&said)));
        }
        Ok(())
    }

    fn kill(&mut self, who: Who) -> Result<(), Fault> {
        self.quiet()?;
        let node = self.node(who);
        self.service.kill(node);
        self.rounds.forget(node);
        let lost: Vec<Who> =
            self.clients.keys().copied().filter(|who| self.node(*who) == node).collect();
        for who in lost {
            self.clients.remove(&who);
            let jid = self.full(&self.play.cast[who]);
            self.service.wait_for_session(&jid, false)?;
        }
        Ok(())
    }

    /// Two accounts exchange requests, by sessions that are gone afterwards.
    fn contacts(&mut self, one: Who, other: Who, both: bool) -> Result<(), Fault> {
        let cast = &self.play.cast;
        let pair = [self.bare(&cast[one]), self.bare(&cast[other])];
        let mut clients = Vec::new();
        for jid in &pair {
            let mut client = self.service.open(0, Box::new(str::to_owned))?;
            let user = jid.split('@').next().unwrap_or_default();
            client.authenticate(user, PASSWORD)?.map_err(|why| format!("{jid}: {why}"))?;
            client.bind("before")?;
            client.ask("<iq type='get' id='play-r'><query xmlns='jabber:iq:roster'/></iq>")?;
            client.say("<presence/>");
            client.find("its own presence", |tree| {
                tree.attribute("from").is_some_and(|from| from.starts_with(jid.as_str()))
            })?;
            clients.push(client);
        }
        for (asks, answers) in [(0, 1), (1, 0)].into_iter().take(if both { 2 } else { 1 }) {
            let (asking, answering) = (&pair[asks], &pair[answers]);
            clients[asks].say(&format!("<presence type='subscribe' to='{answering}'/>"));
            clients[answers].find("a request", |tree| {
                tree.attribute("type") == Some("subscribe")
                    && tree.attribute("from") == Some(asking)
            })?;
            clients[answers].say(&format!("<presence type='subscribed' to='{asking}'/>"));
            clients[asks].find("a contact in the roster", |tree| is_granted(tree, answering))?;
        }
        for (client, jid) in clients.iter_mut().zip(&pair) {
            client.close()?;
            self.service.wait_for_session(&format!("{jid}/before"), false)?;
        }
        self.quiet()
    }

    /// Before somebody else than `next` does something, what was done has its
    /// effect.
    fn calm(&mut self, next: Option<Who>) -> Result<(), Fault> {
        if self.restless.is_none() || self.restless == next {
            return Ok(());
        }
        if let Some(client) = self.restless.take().and_then(|who| self.clients.get_mut(&who)) {
            // if its stream has ended, its play says so
            if client.is_bound && client.ping().is_err() && !client.is_over {
                return Err("the server does not answer a ping".into());
            }
        }
        self.rounds(ROUNDS_BETWEEN)
    }

    /// All that was said has had its effect: see [`Rounds`].
    fn quiet(&mut self) -> Result<(), Fault> {
        self.calm(None)?;
        for _ in 0..TIMES_TO_SILENCE {
            for client in self.clients.values_mut() {
                if client.is_bound && !client.is_over {
                    client.ask_home()?;
                }
            }
            self.rounds(ROUNDS_BETWEEN)?;
        }
        Ok(())
    }

    fn rounds(&mut self, count: usize) -> Result<(), Fault> {
        (0..count).try_for_each(|_| self.rounds.go())
    }

    /// Nobody has heard more than was expected.
    fn end(&mut self) -> Result<(), Fault> {
        self.quiet()?;
        for (who, client) in &mut self.clients {
            let name = &self.play.cast[*who].name;
            if !client.is_over && client.is_bound {
                client.ping().map_err(|why| format!("{name} {why}"))?;
            }
            nothing_left(client).map_err(|why| format!("{name}: {why}"))?;
        }
        Ok(())
    }

    fn client(&mut self, who: Who) -> Result<&mut Client, Fault> {
        let name = &self.play.cast[who].name;
        self.clients.get_mut(&who).ok_or_else(|| format!("{name} is not there"))
    }

    fn node(&self, who: Who) -> usize {
        who % self.service.count()
    }

    fn full(&self, actor: &Actor) -> String {
        map(&actor.jid, self.number)
    }

    fn bare(&self, actor: &Actor) -> String {
        self.full(actor).split('/').next().unwrap_or_default().to_owned()
    }
}

fn is_granted(tree: &Tree, contact: &str) -> bool {
    let item = tree.child("jabber:iq:roster").and_then(|query| query.child("jabber:iq:roster"));
    item.is_some_and(|item| {
        item.attribute("jid") == Some(contact)
            && matches!(item.attribute("subscription"), Some("to" | "both"))
    })
}

fn nothing_left(client: &Client) -> Result<(), Fault> {
    if client.heard.is_empty() {
        return Ok(());
    }
    let heard: Vec<String> = client.heard.iter().map(Tree::to_string).collect();
    Err(report("nobody expects this", &heard, &[]))
}

fn report(why: &str, heard: &[String], awaited: &[&Tree]) -> String {
    let mut out = why.to_owned();
    for stanza in heard {
        out.push_str(&format!("\n    heard   {stanza}"));
    }
    for stanza in awaited {
        out.push_str(&format!("\n    awaited {stanza}"));
    }
    out
}

/// A configuration whose accounts are those of a performance.
pub fn mapped(config: &[(String, String)], number: usize) -> Vec<(String, String)> {
    config.iter().map(|(section, line)| (section.clone(), map(line, number))).collect()
}

/// `romeo@localhost` of the play is `romeo.17@localhost` of the service.
fn map(text: &str, number: usize) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(place) = rest.to_ascii_lowercase().find("@localhost") {
        let (before, after) = rest.split_at(place);
        out.push_str(before);
        if before.ends_with(|c: char| c.is_alphanumeric() || c == '-' || c == '_') {
            out.push_str(&format!(".{number}"));
        }
        let (domain, after) = after.split_at("@localhost".len());
        out.push_str(domain);
        rest = after;
    }
    out.push_str(rest);
    out.replace("</username>", &format!(".{number}</username>"))
}

fn unmap(text: &str, number: usize) -> String {
    let own = format!(".{number}");
    match text.strip_suffix(&own) {
        // the text of a <username/>
        Some(name) if !name.contains(|c: char| !c.is_ascii_lowercase()) => name.to_owned(),
        _ => text.replace(&format!("{own}@localhost"), "@localhost"),
    }
}

#[test]
fn accounts_of_a_performance_are_its_own() {
    let mapped = map("<a to='romeo@localhost/x' from='@localhost'>j-1@LOCALHOST</a>", 7);
    assert_eq!(mapped, "<a to='romeo.7@localhost/x' from='@localhost'>j-1.7@LOCALHOST</a>");
    assert_eq!(unmap("romeo.7@localhost/x", 7), "romeo@localhost/x");
    assert_eq!(unmap("romeo.17@localhost", 7), "romeo.17@localhost");
    assert_eq!(unmap("romeo.7", 7), "romeo");
    assert_eq!(unmap("2.7", 7), "2.7");
}
