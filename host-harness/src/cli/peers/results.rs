//! What a suite's run printed, and whether that was expected.

use super::suites::Suite;
use crate::cli::counted::Counts;

/// How the tests of a suite ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Results {
    pub(super) passed: Vec<String>,
    pub(super) failed: Vec<String>,
    /// Those that their authors have marked so.
    pub(super) ignored: usize,
}

/// What a suite's run is worth.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Tests that failed, as expected.
    pub(super) expected: usize,
    /// A sentence for each test that did something else.
    pub(super) unexpected: Vec<String>,
}

impl Results {
    /// Reads what Rust's test harness prints. `None` if it is not the output of a whole run.
    pub(super) fn read(output: &str) -> Option<Self> {
        let mut results = Self::default();
        // What follows is the output of tests that have failed.
        let lines = output.lines().take_while(|line| *line != "failures:");
        for line in lines {
            let test = line.strip_prefix("test ");
            let Some((name, end)) = test.and_then(|test| test.rsplit_once(" ... ")) else {
                continue;
            };
            let name = name.strip_suffix(" - should panic").unwrap_or(name);
            match end {
                "ok" => results.passed.push(name.to_owned()),
                "FAILED" => results.failed.push(name.to_owned()),
                end if end.starts_with("ignored") => results.ignored += 1,
                _ => {}
            }
        }
        let counts = Counts {
            passed: results.passed.len(),
            failed: results.failed.len(),
            ignored: results.ignored,
        };
        let last = output.lines().rev().find_map(Counts::read);
        (last == Some(counts)).then_some(results)
    }

    /// Judges a run of the packages that are pinned, or of others.
    pub(super) fn judge(&self, suite: &Suite, are_pinned: bool) -> Verdict {
        let is_expected = |test: &String| suite.fails.iter().any(|(known, _)| known == test);
        let (expected, others): (Vec<_>, Vec<_>) = self.failed.iter().partition(|t| is_expected(t));
        let failed = others.iter().map(|test| format!("{test} failed"));
        let mut unexpected: Vec<String> = failed.collect();
        for (known, _) in suite.fails {
            if !expected.iter().any(|test| test == known) {
                unexpected.push(format!("{known} did not fail, which was expected"));
            }
        }
        let ran = self.passed.len() + self.failed.len();
        let least = if are_pinned { suite.tests } else { 1 };
        if ran < least {
            unexpected.push(format!("{ran} tests were run of {least}"));
        }
        Verdict {
            expected: expected.len(),
            unexpected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::suites::{Peer, Suite};
    use super::*;

    const OUTPUT: &str = "\nrunning 4 tests\n\
        test a::one ... ok\n\
        test a::two - should panic ... ok\n\
        test b::three ... ignored, it is slow\n\
        test b::four ... FAILED\n\
        \nfailures:\n\n---- b::four stdout ----\n\
        test b::four ... ok\n\
        \ntest result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out\n";

    fn suite(fails: &'static [(&'static str, &'static str)]) -> Suite {
        Suite {
            peer: Peer::Futures,
            name: "a",
            package: "a",
            tests: 3,
            left_out: &[],
            fails,
        }
    }

    #[test]
    fn a_whole_run_is_read() {
        let results = Results::read(OUTPUT).expect("it is whole");
        assert_eq!(results.passed, ["a::one", "a::two"]);
        assert_eq!(results.failed, ["b::four"]);
        assert_eq!(results.ignored, 1);
    }

    #[test]
    fn a_run_that_ended_early_or_lost_a_line_is_not_taken_for_one() {
        let (early, _) = OUTPUT.split_once("test result").expect("a summary");
        assert_eq!(Results::read(early), None);
        assert_eq!(
            Results::read(&OUTPUT.replace("test a::one ... ok\n", "")),
            None
        );
    }

    #[test]
    fn what_was_not_expected_is_named() {
        let results = Results::read(OUTPUT).expect("it is whole");
        let judge = |fails| results.judge(&suite(fails), true);
        let verdict = judge(&[("b::four", "a reason")]);
        assert_eq!((verdict.expected, verdict.unexpected.len()), (1, 0));
        let verdict = judge(&[]);
        assert_eq!(verdict.unexpected, ["b::four failed"]);
        let verdict = judge(&[("b::four", "a reason"), ("a::one", "another")]);
        assert_eq!(
            verdict.unexpected,
            ["a::one did not fail, which was expected"]
        );
        for (are_pinned, sentence) in [
            (false, "0 tests were run of 1"),
            (true, "0 tests were run of 3"),
        ] {
            let verdict = Results::default().judge(&suite(&[]), are_pinned);
            assert_eq!(verdict.unexpected, [sentence]);
        }
    }
}
