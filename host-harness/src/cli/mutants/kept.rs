//! The mutants that may survive, each with the reason why no test can see it.

use super::mutant::Mutant;
use crate::workspace::Workspace;
use serde_json::Value;
use std::fs;

/// The list in a checkout: groups of mutants that have a reason in common.
pub(super) const LIST: &str = "docs/mutants.json";

#[derive(Debug, thiserror::Error)]
pub(super) enum KeptError {
    #[error("{LIST} cannot be read ({0}): see whether the checkout is whole")]
    Unreadable(#[from] std::io::Error),
    #[error(
        "{LIST} is wrong ({0}): it has groups with `reason` and `mutants`, and each mutant has \
         `file`, `change` and `line`"
    )]
    Layout(String),
}

/// Mutants that are the same change in lines that read the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) file: String,
    pub(super) change: String,
    pub(super) line: String,
}

impl Entry {
    /// What a mutant is called in the list.
    pub(super) fn of(mutant: &Mutant) -> Self {
        Self {
            file: mutant.file.clone(),
            change: mutant.change.clone(),
            line: mutant.line.clone(),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Kept(pub(super) Vec<Entry>);

impl Kept {
    pub(super) fn read(workspace: &Workspace) -> Result<Self, KeptError> {
        Self::parse(&fs::read_to_string(workspace.root().join(LIST))?)
    }

    fn parse(text: &str) -> Result<Self, KeptError> {
        let wrong = |what: &str| KeptError::Layout(what.to_owned());
        let groups: Vec<Value> =
            serde_json::from_str(text).map_err(|error| wrong(&error.to_string()))?;
        let mut entries = Vec::new();
        for group in &groups {
            let reason = group["reason"].as_str().unwrap_or_default();
            if reason.trim().is_empty() {
                return Err(wrong("a group has no reason"));
            }
            let mutants = group["mutants"].as_array();
            for mutant in mutants.ok_or_else(|| wrong("a group has no mutants"))? {
                let text = |name: &str| {
                    let text = mutant[name].as_str().map(str::to_owned);
                    text.ok_or_else(|| wrong(&format!("a mutant has no `{name}`")))
                };
                let entry = Entry {
                    file: text("file")?,
                    change: text("change")?,
                    line: text("line")?,
                };
                if entries.contains(&entry) {
                    return Err(wrong(&format!("`{}` is there twice", entry.change)));
                }
                entries.push(entry);
            }
        }
        Ok(Self(entries))
    }

    pub(super) fn has(&self, mutant: &Mutant) -> bool {
        self.0.contains(&Entry::of(mutant))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_without_reasons_or_with_doubles_is_refused() {
        let mutant = r#"{"file": "src/a.rs", "change": "replace + with -", "line": "a + b"}"#;
        let group = |reason: &str, mutants: &str| {
            format!(r#"[{{"reason": "{reason}", "mutants": [{mutants}]}}]"#)
        };
        let list = Kept::parse(&group("no one sees it", mutant)).expect("it is right");
        assert_eq!(list.0.len(), 1);
        for (text, expected) in [
            ("", "EOF"),
            (&*group(" ", mutant), "no reason"),
            (&group("one", &format!("{mutant}, {mutant}")), "twice"),
            (&group("one", "{}"), "`file`"),
            (r#"[{"reason": "one"}]"#, "no mutants"),
        ] {
            let error = Kept::parse(text).expect_err("it is wrong").to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    /// The committed one.
    #[test]
    fn the_list_can_be_read() {
        let package = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let workspace = Workspace::around(package).expect("it is in a checkout");
        Kept::read(&workspace).expect("it is right");
    }
}
