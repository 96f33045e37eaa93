//! What libFuzzer prints.

use std::{collections::VecDeque, path::PathBuf};

/// How many of its last lines are kept: enough for a panic, a stack and statistics.
const KEPT: usize = 100;

/// What one process has printed so far.
#[derive(Debug, Default)]
pub(super) struct Printed {
    /// How many inputs were run.
    pub(super) runs: u64,
    /// How many edges of the program's code the corpus covers.
    pub(super) edges: u64,
    /// Where it wrote an input that breaks the target.
    pub(super) finding: Option<PathBuf>,
    /// Its last lines that are no progress.
    pub(super) lines: VecDeque<String>,
}

impl Printed {
    pub(super) fn take(&mut self, line: &str) {
        if let Some((runs, edges)) = progress(line) {
            self.runs = runs;
            self.edges = edges.unwrap_or(self.edges);
            return;
        }
        if let Some(runs) = line.strip_prefix("stat::number_of_executed_units:") {
            self.runs = runs.trim().parse().unwrap_or(self.runs);
        }
        // On a busy machine any input may be slow; only the time limit makes one a finding.
        if let Some((_, path)) = line.split_once("Test unit written to ")
            && !path.contains("/slow-unit-")
        {
            self.finding = Some(path.trim().into());
        }
        if self.lines.len() == KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back(line.to_owned());
    }
}

/// The runs and the edges in a line like `#1024 NEW cov: 310 ft: 812 corp: 14/120b ...`.
fn progress(line: &str) -> Option<(u64, Option<u64>)> {
    let mut words = line.strip_prefix('#')?.split_ascii_whitespace();
    let runs = words.next()?.parse().ok()?;
    // "INITED", "NEW", "pulse" and so on; in a backtrace it is an address.
    let is_event = words.next()?.bytes().all(|byte| byte.is_ascii_alphabetic());
    if !is_event {
        return None;
    }
    let edges = words.skip_while(|word| *word != "cov:").nth(1);
    Some((runs, edges.and_then(|edges| edges.parse().ok())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_libfuzzer_are_understood() {
        let mut printed = Printed::default();
        for line in [
            "INFO: Running with entropic power schedule (0xFF, 100).",
            "#2\tINITED exec/s: 0 rss: 40Mb",
            "#1024\tNEW    cov: 310 ft: 812 corp: 14/120b exec/s: 0 rss: 47Mb",
            "#0 0x5581 in __sanitizer_print_stack_trace (/x/elf+0x12)",
            "stat::number_of_executed_units: 2000",
            "artifact_prefix='/a b/'; Test unit written to /a b/crash-12",
            "artifact_prefix='/a b/'; Test unit written to /a b/slow-unit-34",
        ] {
            printed.take(line);
        }
        assert_eq!((printed.runs, printed.edges), (2000, 310));
        assert_eq!(printed.finding, Some("/a b/crash-12".into()));
        assert_eq!(printed.lines.len(), 5);
    }

    #[test]
    fn the_last_lines_are_kept() {
        let mut printed = Printed::default();
        for number in 0..1000 {
            printed.take(&number.to_string());
        }
        assert_eq!(printed.lines.len(), KEPT);
        assert_eq!(printed.lines.back().map(String::as_str), Some("999"));
    }
}
