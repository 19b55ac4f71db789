//! What people see: tables whose columns are as wide as they must be.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::admin::belongings::OfflineLine;
use crate::admin::components::ComponentLine;
use crate::admin::report::{NodeLine, Status};
use crate::admin::requests::{BanLine, ContactLine, EventLine, MemberLine, SessionLine};
use crate::xep::time::utc;

/// All nodes, and the verdict.
pub fn status(status: &Status) -> String {
    let head = [
        "NODE",
        "STATE",
        "ADDRESS",
        "VERSION",
        "UPTIME",
        "SESSIONS",
        "ROUTES",
        "ROWS",
        "HEARD",
        "ROUND TRIP",
        "LAG",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(status.nodes.iter().map(|node| line(node, &status.from)));
    // changes acknowledged late: not worth a column while there are none
    if status.nodes.iter().any(|node| node.durable_late > 0) {
        let late = status.nodes.iter().map(|node| node.durable_late.to_string());
        let cells = std::iter::once("LATE".to_owned()).chain(late);
        rows.iter_mut().zip(cells).for_each(|(row, cell)| row.push(cell));
    }
    let lines = std::iter::once(&status.verdict).chain(&status.notes);
    format!("{}\n{}", columns(&rows), lines.cloned().collect::<Vec<_>>().join("\n"))
}

fn line(node: &NodeLine, from: &str) -> Vec<String> {
    let number = |number: Option<u64>| number.map_or("-".into(), |number| number.to_string());
    let millis = |number: Option<u64>| number.map_or("-".into(), |number| format!("{number} ms"));
    let here = if node.node == from { "*" } else { "" };
    vec![
        format!("{}{here}", node.node),
        state(node),
        node.address.clone(),
        node.version.clone(),
        node.uptime.map_or("-".into(), |seconds| span(Duration::from_secs(seconds))),
        number(node.sessions),
        number(node.routes),
        number(node.durable_rows),
        millis(node.heard),
        node.round_trip.map_or("-".into(), |millis| format!("{millis:.1} ms")),
        number(node.lag),
    ]
}

/// What a node is up to; of one that drains, how far it is.
fn state(node: &NodeLine) -> String {
    match (node.state.as_str(), node.sessions, node.draining_for) {
        ("draining", Some(left), Some(seconds)) => {
            format!("draining, {left} left, {} to go", span(Duration::from_secs(seconds)))
        }
        ("draining", Some(left), None) => format!("draining, {left} left"),
        (word, ..) => word.to_owned(),
    }
}

/// Who is connected.
pub fn sessions(sessions: &[SessionLine], count: usize) -> String {
    let mut rows =
        vec![["JID", "NODE", "ADDRESS", "PRIORITY", "SINCE"].map(str::to_owned).to_vec()];
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    rows.extend(sessions.iter().map(|session| {
        let since = now.saturating_sub(Duration::from_millis(session.bound));
        let priority = session.priority.map_or("-".into(), |priority| priority.to_string());
        let address = session.address.clone().unwrap_or("-".into());
        vec![session.jid.clone(), session.node.clone(), address, priority, span(since)]
    }));
    match sessions.len() {
        shown if shown < count => format!("{}\n{shown} of {count} sessions", columns(&rows)),
        1 => format!("{}\n1 session", columns(&rows)),
        _ => format!("{}\n{count} sessions", columns(&rows)),
    }
}

/// All components, on whichever node.
pub fn components(components: &[ComponentLine]) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let line = |one: &ComponentLine| {
        let number = |number: Option<u64>| number.map_or("-".into(), |number| number.to_string());
        let busy = one.busy.as_ref();
        vec![
            one.domain.clone(),
            one.instance.clone(),
            one.node.clone(),
            one.state.clone(),
            span(now.saturating_sub(Duration::from_millis(one.since))),
            number(busy.map(|busy| busy.got)),
            number(busy.map(|busy| busy.sent)),
            number(busy.map(|busy| busy.waiting_bytes as u64)),
            one.buckets.map_or("-".into(), |buckets| buckets.to_string()),
            one.title.clone(),
        ]
    };
    let head = [
        "DOMAIN", "INSTANCE", "NODE", "STATE", "SINCE", "GOT", "SENT", "WAITING", "BUCKETS", "NAME",
    ];
    listed(&head, components.iter().map(line), "component")
}

/// All nodes of the cluster, whether they run or not.
pub fn nodes(nodes: &[MemberLine]) -> String {
    let line = |node: &MemberLine| {
        let state = match &node.removed {
            Some(removal) => format!("removed on {}, {}", removal.by, moment(removal.at)),
            None => node.state.clone(),
        };
        vec![node.node.clone(), state, node.address.clone(), node.version.clone()]
    };
    listed(&["NODE", "STATE", "ADDRESS", "VERSION"], nodes.iter().map(line), "node")
}

/// What has happened.
pub fn events(events: &[EventLine]) -> String {
    let line = |event: &EventLine| vec![moment(event.at), event.node.clone(), event.words.clone()];
    listed(&["TIME", "NODE", "EVENT"], events.iter().map(line), "event")
}

/// A time of day (XEP-0082), of milliseconds since 1970.
fn moment(millis: u64) -> String {
    utc(UNIX_EPOCH.checked_add(Duration::from_millis(millis)).unwrap_or(UNIX_EPOCH))
}

/// Who is banned.
pub fn bans(bans: &[BanLine]) -> String {
    let line = |ban: &BanLine| vec![ban.account.clone(), ban.since.clone(), ban.reason.clone()];
    listed(&["ACCOUNT", "SINCE", "REASON"], bans.iter().map(line), "banned account")
}

/// Who is in a roster. One who has only asked is in brackets.
pub fn roster(contacts: &[ContactLine]) -> String {
    let line = |contact: &ContactLine| {
        let jid = match contact.is_in_roster {
            true => contact.jid.clone(),
            false => format!("({})", contact.jid),
        };
        let groups: Vec<&str> = contact.groups.iter().map(String::as_str).collect();
        let (subscription, pending) = (contact.subscription.clone(), contact.pending.clone());
        vec![jid, contact.name.clone(), subscription, pending, groups.join(", ")]
    };
    let head = ["JID", "NAME", "SUBSCRIPTION", "ASKED", "GROUPS"];
    listed(&head, contacts.iter().map(line), "contact")
}

/// What waits for an account.
pub fn offline(messages: &[OfflineLine]) -> String {
    let line = |message: &OfflineLine| {
        vec![message.from.clone(), message.when.clone(), message.bytes.to_string()]
    };
    listed(&["FROM", "WHEN", "BYTES"], messages.iter().map(line), "message")
}

fn listed(head: &[&str], lines: impl Iterator<Item = Vec<String>>, what: &str) -> String {
    let mut rows = vec![head.iter().map(|word| (*word).to_owned()).collect()];
    rows.extend(lines);
    match rows.len() - 1 {
        1 => format!("{}\n1 {what}", columns(&rows)),
        count => format!("{}\n{count} {what}s", columns(&rows)),
    }
}

/// The two largest units: `3d 4h`, `5m 6s`.
pub(super) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, ..) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

pub(super) fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let rows = [vec!["A".into(), "B".into()], vec!["long".into(), "x".into()]];
        assert_eq!(columns(&rows), "A     B\nlong  x");
    }

    #[test]
    fn spans_are_short() {
        let said = [5, 65, 3_660, 90_000].map(|seconds| span(Duration::from_secs(seconds)));
        assert_eq!(said, ["5s", "1m 5s", "1h 1m", "1d 1h"]);
    }
}
