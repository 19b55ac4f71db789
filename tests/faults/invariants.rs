//! What must hold whatever fails: pure judgements of a history. Each gives
//! back what it finds wrong, in words.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::history::{End, Heard, History, MessageId, Sent, Session, SessionId, Time};

/// A node that is killed takes with it what it was about to send. An answer
/// that came just before says nothing of it: without stream management
/// nothing does. A guess: ten times what a message takes.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// Between two sessions of a contact that are further apart than this, all
/// must have seen it unavailable; it is longer than a silent host takes to be
/// noticed.
const ABSENCE_MIN: Duration = Duration::from_secs(3);

/// No message has vanished: each was heard, or came back, or its sender does
/// not know that it was accepted.
pub fn vanished(history: &History) -> Vec<String> {
    let heard: BTreeSet<_> = history.heard.iter().map(|heard| heard.id).collect();
    let bounced: BTreeSet<_> = history.bounced.iter().map(|(id, _)| *id).collect();
    let is_accepted = |sent: &&Sent| {
        let broken = match &history.sessions[sent.id.session].ended {
            Some((at, End::Broken)) => Some(*at),
            _ => None,
        };
        sent.acknowledged
            .is_some_and(|acked| broken.is_none_or(|broken| acked + LAST_WORDS < broken))
    };
    let lost = history.sent.iter().filter(is_accepted);
    let lost = lost.filter(|sent| !heard.contains(&sent.id) && !bounced.contains(&sent.id));
    lost.map(|sent| {
        let from = &history.sessions[sent.id.session];
        format!(
            "message {} has vanished: u{} on n{} said it to u{} at {:?}",
            sent.id, from.user, from.node, sent.to, sent.at
        )
    })
    .collect()
}

/// No session has heard a message twice, or one that nobody said to it.
pub fn repeated(history: &History) -> Vec<String> {
    let mut known = BTreeMap::new();
    let mut wrong = Vec::new();
    for heard in &history.heard {
        let user = history.sessions[heard.session].user;
        if let Some(before) = known.insert((heard.session, heard.id), heard.at) {
            wrong.push(format!(
                "message {} was given to u{user} twice: at {before:?} and {:?}",
                heard.id, heard.at
            ));
        }
        if history.message(heard.id).is_none_or(|sent| sent.to != user) {
            wrong.push(format!("message {} was not for u{user}", heard.id));
        }
    }
    wrong
}

/// What one session said, another hears in that order, whatever has come
/// between their nodes (RFC 6120 §10.1). What was stored in between says so
/// itself, and is in order with its like; it may come after what was said
/// later and never stored (XEP-0160). What comes twice is [`repeated`]'s.
pub fn disordered(history: &History) -> Vec<String> {
    let mut last: HashMap<(SessionId, SessionId, bool), u32> = HashMap::new();
    let mut known = BTreeSet::new();
    let mut wrong = Vec::new();
    for heard in history.heard.iter().filter(|heard| known.insert((heard.session, heard.id))) {
        let pair = (heard.session, heard.id.session, heard.was_stored);
        let last = last.entry(pair).or_insert(heard.id.number);
        if heard.id.number < *last {
            let user = history.sessions[heard.session].user;
            let sent = |number| {
                let id = MessageId { number, ..heard.id };
                history.message(id).map(|sent| sent.at).unwrap_or_default()
            };
            wrong.push(format!(
                "message {} of {:?} came to u{user} at {:?}, after number {last} of {:?}; stored: {}",
                heard.id,
                sent(heard.id.number),
                heard.at,
                sent(*last),
                heard.was_stored,
            ));
        }
        *last = heard.id.number;
    }
    wrong
}

/// No contact is seen to go twice without having come between.
pub fn gone_twice(history: &History) -> Vec<String> {
    let mut state: HashMap<(SessionId, usize), bool> = HashMap::new();
    let mut wrong = Vec::new();
    for seen in &history.seen {
        let before = state.insert((seen.session, seen.contact), seen.is_available);
        if before == Some(false) && !seen.is_available {
            let user = history.sessions[seen.session].user;
            wrong.push(format!("u{user} saw u{} go a second time at {:?}", seen.contact, seen.at));
        }
    }
    wrong
}

