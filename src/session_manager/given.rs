//! Which messages a session was given, by their marks: what came back to its
//! sender in doubt, for the way between two nodes broke, is sent once more,
//! and a client must not hear it twice.

use std::collections::VecDeque;

/// How many marks are remembered for a session. What can be in doubt came in
/// the last moments before a way broke. A guess: a second of a busy chat.
const MARKS_MAX: usize = 512;

/// Names a message, whatever way it takes; 0: it has no name, for only one
/// node has ever had it.
pub type Mark = u64;

/// The latest marks. Full: the first is forgotten.
#[derive(Debug, Default)]
pub struct Given(VecDeque<Mark>);

impl Given {
    /// A message is given to the session; `false`: it has it already.
    pub fn note(&mut self, mark: Mark) -> bool {
        if mark == 0 {
            return true;
        }
        if self.0.contains(&mark) {
            return false;
        }
        if self.0.len() >= MARKS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(mark);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_given_once() {
        let mut given = Given::default();
        assert!(given.note(7) && !given.note(7) && given.note(8));
        assert!(given.note(0) && given.note(0), "without a name nothing is known");
    }

    #[test]
    fn only_the_latest_are_remembered() {
        let mut given = Given::default();
        assert!((1..=MARKS_MAX as u64 + 1).all(|mark| given.note(mark)));
        assert_eq!(given.0.len(), MARKS_MAX);
        assert!(given.note(1) && !given.note(3));
    }
}
