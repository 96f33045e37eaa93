//! What the tests in VMs noticed, in a sentence, and what is wrong.

use super::{
    super::{
        found::{Fate, Found},
        mutant::Mutant,
    },
    fault::{Fault, LIST},
};

/// How many met which fate.
#[derive(Debug, Default)]
pub(super) struct Tally {
    caught: usize,
    /// How many of those by tests that did not end.
    hung: usize,
    listed: usize,
    untried: usize,
    pub(super) complaints: Vec<String>,
}

impl Tally {
    pub(super) fn new(faults: &[Fault], mutants: &[Mutant], found: &Found) -> Self {
        let mut tally = Self::default();
        for (fault, mutant) in faults.iter().zip(mutants) {
            let name = mutant.name();
            let is_listed = fault.reason.is_some();
            match (found.fate(mutant), is_listed) {
                (None | Some(Fate::HungOnce), _) => tally.untried += 1,
                (Some(fate @ (Fate::Caught | Fate::Hung)), false) => {
                    tally.caught += 1;
                    tally.hung += usize::from(fate == Fate::Hung);
                }
                (Some(Fate::Caught | Fate::Hung), true) => tally.complaints.push(format!(
                    "{name}: it is caught: take its `reason` out of {LIST}"
                )),
                (Some(Fate::Survived | Fate::Suspected), true) => tally.listed += 1,
                (Some(Fate::Survived | Fate::Suspected), false) => tally.complaints.push(format!(
                    "{name}: `{}` passes with it. Mend the test, or give a `reason` in {LIST}",
                    fault.test
                )),
                (Some(Fate::Unviable), _) => tally.complaints.push(format!(
                    "{name}: it does not build, so no test has seen it: write it anew in {LIST}"
                )),
            }
        }
        tally
    }

    pub(super) fn passed(&self) -> Option<bool> {
        match (self.complaints.is_empty(), self.untried) {
            (false, _) => Some(false),
            (true, 0) => Some(true),
            (true, _) => None,
        }
    }

    pub(super) fn result(&self) -> String {
        let caught = self.caught;
        let tried = caught + self.listed + self.complaints.len();
        let mut result = format!("{caught} of {tried} caught");
        for (number, what) in [
            (self.hung, "of them by hangs"),
            (self.listed, "listed"),
            (self.complaints.len(), "wrong"),
            (self.untried, "not tried yet"),
        ] {
            if number > 0 {
                result = format!("{result}, {number} {what}");
            }
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn survivors_need_a_reason_and_others_have_none() {
        let fault = |what: &str, reason: Option<&str>| Fault {
            file: "src/arch/a.rs".into(),
            what: what.into(),
            from: "a".into(),
            to: "b".into(),
            test: "kvm::demo".into(),
            reason: reason.map(str::to_owned),
        };
        let faults = [
            fault("caught", None),
            fault("survived", None),
            fault("listed", Some("nobody sees it")),
            fault("listed and caught", Some("nobody sees it")),
            fault("unviable", None),
            fault("hung", None),
            fault("hung once", None),
            fault("new", None),
        ];
        let mutants: Vec<_> = faults.iter().map(Fault::as_mutant).collect();
        let contents: BTreeMap<_, _> = [("src/arch/a.rs".to_owned(), "1".to_owned())].into();
        let mut found = Found::new(contents, None);
        let fates = [
            Fate::Caught,
            Fate::Survived,
            Fate::Survived,
            Fate::Caught,
            Fate::Unviable,
            Fate::Hung,
            Fate::HungOnce,
        ];
        found.add(mutants.iter().map(Mutant::name).zip(fates).collect());
        let tally = Tally::new(&faults, &mutants, &found);
        let expected = ["survived: `kvm::demo`", "caught: it is", "does not build"];
        assert_eq!(tally.complaints.len(), expected.len(), "{tally:?}");
        for (complaint, expected) in tally.complaints.iter().zip(expected) {
            assert!(complaint.contains(expected), "{complaint}");
        }
        assert_eq!(tally.passed(), Some(false));
        assert_eq!(
            tally.result(),
            "2 of 6 caught, 1 of them by hangs, 1 listed, 3 wrong, 2 not tried yet"
        );
        let good = Tally::new(&faults[..1], &mutants[..1], &found);
        assert_eq!(good.passed(), Some(true));
        for untried in [6, 7] {
            let so_far = Tally::new(&faults[untried..], &mutants[untried..], &found);
            assert_eq!(so_far.passed(), None);
        }
    }
}
