//! What the fates of the mutants amount to.

use super::{
    found::{Fate, Found},
    kept::{Entry, Kept, LIST},
    mutant::Mutant,
};
use std::{collections::BTreeSet, fmt};

/// The core: its parts, and their files.
const CORE: [(&str, &[&str]); 6] = [
    (
        "the ready set",
        &["src/executor/ready.rs", "src/executor/ready/"],
    ),
    (
        "the run loop",
        &[
            "src/executor/drive.rs",
            "src/executor/runner.rs",
            "src/executor/runner/",
        ],
    ),
    ("the life of tasks", &["src/executor/lifecycle.rs"]),
    (
        "the timers' queue",
        &["src/time/queue.rs", "src/time/queue/"],
    ),
    ("the timers' tree", &["src/time/tree.rs", "src/time/tree/"]),
    ("events", &["src/event.rs"]),
];

/// How many of some mutants met which fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    caught: usize,
    hung: usize,
    unviable: usize,
    suspected: usize,
    /// Survived, and are listed.
    kept: usize,
    /// Survived, and are not.
    left: usize,
    untried: usize,
}

impl Counts {
    fn count(&mut self, fate: Option<Fate>, is_kept: bool) {
        *match fate {
            Some(Fate::Caught) => &mut self.caught,
            Some(Fate::Hung) => &mut self.hung,
            Some(Fate::Unviable) => &mut self.unviable,
            Some(Fate::Survived | Fate::Suspected) if is_kept => &mut self.kept,
            Some(Fate::Suspected) => &mut self.suspected,
            Some(Fate::Survived) => &mut self.left,
            None | Some(Fate::HungOnce) => &mut self.untried,
        } += 1;
    }

    fn noticed(&self) -> usize {
        self.caught + self.hung
    }

    fn tried(&self) -> usize {
        self.noticed() + self.kept + self.left
    }

    /// How many of those that were tried are noticed, in per cent.
    fn share(&self) -> f64 {
        100.0 * self.noticed() as f64 / self.tried().max(1) as f64
    }
}

/// The least share of the core's mutants that is to be noticed, in per cent.
const CORE_SHARE: f64 = 90.0;

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (noticed, tried, share) = (self.noticed(), self.tried(), self.share());
        write!(f, "{noticed} of {tried} caught ({share:.1} %)")?;
        if self.hung > 0 {
            write!(f, ", {} of them by hangs", self.hung)?;
        }
        if self.kept > 0 {
            write!(f, ", {} listed", self.kept)?;
        }
        if self.left > 0 {
            write!(f, ", {} not listed", self.left)?;
        }
        if self.suspected > 0 {
            write!(f, ", {} to be tried by slower tests", self.suspected)?;
        }
        if self.untried > 0 {
            write!(f, ", {} not tried yet", self.untried)?;
        }
        Ok(())
    }
}

/// All mutants by parts, and what is wrong.
#[derive(Debug)]
pub(super) struct Tally {
    parts: Vec<(&'static str, Counts)>,
    complaints: Vec<String>,
}

impl Tally {
    pub(super) fn new(all: &[Mutant], found: &Found, kept: &Kept) -> Self {
        let (mut total, mut core) = (Counts::default(), Counts::default());
        let mut parts: Vec<_> = CORE
            .iter()
            .map(|(part, _)| (*part, Counts::default()))
            .collect();
        let mut complaints = Vec::new();
        let mut caught_kept = BTreeSet::new();
        for mutant in all {
            let (fate, is_kept) = (found.fate(mutant), kept.has(mutant));
            let is_core = |(_, files): &(&str, &[&str])| {
                files.iter().any(|file| mutant.file.starts_with(file))
            };
            total.count(fate, is_kept);
            if let Some(part) = CORE.iter().position(is_core) {
                core.count(fate, is_kept);
                parts[part].1.count(fate, is_kept);
            }
            let name = mutant.name();
            match fate {
                Some(Fate::Survived) if !is_kept => complaints.push(format!(
                    "{name}: no test fails. Write one, or list it in {LIST} with a reason; its \
                     line is `{}`",
                    mutant.line
                )),
                Some(Fate::Caught | Fate::Hung | Fate::Unviable) if is_kept => {
                    caught_kept.insert(name);
                }
                _ => {}
            }
        }
        for name in caught_kept {
            complaints.push(format!("{name} did not survive: take it out of {LIST}"));
        }
        let entries: Vec<Entry> = all.iter().map(Entry::of).collect();
        for entry in kept.0.iter().filter(|entry| !entries.contains(entry)) {
            complaints.push(format!(
                "{}: {}: there is no such mutant any more: take it out of {LIST}",
                entry.file, entry.change
            ));
        }
        parts.push(("the core", core));
        parts.push(("all", total));
        Self { parts, complaints }
    }

