//! The figures of I/O as tables, with what must be known to judge them.

use super::numbers::{grouped, nanos};
use crate::document::{
    in_words,
    io::{DiskRate, Echo, Exits, HttpRate, IoDocument, ServerFigures},
};
use comfy_table::{CellAlignment, Table, presets};
use std::fmt::Write;

/// The server whose rates the others' are divided by.
const BASE: &str = "Linux, Tokio and hyper";

/// What holds for all figures.
pub(crate) const NOTES: &[&str] = &[
    "rates are medians of the rounds, with half of the range of their middle half. The ratio is \
     the median of the rounds' own, to Linux in the same round. docs/benchmarks.md describes how \
     each figure is taken",
    "all answers have the same bytes. by hand answers every request with constant bytes, so what \
     picoserve takes more is its share",
    "first answer: from the start of the VMM, its firmware included. instructions: all that the \
     guest executes for a request by 1, 8 and 100 connections. exits: to our own VMM, by 1; a \
     halt is one to KVM. least memory: of the machine, with which 100 connections are served. \
     QEMU: what its process holds, with 256 MiB for the guest. loaded: the bytes of the guest's \
     image, or of kernel and file system",
];

/// Everything that is printed.
pub(crate) fn text(document: &IoDocument) -> String {
    let mut text = String::new();
    let vmms = document.servers.iter().map(|row| &*row.vmm);
    // Writing to a string does not fail.
    if let Some(warning) = document.host.warning(vmms) {
        let _ = writeln!(text, "{warning}\n");
    }
    let _ = writeln!(text, "Guests that serve. {}", document.host.sentence());
    let _ = writeln!(text, "{}.\n", in_words(&document.versions));
    for rates in document.http.chunk_by(|a, b| a.vmm == b.vmm) {
        let _ = writeln!(text, "{}, pages:\n\n{}\n", rates[0].vmm, draw_http(rates));
    }
    if !document.servers.is_empty() {
        let _ = writeln!(text, "The servers:\n\n{}\n", draw_servers(document));
    }
    if !document.disk.is_empty() {
        let _ = writeln!(
            text,
            "Reads of 4 KiB from a disk:\n\n{}\n",
            draw_disk(&document.disk)
        );
    }
    for (name, rows) in [
        ("The serial line", &document.serial),
        ("A vsock", &document.vsock),
    ] {
        if !rows.is_empty() {
            let _ = writeln!(text, "{name}:\n\n{}\n", draw_echoes(rows));
        }
    }
    for note in NOTES {
        let _ = writeln!(text, "- {note}.");
    }
    for left_out in &document.left_out {
        let _ = writeln!(text, "- {left_out}.");
    }
    text
}

fn table(header: &[&str], texts: usize) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header);
    for column in table.column_iter_mut().skip(texts) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

pub(crate) fn draw_http(rates: &[HttpRate]) -> Table {
    let mut table = table(
        &[
            "server",
            "connections",
            "a second",
            "of Linux's",
            "p50",
            "p99",
        ],
        1,
    );
    let mut rows: Vec<&HttpRate> = rates.iter().collect();
    rows.sort_by_key(|rate| rate.connections);
    for row in rows {
        let base = rates
            .iter()
            .find(|rate| rate.server == BASE && rate.connections == row.connections);
        let ratio = base.and_then(|base| ratio(&row.rounds, &base.rounds));
        table.add_row([
            row.server.clone(),
            row.connections.to_string(),
            rate(&row.rounds),
            ratio.map_or(String::new(), |ratio| format!("{ratio:.2}")),
            nanos(row.distribution.quantile(0.5)),
            nanos(row.distribution.quantile(0.99)),
        ]);
    }
    table
}

pub(crate) fn draw_servers(document: &IoDocument) -> Table {
    let header = [
        "VMM",
        "server",
        "first answer",
        "instructions",
        "exits",
        "least memory",
        "QEMU",
        "loaded",
    ];
    let mut table = table(&header, 2);
    for row in &document.servers {
        let first: Vec<f64> = row.first_answer_ns.iter().map(|&ns| ns as f64).collect();
        let loaded = document.loaded_bytes.get(&row.server);
        table.add_row([
            row.vmm.clone(),
            row.server.clone(),
            median(&first).map_or(String::new(), |first| nanos(first as u64)),
            instructions(row),
            row.exits_per_request.as_ref().map_or(String::new(), exits),
            row.least_memory_mib
                .map_or(String::new(), |mib| format!("{mib} MiB")),
            row.resident_bytes.map_or(String::new(), mebibytes),
            loaded.map_or(String::new(), |bytes| mebibytes(*bytes)),
        ]);
    }
    table
}

/// As in `23,540 / 18,200 / 17,000`.
pub(crate) fn instructions(row: &ServerFigures) -> String {
    let counts = row.instructions.iter();
    let counts: Vec<String> = counts
        .map(|count| grouped(count.per_request.round() as u64))
        .collect();
    counts.join(" / ")
}

/// As in `3.0 and 1.9 halts`.
pub(crate) fn exits(exits: &Exits) -> String {
    let halts = exits.halts;
    // One run has a few more than the other.
    let halts = halts.map_or(String::new(), |halts| {
        format!(" and {:.1} halts", halts.max(0.0))
    });
    format!("{:.1}{halts}", exits.to_vmm)
}

