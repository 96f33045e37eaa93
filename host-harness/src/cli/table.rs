//! The table of what the demos cost.

use crate::vmm::{Report, VcpuCounters};
use comfy_table::{CellAlignment, Table, presets};
use std::time::Duration;

/// The row of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CostRow {
    name: String,
    cells: [Option<String>; 6],
}

const HEADER: [&str; 7] = [
    "demo",
    "wall time",
    "halted",
    "timer interrupts",
    "polls",
    "exits to the VMM",
    "halt exits",
];

impl CostRow {
    /// Makes the row of the demo `name`.
    pub(super) fn new(name: &str, report: &Report) -> Self {
        let stat = |wanted: &str| {
            let found = report.stats.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| *value)
        };
        let counters = report.counters.unwrap_or_default();
        let VcpuCounters {
            userspace_exits,
            halt_exits,
            ..
        } = counters;
        Self {
            name: name.to_owned(),
            cells: [
                Some(milliseconds(report.wall)),
                share(stat("halted_ns"), stat("elapsed_ns")),
                stat("timer_interrupts").map(|count| count.to_string()),
                stat("polls").map(|count| count.to_string()),
                report.counters.map(|_| userspace_exits.to_string()),
                halt_exits.map(|count| count.to_string()),
            ],
        }
    }

    /// Makes the row of a demo without results.
    pub(super) fn failed(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            cells: [const { None }; 6],
        }
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// Returns a share in percent, rounded down: only the whole is 100 %.
fn share(part: Option<u64>, whole: Option<u64>) -> Option<String> {
    let (part, whole) = (u128::from(part?), u128::from(whole?));
    let tenths = (part * 1000).checked_div(whole)?;
    Some(format!("{}.{} %", tenths / 10, tenths % 10))
}

/// Draws the table; unknown values are dashes.
pub(super) fn draw(rows: &[CostRow]) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(HEADER);
    for row in rows {
        let cells = row.cells.iter().map(|cell| cell.as_deref().unwrap_or("-"));
        table.add_row(std::iter::once(row.name.as_str()).chain(cells));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vmm::Outcome;

    fn report(stats: &[(&str, u64)], counters: Option<VcpuCounters>) -> Report {
        Report {
            outcome: Outcome::Exited(0),
            panic: None,
            stats: stats
                .iter()
                .map(|(name, value)| ((*name).into(), *value))
                .collect(),
            samples: Vec::new(),
            data: Vec::new(),
            data_dropped: 0,
            times: Vec::new(),
            wall: Duration::from_micros(1_234_560),
            counters,
            stretches: Vec::new(),
            backtrace: None,
            stalls: Vec::new(),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn rows_stand_beside_each_other() {
        let halting = report(
            &[
                ("elapsed_ns", 1_000_000_000),
                ("halted_ns", 987_600_000),
                ("timer_interrupts", 4),
                ("polls", 5),
            ],
            Some(VcpuCounters {
                userspace_exits: 12,
                halt_exits: Some(4),
                ..VcpuCounters::default()
            }),
        );
        let qemu = report(&[("elapsed_ns", 1_000_000_000), ("halted_ns", 0)], None);
        let drawn = draw(&[
            CostRow::new("basic", &halting),
            CostRow::new("basic-busy", &qemu),
            CostRow::failed("other"),
        ]);
        let lines: Vec<Vec<&str>> = drawn
            .lines()
            .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
            .collect();
        assert_eq!(lines[0], HEADER);
        assert_eq!(
            lines[2],
            ["basic", "1234.6 ms", "98.7 %", "4", "5", "12", "4"]
        );
        assert_eq!(
            lines[3],
            ["basic-busy", "1234.6 ms", "0.0 %", "-", "-", "-", "-"]
        );
        assert_eq!(lines[4], ["other", "-", "-", "-", "-", "-", "-"]);
    }

    #[test]
    fn a_share_is_never_rounded_up_to_the_whole() {
        assert_eq!(share(Some(9999), Some(10_000)).as_deref(), Some("99.9 %"));
        assert_eq!(
            share(Some(10_000), Some(10_000)).as_deref(),
            Some("100.0 %")
        );
    }

    #[test]
    fn a_share_of_nothing_is_not_known() {
        assert_eq!(share(Some(1), Some(0)), None);
        assert_eq!(share(None, Some(1)), None);
    }
}