/// Whoever was away for a while was seen to go, exactly once, by each contact
/// that was there all the time.
pub fn unseen_losses(history: &History, contacts: &[(usize, usize)], end: Time) -> Vec<String> {
    let mut wrong = Vec::new();
    for (user, contact) in contacts {
        let lives: Vec<_> = history.sessions_of(*contact).collect();
        for (at, life) in lives.iter().enumerate() {
            let Some((gone, _)) = life.ended else { continue };
            let back = lives.get(at + 1).map_or(end, |next| next.begun);
            if back < gone + ABSENCE_MIN {
                continue;
            }
            let was_there = |session: &(usize, &Session)| {
                let ended = session.1.ended.as_ref().map_or(end, |(ended, _)| *ended);
                session.1.user == *user && session.1.begun + ABSENCE_MIN < gone && ended >= back
            };
            for (session, _) in history.sessions.iter().enumerate().filter(was_there) {
                let times = history.seen.iter().filter(|seen| {
                    let of_both = seen.session == session && seen.contact == *contact;
                    of_both && !seen.is_available && seen.at + LAST_WORDS > gone && seen.at < back
                });
                let times = times.count();
                if times != 1 {
                    wrong.push(format!(
                        "u{user} saw u{contact} go {times} times while it was away from {gone:?} \
                         to {back:?}"
                    ));
                }
            }
        }
    }
    wrong
}

/// In the end each client sees its contacts as they are.
pub fn wrongly_seen(history: &History, contacts: &[(usize, usize)]) -> Vec<String> {
    let is_there = |user| history.sessions_of(user).any(|session| session.ended.is_none());
    let mut wrong = Vec::new();
    for (user, contact) in contacts {
        let sessions = history.sessions.iter().enumerate();
        for (session, _) in sessions.filter(|(_, one)| one.user == *user && one.ended.is_none()) {
            let mut seen = history.seen.iter().rev();
            let last = seen.find(|seen| seen.session == session && seen.contact == *contact);
            let last = last.is_some_and(|seen| seen.is_available);
            if last != is_there(*contact) {
                wrong.push(format!("u{user} sees u{contact} as available: {last}, at the end"));
            }
        }
    }
    wrong
}

/// No client of a healthy node lost its stream.
pub fn disturbed(history: &History, is_healthy: impl Fn(usize) -> bool) -> Vec<String> {
    let ended = history.sessions.iter().filter(|session| is_healthy(session.node));
    let ended = ended.filter_map(|session| Some((session, session.ended.as_ref()?)));
    ended
        .filter(|(_, (_, end))| *end != End::Closed)
        .map(|(session, (at, end))| {
            format!("u{} on n{} lost its stream at {at:?}: {end:?}", session.user, session.node)
        })
        .collect()
}

/// How long messages took between sessions of these nodes that were said
/// within `from..to`; shortest first. One that was not heard yet takes for
/// ever.
pub fn latencies(
    history: &History,
    is_among: impl Fn(usize) -> bool,
    (from, to): (Time, Time),
) -> Vec<Duration> {
    let heard: HashMap<_, _> = history.heard.iter().map(|heard| (heard.id, heard)).collect();
    let took = history.sent.iter().filter_map(|sent| {
        let heard = heard.get(&sent.id);
        let node = match heard {
            Some(heard) => history.sessions[heard.session].node,
            None => history.sessions_of(sent.to).last()?.node,
        };
        let nodes = [history.sessions[sent.id.session].node, node];
        let fits = nodes.into_iter().all(&is_among) && sent.at >= from && sent.at < to;
        fits.then(|| heard.map_or(Duration::MAX, |heard| heard.at.saturating_sub(sent.at)))
    });
    let mut took: Vec<Duration> = took.collect();
    took.sort_unstable();
    took
}

