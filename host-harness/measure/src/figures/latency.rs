//! What is shown of latencies: medians.

use super::tables::{Figure, machine, markdown, recorded, row};
use crate::{
    document::{
        Host,
        latency::{Cell, Document},
    },
    report::names,
};

/// The columns.
const RUNTIMES: [&str; 3] = ["floor", "dormir", "embassy"];

/// The figure of this kind; an inner `None` where the record does not have it.
pub(super) fn figure(document: &Document, kind: &str) -> Option<Option<Figure>> {
    match kind {
        "latency" => Some(Some(Figure::Table(medians(document)))),
        "latency-record" => Some(Some(Figure::Value(record(document)))),
        _ => None,
    }
}

/// A row for each guest that only sleeps, from the deadline; and one for each VMM that injects
/// interrupts, in which no timer takes part.
fn medians(document: &Document) -> String {
    let mut rows = Vec::new();
    for vmm in document.cells.chunk_by(|one, other| one.vmm == other.vmm) {
        let guests = vmm.chunk_by(Cell::is_of_guest_of);
        let plain: Vec<&[Cell]> = guests
            .filter(|guest| guest.iter().any(Cell::is_plain_sleep))
            .collect();
        for guest in &plain {
            let name = format!(
                "{}, {}",
                vmm_name(&document.host, &vmm[0]),
                names::timer(&guest[0].timer)
            );
            rows.extend(medians_of(&name, guest, "deadline"));
        }
        if let Some(first) = plain.first() {
            let name = format!(
                "{}, interrupt from the host",
                vmm_name(&document.host, &vmm[0])
            );
            rows.extend(medians_of(&name, first, "host"));
        }
    }
    let header = ["", RUNTIMES[0], RUNTIMES[1], RUNTIMES[2]];
    markdown(&header.map(str::to_owned), &rows)
}

/// A row; `None` where the guest has no floor on that path.
fn medians_of(name: &str, guest: &[Cell], path: &str) -> Option<Vec<String>> {
    let median = |runtime: &str| {
        let mut cells = guest.iter();
        let cell = cells.find(|cell| (&*cell.path, &*cell.runtime) == (path, runtime))?;
        let span = cell.spans.iter().find(|span| span.to == "poll")?;
        Some(span.distribution.quantile(0.5))
    };
    let floor = median(RUNTIMES[0])?;
    let figure = |runtime: &str| match median(runtime) {
        None => "not measured".to_owned(),
        Some(nanos) if runtime == RUNTIMES[0] => micros(nanos),
        Some(nanos) => format!(
            "{}, {}",
            micros(nanos),
            ratio(nanos as f64 / floor.max(1) as f64)
        ),
    };
    Some(row(name, RUNTIMES.map(figure)))
}

/// A KVM that emulates is named by its module, so that its figures are not taken for others'.
fn vmm_name(host: &Host, cell: &Cell) -> String {
    let module = host
        .kvm_module
        .as_deref()
        .filter(|_| host.hardware_assisted == Some(false));
    match (cell.vmm.split('/').next(), module) {
        (Some("kvm"), Some(module)) => format!("`{module}`"),
        (Some("kvm"), None) => "KVM".into(),
        (Some("qemu-tcg"), _) => "QEMU's translator".into(),
        (Some("qemu-kvm"), Some(module)) => format!("QEMU on `{module}`"),
        (Some("qemu-kvm"), None) => "QEMU on KVM".into(),
        _ => cell.vmm.clone(),
    }
}

fn micros(nanos: u64) -> String {
    format!("{:.0} µs", nanos as f64 / 1000.0)
}

/// As in `1.02`, `4.2`.
fn ratio(ratio: f64) -> String {
    if ratio < 1.95 {
        return format!("{ratio:.2}");
    }
    format!("{ratio:.1}")
}

/// As in `2026-01-02, AMD EPYC, Linux 6.18, QEMU 7.2.22`.
fn record(document: &Document) -> String {
    let [cpu, kernel] = machine(&document.host);
    let qemu = document
        .host
        .qemu
        .as_ref()
        .map(|qemu| format!("QEMU {qemu}"));
    recorded(document.date.as_ref(), &[cpu, kernel, qemu])
}
