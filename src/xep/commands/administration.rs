//! Service administration (XEP-0133): which commands there are. What they do
//! is in `deeds`; who may give them is decided before.

use crate::xep::commands::form::{Field, Form, Kind};

/// What forms of this specification are called.
pub const ADMIN: &str = "http://jabber.org/protocol/admin";

/// One command.
#[derive(Debug, Clone, Copy)]
pub struct Command {
    /// Its node.
    pub node: &'static str,
    /// What people read.
    pub name: &'static str,
    /// What must be filled in; none: it is done at once.
    pub form: Option<Form>,
    /// What it does.
    pub(super) does: Does,
}

/// What a command does.
#[derive(Debug, Clone, Copy)]
pub(super) enum Does {
    Add,
    Each(Each, &'static str),
    Password,
    Registered,
    Online,
    RegisteredList,
    OnlineList,
    Announce,
}

/// What is done with each of some accounts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Each {
    Delete,
    Disable,
    Enable,
    End,
}

const fn field(var: &'static str, kind: Kind, label: &'static str) -> Field {
    Field { var, kind, label, is_required: true }
}

const ACCOUNT: Field = field("accountjid", Kind::Jid, "The account");
const ACCOUNTS: Field = field("accountjids", Kind::Jids, "The accounts");
const PASSWORD: Field = field("password", Kind::Secret, "The password");
const MAX_ITEMS: Field = Field {
    is_required: false,
    ..field(
        "max_items",
        Kind::One(&["25", "50", "75", "100", "150", "200", "none"]),
        "At most so many",
    )
};

const fn form(title: &'static str, fields: &'static [Field]) -> Option<Form> {
    Some(Form { form_type: ADMIN, title, fields })
}

/// All commands, in the order in which they are listed.
pub const ALL: &[Command] = &[
    Command {
        node: "http://jabber.org/protocol/admin#add-user",
        name: "Add User",
        form: form(
            "Add a user",
            &[ACCOUNT, PASSWORD, field("password-verify", Kind::Secret, "The password again")],
        ),
        does: Does::Add,
    },
    Command {
        node: "http://jabber.org/protocol/admin#delete-user",
        name: "Delete User",
        form: form("Delete users with all that belongs to them", &[ACCOUNTS]),
        does: Does::Each(Each::Delete, "deleted"),
    },
    Command {
        node: "http://jabber.org/protocol/admin#disable-user",
        name: "Disable User",
        form: form("Disable users", &[ACCOUNTS]),
        does: Does::Each(Each::Disable, "disabled"),
    },
    Command {
        node: "http://jabber.org/protocol/admin#reenable-user",
        name: "Re-Enable User",
        form: form("Enable users again", &[ACCOUNTS]),
        does: Does::Each(Each::Enable, "enabled"),
    },
    Command {
        node: "http://jabber.org/protocol/admin#end-user-session",
        name: "End User Session",
        form: form("End all sessions of users, or those of these full addresses", &[ACCOUNTS]),
        does: Does::Each(Each::End, "sent away"),
    },
    Command {
        node: "http://jabber.org/protocol/admin#change-user-password",
        name: "Change User Password",
        form: form("Give a user another password", &[ACCOUNT, PASSWORD]),
        does: Does::Password,
    },
    Command {
        node: "http://jabber.org/protocol/admin#get-registered-users-num",
        name: "Get Number of Registered Users",
        form: None,
        does: Does::Registered,
    },
    Command {
        node: "http://jabber.org/protocol/admin#get-online-users-num",
        name: "Get Number of Online Users",
        form: None,
        does: Does::Online,
    },
    Command {
        node: "http://jabber.org/protocol/admin#get-registered-users-list",
        name: "Get List of Registered Users",
        form: form("List registered users", &[MAX_ITEMS]),
        does: Does::RegisteredList,
    },
    Command {
        node: "http://jabber.org/protocol/admin#get-online-users-list",
        name: "Get List of Online Users",
        form: form("List online users", &[MAX_ITEMS]),
        does: Does::OnlineList,
    },
    Command {
        node: "http://jabber.org/protocol/admin#announce",
        name: "Send Announcement to Online Users",
        form: form(
            "Tell something to everybody who is online",
            &[
                Field { is_required: false, ..field("subject", Kind::Text, "Subject") },
                field("announcement", Kind::Lines, "Announcement"),
            ],
        ),
        does: Does::Announce,
    },
];