/// Of a growing list, what so many of a thousand do not exceed.
pub fn quantile(sorted: &[Duration], thousandths: usize) -> Duration {
    let last = sorted.len().saturating_sub(1);
    sorted.get((sorted.len() * thousandths / 1_000).min(last)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::history::Seen;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Users 0 and 1, on nodes 0 and 1, from the first second on.
    fn two() -> History {
        let mut history = History::default();
        for user in 0..2 {
            history.begin(user, user, SECOND);
        }
        history
    }

    fn id(number: u32) -> MessageId {
        MessageId { session: 0, number }
    }

    fn hear(history: &mut History, number: u32, at: u32, was_stored: bool) {
        history.heard.push(Heard { id: id(number), session: 1, was_stored, at: SECOND * at });
    }

    #[test]
    fn a_message_that_was_accepted_and_came_nowhere_has_vanished() {
        let mut history = two();
        history.say(id(0), 1, SECOND * 2);
        assert!(vanished(&history).is_empty(), "nobody has accepted it");
        history.acknowledge(0, 1, SECOND * 3);
        assert_eq!(vanished(&history).len(), 1);
        let mut broken = history.clone();
        broken.end(0, SECOND * 3 + LAST_WORDS / 2, End::Broken);
        assert!(vanished(&broken).is_empty(), "its node went at that moment");
        let mut bounced = history.clone();
        bounced.bounced.push((id(0), SECOND * 4));
        assert!(vanished(&bounced).is_empty());
        hear(&mut history, 0, 4, false);
        assert!(vanished(&history).is_empty());
    }

    #[test]
    fn what_comes_twice_or_to_another_is_repeated() {
        let mut history = two();
        history.say(id(0), 1, SECOND);
        hear(&mut history, 0, 2, false);
        assert!(repeated(&history).is_empty());
        hear(&mut history, 0, 3, true);
        assert_eq!(repeated(&history).len(), 1);
        hear(&mut history, 9, 3, false);
        assert_eq!(repeated(&history).len(), 2, "nobody said it");
    }

    #[test]
    fn what_is_overtaken_is_disordered() {
        let mut history = two();
        (0..3).for_each(|number| history.say(id(number), 1, SECOND));
        hear(&mut history, 0, 2, true);
        hear(&mut history, 2, 2, false);
        assert!(disordered(&history).is_empty());
        hear(&mut history, 1, 3, true);
        assert!(disordered(&history).is_empty(), "it was stored");
        hear(&mut history, 1, 3, false);
        assert!(disordered(&history).is_empty(), "it comes a second time");
        let mut overtaken = two();
        (0..2).for_each(|number| overtaken.say(id(number), 1, SECOND));
        hear(&mut overtaken, 1, 2, false);
        hear(&mut overtaken, 0, 3, false);
        assert_eq!(disordered(&overtaken).len(), 1);
        // another session of the same person begins anew
        overtaken.begin(1, 0, SECOND * 4);
        overtaken.heard[1].session = 2;
        assert!(disordered(&overtaken).is_empty());
    }

    #[test]
    fn a_loss_is_seen_once() {
        let mut history = two();
        let contacts = [(1, 0)];
        let see = |history: &mut History, is_available, at| {
            let at = SECOND * at;
            history.seen.push(Seen { session: 1, contact: 0, is_available, at });
        };
        see(&mut history, true, 2);
        assert!(wrongly_seen(&history, &contacts).is_empty());
        history.end(0, SECOND * 10, End::Broken);
        assert_eq!(wrongly_seen(&history, &contacts).len(), 1);
        assert_eq!(unseen_losses(&history, &contacts, SECOND * 20).len(), 1, "never seen");
        see(&mut history, false, 11);
        assert!(unseen_losses(&history, &contacts, SECOND * 20).is_empty());
        assert!(gone_twice(&history).is_empty() && wrongly_seen(&history, &contacts).is_empty());
        see(&mut history, false, 12);
        assert_eq!(unseen_losses(&history, &contacts, SECOND * 20).len(), 1, "seen twice");
        assert_eq!(gone_twice(&history).len(), 1);
    }

    #[test]
    fn a_stream_of_a_healthy_node_stays() {
        let mut history = two();
        history.end(0, SECOND, End::Broken);
        history.end(1, SECOND, End::Closed);
        assert_eq!(disturbed(&history, |_| true).len(), 1);
        assert!(disturbed(&history, |node| node != 0).is_empty());
    }

    #[test]
    fn what_is_not_heard_takes_for_ever() {
        let mut history = two();
        (0..2).for_each(|number| history.say(id(number), 1, SECOND * 2));
        hear(&mut history, 0, 5, false);
        let took = latencies(&history, |_| true, (SECOND, SECOND * 9));
        assert_eq!(took, [SECOND * 3, Duration::MAX]);
        assert!(latencies(&history, |node| node == 0, (SECOND, SECOND * 9)).is_empty());
        assert!(latencies(&history, |_| true, (SECOND * 3, SECOND * 9)).is_empty());
        assert_eq!((quantile(&took, 100), quantile(&took, 990)), (SECOND * 3, Duration::MAX));
    }
}
