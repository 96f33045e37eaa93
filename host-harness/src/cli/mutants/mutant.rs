//! A mutant, as cargo-mutants lists it.

use serde_json::Value;

/// A change of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mutant {
    /// Its file's path in the checkout.
    pub(super) file: String,
    /// Where in the file it is, and what it does.
    pub(super) place: String,
    /// What it does.
    pub(super) change: String,
    /// The line that is changed, or the first of them.
    pub(super) line: String,
}

impl Mutant {
    /// Reads what the tool says of one.
    pub(super) fn read(value: &Value, source: &str) -> Option<Self> {
        let file = value["file"].as_str()?.to_owned();
        let place = value["name"].as_str()?.strip_prefix(&*file)?;
        let place = place.strip_prefix(':')?.to_owned();
        let change = place.split_once(": ")?.1.to_owned();
        let number = value["span"]["start"]["line"].as_u64()?;
        let mut lines = source.lines();
        let line = lines.nth(usize::try_from(number).ok()?.checked_sub(1)?)?;
        Some(Self {
            line: line.trim().to_owned(),
            file,
            place,
            change,
        })
    }

    /// Its name, as the tool prints it.
    pub(super) fn name(&self) -> String {
        format!("{}:{}", self.file, self.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_mutant_is_read_with_its_line() {
        let value = json!({
            "file": "src/event.rs",
            "name": "src/event.rs:2:9: replace Event::signal -> Result<(), E> with Ok(())",
            "span": { "start": { "line": 2, "column": 9 } },
        });
        let mutant = Mutant::read(&value, "{\n    self.add(1);\n}\n").expect("it is one");
        assert_eq!(
            mutant.place,
            "2:9: replace Event::signal -> Result<(), E> with Ok(())"
        );
        assert_eq!(
            mutant.change,
            "replace Event::signal -> Result<(), E> with Ok(())"
        );
        assert_eq!(mutant.line, "self.add(1);");
        assert_eq!(mutant.name(), value["name"]);
        assert_eq!(Mutant::read(&value, "{\n"), None);
    }
}
