//! Figures as HTML tables.

use super::chart::Series;
use crate::{
    document::{
        distribution::QUANTILES,
        latency::{Cell, floor},
    },
    report::{names, numbers},
};
use comfy_table::Table;
use maud::{Markup, html};

/// What stands under a chart: the same lines in numbers.
pub(super) fn under_chart(series: &[Series<'_>]) -> Markup {
    let floor = series.iter().find(|one| one.runtime == "floor");
    html! {
        table.under {
            thead { tr {
                th scope="col" { span.aside { "runtime" } }
                @for (name, _) in QUANTILES { th scope="col" { (name) } }
            } }
            tbody { @for one in series {
                tr {
                    th scope="row" class={ "name " (one.runtime) } { (one.runtime) }
                    @for (index, (_, part)) in QUANTILES.into_iter().enumerate() {
                        @let nanos = one.distribution.quantile(part);
                        td {
                            (numbers::nanos(nanos))
                            @if index < 3 && one.runtime != "floor" && let Some(floor) = floor {
                                small { (numbers::ratio(nanos, floor.distribution.quantile(part))) }
                            }
                        }
                    }
                }
            } }
        }
    }
}

/// A row of the first table: one guest's p50, from the deadline to the poll.
struct Glance<'a> {
    cell: &'a Cell,
    /// Those of floor, dormir and embassy.
    medians: [Option<u64>; 3],
}

/// The medians of all guests that only sleep.
pub(super) fn at_a_glance(cells: &[Cell]) -> Option<Markup> {
    let mut rows: Vec<Glance<'_>> = Vec::new();
    for guest in cells.chunk_by(Cell::is_of_guest_of) {
        let plain: Vec<&Cell> = guest.iter().filter(|cell| cell.is_plain_sleep()).collect();
        let median = |runtime: &str| {
            let cell = plain.iter().find(|cell| cell.runtime == runtime)?;
            let span = cell.spans.iter().find(|span| span.to == "poll")?;
            Some(span.distribution.quantile(0.5))
        };
        if let Some(cell) = plain.first() {
            let medians = ["floor", "dormir", "embassy"].map(median);
            rows.push(Glance { cell, medians });
        }
    }
    (!rows.is_empty()).then(|| {
        html! {
            table.glance {
                caption { "Half of all polls come no later than this after the deadline (p50); \
                    below it, how many times the floor's." }
                thead { tr {
                    th scope="col" { "VMM, timer" }
                    @for runtime in ["floor", "dormir", "embassy"] {
                        th scope="col" class={ "name " (runtime) } { (runtime) }
                    }
                } }
                tbody { @for row in &rows {
                    tr {
                        th scope="row" {
                            (names::vmm_in_short(&row.cell.vmm)) " "
                            small { (names::timer(&row.cell.timer)) }
                        }
                        @for (index, median) in row.medians.into_iter().enumerate() {
                            td {
                                @match median {
                                    Some(nanos) => {
                                        (numbers::nanos(nanos))
                                        @if index > 0 && let Some(floor) = row.medians[0] {
                                            small { (numbers::ratio(nanos, floor)) }
                                        }
                                    }
                                    None => "–",
                                }
                            }
                        }
                    }
                } }
            }
        }
    })
}

/// A chart in words, for screen readers.
pub(super) fn in_words(cells: &[Cell], path: &str) -> String {
    let sentence = |cell: &Cell| {
        let span = cell.spans.iter().find(|span| span.to == "poll")?;
        let at = |part| numbers::nanos(span.distribution.quantile(part));
        let ratio = floor(cells, path, span)
            .filter(|_| cell.runtime != "floor")
            .map(|floor| {
                let median = span.distribution.quantile(0.5);
                let ratio = numbers::ratio(median, floor.quantile(0.5));
                format!(" ({ratio} the floor's)")
            });
        Some(format!(
            "{}: p50 {}{}, p90 {}, p99 {}, p99.9 {}.",
            cell.runtime,
            at(0.5),
            ratio.unwrap_or_default(),
            at(0.9),
            at(0.99),
            at(0.999)
        ))
    };
    let sentences: Vec<String> = cells.iter().filter_map(sentence).collect();
    sentences.join(" ")
}

/// A table that was made for a terminal, whose first `names` columns are text.
pub(super) fn from_terminal(table: &Table, names: usize) -> Markup {
    let class = |index: usize| (index < names).then_some("text");
    let cells = |row: &comfy_table::Row| -> Vec<String> {
        row.cell_iter().map(comfy_table::Cell::content).collect()
    };
    let header = table.header().map(cells).unwrap_or_default();
    html! {
        table.figures {
            thead { tr { @for (index, cell) in header.iter().enumerate() {
                th scope="col" class=[class(index)] { (cell) }
            } } }
            tbody { @for row in table.row_iter() {
                tr { @for (index, cell) in cells(row).iter().enumerate() {
                    td class=[class(index)] { (cell) }
                } }
            } }
        }
    }
}

/// What may be wider than the page.
pub(super) fn scroll(name: &str, content: &Markup) -> Markup {
    html! { div.scroll tabindex="0" role="region" aria-label=(name) { (content) } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::latency::made_up_cell;

    fn cells() -> Vec<Cell> {
        let values: Vec<u64> = (1..=1000).map(|value| value * 100).collect();
        vec![
            made_up_cell("floor", &values, &[("handler", 1), ("poll", 1)]),
            made_up_cell("dormir", &values, &[("poll", 2)]),
        ]
    }

    #[test]
    fn what_says_it_all_has_medians_and_ratios_and_dashes_for_what_is_missing() {
        let glance = at_a_glance(&cells()).expect("a table").into_string();
        assert!(glance.contains("<td>50.0\u{202f}µs</td>"), "{glance}");
        assert!(
            glance.contains("<td>100\u{202f}µs<small>2.00×</small></td>"),
            "{glance}"
        );
        assert!(glance.contains("<td>–</td>"), "no embassy: {glance}");
        let mut loaded = cells();
        loaded
            .iter_mut()
            .for_each(|cell| cell.load = "busy-10".into());
        assert!(at_a_glance(&loaded).is_none());
    }

    #[test]
    fn a_chart_can_be_said() {
        let words = in_words(&cells(), "deadline");
        assert!(
            words.contains("dormir: p50 100\u{202f}µs (2.00× the floor's), p90 "),
            "{words}"
        );
        assert!(words.contains("floor: p50 50.0\u{202f}µs, p90 "), "{words}");
    }

    #[test]
    fn a_terminals_table_keeps_its_header_and_rows() {
        let mut table = Table::new();
        table.set_header(["a", "b"]).add_row(["<1>", "2"]);
        let drawn = from_terminal(&table, 1).into_string();
        assert!(drawn.contains("<th scope=\"col\">b</th>"), "{drawn}");
        assert!(
            drawn.contains("<td class=\"text\">&lt;1&gt;</td><td>2</td>"),
            "{drawn}"
        );
    }
}
