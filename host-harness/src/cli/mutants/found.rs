//! What became of the mutants.

use super::mutant::Mutant;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What became of a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// A test failed.
    Caught,
    /// The tests did not end, twice.
    Hung,
    /// They did not end, which a busy machine can bring about: it is tried once more.
    HungOnce,
    /// It could not be compiled.
    Unviable,
    /// The tests passed, and slower ones are left.
    Suspected,
    /// All tests passed.
    Survived,
}

impl Fate {
    const ALL: [Self; 6] = [
        Self::Caught,
        Self::Hung,
        Self::HungOnce,
        Self::Unviable,
        Self::Suspected,
        Self::Survived,
    ];

    /// The tool's files with the mutants of a fate.
    pub(super) const FILES: [(Self, &str); 4] = [
        (Self::Caught, "caught.txt"),
        (Self::HungOnce, "timeout.txt"),
        (Self::Unviable, "unviable.txt"),
        (Self::Survived, "missed.txt"),
    ];

    /// Its name in the record.
    fn name(self) -> &'static str {
        match self {
            Self::Caught => "caught",
            Self::Hung => "hung-twice",
            Self::HungOnce => "hung",
            Self::Unviable => "unviable",
            Self::Suspected => "suspected",
            Self::Survived => "survived",
        }
    }
}

/// The fates that are known, by the mutants' names.
#[derive(Debug)]
pub(super) struct Found {
    /// What identifies the content of each file.
    contents: BTreeMap<String, String>,
    fates: BTreeMap<String, Fate>,
    /// Those that this run has tried.
    tried: BTreeSet<String>,
    /// How many the run of the last record had tried. Old records do not say.
    tried_before: Option<usize>,
}

impl Found {
    /// Takes from the last record what it says of files that are as they were.
    pub(super) fn new(contents: BTreeMap<String, String>, record: Option<Value>) -> Self {
        let tried_before = record.as_ref().and_then(|record| record["tried"].as_u64());
        let tried_before = tried_before.and_then(|tried| usize::try_from(tried).ok());
        let mut fates = BTreeMap::new();
        for (file, content) in &contents {
            let old = record.as_ref().map(|record| &record["files"][file]);
            let Some(old) = old.filter(|old| old["content"] == **content) else {
                continue;
            };
            for fate in Fate::ALL {
                let places = old[fate.name()].as_array().into_iter().flatten();
                let names = places.filter_map(|place| Some(format!("{file}:{}", place.as_str()?)));
                fates.extend(names.map(|name| (name, fate)));
            }
        }
        Self {
            contents,
            fates,
            tried: BTreeSet::new(),
            tried_before,
        }
    }

    /// Drops what became of mutants that are not there any more.
    pub(super) fn keep_only(&mut self, all: &[Mutant]) {
        let names: BTreeSet<String> = all.iter().map(Mutant::name).collect();
        self.fates.retain(|name, _| names.contains(name));
    }

    pub(super) fn fate(&self, mutant: &Mutant) -> Option<Fate> {
        self.fates.get(&mutant.name()).copied()
    }

    /// Drops what became of these: they are to be tried.
    pub(super) fn forget<'a>(&mut self, mutants: impl Iterator<Item = &'a Mutant>) {
        for mutant in mutants {
            self.fates.remove(&mutant.name());
        }
    }

    /// Adds what this run has found.
    pub(super) fn add(&mut self, fates: BTreeMap<String, Fate>) {
        self.tried.extend(fates.keys().cloned());
        self.fates.extend(fates);
    }

    /// Whether this run has tried any.
    pub(super) fn is_new(&self) -> bool {
        !self.tried.is_empty()
    }

    /// How many the last run has tried that tried any.
    pub(super) fn tried(&self) -> Option<usize> {
        match self.tried.len() {
            0 => self.tried_before,
            tried => Some(tried),
        }
    }

    /// What the record keeps.
    pub(super) fn details(&self) -> Value {
        let mut files = BTreeMap::new();
        for (file, content) in &self.contents {
            let mut entry = json!({ "content": content });
            let prefix = format!("{file}:");
            for (name, fate) in &self.fates {
                if let Some(place) = name.strip_prefix(&prefix) {
                    let places = &mut entry[fate.name()];
                    if places.is_null() {
                        *places = json!([]);
                    }
                    if let Some(places) = places.as_array_mut() {
                        places.push(place.into());
                    }
                }
            }
            if entry.as_object().is_some_and(|entry| entry.len() > 1) {
                files.insert(file, entry);
            }
        }
        json!({ "files": files, "tried": self.tried() })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn mutant(file: &str, place: &str) -> Mutant {
        let change = place.split_once(": ").expect("a place").1;
        Mutant {
            file: file.into(),
            place: place.into(),
            change: change.into(),
            line: format!("the line of {place}"),
        }
    }

    pub(in super::super) fn all() -> Vec<Mutant> {
        vec![
            mutant("src/event.rs", "1:1: replace + with -"),
            mutant("src/event.rs", "2:1: replace + with *"),
            mutant("src/event.rs", "3:1: replace + with /"),
            mutant("src/time/rate.rs", "1:1: delete !"),
        ]
    }

    pub(in super::super) fn contents(rate: &str) -> BTreeMap<String, String> {
        let files = [("src/event.rs", "e1"), ("src/time/rate.rs", rate)];
        let files = files.map(|(file, content)| (file.to_owned(), content.to_owned()));
        files.into()
    }

    pub(in super::super) fn found() -> Found {
        let mut found = Found::new(contents("r1"), None);
        let fates = [Fate::Caught, Fate::Survived, Fate::Unviable, Fate::Hung];
        let names = all().into_iter().map(|mutant| mutant.name());
        found.add(names.zip(fates).collect());
        found
    }

    #[test]
    fn results_of_mutants_that_are_gone_are_not_kept() {
        let mut found = found();
        found.keep_only(&all()[..2]);
        let fates: Vec<_> = all().iter().map(|mutant| found.fate(mutant)).collect();
        assert_eq!(
            fates,
            [Some(Fate::Caught), Some(Fate::Survived), None, None]
        );
    }

    /// Only the last run that tried some tells how many.
    #[test]
    fn what_is_tried_is_counted_and_what_is_to_be_tried_is_not_known() {
        let record = found().details();
        assert_eq!(record["tried"], 4);
        let mut again = Found::new(contents("r1"), Some(record));
        assert_eq!((again.is_new(), again.tried()), (false, Some(4)));
        again.forget(all()[..2].iter());
        let fates: Vec<_> = all().iter().map(|mutant| again.fate(mutant)).collect();
        let kept = [Some(Fate::Unviable), Some(Fate::Hung)];
        assert_eq!(fates, [None, None, kept[0], kept[1]]);
        again.add([(all()[1].name(), Fate::Caught)].into());
        assert_eq!((again.is_new(), again.tried()), (true, Some(1)));
        // As old records are.
        let old = Found::new(contents("r1"), Some(json!({ "files": {} })));
        assert_eq!(old.tried(), None);
    }

    #[test]
    fn results_of_unchanged_files_are_kept() {
        let record = found().details();
        let same = Found::new(contents("r1"), Some(record.clone()));
        assert_eq!(same.fates, found().fates);
        let changed = Found::new(contents("r2"), Some(record));
        let fates = all()
            .iter()
            .map(|mutant| changed.fate(mutant))
            .collect::<Vec<_>>();
        let expected = [
            Some(Fate::Caught),
            Some(Fate::Survived),
            Some(Fate::Unviable),
            None,
        ];
        assert_eq!(fates, expected);
    }
}
