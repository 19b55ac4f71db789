//! Bytes that must not drift: what goes over wires and onto disks, as other
//! versions of this software read and wrote it. They stand in `tests/wire`, in
//! hex, a line each; rooms compare what they write and read with it in their
//! tests. What the bytes mean is the rooms' business.

use std::fmt::{Debug, Write as _};
use std::fs;
use std::path::Path;

/// A section of a file of `tests/wire`, while it is compared.
pub(crate) struct Golden {
    place: String,
    /// Name and bytes.
    kept: Vec<(String, Vec<u8>)>,
    now: Vec<(String, Vec<u8>)>,
    wrong: Vec<String>,
}

impl Golden {
    /// The lines after `[section]` in a file.
    #[track_caller]
    pub(crate) fn of(file: &str, section: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire").join(file);
        let text = fs::read_to_string(&path).unwrap_or_default();
        let head = format!("[{section}]");
        let lines = text.lines().skip_while(|line| *line != head).skip(1);
        let lines = lines.take_while(|line| !line.starts_with('['));
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let kept = lines.map(|line| read(line).unwrap_or_else(|| panic!("{file}: {line}")));
        let kept = kept.collect();
        Self { place: format!("{file} {head}"), kept, now: Vec::new(), wrong: Vec::new() }
    }

    /// `value` is written as the line of this name says, and that line is read
    /// as `value`.
    pub(crate) fn keeps<T: Debug>(
        &mut self,
        name: &str,
        value: &T,
        written: impl Fn(&T) -> Vec<u8>,
        read: impl Fn(&[u8]) -> Option<T>,
    ) {
        self.reads(name, value, &written, read);
        self.now.pop();
        self.writes(name, &written(value));
    }

    /// As above, but what is written may look otherwise.
    pub(crate) fn reads<T: Debug>(
        &mut self,
        name: &str,
        value: &T,
        written: impl Fn(&T) -> Vec<u8>,
        read: impl Fn(&[u8]) -> Option<T>,
    ) {
        let kept = self.kept.iter().find(|(line, _)| line == name).map(|(_, bytes)| bytes.clone());
        if let Some(bytes) = &kept {
            // what is secret may not be shown, so it is written as well
            let same = |read: T| {
                format!("{read:?}") == format!("{value:?}") && written(&read) == written(value)
            };
            if !read(bytes).is_some_and(same) {
                self.wrong.push(format!("what {name:?} was is read as something else"));
            }
        }
        self.now.push((name.to_owned(), kept.unwrap_or_else(|| written(value))));
    }

    /// The line of this name has these bytes.
    pub(crate) fn writes(&mut self, name: &str, bytes: &[u8]) {
        self.now.push((name.to_owned(), bytes.to_vec()));
    }

    /// All lines of the section were named, and each is as it is.
    #[track_caller]
    pub(crate) fn end(mut self) {
        for (name, bytes) in &self.now {
            match self.kept.iter().find(|(line, _)| line == name) {
                Some((_, kept)) if kept == bytes => {}
                Some(_) => self.wrong.push(format!("{name:?} is written otherwise")),
                None => self.wrong.push(format!("{name:?} has no line")),
            }
        }
        let is_new = |line: &&(String, Vec<u8>)| !self.now.iter().any(|(name, _)| *name == line.0);
        let lost = self.kept.iter().filter(is_new);
        let lost: Vec<String> = lost.map(|(name, _)| format!("nobody knows {name:?}")).collect();
        self.wrong.extend(lost);
        let mut now = String::new();
        for (name, bytes) in &self.now {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let _ = writeln!(now, "{name} = {hex}");
        }
        assert!(
            self.wrong.is_empty(),
            "{}: {}\nother versions read and wrote what stands there: see \"What other versions \
             read\" in CONTRIBUTING.md. As it is now:\n{now}",
            self.place,
            self.wrong.join("; "),
        );
    }
}

/// A name, and bytes in hex.
fn read(line: &str) -> Option<(String, Vec<u8>)> {
    let (name, hex) = line.split_once(" = ")?;
    let digits: Vec<u8> =
        hex.chars().map(|digit| digit.to_digit(16)?.try_into().ok()).collect::<Option<_>>()?;
    let (bytes, []) = digits.as_chunks::<2>() else { return None };
    Some((name.to_owned(), bytes.iter().map(|[high, low]| high << 4 | low).collect()))
}

mod tests {
    use super::Golden;

    /// A section that no file has.
    fn golden(kept: &[(&str, &[u8])]) -> Golden {
        let mut golden = Golden::of("none", "none");
        golden.kept =
            kept.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
        golden
    }

    fn wrongs(golden: Golden) -> String {
        let ended = std::panic::catch_unwind(|| golden.end());
        ended
            .err()
            .and_then(|said| said.downcast::<String>().ok())
            .map(|said| *said)
            .unwrap_or_default()
    }

    #[test]
    fn whatever_drifts_is_seen() {
        let number = |bytes: &[u8]| Some(u16::from_be_bytes(bytes.try_into().ok()?));
        let keep = |mut golden: Golden, value: u16| {
            golden.keeps("one", &value, |value| value.to_be_bytes().to_vec(), number);
            wrongs(golden)
        };
        assert_eq!(keep(golden(&[("one", &[1, 2])]), 0x0102), "");
        assert!(keep(golden(&[("one", &[2, 1])]), 0x0102).contains("is written otherwise"));
        assert!(keep(golden(&[("one", &[2])]), 0x0102).contains("read as something else"));
        assert!(keep(golden(&[]), 0x0102).contains("has no line"));
        let more = golden(&[("one", &[1, 2]), ("two", &[])]);
        assert!(keep(more, 0x0102).contains("nobody knows \"two\""));
        assert_eq!(super::read("a b = 0aff"), Some(("a b".to_owned(), vec![10, 255])));
        assert!(super::read("a = 0af").is_none() && super::read("a = 0x").is_none());
    }
}
