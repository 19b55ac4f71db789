//! Medians, ranges and ratios.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde_json::{Value, json};

/// Whom the others are compared with.
const OURS: &str = "Jabiru";

/// What one service has shown.
type Column = (String, Vec<f64>);

/// Rows in the order in which they came.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<(String, Vec<Column>)>,
    faults: Vec<String>,
}

impl Table {
    /// One figure more of a service.
    pub fn add(&mut self, row: &str, service: &str, figure: &Value) {
        let figure = figure.as_f64().expect("a figure");
        let at = self.rows.iter().position(|(name, _)| name == row).unwrap_or_else(|| {
            self.rows.push((row.to_owned(), Vec::new()));
            self.rows.len() - 1
        });
        let columns = &mut self.rows[at].1;
        match columns.iter_mut().find(|(name, _)| name == service) {
            Some((_, figures)) => figures.push(figure),
            None => columns.push((service.to_owned(), vec![figure])),
        }
    }

    /// What was lost, doubled or overtaken is told below.
    pub fn must_be_none(&mut self, service: &str, said: &Value) {
        for what in ["lost", "bounced", "doubled", "overtaken"] {
            if said[what].as_u64().is_some_and(|count| count > 0) {
                self.faults.push(format!("{service}: {} {what}", said[what]));
            }
        }
    }

    /// Writes all figures.
    pub fn keep(&self, path: &Path) {
        let rows: BTreeMap<&str, BTreeMap<&str, &Vec<f64>>> = self
            .rows
            .iter()
            .map(|(name, columns)| {
                let columns = columns.iter().map(|(name, figures)| (name.as_str(), figures));
                (name.as_str(), columns.collect())
            })
            .collect();
        let text = json!({ "figures": rows, "faults": self.faults }).to_string();
        std::fs::write(path, text).expect("writable");
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| what | service | median (range) | ours to theirs |\n|---|---|---|---|")?;
        for (row, columns) in &self.rows {
            let ours = columns.iter().find(|(name, _)| name == OURS).map(|(_, all)| median(all));
            for (service, figures) in columns {
                let (low, high) = range(figures);
                let own = median(figures);
                let ratio = match ours {
                    Some(ours) if service != OURS && own > 0.0 => format!("{:.2}", ours / own),
                    _ => String::new(),
                };
                let (own, low, high) = (short(own), short(low), short(high));
                writeln!(f, "| {row} | {service} | {own} ({low} to {high}) | {ratio} |")?;
            }
        }
        for fault in &self.faults {
            writeln!(f, "{fault}")?;
        }
        Ok(())
    }
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn range(figures: &[f64]) -> (f64, f64) {
    let fold = |pick: fn(f64, f64) -> f64, start| figures.iter().copied().fold(start, pick);
    (fold(f64::min, f64::INFINITY), fold(f64::max, f64::NEG_INFINITY))
}

fn short(figure: f64) -> String {
    match figure {
        figure if figure >= 100.0 => format!("{figure:.0}"),
        figure => format!("{figure:.2}"),
    }
}
