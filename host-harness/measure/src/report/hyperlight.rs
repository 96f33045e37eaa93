//! The figures as a table for each mode, with what must be known to judge them.

use crate::document::{
    host_calls::HostCalls,
    hyperlight::{Document, Row},
    in_words,
};
use comfy_table::{CellAlignment, Table, presets};
use std::{fmt::Write, time::Duration};

/// What is shown of each distribution, in parts of one.
const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p90", 0.9), ("max", 1.0)];

/// What holds for all figures.
const NOTES: &[&str] = &[
    "figures without a unit are in microseconds. docs/hyperlight.md describes how each is taken \
     and what it does not show",
    "call: from the host's call of a guest function to its return. plain does nothing, \
     host-function calls a host function that returns at once, block_on runs the executor for a \
     future that is ready, which takes no call of a host function",
    "idle: what each further one costs in a call that has several. wait-elapsed is the call of the \
     waiting function without its wait; wait-processor the processor time of a sleep of 1 ms by \
     it; tick-processor the processor time of one tick, at a period of 1 ms, and of the halt after \
     it",
    "sleep: by how much it was too long; guest by its own clock, host is the system's sleep in the \
     same program, in turns with the guest's",
    "host calls: of a function that takes 50 ms. plain is a host function without dormir. async \
     are calls of a guest whose thread waits for them, also with a linger of 5 ms; poll_once those \
     of guests that two threads drive. in flight are the calls in each sandbox, bytes those of a \
     result; p50 and p99, in milliseconds, how long single calls took, by the guest",
    "function is a guest function that does nothing, and function-block_on one that runs the \
     executor for a future that is ready; its exit is its return",
];

/// Everything that is printed.
pub(crate) fn text(document: &Document) -> String {
    let mut text = String::new();
    let vmms = document.rows.iter().map(|row| &*row.vmm);
    // Writing to a string does not fail.
    if let Some(warning) = document.host.warning(vmms) {
        let _ = writeln!(text, "{warning}\n");
    }
    let _ = writeln!(text, "Hyperlight guests. {}", document.host.sentence());
    let _ = writeln!(text, "{}.\n", in_words(&document.versions));
    for rows in document.rows.chunk_by(|a, b| a.vmm == b.vmm) {
        let _ = writeln!(text, "{}:\n\n{}\n", rows[0].vmm, draw(rows));
        let vmm = &rows[0].vmm;
        let calls = document.host_calls.iter().filter(|row| row.mode == *vmm);
        let _ = writeln!(text, "{vmm}, host calls:\n\n{}\n", draw_host_calls(calls));
    }
    for note in NOTES {
        let _ = writeln!(text, "- {note}.");
    }
    text
}

fn draw(rows: &[Row]) -> Table {
    let quantiles = QUANTILES.map(|(name, _)| name);
    let mut table = Table::new();
    table
        .load_style(presets::ASCII_MARKDOWN)
        .set_header(["case", "of", "n"].into_iter().chain(quantiles));
    for Row {
        subject,
        distribution,
        ..
    } in rows
    {
        let case = match subject.asked_ns {
            None => subject.case.to_owned(),
            Some(asked) => format!("{} {:?}", subject.case, Duration::from_nanos(asked)),
        };
        let ends = [
            case,
            subject.what.to_owned(),
            distribution.len().to_string(),
        ];
        let figure = |(_, part)| micros(distribution.quantile(part));
        table.add_row(ends.into_iter().chain(QUANTILES.map(figure)));
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn draw_host_calls<'a>(rows: impl Iterator<Item = &'a HostCalls>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header([
        "host calls",
        "sandboxes",
        "in flight",
        "bytes",
        "n",
        "calls per second",
        "exits per call",
        "p50",
        "p99",
    ]);
    for row in rows {
        table.add_row([
            row.load.what.to_owned(),
            row.load.sandboxes.to_string(),
            row.load.in_flight.to_string(),
            row.load.bytes.to_string(),
            row.calls.to_string(),
            format!("{:.1}", row.calls_per_second),
            format!("{:.3}", row.exits_per_call),
            millis(row.p50_ns),
            millis(row.p99_ns),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// As in `1234.5`.
fn micros(nanos: u64) -> String {
    format!("{:.1}", nanos as f64 / 1000.0)
}

/// As in `1.2`.
fn millis(nanos: u64) -> String {
    format!("{:.1}", nanos as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_has_a_row_under_its_mode() {
        let text = text(&Document::for_test());
        let rows: Vec<Vec<&str>> = text
            .lines()
            .filter(|line| line.starts_with('|') && !line.starts_with("|-"))
            .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
            .collect();
        assert_eq!(rows[0], ["case", "of", "n", "p50", "p90", "max"]);
        assert_eq!(rows[1], ["call", "plain", "2", "1.0", "2.0", "2.0"]);
        assert_eq!(rows[6], ["sleep 1ms", "guest", "2", "1.0", "2.0", "2.0"]);
        // A header and eleven figures, then a header and ten; and twice a header and sixteen.
        assert_eq!(rows.len(), 12 + 11 + 2 * 17, "{text}");
        assert_eq!(rows[12][0], "host calls");
        let plain = [
            "plain", "1", "1", "8", "10", "2.5", "0.500", "300.0", "400.0",
        ];
        assert_eq!(rows[15], plain);
        assert!(
            text.starts_with("KVM here is not hardware-assisted"),
            "{text}"
        );
        let (above, below) = text.split_once("\nhyperlight-interrupts:\n").expect("both");
        assert!(
            above.contains("A processor") && above.contains("rustc 9.8.7"),
            "{text}"
        );
        assert!(
            above.contains("\nhyperlight:\n") && above.contains("wait-processor"),
            "{text}"
        );
        let (table, _) = below.split_once("\n- ").expect("notes");
        assert!(
            table.contains("tick-processor") && !table.contains("wait-"),
            "{text}"
        );
        assert!(!text.contains("QEMU"), "{text}");
    }
}