pub(crate) fn draw_disk(rates: &[DiskRate]) -> Table {
    let mut table = table(&["VMM", "guest", "in flight", "a second"], 2);
    for row in rates {
        table.add_row([
            row.vmm.clone(),
            row.guest.clone(),
            row.in_flight.to_string(),
            rate(&row.rounds),
        ]);
    }
    table
}

pub(crate) fn draw_echoes(rows: &[Echo]) -> Table {
    let header = ["VMM", "a byte there and back, p50", "p99", "bytes a second"];
    let mut table = table(&header, 1);
    for row in rows {
        table.add_row([
            row.vmm.clone(),
            nanos(row.distribution.quantile(0.5)),
            nanos(row.distribution.quantile(0.99)),
            grouped(row.bytes_per_second as u64),
        ]);
    }
    table
}

/// As in `6,012 ±54`.
fn rate(rounds: &[f64]) -> String {
    let shown = |rate: f64| grouped(rate.round() as u64);
    let Some(middle) = median(rounds) else {
        return String::new();
    };
    match spread(rounds) {
        Some(spread) => format!("{} ±{}", shown(middle), shown(spread)),
        None => shown(middle),
    }
}

/// The median of the rounds' own ratios.
fn ratio(rounds: &[f64], base: &[f64]) -> Option<f64> {
    let ratios: Vec<f64> = rounds
        .iter()
        .zip(base)
        .map(|(rate, base)| rate / base)
        .collect();
    median(&ratios)
}

pub(crate) fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// Half of the range in which the middle half of the values lies; of one value there is none.
fn spread(values: &[f64]) -> Option<f64> {
    let range = quantile(values, 0.75)? - quantile(values, 0.25)?;
    (values.len() > 1).then_some(range / 2.0)
}

/// Between two values in proportion.
fn quantile(values: &[f64], part: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = part * (sorted.len().checked_sub(1)?) as f64;
    let (low, high) = (
        sorted[place.floor() as usize],
        sorted[place.ceil() as usize],
    );
    Some(low + (high - low) * place.fract())
}

/// As in `1.3 MiB`.
pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::io::made_up;

    #[test]
    fn each_figure_has_a_row_and_rates_are_compared_round_by_round() {
        let text = text(&made_up()).replace('\u{202f}', " ");
        let rows: Vec<Vec<&str>> = text
            .lines()
            .filter(|line| line.starts_with('|') && !line.starts_with("|-"))
            .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
            .collect();
        let expected: [&[&str]; 11] = [
            &[
                "server",
                "connections",
                "a second",
                "of Linux's",
                "p50",
                "p99",
            ],
            // The ratios are 1.5, 3 and 4.
            &[
                "dormir, picoserve",
                "1",
                "400 ±150",
                "3.00",
                "2.00 ms",
                "9.00 ms",
            ],
            &[
                "Linux, Tokio and hyper",
                "1",
                "200 ±50",
                "1.00",
                "2.00 ms",
                "9.00 ms",
            ],
            &[
                "dormir, picoserve",
                "8",
                "400 ±150",
                "3.00",
                "2.00 ms",
                "9.00 ms",
            ],
            &[
                "Linux, Tokio and hyper",
                "8",
                "200 ±50",
                "1.00",
                "2.00 ms",
                "9.00 ms",
            ],
            &[
                "VMM",
                "server",
                "first answer",
                "instructions",
                "exits",
                "least memory",
                "QEMU",
                "loaded",
            ],
            &[
                "qemu-tcg/q35",
                "dormir, picoserve",
                "200 ms",
                "23,457",
                "",
                "5 MiB",
                "",
                "1.5 MiB",
            ],
            &[
                "qemu-tcg/q35",
                "Linux, Tokio and hyper",
                "200 ms",
                "23,457",
                "",
                "5 MiB",
                "",
                "1.5 MiB",
            ],
            &["VMM", "guest", "in flight", "a second"],
            &["qemu-tcg/q35", "dormir", "32", "1,000"],
            &["VMM", "a byte there and back, p50", "p99", "bytes a second"],
        ];
        assert_eq!(rows[..11], expected, "{text}");
        assert_eq!(rows[11], ["qemu-tcg/q35", "40.0 µs", "40.0 µs", "17,934"]);
        assert_eq!(rows[12], rows[10]);
        assert_eq!(rows[13], ["kvm", "60.0 µs", "60.0 µs", "7,654,321"]);
        assert!(text.contains("- kvm is left out: a reason.\n"), "{text}");
        assert!(
            text.contains("A processor") && text.contains("rustc 9.8.7"),
            "{text}"
        );
    }

    #[test]
    fn quantiles_lie_between_two_values() {
        let values = [4.0, 1.0, 3.0, 2.0];
        let found = [0.0, 0.5, 0.75, 1.0].map(|part| quantile(&values, part));
        assert_eq!(found, [1.0, 2.5, 3.25, 4.0].map(Some));
        assert_eq!((quantile(&[], 0.5), spread(&[7.0])), (None, None));
        assert_eq!(spread(&values), Some(0.75));
    }
}
