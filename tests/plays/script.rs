//! The text of plays: who is in them, and what happens in which line.
//!
//! `README.md` beside the plays describes it for who writes one.

use super::tree::Tree;

/// One play.
#[derive(Debug, Clone)]
pub struct Play {
    /// The file, without its ending.
    pub file: String,
    pub title: String,
    pub cast: Vec<Actor>,
    pub lines: Vec<Line>,
    /// What the service must have in its configuration: section, line.
    pub config: Vec<(String, String)>,
    /// It makes no sense on one node.
    pub is_for_several: bool,
}

/// A session that comes and goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    pub name: String,
    /// Its full JID.
    pub jid: String,
}

#[derive(Debug, Clone)]
pub struct Line {
    /// In the file, from 1.
    pub number: usize,
    pub act: Act,
}

/// By its place in the cast.
pub type Who = usize;

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Two accounts see each other, or the first sees the second.
    Contacts {
        one: Who,
        other: Who,
        both: bool,
    },
    /// Connects, and does nothing yet.
    Opens(Who),
    /// Connects, authenticates, binds.
    Comes {
        who: Who,
        password: Option<String>,
    },
    /// And asks for the roster, and is available.
    ComesOnline(Who),
    /// Authentication fails.
    CannotCome {
        who: Who,
        password: Option<String>,
        condition: String,
    },
    /// `at_once`: without waiting for the effect of what others did before.
    Says {
        who: Who,
        words: String,
        at_once: bool,
    },
    Hears {
        who: Who,
        stanzas: Vec<Tree>,
        in_order: bool,
    },
    HearsNothing(Who),
    /// Something is, or is not, in the last features.
    Offered {
        who: Who,
        feature: Tree,
        is_there: bool,
    },
    /// Closes its stream.
    Goes(Who),
    /// Its socket is closed.
    IsCutOff(Who),
    /// The server closes its stream with an error.
    IsThrownOut {
        who: Who,
        condition: String,
    },
    Operator {
        words: Vec<String>,
        fails: bool,
    },
    /// The node that it is on is killed.
    NodeIsKilled(Who),
    /// Two names stand for different values.
    Differ {
        one: String,
        other: String,
    },
}

/// What is wrong with a text, and in which line.
pub type Fault = (usize, String);

/// Reads all plays of one file. Actors that are named before the first title
/// are in all of them.
pub fn parse(file: &str, text: &str) -> Result<Vec<Play>, Fault> {
    let mut plays: Vec<Play> = Vec::new();
    let mut common = Play::new(file, "");
    for (number, words) in lines(text) {
        if let Some(title) = words.strip_prefix("===") {
            plays.push(Play { title: title.trim().to_owned(), ..common.clone() });
            continue;
        }
        let play = plays.last_mut().unwrap_or(&mut common);
        play.line(number, &words).map_err(|why| (number, why))?;
    }
    if let Some(line) = common.lines.first() {
        return Err((line.number, "this is in no play: titles begin with ===".into()));
    }
    match plays.iter().find(|play| play.lines.is_empty()) {
        Some(empty) => Err((0, format!("nothing happens in {:?}", empty.title))),
        None => Ok(plays),
    }
}

/// Directions with the lines that belong to them: those that are indented.
fn lines(text: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        match found.last_mut() {
            Some((_, words)) if line.starts_with(' ') => {
                words.push('\n');
                words.push_str(line.trim());
            }
            _ => found.push((at + 1, line.trim().to_owned())),
        }
    }
    found
}

impl Play {
    fn new(file: &str, title: &str) -> Play {
        Play {
            file: file.to_owned(),
            title: title.to_owned(),
            cast: Vec::new(),
            lines: Vec::new(),
            config: Vec::new(),
            is_for_several: false,
        }
    }

    /// Whether it may not share its nodes with other plays.
    pub fn needs_own_nodes(&self) -> bool {
        let kills = |line: &Line| matches!(line.act, Act::NodeIsKilled(_));
        !self.config.is_empty() || self.lines.iter().any(kills)
    }

