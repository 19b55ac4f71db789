//! What was measured, in words or as one line of JSON.

use serde_json::{Map, Value};

/// Names and figures, in order.
#[derive(Debug, Default)]
pub struct Report {
    lines: Vec<(&'static str, Value)>,
}

impl Report {
    /// One figure more; three digits of it count.
    pub fn figure(&mut self, name: &'static str, figure: f64) {
        let digits = match figure.abs() {
            figure if figure >= 1_000.0 => 0,
            figure if figure >= 10.0 => 1,
            _ => 3,
        };
        let scale = 10f64.powi(digits);
        self.lines.push((name, Value::from((figure * scale).round() / scale)));
    }

    /// A count.
    pub fn count(&mut self, name: &'static str, count: u64) {
        self.lines.push((name, Value::from(count)));
    }

    /// Prints it.
    pub fn tell(self, as_json: bool) {
        if as_json {
            let map: Map<String, Value> =
                self.lines.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            println!("{}", Value::Object(map));
            return;
        }
        let width = self.lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in self.lines {
            println!("{:width$}  {value}", name.replace('_', " "));
        }
    }
}
