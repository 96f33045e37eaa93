//! Whether the tests of a promise show that it is kept.

use crate::cli::counted::{Counted, Counts};
use serde_json::{Value, json};

/// Tests that were run.
#[derive(Debug)]
pub(super) struct Ran {
    /// The command line.
    line: String,
    /// Whether cargo was content; else how it ended.
    end: Result<(), String>,
    /// `None` if the tests did not come to their end.
    counts: Option<Counts>,
    ignored: Vec<String>,
    /// The words that were to select tests, and of which no test that was run has one in its name:
    /// it may have been renamed.
    missing: Vec<&'static str>,
}

impl Ran {
    pub(super) fn new(line: String, filter: &[&'static str], counted: Counted) -> Self {
        let is_success = counted.status.success();
        let words = filter.iter().filter(|word| !word.starts_with("--"));
        let is_missing = |word: &&&str| !counted.ran.iter().any(|name| name.contains(**word));
        Self {
            missing: words.filter(is_missing).copied().collect(),
            line,
            end: is_success.then_some(()).ok_or(counted.status.to_string()),
            // A command runs one program. What a test prints comes before the program's own line.
            counts: counted.programs.last().copied(),
            ignored: counted.ignored,
        }
    }

    pub(super) fn without_end(line: String, reason: String) -> Self {
        Self {
            line,
            end: Err(reason),
            counts: None,
            ignored: Vec::new(),
            missing: Vec::new(),
        }
    }

    pub(super) fn details(&self) -> Value {
        let counts = self.counts.unwrap_or_default();
        json!({
            "command": self.line,
            "passed": counts.passed,
            "failed": counts.failed,
            "ignored": self.ignored,
        })
    }
}

/// Whether the promise is kept, and a sentence. No test is no proof: neither of a command that ran
/// none, nor of one whose end was not seen.
pub(super) fn judge(all: &[Ran]) -> (bool, String) {
    let (mut passed, mut failed, mut ignored) = (0, 0, 0);
    let mut wrong = Vec::new();
    for Ran {
        line,
        end,
        counts,
        missing,
        ..
    } in all
    {
        let counts = counts.unwrap_or_default();
        passed += counts.passed;
        failed += counts.failed;
        ignored += counts.ignored;
        match end {
            Ok(()) if counts.passed + counts.failed == 0 => {
                wrong.push(format!("`{line}` ran no test"));
            }
            // A test that failed is counted.
            Err(how) if counts.failed == 0 => wrong.push(format!("`{line}` broke off ({how})")),
            _ => {
                let named = |word| format!("`{line}` ran no test that is named `{word}`");
                wrong.extend(missing.iter().map(named));
            }
        }
    }
    let mut sentence = match failed {
        0 if passed == 1 => "1 test passed".to_owned(),
        0 => format!("{passed} tests passed"),
        _ => format!("{failed} of {} tests failed", passed + failed),
    };
    if ignored > 0 {
        sentence += &format!(", {ignored} ignored");
    }
    for what in &wrong {
        sentence += &format!("; {what}");
    }
    (failed == 0 && wrong.is_empty() && passed > 0, sentence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{os::unix::process::ExitStatusExt, process::ExitStatus};

    fn ran(status: i32, programs: &[[usize; 3]]) -> Ran {
        let counts = programs.iter().map(|&[passed, failed, ignored]| Counts {
            passed,
            failed,
            ignored,
        });
        let counted = Counted {
            status: ExitStatus::from_raw(status << 8),
            programs: counts.collect(),
            ran: vec!["net::one".into()],
            ignored: vec!["kvm::one".into()],
        };
        Ran::new("cargo test".into(), &["net", "--ignored"], counted)
    }

    #[test]
    fn a_promise_is_kept_if_tests_ran_and_all_passed() {
        let all = [ran(0, &[[3, 0, 1]]), ran(0, &[[2, 0, 1]])];
        assert_eq!(judge(&all), (true, "5 tests passed, 2 ignored".into()));
        assert_eq!(all[0].details()["ignored"], json!(["kvm::one"]));
        assert_eq!(judge(&[ran(0, &[[3, 0, 0]])]).1, "3 tests passed");
        assert_eq!(judge(&[ran(0, &[[1, 0, 0]])]).1, "1 test passed");
    }

    #[test]
    fn what_did_not_run_is_no_proof() {
        for (all, sentence) in [
            (vec![], "0 tests passed"),
            (
                vec![ran(0, &[])],
                "0 tests passed; `cargo test` ran no test",
            ),
            (
                vec![ran(0, &[[0, 0, 2]])],
                "0 tests passed, 2 ignored; `cargo test` ran no test",
            ),
            (
                vec![ran(0, &[[9, 0, 0]]), ran(0, &[[0, 0, 0]])],
                "9 tests passed; `cargo test` ran no test",
            ),
        ] {
            assert_eq!(judge(&all), (false, sentence.into()));
        }
    }

    /// The others of its command run nevertheless, and pass.
    #[test]
    fn each_word_must_select_a_test_that_ran() {
        let of = |filter: &[&'static str]| {
            let Ran { line, counts, .. } = ran(0, &[[3, 0, 1]]);
            let counted = Counted {
                programs: counts.into_iter().collect(),
                ran: vec!["net::arp".into(), "vmm::net::tcp".into(), "udp".into()],
                ignored: vec!["dhcp::one".into()],
                ..Counted::default()
            };
            judge(&[Ran::new(line, filter, counted)])
        };
        assert!(of(&["net", "udp", "--ignored"]).0);
        for word in ["dhcp", "icmp"] {
            let sentence = format!(
                "3 tests passed, 1 ignored; `cargo test` ran no test that is named `{word}`"
            );
            assert_eq!(of(&["net", word]), (false, sentence));
        }
    }

    #[test]
    fn what_failed_or_did_not_end_is_told() {
        for (all, sentence) in [
            (
                vec![ran(101, &[[3, 1, 0]]), ran(0, &[[2, 0, 0]])],
                "1 of 6 tests failed",
            ),
            (
                vec![ran(101, &[])],
                "0 tests passed; `cargo test` broke off (exit status: 101)",
            ),
            // A test's output may have such a line: the program's own is the last.
            (
                vec![ran(101, &[[7, 0, 0], [1, 2, 0]])],
                "2 of 3 tests failed",
            ),
            (
                vec![ran(101, &[[7, 0, 0]])],
                "7 tests passed; `cargo test` broke off (exit status: 101)",
            ),
            (
                vec![Ran::without_end("cargo test".into(), "too long".into())],
                "0 tests passed; `cargo test` broke off (too long)",
            ),
        ] {
            assert_eq!(judge(&all), (false, sentence.into()));
        }
    }
}
