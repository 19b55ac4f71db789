//! Which node answers for a key: every node computes it from the live names,
//! nobody is asked or elected. What is done at the home is not decided here.

use std::hash::Hasher;

use super::hash::Sip;
use super::node::NodeName;

/// The home of `key` (a bare JID's text) among the live nodes: the name with
/// the highest rendezvous hash (Thaler and Ravishankar, 1998). When a node
/// goes, only its own keys move, evenly to all others. `None` if nobody lives.
///
/// The order of `live` does not matter. Names weigh, not ids: a restarted node
/// is at home where it was.
pub fn home<'a>(key: &[u8], live: impl IntoIterator<Item = &'a NodeName>) -> Option<&'a NodeName> {
    live.into_iter().max_by_key(|name| (weight(key, name), *name))
}

/// How much `name` wants `key`: SipHash-2-4, key zero, over the name, a zero
/// byte and the key. Part of the protocol: nodes of different versions must
/// agree on it, so it never changes.
pub fn weight(key: &[u8], name: &NodeName) -> u64 {
    let mut sip = Sip::default();
    sip.write(name.as_str().as_bytes());
    sip.write(&[0]);
    sip.write(key);
    sip.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<NodeName> {
        text.split_whitespace().map(|name| name.parse().unwrap()).collect()
    }

    #[track_caller]
    fn check(key: &str, live: &str, expected: &str) {
        let live = names(live);
        let found = home(key.as_bytes(), &live).map_or("-", NodeName::as_str);
        assert_eq!(found, expected, "{key} among {live:?}");
    }

    #[test]
    fn the_home_is_the_same_on_every_machine_and_in_every_version() {
        assert_eq!(
            weight(b"juliet@example.org", &"verona".parse().unwrap()),
            0x9c23_8315_5125_ca9a
        );
        check("juliet@example.org", "verona mantua padua", "mantua");
        check("juliet@example.org", "padua mantua verona", "mantua");
        check("romeo@example.net", "verona mantua padua", "verona");
        check("user1@example.org", "verona mantua padua", "padua");
        check("juliet@example.org", "", "-");
    }

    #[test]
    fn when_a_node_goes_only_its_own_keys_move_and_evenly() {
        let five = names("a b c d e");
        let (four, keys) = (&five[..4], 10_000);
        let mut inherited = [0; 4];
        for key in 0..keys {
            let key = format!("user{key}@example.org");
            let before = home(key.as_bytes(), &five).unwrap();
            let after = home(key.as_bytes(), four).unwrap();
            if before == &five[4] {
                let heir = four.iter().position(|name| name == after).unwrap();
                inherited[heir] += 1;
            } else {
                assert_eq!(before, after, "{key}");
            }
        }
        for count in inherited {
            assert!((400..600).contains(&count), "{inherited:?}");
        }
    }
}
