//! What the commands of administrators do.

use std::collections::HashSet;
use std::sync::Arc;

use crate::extension::Rooms;
use crate::session_manager::accounts::Accounts;
use crate::session_manager::everywhere::{self, Announcement};
use crate::session_manager::orders::{self, Order};
use crate::storage::StoreError;
use crate::xep::commands::administration::{ADMIN, Command, Does, Each};
use crate::xep::commands::form::{self, Kind, Values};
use crate::xml::element::Element;
use crate::xmpp::error::{StanzaCondition, StanzaError};
use crate::xmpp::jid::{BareJid, Jid};
use crate::xmpp::namespaces::COMMANDS;

/// Users in one list, whatever is asked for: a stanza has an end.
const LISTED_MAX: usize = 1_000;

/// Bytes of an announcement. A guess: longer than anybody reads.
const TEXT_BYTES_MAX: usize = 32 << 10;

/// What came of it, in a form and in words.
#[derive(Debug, Default)]
pub struct Outcome {
    /// A form that tells something.
    pub form: Option<Element>,
    /// Words for people.
    pub note: String,
    /// How bad they are.
    pub fate: Fate,
}

/// Whether it was done (XEP-0050 §3.3: the type of a note).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fate {
    /// All of it.
    #[default]
    Done,
    /// Some of it.
    Partly,
    /// Nothing.
    Failed,
}

impl Outcome {
    /// Nothing was done. It is no error of the request, which was understood:
    /// clients show a note, and some drop an error.
    fn failed(note: impl Into<String>) -> Self {
        Self { form: None, note: note.into(), fate: Fate::Failed }
    }
}

impl Fate {
    /// The type of the note.
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "info",
            Self::Partly => "warn",
            Self::Failed => "error",
        }
    }
}

impl Command {
    /// Does it for one of our domains.
    ///
    /// # Errors
    /// What its giver is told; then nothing was done.
    pub async fn run(
        &self,
        rooms: &Rooms,
        domain: &str,
        values: &Values,
    ) -> Result<Outcome, StanzaError> {
        match self.does {
            Does::Add if all(values, "password") != all(values, "password-verify") => {
                Ok(Outcome::failed("the passwords differ"))
            }
            Does::Add => with_password(rooms, values, "added").await,
            Does::Password => with_password(rooms, values, "has a new password").await,
            Does::Each(each, what) => Ok(for_each(rooms, values, each, what).await),
            Does::Registered => {
                let count = registered(rooms, domain, usize::MAX).await?.1;
                Ok(number("registeredusersnum", count))
            }
            Does::Online => Ok(online_count(rooms, domain)),
            Does::RegisteredList => {
                let (names, count) = registered(rooms, domain, limit(values)).await?;
                Ok(listed("registereduserjids", names, count))
            }
            Does::OnlineList => {
                let mut names: Vec<String> = online(rooms, domain).into_iter().collect();
                names.sort_unstable();
                let count = names.len();
                names.truncate(limit(values));
                Ok(listed("onlineuserjids", names, count))
            }
            Does::Announce => announce(rooms, domain, values).await,
        }
    }
}

/// What is said where a form is not filled in as it should be.
pub fn bad_payload() -> StanzaError {
    StanzaError::from(StanzaCondition::BadRequest).with_application("bad-payload", COMMANDS)
}

fn all<'a>(values: &'a Values, var: &str) -> &'a [String] {
    values.get(var).map_or(&[], Vec::as_slice)
}

fn first<'a>(values: &'a Values, var: &str) -> &'a str {
    all(values, var).first().map_or("", String::as_str)
}

fn account(text: &str) -> Option<BareJid> {
    BareJid::parse(text).ok().filter(|jid| jid.local().is_some())
}

async fn with_password(rooms: &Rooms, values: &Values, what: &str) -> Result<Outcome, StanzaError> {
    let account = account(first(values, "accountjid")).ok_or_else(bad_payload)?;
    let credentials = match rooms.accounts.hash(first(values, "password")).await {
        Ok(credentials) => credentials,
        Err(error) => return Ok(Outcome::failed(error.to_string())),
    };
    let order = match values.contains_key("password-verify") {
        true => Order::Add(credentials),
        false => Order::Password(credentials),
    };
    Ok(match orders::give(&rooms.cluster, &account, &order).await {
        Ok(_) => Outcome { note: format!("{account} {what}"), ..Outcome::default() },
        Err(error) => Outcome::failed(format!("{account}: {error}")),
    })
}

/// Does the same with all of some accounts, and names those it could not be
/// done with.
async fn for_each(rooms: &Rooms, values: &Values, each: Each, what: &str) -> Outcome {
    let mut done = 0;
    let mut faults = Vec::new();
    for text in all(values, "accountjids") {
        let fault = match each {
            Each::Delete => ordered(rooms, text, Order::Remove).await,
            Each::Disable => ordered(rooms, text, Order::Ban(String::new())).await,
            Each::Enable => ordered(rooms, text, Order::Unban).await,
            Each::End => ended(rooms, text).await,
        };
        match fault {
            None => done += 1,
            Some(fault) => faults.push(format!("{text}: {fault}")),
        }
    }
    let noun = if done == 1 { "user" } else { "users" };
    let fate = match (done, faults.len()) {
        (_, 0) => Fate::Done,
        (0, _) => Fate::Failed,
        _ => Fate::Partly,
    };
    faults.insert(0, format!("{done} {noun} {what}"));
    Outcome { note: faults.join("\n"), fate, ..Outcome::default() }
}

