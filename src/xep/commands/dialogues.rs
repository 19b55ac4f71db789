//! Commands that wait for their form to be filled in (XEP-0050 §3.3: their
//! "sessions"). They are this node's: whoever fills in is connected to it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::xmpp::jid::Jid;

/// Commands that may wait; further ones are refused. A guess: far more than
/// administrators have open.
const WAITING_MAX: usize = 1_000;

/// How long somebody may fill in a form. A guess: a long telephone call.
const FILL_TIME_MAX: Duration = Duration::from_secs(15 * 60);

/// How long it is remembered that one was too late.
const REMEMBERED: Duration = Duration::from_secs(60 * 60);

/// The commands that wait.
#[derive(Debug, Default)]
pub struct Dialogues {
    waiting: Mutex<HashMap<String, Dialogue>>,
}

#[derive(Debug)]
struct Dialogue {
    with: Jid,
    node: &'static str,
    begun: Instant,
}

/// Why a dialogue does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// There is none of this id, with this party, about this command.
    Unknown,
    /// It waited for too long.
    Late,
}

/// Too many wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Dialogues {
    /// Begins one, and gives it an id that nobody guesses.
    ///
    /// # Errors
    /// [`Full`].
    pub fn begin(&self, with: &Jid, node: &'static str, now: Instant) -> Result<String, Full> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let age = |dialogue: &Dialogue| now.duration_since(dialogue.begun);
        waiting.retain(|_, dialogue| age(dialogue) < REMEMBERED);
        if waiting.len() >= WAITING_MAX {
            waiting.retain(|_, dialogue| age(dialogue) < FILL_TIME_MAX);
        }
        if waiting.len() >= WAITING_MAX {
            return Err(Full);
        }
        let id = format!("{:032x}", rand::random::<u128>());
        waiting.insert(id.clone(), Dialogue { with: with.clone(), node, begun: now });
        Ok(id)
    }

    /// Whether one still waits.
    ///
    /// # Errors
    /// [`Gone`].
    pub fn find(&self, id: &str, with: &Jid, node: &str, now: Instant) -> Result<(), Gone> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let dialogue = waiting.get(id).filter(|one| one.with == *with && one.node == node);
        match dialogue {
            None => Err(Gone::Unknown),
            Some(one) if now.duration_since(one.begun) >= FILL_TIME_MAX => {
                waiting.remove(id);
                Err(Gone::Late)
            }
            Some(_) => Ok(()),
        }
    }

    /// One has ended.
    pub fn end(&self, id: &str) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jid(text: &str) -> Jid {
        Jid::parse(text).expect("an address")
    }

    #[test]
    fn a_dialogue_is_known_by_its_id_its_party_and_its_command() {
        let dialogues = Dialogues::default();
        let (romeo, juliet, now) = (jid("romeo@im/a"), jid("juliet@im/a"), Instant::now());
        let id = dialogues.begin(&romeo, "x", now).expect("room");
        assert_eq!(dialogues.find(&id, &romeo, "x", now), Ok(()));
        assert_eq!(dialogues.find(&id, &juliet, "x", now), Err(Gone::Unknown));
        assert_eq!(dialogues.find(&id, &romeo, "y", now), Err(Gone::Unknown));
        assert_eq!(dialogues.find("1", &romeo, "x", now), Err(Gone::Unknown));
        let late = now + FILL_TIME_MAX;
        assert_eq!(dialogues.find(&id, &romeo, "x", late), Err(Gone::Late));
        assert_eq!(dialogues.find(&id, &romeo, "x", late), Err(Gone::Unknown));
    }

    #[test]
    fn those_that_wait_have_a_limit() {
        let dialogues = Dialogues::default();
        let (romeo, now) = (jid("romeo@im/a"), Instant::now());
        let mut last = String::new();
        for _ in 0..WAITING_MAX {
            last = dialogues.begin(&romeo, "x", now).expect("room");
        }
        assert_eq!(dialogues.begin(&romeo, "x", now), Err(Full));
        dialogues.end(&last);
        assert!(dialogues.begin(&romeo, "x", now).is_ok());
        assert!(dialogues.begin(&romeo, "x", now + FILL_TIME_MAX).is_ok(), "old ones make room");
    }
}
