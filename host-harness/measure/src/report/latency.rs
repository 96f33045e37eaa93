//! The figures as a table for each machine, with what must be known to judge them.

use crate::document::{
    distribution::{Distribution, QUANTILES, Span},
    in_words,
    latency::{Cell, Document, floor},
};
use comfy_table::{CellAlignment, Table, presets};
use std::fmt::Write;

/// What holds for all figures.
pub(crate) const NOTES: &[&str] = &[
    "a figure is: nanoseconds / cycles of the guest's TSC / how many times the floor's. \
     docs/benchmarks.md describes how each is taken and what it does not show",
    "deadline: from the deadline to the first instructions of the interrupt's handler, to where \
     the task has been made ready, to the task's poll. host: the same from just before the host \
     injects an interrupt that a task waits for. task: from just before one task wakes another to \
     where that is done, and to the other's poll. Wakes are stamped in turns of their own",
    "floor: `sti; hlt` and a handler that only stamps and acknowledges, up to the first \
     instruction after the halt, which other runtimes' wake and poll are compared with; on the \
     path task, two stamps and nothing between",
    "dormir: Executor<Up64> with Shared, Up4096 where the load is sleepers. embassy: its raw \
     executor with embassy-time and the queue that is integrated into tasks, on the same clock and \
     alarm, idle by `sti; hlt`",
];

/// Everything that is printed.
pub(crate) fn text(document: &Document) -> String {
    let mut text = String::new();
    let vmms = document.cells.iter().map(|cell| &*cell.vmm);
    // Writing to a string does not fail.
    if let Some(warning) = document.host.warning(vmms) {
        let _ = writeln!(text, "{warning}\n");
    }
    let _ = writeln!(text, "Wake latency. {}", document.host.sentence());
    let _ = writeln!(text, "{}.\n", in_words(&document.versions));
    for cells in document.cells.chunk_by(Cell::is_of_guest_of) {
        let Cell {
            vmm,
            timer,
            idle,
            load,
            ..
        } = &cells[0];
        let _ = writeln!(
            text,
            "{vmm}, {timer}, dormir idle by {idle}, load {load}:\n\n{}",
            draw(cells)
        );
        for cell in cells {
            if let Some(remark) = remark(cell) {
                let _ = writeln!(text, "{remark}");
            }
        }
        text.push('\n');
    }
    for sentence in document.left_out.iter().map(String::as_str) {
        let _ = writeln!(text, "- {sentence}.");
    }
    for note in NOTES {
        let _ = writeln!(text, "- {note}.");
    }
    text
}

/// What a reader would not expect of this cell.
fn remark(cell: &Cell) -> Option<String> {
    let mut remarks = Vec::new();
    if cell.missed > 0 {
        let start = match &*cell.path {
            "host" => "the host injected the interrupt",
            _ => "the deadline passed",
        };
        remarks.push(format!(
            "{} rounds gave no sample, since {start} while the vCPU was awake",
            cell.missed
        ));
    }
    if cell.early > 0 {
        remarks.push(format!(
            "{} samples had their last interrupt before the start, and count as 0 there",
            cell.early
        ));
    }
    if cell.uncertainty_ns > 0 {
        remarks.push(format!(
            "the host's clock may be off by {} ns, as far as the guest can tell",
            cell.uncertainty_ns
        ));
    }
    let Cell { path, runtime, .. } = cell;
    (!remarks.is_empty()).then(|| format!("{runtime}, {path}: {}.", remarks.join("; ")))
}