    pub(super) fn complaints(&self) -> &[String] {
        &self.complaints
    }

    /// Whether every mutant has its fate, nothing is complained of, and enough of the core was
    /// noticed; `None` if that may still become so.
    pub(super) fn passed(&self) -> Option<bool> {
        let [.., (_, core), (_, all)] = &*self.parts else {
            return Some(false);
        };
        if !self.complaints.is_empty() {
            return Some(false);
        }
        let is_done = all.untried + all.suspected == 0;
        is_done.then(|| core.share() >= CORE_SHARE)
    }

    /// The sentence of the record.
    pub(super) fn result(&self) -> String {
        let [.., (_, core), (_, all)] = &*self.parts else {
            return String::new();
        };
        format!("{all}; in the core {core}")
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (part, counts) in &self.parts {
            writeln!(f, "{part}: {counts}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::found::tests::{all, contents, found},
        *,
    };

    #[test]
    fn a_survivor_without_a_reason_is_complained_of() {
        let tally = Tally::new(&all(), &found(), &Kept::default());
        let [complaint] = tally.complaints() else {
            panic!("{:?}", tally.complaints());
        };
        assert!(
            complaint.contains("2:1: replace + with *: no test fails"),
            "{complaint}"
        );
        assert!(complaint.contains("`the line of 2:1"), "{complaint}");
        assert_eq!(
            tally.result(),
            "2 of 3 caught (66.7 %), 1 of them by hangs, 1 not listed; in the core 1 of 2 caught \
             (50.0 %), 1 not listed"
        );
    }

    /// Until the slower tests have run.
    #[test]
    fn a_suspect_is_not_complained_of() {
        let all = all();
        let mut found = Found::new(contents("r1"), None);
        found.add([(all[0].name(), Fate::Suspected)].into());
        let again = Found::new(contents("r1"), Some(found.details()));
        let tally = Tally::new(&all, &again, &Kept::default());
        assert!(tally.complaints().is_empty(), "{:?}", tally.complaints());
        let expected = "0 of 0 caught (0.0 %), 1 to be tried by slower tests, 3 not tried yet; ";
        assert!(tally.result().starts_with(expected), "{}", tally.result());
    }

    #[test]
    fn the_list_holds_survivors_only() {
        let all = all();
        let mut entries: Vec<_> = all.iter().map(Entry::of).collect();
        entries.retain(|entry| entry.change != "replace + with /");
        entries.push(Entry {
            file: "src/event.rs".into(),
            change: "delete -".into(),
            line: "a line that is gone".into(),
        });
        let tally = Tally::new(&all, &found(), &Kept(entries));
        let complaints = tally.complaints();
        let expected = [
            "replace + with - did not survive",
            "delete ! did not survive",
            "no such",
        ];
        assert_eq!(complaints.len(), expected.len(), "{complaints:?}");
        for (complaint, expected) in complaints.iter().zip(expected) {
            assert!(complaint.contains(expected), "{complaint}");
        }
        assert!(tally.result().contains("1 listed"), "{}", tally.result());
    }
}
