//! The three kinds of stanzas and their types (RFC 6120 §8.2, RFC 6121).

/// A stanza's name and its `type` in one, so that no type stands under the
/// wrong name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `<message/>`
    Message(MessageType),
    /// `<presence/>`
    Presence(PresenceType),
    /// `<iq/>`
    Iq(IqType),
}

/// RFC 6121 §5.2.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageType {
    /// No type, `normal`, and every type that is not known.
    Normal,
    /// `chat`
    Chat,
    /// `groupchat`
    Groupchat,
    /// `headline`
    Headline,
    /// `error`
    Error,
}

/// RFC 6121 §4.7.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PresenceType {
    /// No type.
    Available,
    /// `unavailable`
    Unavailable,
    /// `subscribe`
    Subscribe,
    /// `subscribed`
    Subscribed,
    /// `unsubscribe`
    Unsubscribe,
    /// `unsubscribed`
    Unsubscribed,
    /// `probe`
    Probe,
    /// `error`
    Error,
}

/// RFC 6120 §8.2.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IqType {
    /// `get`
    Get,
    /// `set`
    Set,
    /// `result`
    Result,
    /// `error`
    Error,
}

impl Kind {
    /// From the element's name and its type.
    ///
    /// `None` for what is no stanza; `Some(None)` for a stanza whose type is
    /// none of its kind's.
    pub fn read(name: &str, kind: Option<&str>) -> Option<Option<Self>> {
        match name {
            "message" => Some(Some(Self::Message(match kind {
                Some("chat") => MessageType::Chat,
                Some("groupchat") => MessageType::Groupchat,
                Some("headline") => MessageType::Headline,
                Some("error") => MessageType::Error,
                _ => MessageType::Normal,
            }))),
            "presence" => Some(
                match kind {
                    None => Some(PresenceType::Available),
                    Some("unavailable") => Some(PresenceType::Unavailable),
                    Some("subscribe") => Some(PresenceType::Subscribe),
                    Some("subscribed") => Some(PresenceType::Subscribed),
                    Some("unsubscribe") => Some(PresenceType::Unsubscribe),
                    Some("unsubscribed") => Some(PresenceType::Unsubscribed),
                    Some("probe") => Some(PresenceType::Probe),
                    Some("error") => Some(PresenceType::Error),
                    Some(_) => None,
                }
                .map(Self::Presence),
            ),
            "iq" => Some(
                match kind {
                    Some("get") => Some(IqType::Get),
                    Some("set") => Some(IqType::Set),
                    Some("result") => Some(IqType::Result),
                    Some("error") => Some(IqType::Error),
                    _ => None,
                }
                .map(Self::Iq),
            ),
            _ => None,
        }
    }

    /// The element's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Message(_) => "message",
            Self::Presence(_) => "presence",
            Self::Iq(_) => "iq",
        }
    }

    /// The value of `type`, if there must be one.
    pub fn word(self) -> Option<&'static str> {
        match self {
            Self::Message(kind) => match kind {
                MessageType::Normal => None,
                MessageType::Chat => Some("chat"),
                MessageType::Groupchat => Some("groupchat"),
                MessageType::Headline => Some("headline"),
                MessageType::Error => Some("error"),
            },
            Self::Presence(kind) => match kind {
                PresenceType::Available => None,
                PresenceType::Unavailable => Some("unavailable"),
                PresenceType::Subscribe => Some("subscribe"),
                PresenceType::Subscribed => Some("subscribed"),
                PresenceType::Unsubscribe => Some("unsubscribe"),
                PresenceType::Unsubscribed => Some("unsubscribed"),
                PresenceType::Probe => Some("probe"),
                PresenceType::Error => Some("error"),
            },
            Self::Iq(kind) => Some(match kind {
                IqType::Get => "get",
                IqType::Set => "set",
                IqType::Result => "result",
                IqType::Error => "error",
            }),
        }
    }

    /// The same kind with type `error`.
    pub fn to_error(self) -> Self {
        match self {
            Self::Message(_) => Self::Message(MessageType::Error),
            Self::Presence(_) => Self::Presence(PresenceType::Error),
            Self::Iq(_) => Self::Iq(IqType::Error),
        }
    }

    /// Whether it is an answer already, which is never answered (RFC 6120
    /// §8.3.1).
    pub fn is_answer(self) -> bool {
        self == self.to_error() || self == Self::Iq(IqType::Result)
    }

    /// Whether it is an IQ that wants an answer.
    pub fn is_request(self) -> bool {
        matches!(self, Self::Iq(IqType::Get | IqType::Set))
    }

    /// Whether it is a request about a subscription (RFC 6121 §3).
    pub fn is_subscription(self) -> bool {
        matches!(
            self,
            Self::Presence(
                PresenceType::Subscribe
                    | PresenceType::Subscribed
                    | PresenceType::Unsubscribe
                    | PresenceType::Unsubscribed
            )
        )
    }
}
