//! What changed from one run's figures to another's.
//!
//! A host is faster at one time than at another, and the floor with it. So a runtime's figure is
//! compared as a multiple of the floor's of the same run. The floor's own figures are compared as
//! they are, and so is a wake by a task, where the floor is some twenty nanoseconds: too few for a
//! ratio.

mod bootstrap;
pub(crate) mod gate;
#[cfg(test)]
mod tests;

use crate::document::{
    distribution::Span,
    latency::{Cell, Document, floor},
};
use bootstrap::{CONFIDENCE, Change, RESAMPLES, Side, change};
use comfy_table::{CellAlignment, Table, presets};
use rand::{SeedableRng, rngs::StdRng};
use std::{collections::HashMap, fmt::Write};

/// The same in every run, so that the same files give the same text.
const SEED: u64 = 6;

/// What is compared of each distribution.
const COMPARED: [(&str, f64); 2] = [("p50", 0.5), ("p99", 0.99)];

/// Two runs have nothing in common.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the two files have no cell in common: measure both with the same VMMs and timers")]
pub(crate) struct NothingInCommonError;

/// What changed.
pub(crate) struct Comparison<'a> {
    before: &'a Document,
    after: &'a Document,
    rows: Vec<Row<'a>>,
    /// What is in the first run and cannot be compared: it is not in the second, or one has no
    /// floor to it.
    lost: Vec<Name<'a>>,
}

/// The name of a figure: VMM, timer, idle, load, path, point, runtime.
type Name<'a> = [&'a str; 7];

/// One percentile of a span.
struct Row<'a> {
    name: Name<'a>,
    percentile: &'static str,
    change: Change,
}

impl<'a> Comparison<'a> {
    /// Compares two runs.
    ///
    /// # Errors
    ///
    /// They have nothing in common.
    pub(crate) fn of(
        before: &'a Document,
        after: &'a Document,
    ) -> Result<Self, NothingInCommonError> {
        let mut random = StdRng::seed_from_u64(SEED);
        let (mut rows, mut lost) = (Vec::new(), Vec::new());
        let [olds, news] = [before, after].map(by_key);
        for old in &before.cells {
            let cell = news.get(&key(old)).copied();
            for same in &old.spans {
                let name = name(old, same);
                let span = cell.and_then(|cell| cell.spans.iter().find(|span| span.to == same.to));
                let sides = (cell.zip(span)).and_then(|(cell, span)| {
                    Some([side(&olds, old, same)?, side(&news, cell, span)?])
                });
                let changes = COMPARED.map(|(percentile, part)| {
                    let change = change(sides?, part, &mut random)?;
                    Some(Row {
                        name,
                        percentile,
                        change,
                    })
                });
                if changes.iter().all(Option::is_none) {
                    lost.push(name);
                }
                rows.extend(changes.into_iter().flatten());
            }
        }
        if rows.is_empty() {
            return Err(NothingInCommonError);
        }
        Ok(Self {
            before,
            after,
            rows,
            lost,
        })
    }

    /// Everything that is printed.
    pub(crate) fn text(&self) -> String {
        let rows = self.rows.len();
        let changed = self
            .rows
            .iter()
            .filter(|row| row.change.verdict() != UNCHANGED);
        let mut text = format!("{}\n\n", self.table());
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "- A figure is: nanoseconds / how many times the floor's. The change is that of the \
             second; where there is no second, that of the first.\n\
             - {} of {rows} changed. With {rows} intervals of 95 %, some {} are expected to \
             show a change where there is none.\n\
             - The interval is a bootstrap's, by the percentile method, of {RESAMPLES} \
             resamples; it knows how the samples of these two runs scatter, and nothing of how one \
             run differs from the next.",
            changed.count(),
            (rows as f64 * (1.0 - CONFIDENCE)).ceil()
        );
        for name in &self.lost {
            let _ = writeln!(
                text,
                "- Not compared, since it or its floor is not in both files: {}.",
                joined(name)
            );
        }
        let hosts = [self.before, self.after].map(|document| &document.host);
        if hosts[0] != hosts[1] {
            let _ = writeln!(
                text,
                "- The machines differ, so this compares more than the software. Before: {} \
                 After: {}",
                hosts[0].sentence(),
                hosts[1].sentence()
            );
        }
        text
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN).set_header([
            "VMM",
            "timer",
            "idle",
            "load",
            "path",
            "to",
            "runtime",
            "",
            "before, ns",
            "after, ns",
            "change",
            "95 %",
            "verdict",
        ]);
        for row in &self.rows {
            let names = row.name.into_iter().chain([row.percentile]);
            table.add_row(names.map(str::to_owned).chain(row.change.figures()));
        }
        for column in table.column_iter_mut().skip(8).take(4) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }
}

/// What two cells must have in common to be compared.
fn key(cell: &Cell) -> [&str; 6] {
    [
        &cell.vmm,
        &cell.timer,
        &cell.idle,
        &cell.load,
        &cell.path,
        &cell.runtime,
    ]
}

/// The cells of a document, each by its key: of two with the same the first.
fn by_key(document: &Document) -> HashMap<[&str; 6], &Cell> {
    let cells = document.cells.iter().rev();
    cells.map(|cell| (key(cell), cell)).collect()
}

fn name<'a>(cell: &'a Cell, span: &'a Span) -> Name<'a> {
    let [vmm, timer, idle, load, path, runtime] = key(cell);
    [vmm, timer, idle, load, path, &span.to, runtime]
}

/// As in `kvm, tsc-deadline, halt, none, deadline, poll, dormir`.
fn joined(name: &Name<'_>) -> String {
    name.join(", ")
}

/// A span with what it is compared with; `None` if that is missing.
fn side<'a>(
    cells: &HashMap<[&str; 6], &'a Cell>,
    cell: &'a Cell,
    span: &'a Span,
) -> Option<Side<'a>> {
    let figures = &span.distribution;
    if cell.runtime == "floor" || cell.path == "task" {
        return Some(Side {
            figures,
            floor: None,
        });
    }
    let [vmm, timer, idle, load, path, _] = key(cell);
    let of_floor = cells.get(&[vmm, timer, idle, load, path, "floor"])?;
    let floor = floor([*of_floor], path, span)?;
    Some(Side {
        figures,
        floor: Some(floor),
    })
}

const UNCHANGED: &str = "not shown to differ";

impl Change {
    fn verdict(self) -> &'static str {
        if self.low > 1.0 {
            "slower"
        } else if self.high < 1.0 {
            "faster"
        } else {
            UNCHANGED
        }
    }

    fn figures(self) -> [String; 5] {
        [
            self.before.to_string(),
            self.after.to_string(),
            percent(self.after.compared / self.before.compared),
            format!("{} to {}", percent(self.low), percent(self.high)),
            self.verdict().to_owned(),
        ]
    }
}

fn percent(ratio: f64) -> String {
    format!("{:+.1} %", (ratio - 1.0) * 100.0)
}
