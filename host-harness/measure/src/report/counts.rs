//! The figures as a table, with what must be known to judge them.

use crate::document::{
    counts::{CASES, Count, CountsDocument, Exits, NOTES, RUNTIMES},
    in_words,
};
use comfy_table::{CellAlignment, Table, presets};
use std::{collections::BTreeSet, fmt::Write, time::Duration};

/// Everything that is printed.
pub(crate) fn text(document: &CountsDocument) -> String {
    let CountsDocument { counts, exits, .. } = document;
    let versions = in_words(&document.versions);
    let mut text = format!("Instructions an operation, exact for {versions}.\n\n");
    // Writing to a string does not fail.
    let _ = writeln!(text, "{}\n", draw(counts));
    for note in NOTES {
        let _ = writeln!(text, "- {note}.");
    }
    for runtime in RUNTIMES {
        if counts.iter().any(|count| count.runtime == runtime.name) {
            let _ = writeln!(text, "- {}: {}.", runtime.name, runtime.note);
        }
    }
    let _ = writeln!(text, "\nWhat a sleep asks the machine for, in the mean.\n");
    let _ = writeln!(text, "{}\n", draw_exits(exits));
    for note in EXITS_NOTES {
        let _ = writeln!(text, "- {note}.");
    }
    for sentence in &document.left_out {
        let _ = writeln!(text, "- {sentence}.");
    }
    text
}

