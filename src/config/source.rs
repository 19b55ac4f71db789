//! Where keys come from, and how to say where something wrong was found: file,
//! line, key. What is wrong is said by the types of the keys and by `faults`.

use std::fmt;
use std::path::Path;

use crate::config::Config;

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// A file, a variable or a flag.
    pub place: String,
    /// The line in the file.
    pub line: Option<usize>,
    /// The key, with its section.
    pub key: Option<String>,
    /// What was found, and what is allowed.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.place)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(key) = &self.key {
            write!(f, ": {key}")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for ConfigError {}

/// One source of keys and its text, to say where something was found.
pub(super) struct Source {
    pub(super) place: String,
    pub(super) text: String,
}

pub(super) fn read(file: &Path) -> Result<Source, ConfigError> {
    let place = file.display().to_string();
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Source { place, text }),
        Err(error) => {
            let message = format!("cannot be read: {error}");
            Err(ConfigError { place, line: None, key: None, message })
        }
    }
}

/// Checks one source by itself, so that what is wrong has a line.
pub(super) fn parse(source: &Source) -> Result<toml::Table, ConfigError> {
    let wrong = |error: toml::de::Error| {
        let at = error.span().map(|span| span.start);
        let line = at.map(|at| line_of(&source.text, at));
        let key = at.and_then(|at| key_at(&source.text, at));
        let message = error.message().trim_end().replace('\n', "; ");
        ConfigError { place: source.place.clone(), line, key, message }
    };
    let table = toml::from_str::<toml::Table>(&source.text).map_err(wrong)?;
    toml::from_str::<Config>(&source.text).map_err(wrong)?;
    Ok(table)
}

/// `value` as TOML, or as a text if it is none.
pub(super) fn one_key(key: &str, value: &str) -> String {
    let as_it_is = format!("{key} = {value}\n");
    match toml::from_str::<toml::Table>(&as_it_is) {
        Ok(_) => as_it_is,
        Err(_) => format!("{key} = {}\n", toml::Value::String(value.into())),
    }
}

/// Tables are merged, anything else is replaced.
pub(super) fn merge(keys: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (keys.get_mut(&key), value) {
            (Some(toml::Value::Table(old)), toml::Value::Table(new)) => merge(old, new),
            (_, value) => {
                keys.insert(key, value);
            }
        }
    }
}

/// Where a key was last given.
pub(super) fn locate(sources: &[Source], key: &str, message: String) -> ConfigError {
    let found = sources.iter().rev().find_map(|source| {
        let starts = source.text.match_indices('\n').map(|(at, _)| at + 1);
        let mut starts = std::iter::once(0).chain(starts);
        let at = starts.find(|at| key_at(&source.text, *at).as_deref() == Some(key))?;
        Some((source, line_of(&source.text, at)))
    });
    let (place, line) = match found {
        Some((source, _)) if source.text.lines().count() == 1 => (source.place.clone(), None),
        Some((source, line)) => (source.place.clone(), Some(line)),
        None => (sources.first().map_or("config", |first| &first.place).to_owned(), None),
    };
    ConfigError { place, line, key: Some(key.to_owned()), message }
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

/// The key of the line at `at`, with its section.
fn key_at(text: &str, at: usize) -> Option<String> {
    let before = text.get(..at)?;
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    let line = text.get(start..)?.lines().next()?.trim();
    if line.starts_with('#') {
        return None;
    }
    let section = |line: &str| {
        let name = line.trim().trim_start_matches('[').split(']').next().unwrap_or_default();
        name.trim().to_owned()
    };
    if line.starts_with('[') {
        return Some(section(line));
    }
    let key = line.split('=').next()?.trim();
    let header = before.lines().rev().find(|line| line.trim_start().starts_with('['));
    match header {
        Some(header) => Some(format!("{}.{key}", section(header))),
        None => Some(key.to_owned()),
    }
}