pub(crate) fn draw(cells: &[Cell]) -> Table {
    let quantiles = QUANTILES.map(|(name, _)| name);
    let mut table = Table::new();
    table
        .load_style(presets::ASCII_MARKDOWN)
        .set_header(["path", "to", "runtime", "n"].into_iter().chain(quantiles));
    for path in cells.chunk_by(|a, b| a.path == b.path) {
        for to in ["handler", "wake", "poll"] {
            for cell in path {
                let Some(span) = cell.spans.iter().find(|span| span.to == to) else {
                    continue;
                };
                let floor = floor(path, &cell.path, span);
                let figure = |(_, part)| figure(span, part, floor, cell.tsc_hz);
                let n = span.distribution.len().to_string();
                let ends = [cell.path.clone(), to.to_owned(), cell.runtime.clone(), n];
                table.add_row(ends.into_iter().chain(QUANTILES.map(figure)));
            }
        }
    }
    for column in table.column_iter_mut().skip(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// As in `75300 / 195780 / 1.09x`.
fn figure(span: &Span, part: f64, floor: Option<&Distribution>, tsc_hz: u64) -> String {
    let nanos = span.distribution.quantile(part);
    let cycles = u128::from(nanos) * u128::from(tsc_hz) / 1_000_000_000;
    match floor.map(|floor| floor.quantile(part)) {
        Some(floor) if floor > 0 => {
            format!("{nanos} / {cycles} / {:.2}x", nanos as f64 / floor as f64)
        }
        _ => format!("{nanos} / {cycles} / -"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::latency::made_up_cell;

    fn document() -> Document {
        let values: Vec<u64> = (1..=1000).collect();
        let mut embassy = made_up_cell(
            "embassy",
            &values,
            &[("handler", 10), ("wake", 20), ("poll", 30)],
        );
        embassy.missed = 7;
        embassy.uncertainty_ns = 31;
        Document::for_test(vec![
            made_up_cell("floor", &values, &[("handler", 10), ("poll", 12)]),
            made_up_cell(
                "dormir",
                &values,
                &[("handler", 10), ("wake", 12), ("poll", 15)],
            ),
            embassy,
        ])
    }

    #[test]
    fn each_figure_has_nanoseconds_cycles_and_its_ratio_to_the_floor() {
        let drawn = draw(&document().cells).to_string();
        let rows: Vec<Vec<&str>> = drawn
            .lines()
            .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
            .collect();
        assert_eq!(
            rows[0],
            [
                "path", "to", "runtime", "n", "p50", "p90", "p99", "p99.9", "max"
            ]
        );
        let starts: Vec<_> = rows[2..].iter().map(|row| (row[1], row[2])).collect();
        let expected = [
            ("handler", "floor"),
            ("handler", "dormir"),
            ("handler", "embassy"),
            ("wake", "dormir"),
            ("wake", "embassy"),
            ("poll", "floor"),
            ("poll", "dormir"),
            ("poll", "embassy"),
        ];
        assert_eq!(starts, expected);
        let p50 = |row: usize| rows[row][4];
        assert_eq!(p50(2), "5003 / 10006 / 1.00x");
        assert_eq!(p50(5), "6003 / 12006 / 1.00x");
        assert!(p50(8).ends_with("/ 1.25x"), "{drawn}");
        assert!(p50(9).ends_with("/ 2.50x"), "{drawn}");
        assert!(rows.iter().skip(2).all(|row| row[3] == "1000"), "{drawn}");
    }

    #[test]
    fn machine_and_versions_stand_above_and_what_is_missing_below() {
        let text = text(&document());
        let (above, below) = text.split_once("| path").expect("a table");
        assert!(
            text.starts_with("KVM here is not hardware-assisted"),
            "{text}"
        );
        for said in [
            "A processor",
            "kvm_pvm",
            "halt_poll_ns 200000",
            "rustc 9.8.7",
            "kvm, tsc-deadline",
        ] {
            assert!(above.contains(said), "{said}: {text}");
        }
        assert!(below.contains("\n- the moon is left out.\n"), "{text}");
        assert!(below.contains("embassy, deadline: 7 rounds"), "{text}");
        assert!(below.contains("may be off by 31 ns"), "{text}");
        assert!(!below.contains("dormir, deadline: "), "{text}");
    }
}
