//! The chosen faults.

use super::super::mutant::Mutant;
use serde::Deserialize;
use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::Path,
};

/// Their list in a checkout.
pub(super) const LIST: &str = "docs/machine-mutants.json";

/// A change of a source, which replaces a text that is there once.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fault {
    pub(super) file: String,
    /// What goes wrong with it.
    pub(super) what: String,
    pub(super) from: String,
    pub(super) to: String,
    /// A part of the names of the tests in VMs of which one must fail.
    pub(super) test: String,
    /// Why it may survive.
    pub(super) reason: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum FaultError {
    #[error("{LIST} cannot be read ({0}): see whether the checkout is whole")]
    Unreadable(io::Error),
    #[error(
        "{LIST} is wrong ({0}): it has mutants with `file`, `what`, `from`, `to` and `test`, and \
         with a `reason` if one may survive"
    )]
    Layout(String),
    #[error(
        "{file}: the text of \"{what}\" is there {count} times: give one that is there once, in \
         {LIST}"
    )]
    Places {
        file: String,
        what: String,
        count: usize,
    },
}

impl Fault {
    pub(super) fn as_mutant(&self) -> Mutant {
        Mutant {
            file: self.file.clone(),
            place: self.what.clone(),
            change: self.what.clone(),
            line: self.from.clone(),
        }
    }

    /// Returns the source with the fault.
    pub(super) fn applied(&self, source: &str) -> Result<String, FaultError> {
        match source.matches(&self.from).count() {
            1 => Ok(source.replacen(&self.from, &self.to, 1)),
            count => Err(FaultError::Places {
                file: self.file.clone(),
                what: self.what.clone(),
                count,
            }),
        }
    }
}

/// Returns what changes if a fault of these, or its test, does. Another release of Rust may give
/// others: then they are tried again.
pub(super) fn fingerprint<'a>(faults: impl Iterator<Item = &'a Fault>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for fault in faults {
        (&fault.from, &fault.to, &fault.test).hash(&mut hasher);
    }
    hasher.finish()
}

/// Reads the list, and sees that each fault can be made.
pub(super) fn read(root: &Path) -> Result<Vec<Fault>, FaultError> {
    let text = fs::read_to_string(root.join(LIST)).map_err(FaultError::Unreadable)?;
    let faults = parse(&text)?;
    for fault in &faults {
        let source = fs::read_to_string(root.join(&fault.file));
        let wrong = |error| FaultError::Layout(format!("{}: {error}", fault.file));
        fault.applied(&source.map_err(wrong)?)?;
    }
    Ok(faults)
}

fn parse(text: &str) -> Result<Vec<Fault>, FaultError> {
    let wrong = |what: &str| FaultError::Layout(what.to_owned());
    let faults: Vec<Fault> =
        serde_json::from_str(text).map_err(|error| wrong(&error.to_string()))?;
    for (index, fault) in faults.iter().enumerate() {
        let reason = fault.reason.as_deref();
        if reason.is_some_and(|reason| reason.trim().is_empty()) {
            return Err(wrong("a reason is empty"));
        }
        if fault.test.is_empty() || fault.from == fault.to {
            return Err(wrong(&format!("`{}` has no test or no change", fault.what)));
        }
        let is_same = |other: &Fault| (&other.file, &other.what) == (&fault.file, &fault.what);
        if faults[..index].iter().any(is_same) {
            return Err(wrong(&format!("`{}` is there twice", fault.what)));
        }
    }
    Ok(faults)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Workspace;

    const ONE: &str = r#"{"file": "a.rs", "what": "w", "from": "x + 1", "to": "x", "test": "t"}"#;

    #[test]
    fn a_list_that_says_too_little_is_refused() {
        assert_eq!(parse(&format!("[{ONE}]")).expect("it is right").len(), 1);
        let with = |from, to| format!("[{}]", ONE.replace(from, to));
        for (text, expected) in [
            (String::new(), "EOF"),
            (with(r#""what": "w", "#, ""), "`what`"),
            (with(r#""t""#, r#""""#), "no test"),
            (with(r#""x""#, r#""x + 1""#), "no change"),
            (with(r#""t""#, r#""t", "reason": " ""#), "reason is empty"),
            (with(r#""t""#, r#""t", "raeson": "r""#), "raeson"),
            (format!("[{ONE}, {ONE}]"), "twice"),
        ] {
            let error = parse(&text).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_text_that_is_not_there_once_is_no_place() {
        let [fault] = &parse(&format!("[{ONE}]")).expect("it is right")[..] else {
            panic!("it has one");
        };
        assert_eq!(fault.applied("x + 1;").expect("it is there"), "x;");
        for (source, count) in [("", "0 times"), ("x + 1, x + 1", "2 times")] {
            let error = fault.applied(source).expect_err(count).to_string();
            assert!(error.contains(count), "{error}");
        }
    }

    #[test]
    fn a_fault_that_is_written_anew_is_another() {
        let of = |from, to| {
            let faults = parse(&format!("[{}]", ONE.replace(from, to))).expect("it is right");
            fingerprint(faults.iter())
        };
        let same = of("t", "t");
        for (from, to) in [
            ("x + 1", "x + 2"),
            (r#""x""#, r#""y""#),
            (r#""t""#, r#""u""#),
        ] {
            assert_ne!(of(from, to), same, "{to}");
        }
        assert_eq!(of(r#""w""#, r#""other words""#), same);
    }

    /// The committed one.
    #[test]
    fn each_fault_of_the_list_has_its_place() {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let workspace = Workspace::around(package).expect("it is in a checkout");
        let faults = read(workspace.root()).expect("it is right");
        let is_of_a_machine = |fault: &Fault| {
            let places = ["src/arch/", "src/platform/", "src/idle/"];
            places.iter().any(|place| fault.file.starts_with(place))
        };
        assert!(faults.iter().all(is_of_a_machine));
    }
}