/// Rows: each case at each n. Columns: each runtime; one that has a choice of vCPUs, at each choice
/// and capacity. What was not counted is a dash.
pub(crate) fn draw(counts: &[Count]) -> Table {
    let mut columns: Vec<String> = Vec::new();
    for count in counts {
        let column = column(count);
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
    let timers: BTreeSet<&Option<String>> = counts.iter().map(|count| &count.timer).collect();
    let numbers: BTreeSet<u64> = counts.iter().map(|count| count.n).collect();

    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(
        ["case", "n"]
            .into_iter()
            .chain(columns.iter().map(String::as_str)),
    );
    for case in CASES {
        for (timer, n) in timers
            .iter()
            .flat_map(|timer| numbers.iter().map(move |n| (timer, n)))
        {
            let is_here =
                |count: &&Count| (&*count.case, &count.timer, count.n) == (case.name, timer, *n);
            let row: Vec<&Count> = counts.iter().filter(is_here).collect();
            if row.is_empty() {
                continue;
            }
            let cell = |wanted: &String| {
                let found = row.iter().find(|count| column(count) == *wanted);
                found.map_or_else(|| "-".into(), |count| figure(count))
            };
            let name = match timer {
                Some(timer) => format!("{} {timer}", case.name),
                None => case.name.to_owned(),
            };
            table.add_row(
                [name, n.to_string()]
                    .into_iter()
                    .chain(columns.iter().map(cell)),
            );
        }
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// What must be known of the second table.
const EXITS_NOTES: &[&str] = &[
    "alarm writes: to the TSC-deadline MSR, the local APIC's initial count, or the PIT, which \
     takes a count as two bytes. others: every other port, MSR and register of the local APIC that \
     is read or written. Rows with them were stepped through, from poll to poll, and the guest's \
     clock stood still from one interrupt to the next, so that steps took no time",
    "slack: the sleeps of 10 tasks end at scattered times, and those within the slack by one \
     interrupt",
];

/// A row for each timer, number of tasks and slack.
pub(crate) fn draw_exits(exits: &[Exits]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header([
        "timer",
        "tasks",
        "slack",
        "sleeps",
        "alarm writes",
        "halts",
        "EOIs",
        "others",
    ]);
    for row in exits {
        let slack = Duration::from_nanos(row.slack_ns);
        table.add_row([
            row.timer.clone(),
            row.tasks.to_string(),
            format!("{slack:?}"),
            row.sleeps.to_string(),
            per_sleep(row.alarm_writes),
            per_sleep(row.halts),
            per_sleep(row.eois),
            row.others.map_or_else(|| "-".into(), per_sleep),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// As in `0.383`.
fn per_sleep(events: f64) -> String {
    format!("{events:.3}")
}

/// The mean, and in parentheses the worst operation, where that is known.
fn figure(count: &Count) -> String {
    let mean = count.instructions;
    match count.worst {
        Some(worst) => format!("{mean:.1} ({worst})"),
        None => format!("{mean:.1}"),
    }
}

/// The column that a figure belongs to: its name, on several lines where that would be wide.
fn column(count: &Count) -> String {
    match (&count.cpus, count.capacity) {
        (Some(cpus), Some(capacity)) => format!("{}\n{capacity}\n{cpus}", count.runtime),
        (Some(cpus), None) => format!("{}\n{cpus}", count.runtime),
        (None, _) => count.runtime.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Host, versions_for_test};

    fn counts(figures: &[(&str, u64)]) -> Vec<Count> {
        let count = |(name, tenths): &(&str, u64)| Count::of(name, *tenths as f64 / 10.0);
        figures
            .iter()
            .map(|figure| count(figure).expect("a figure"))
            .collect()
    }

    fn cells(drawn: &str) -> Vec<Vec<&str>> {
        drawn
            .lines()
            .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
            .collect()
    }

    #[test]
    fn cases_and_runtimes_stand_in_their_order_and_gaps_are_dashes() {
        let counts = counts(&[
            ("embassy/spawn/64/64/-", 1451),
            ("embassy/wake_poll/64/64/-", 450),
            ("embassy/wake_poll/1/1/-", 450),
            ("futures-unordered/join/1/-/-", 3340),
            ("futures-unordered/wake_poll/64/-/-", 1951),
        ]);
        let drawn = draw(&counts).to_string();
        let cells = cells(&drawn);
        assert_eq!(cells[0], ["case", "n", "embassy", "futures-unordered"]);
        assert_eq!(
            cells[2..],
            [
                ["wake_poll", "1", "45.0", "-"],
                ["wake_poll", "64", "45.0", "195.1"],
                ["spawn", "64", "145.1", "-"],
                ["join", "1", "-", "334.0"],
            ]
        );
    }

    #[test]
    fn a_runtime_with_a_choice_has_a_column_for_each() {
        let counts = counts(&[
            ("dormir/wake_poll/1/64/single", 300),
            ("dormir/wake_poll/1/64/shared", 350),
            ("dormir/wake_poll/1/4096/single", 410),
            ("embassy/wake_poll/1/1/-", 450),
        ]);
        let drawn = draw(&counts).to_string();
        let cells = cells(&drawn);
        assert_eq!(
            cells[0],
            ["case", "n", "dormir", "dormir", "dormir", "embassy"]
        );
        assert_eq!(cells[1], ["", "", "64", "64", "4096", ""]);
        assert_eq!(cells[2], ["", "", "single", "shared", "single", ""]);
        assert_eq!(cells[4], ["wake_poll", "1", "30.0", "35.0", "41.0", "45.0"]);
    }

    #[test]
    fn each_timer_has_a_row() {
        let counts = counts(&[
            ("dormir/isr_to_poll/1/64/shared/xapic", 1650),
            ("dormir/isr_to_poll/1/64/shared/pit", 1600),
        ]);
        let drawn = draw(&counts).to_string();
        let rows = &cells(&drawn)[4..];
        assert_eq!(rows[0], ["isr_to_poll pit", "1", "160.0"]);
        assert_eq!(rows[1], ["isr_to_poll xapic", "1", "165.0"]);
    }

    #[test]
    fn what_was_not_looked_for_is_a_dash() {
        let mut row = Exits {
            runtime: "dormir".into(),
            timer: "xapic".into(),
            tasks: 10,
            slack_ns: 1_000_000,
            sleeps: 1000,
            alarm_writes: 0.383,
            halts: 1.0,
            eois: 2.0,
            others: None,
        };
        let guest = row.clone();
        row.others = Some(0.0);
        let drawn = draw_exits(&[row, guest]).to_string();
        let rows = &cells(&drawn)[2..];
        let same = ["xapic", "10", "1ms", "1000", "0.383", "1.000", "2.000"];
        assert_eq!(rows[0], [&same[..], &["0.000"]].concat());
        assert_eq!(rows[1], [&same[..], &["-"]].concat());
    }

    #[test]
    fn the_worst_operation_stands_behind_the_mean() {
        let mut counts = counts(&[("embassy/timer_arm/10/-/-", 1450)]);
        counts[0].worst = Some(170);
        let drawn = draw(&counts).to_string();
        assert_eq!(cells(&drawn)[2], ["timer_arm", "10", "145.0 (170)"]);
    }

    #[test]
    fn versions_stand_above_and_the_notes_of_those_counted_below() {
        let counts = counts(&[("embassy/wake_poll/1/1/-", 450)]);
        let document = CountsDocument {
            counts,
            left_out: vec!["one row is left out: there is no way".into()],
            ..CountsDocument::new(Host::for_test(), versions_for_test())
        };
        let text = text(&document);
        let (above, below) = text.split_once("| case").expect("a table");
        assert!(
            below.contains("\n- one row is left out: there is no way.\n"),
            "{text}"
        );
        assert!(above.contains("rustc 9.8.7."), "{text}");
        assert!(below.contains("\n- embassy: "), "{text}");
        assert!(!below.contains("\n- edge: "), "{text}");
    }
}
