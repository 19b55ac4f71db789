//! The account of messages: each has a number within its pair and direction,
//! so whoever gets them knows what is missing, doubled or overtaken.

/// What one receiver has had from one sender, who counts from 1.
#[derive(Debug, Default)]
pub struct Received {
    /// The highest number.
    pub last: u64,
    /// Numbers below it that have not come.
    missing: Vec<u64>,
    pub count: u64,
    pub doubled: u64,
    pub overtaken: u64,
}

impl Received {
    /// One more has come.
    pub fn note(&mut self, number: u64) {
        if number > self.last {
            self.missing.extend(self.last + 1..number);
            self.last = number;
            self.count += 1;
        } else if let Some(at) = self.missing.iter().position(|one| *one == number) {
            self.missing.swap_remove(at);
            self.overtaken += 1;
            self.count += 1;
        } else {
            self.doubled += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_doubled_or_overtaken_is_counted() {
        let mut received = Received::default();
        [1, 2, 5, 3, 5, 2, 6].into_iter().for_each(|number| received.note(number));
        assert_eq!((received.count, received.doubled, received.overtaken), (5, 2, 1));
    }
}