    fn line(&mut self, number: usize, words: &str) -> Result<(), String> {
        if words == "only on several nodes" {
            self.is_for_several = true;
            return Ok(());
        }
        if let Some(config) = words.strip_prefix("the service has [") {
            let (section, line) =
                config.split_once("] ").ok_or("expected [section] key = value")?;
            self.config.push((section.to_owned(), line.to_owned()));
            return Ok(());
        }
        if let Some((name, jid)) = words.split_once(" is ").filter(|(_, jid)| jid.contains('@')) {
            if !jid.contains('/') || self.cast.iter().any(|actor| actor.name == name) {
                return Err(format!("{name} must be one full JID"));
            }
            self.cast.push(Actor { name: name.to_owned(), jid: jid.to_owned() });
            return Ok(());
        }
        let act = self.act(words)?;
        self.lines.push(Line { number, act });
        Ok(())
    }

    fn act(&self, words: &str) -> Result<Act, String> {
        if let Some(command) = words.strip_prefix("the operator: ") {
            return Ok(Act::Operator { words: split(command), fails: false });
        }
        if let Some(command) = words.strip_prefix("the operator fails: ") {
            return Ok(Act::Operator { words: split(command), fails: true });
        }
        if let Some(name) = words.strip_prefix("the node of ") {
            let name = name.strip_suffix(" is killed").ok_or("a node can be killed, no more")?;
            return Ok(Act::NodeIsKilled(self.who(name)?));
        }
        if words.starts_with('{') {
            let names = words.strip_suffix(" differ").and_then(|names| names.split_once(" and "));
            let (one, other) = names.ok_or("names can differ, no more")?;
            let name = |name: &str| name.trim_matches(['{', '}']).to_owned();
            return Ok(Act::Differ { one: name(one), other: name(other) });
        }
        if let Some((one, other)) =
            words.strip_suffix(" are friends").and_then(|pair| pair.split_once(" and "))
        {
            return Ok(Act::Contacts { one: self.who(one)?, other: self.who(other)?, both: true });
        }
        let (name, verb) = words.split_once(' ').ok_or("this says nothing")?;
        self.deed(self.who(name)?, verb)
    }

    /// What one actor does.
    fn deed(&self, who: Who, verb: &str) -> Result<Act, String> {
        let (verb, xml) = match verb.split_once(':') {
            Some((verb, xml)) => (verb, Some(xml.trim())),
            None => (verb, None),
        };
        match (verb, xml) {
            ("opens a stream", None) => Ok(Act::Opens(who)),
            ("comes", None) => Ok(Act::Comes { who, password: None }),
            ("comes online", None) => Ok(Act::ComesOnline(who)),
            ("goes", None) => Ok(Act::Goes(who)),
            ("is cut off", None) => Ok(Act::IsCutOff(who)),
            ("hears nothing", None) => Ok(Act::HearsNothing(who)),
            ("says" | "says at once", Some(words)) => {
                // names may stand where only a value can
                trees(words)?;
                let at_once = verb.ends_with("at once");
                Ok(Act::Says { who, words: words.to_owned(), at_once })
            }
            ("hears", Some(xml)) => Ok(Act::Hears { who, stanzas: trees(xml)?, in_order: true }),
            ("hears in any order", Some(xml)) => {
                Ok(Act::Hears { who, stanzas: trees(xml)?, in_order: false })
            }
            ("is offered", Some(xml)) => {
                Ok(Act::Offered { who, feature: trees(xml)?.remove(0), is_there: true })
            }
            ("is not offered", Some(xml)) => {
                Ok(Act::Offered { who, feature: trees(xml)?.remove(0), is_there: false })
            }
            ("is thrown out", Some(condition)) => {
                Ok(Act::IsThrownOut { who, condition: condition.to_owned() })
            }
            ("cannot come", Some(condition)) => {
                Ok(Act::CannotCome { who, password: None, condition: condition.to_owned() })
            }
            (verb, xml) => self.with_words(who, verb, xml),
        }
    }

    /// Deeds with a word of their own.
    fn with_words(&self, who: Who, verb: &str, xml: Option<&str>) -> Result<Act, String> {
        if let Some(other) = verb.strip_prefix("sees ") {
            return Ok(Act::Contacts { one: who, other: self.who(other)?, both: false });
        }
        let of = |start: &str| verb.strip_prefix(start).map(str::to_owned);
        match (of("comes with the password "), of("cannot come with the password "), xml) {
            (password @ Some(_), _, None) => Ok(Act::Comes { who, password }),
            (_, password @ Some(_), Some(condition)) => {
                Ok(Act::CannotCome { who, password, condition: condition.to_owned() })
            }
            _ => Err(format!("nobody can {verb:?}")),
        }
    }

