//! What is shown of native times: ratios to embassy-executor's.

use super::tables::{Figure, machine, markdown, recorded, row, version};
use crate::{document::native::NativeDocument, report::numbers::grouped};

/// The rows: a case, how many tasks there are, and what it is called.
const ROWS: &[(&str, u64)] = &[("ping_pong", 64), ("ping_pong", 4096), ("spawn", 64)];

/// The columns: a runtime, and what it is called.
const RUNTIMES: [(&str, &str); 5] = [
    ("dormir", "dormir"),
    ("dormir-single", "with `SingleVcpu`"),
    ("tokio", "Tokio, current-thread"),
    ("smol", "smol's `LocalExecutor`"),
    ("LocalPool", "futures' `LocalPool`"),
];

/// The figure of this kind; an inner `None` where the record does not have it.
pub(super) fn figure(document: &NativeDocument, kind: &str) -> Option<Option<Figure>> {
    match kind {
        "native-ratios" => Some(ratios(document).map(Figure::Table)),
        "native-record" => Some(Some(Figure::Value(record(document)))),
        _ => None,
    }
}

fn ratios(document: &NativeDocument) -> Option<String> {
    let rows = ROWS.iter().map(|&(case, n)| {
        let ratios = RUNTIMES.map(|(runtime, _)| {
            let mut ratios = document.ratios.iter();
            let found = ratios.find(|one| (&*one.case, one.n, &*one.runtime) == (case, n, runtime));
            found.map(|found| ratio(found.ratio))
        });
        let ratios: Option<Vec<String>> = ratios.into_iter().collect();
        Some(row(&name(case, n), ratios?))
    });
    let rows: Option<Vec<Vec<String>>> = rows.collect();
    let header = row("", RUNTIMES.map(|(_, name)| name.to_owned()));
    Some(markdown(&header, &rows?))
}

fn name(case: &str, n: u64) -> String {
    let n = grouped(n);
    match case {
        "ping_pong" => format!("two of {n} tasks wake each other"),
        "spawn" => format!("spawn one task of {n}, run it to its end"),
        case => format!("{case}, {n} tasks"),
    }
}

/// As in `0.53`, `2.9`.
fn ratio(ratio: f64) -> String {
    if ratio < 0.995 {
        return format!("{ratio:.2}");
    }
    format!("{ratio:.1}")
}

/// As in `2026-01-02, AMD EPYC, Linux 6.18, rustc 1.95.0`.
fn record(document: &NativeDocument) -> String {
    let [cpu, kernel] = machine(&document.host);
    let rustc = version(&document.versions, "rustc", "rustc");
    recorded(Some(&document.date), &[cpu, kernel, rustc])
}