async fn ordered(rooms: &Rooms, text: &str, order: Order) -> Option<String> {
    let Some(account) = account(text) else { return Some("not an account".into()) };
    let given = orders::give(&rooms.cluster, &account, &order).await;
    given.err().map(|error| error.to_string())
}

async fn ended(rooms: &Rooms, text: &str) -> Option<String> {
    let Ok(address) = Jid::parse(text) else { return Some("not an address".into()) };
    let told = everywhere::kick(&rooms.cluster, &address).await;
    match (told.sessions, told.silent) {
        (_, 1..) => Some("not every node answered".into()),
        (0, _) => Some("it has no session".into()),
        _ => None,
    }
}

/// Some accounts of a domain, and how many there are.
async fn registered(
    rooms: &Rooms,
    domain: &str,
    most: usize,
) -> Result<(Vec<String>, usize), StanzaError> {
    let (accounts, end) = (Arc::clone(&rooms.accounts), format!("@{domain}"));
    let looked = tokio::task::spawn_blocking(move || look_through(&accounts, &end, most)).await;
    let looked = looked.map_err(|_| StanzaError::from(StanzaCondition::InternalServerError))?;
    Ok(looked?)
}

fn look_through(
    accounts: &Accounts,
    end: &str,
    most: usize,
) -> Result<(Vec<String>, usize), StoreError> {
    let most = most.min(LISTED_MAX);
    let (mut names, mut count, mut from) = (Vec::new(), 0, String::new());
    loop {
        let (page, next) = accounts.list(&from)?;
        for name in page.into_iter().filter(|name| name.ends_with(end)) {
            count += 1;
            if names.len() < most {
                names.push(name);
            }
        }
        match next {
            Some(next) => from = next,
            None => return Ok((names, count)),
        }
    }
}

/// Who has an available session, on any node.
fn online(rooms: &Rooms, domain: &str) -> HashSet<String> {
    let mut names = HashSet::new();
    let end = format!("@{domain}");
    rooms.cluster.tables().sessions.for_each(|entry| {
        let bare = entry.row.jid.split('/').next().unwrap_or_default();
        if entry.row.priority.is_some() && bare.ends_with(&end) {
            names.insert(bare.to_owned());
        }
    });
    names
}

fn online_count(rooms: &Rooms, domain: &str) -> Outcome {
    let here = rooms.sessions.all_here();
    let here: HashSet<BareJid> = here
        .iter()
        .filter(|one| one.jid.domain() == domain && one.row().priority.is_some())
        .map(|one| one.jid.bare())
        .collect();
    let count = online(rooms, domain).len();
    let fields = [
        ("onlineusersnum", Kind::Text, vec![count.to_string()]),
        ("onlineusersnum-node", Kind::Text, vec![here.len().to_string()]),
    ];
    let form = Some(form::result(ADMIN, &fields));
    Outcome {
        form,
        note: format!("{count}, {} of them on this node", here.len()),
        fate: Fate::Done,
    }
}

fn number(var: &'static str, count: usize) -> Outcome {
    let form = form::result(ADMIN, &[(var, Kind::Text, vec![count.to_string()])]);
    Outcome { form: Some(form), ..Outcome::default() }
}

fn limit(values: &Values) -> usize {
    match all(values, "max_items").first().map(String::as_str) {
        // the first of those that can be chosen
        None => 25,
        Some(most) => most.parse().unwrap_or(LISTED_MAX).min(LISTED_MAX),
    }
}

fn listed(var: &'static str, names: Vec<String>, count: usize) -> Outcome {
    let note = match names.len() {
        shown if shown < count => format!("{shown} of {count}"),
        _ => String::new(),
    };
    let form = Some(form::result(ADMIN, &[(var, Kind::Jids, names)]));
    Outcome { form, note, fate: Fate::Done }
}

async fn announce(rooms: &Rooms, domain: &str, values: &Values) -> Result<Outcome, StanzaError> {
    let text = all(values, "announcement").join("\n");
    let subject = first(values, "subject").to_owned();
    if text.len() + subject.len() > TEXT_BYTES_MAX {
        return Ok(Outcome::failed("the announcement is too long"));
    }
    let announcement = Announcement { domain: domain.to_owned(), subject, text };
    let told = everywhere::announce(&rooms.cluster, &announcement).await;
    let sessions = told.sessions;
    let (note, fate) = match told.silent {
        0 => (format!("said to {sessions} sessions"), Fate::Done),
        silent => {
            let note = format!("said to {sessions} sessions; {silent} nodes did not answer");
            (note, Fate::Partly)
        }
    };
    Ok(Outcome { form: None, note, fate })
}