    fn who(&self, name: &str) -> Result<Who, String> {
        let place = self.cast.iter().position(|actor| actor.name == name);
        place.ok_or_else(|| format!("who is {name}?"))
    }
}

fn split(command: &str) -> Vec<String> {
    command.split_whitespace().map(str::to_owned).collect()
}

/// The stanzas of a text, at least one.
fn trees(text: &str) -> Result<Vec<Tree>, String> {
    let trees = Tree::parse_all(&with_errors(text)?)?;
    if trees.is_empty() { Err("there is no stanza".into()) } else { Ok(trees) }
}

/// `{error TYPE CONDITION}` is a stanza error; the server may add a text to it,
/// and what was said wrongly beside it (RFC 6120 §8.3.1).
fn with_errors(text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{error ") {
        let (words, after) = after.split_once('}').ok_or("an {error is not closed")?;
        let (kind, condition) = words.split_once(' ').ok_or("expected {error TYPE CONDITION}")?;
        let ns = "urn:ietf:params:xml:ns:xmpp-stanzas";
        out.push_str(before);
        out.push_str(&format!("<error type='{kind}'><{condition} xmlns='{ns}'/>...</error>..."));
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAST: &str = "Romeo is romeo@localhost/garden\nJuliet is juliet@localhost/balcony\n";

    #[track_caller]
    fn act(line: &str) -> Act {
        let plays = parse("x", &format!("{CAST}=== One\n{line}")).expect("a play");
        plays[0].lines[0].act.clone()
    }

    #[track_caller]
    fn wrong(text: &str, line: usize, why: &str) {
        let fault = parse("x", text).expect_err("it is wrong");
        assert_eq!((fault.0, fault.1.as_str()), (line, why));
    }

    #[test]
    fn directions_are_read() {
        assert_eq!(act("Romeo comes"), Act::Comes { who: 0, password: None });
        assert_eq!(act("Juliet comes online"), Act::ComesOnline(1));
        let password = Some("new".to_owned());
        assert_eq!(act("Romeo comes with the password new"), Act::Comes { who: 0, password });
        assert_eq!(act("Juliet is cut off"), Act::IsCutOff(1));
        let friends = Act::Contacts { one: 1, other: 0, both: true };
        assert_eq!(act("Juliet and Romeo are friends"), friends);
        assert_eq!(
            act("Romeo says: <message\n  to='juliet@localhost'/>"),
            Act::Says { who: 0, words: "<message\nto='juliet@localhost'/>".into(), at_once: false }
        );
        let Act::Hears { stanzas, in_order, .. } =
            act("Romeo hears in any order:\n  <presence/>\n\n  # a remark\n  <iq/>")
        else {
            panic!("he hears");
        };
        assert_eq!((stanzas.len(), in_order), (2, false));
        let words = ["user", "remove", "juliet@localhost"].map(str::to_owned).to_vec();
        let operator = Act::Operator { words, fails: false };
        assert_eq!(act("the operator: user remove juliet@localhost"), operator);
        let differ = Act::Differ { one: "a".into(), other: "b".into() };
        assert_eq!(act("{a} and {b} differ"), differ);
    }

    #[test]
    fn what_is_written_wrong_is_named() {
        wrong("=== One\nRomeo comes", 2, "who is Romeo?");
        wrong(&format!("{CAST}=== One\nRomeo sings"), 4, "nobody can \"sings\"");
        wrong(&format!("{CAST}Romeo comes"), 3, "this is in no play: titles begin with ===");
        wrong(&format!("{CAST}=== One"), 0, "nothing happens in \"One\"");
        wrong("Romeo is romeo@localhost", 1, "Romeo must be one full JID");
        let open = format!("{CAST}=== One\nRomeo says: <message>");
        assert_eq!(parse("x", &open).expect_err("not closed").0, 4);
        wrong(&format!("{CAST}=== One\nRomeo hears: x"), 4, "there is no stanza");
    }

    #[test]
    fn an_error_is_written_in_three_words() {
        let Act::Hears { stanzas, .. } = act("Romeo hears: <iq>{error cancel conflict}</iq>")
        else {
            panic!("he hears");
        };
        let error = &stanzas[0].children[0];
        assert_eq!(error.attribute("type"), Some("cancel"));
        assert!(error.child("urn:ietf:params:xml:ns:xmpp-stanzas").expect("one").is("conflict"));
        assert!(stanzas[0].text.contains("..."));
    }
}
