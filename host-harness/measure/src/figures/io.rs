//! What is shown of servers: pages in a second, and what each server needs.

use super::tables::{Figure, machine, markdown, recorded, row, version};
use crate::{
    document::io::{HttpRate, IoDocument, ServerFigures},
    report::{
        io::{exits, instructions, mebibytes, median},
        numbers::{grouped, nanos},
    },
};

/// The figure of this kind under the VMM `vmm`; an inner `None` where the record does not have it.
pub(super) fn figure(document: &IoDocument, kind: &str, vmm: &str) -> Option<Option<Figure>> {
    match kind {
        "io-http" => Some(http(document, vmm).map(Figure::Table)),
        "io-servers" => Some(servers(document, vmm).map(Figure::Table)),
        "io-record" => Some(Some(Figure::Value(record(document)))),
        _ => None,
    }
}

/// A row for each number of connections, a column for each server.
fn http(document: &IoDocument, vmm: &str) -> Option<String> {
    let of_vmm = || document.http.iter().filter(|rate| rate.vmm == vmm);
    let mut servers: Vec<&str> = of_vmm().map(|rate| &*rate.server).collect();
    servers.sort_unstable_by_key(|name| std::cmp::Reverse(*name));
    servers.dedup();
    let mut connections: Vec<u64> = of_vmm().map(|rate| rate.connections).collect();
    connections.sort_unstable();
    connections.dedup();
    let cell = |server: &str, connections: u64| -> Option<String> {
        let is_it = |rate: &&HttpRate| (&*rate.server, rate.connections) == (server, connections);
        let rate = of_vmm().find(is_it)?;
        let a_second = grouped(median(&rate.rounds)?.round() as u64);
        let half = nanos(rate.distribution.quantile(0.5));
        Some(format!("{a_second} a second, p50 {half}"))
    };
    let rows: Option<Vec<Vec<String>>> = connections
        .into_iter()
        .map(|count| {
            let cells = servers.iter().map(|server| cell(server, count));
            let cells: Option<Vec<String>> = cells.collect();
            Some(row(&count.to_string(), cells?))
        })
        .collect();
    let header = row("connections", servers.iter().map(|name| (*name).to_owned()));
    rows.filter(|rows| !rows.is_empty())
        .map(|rows| markdown(&header, &rows))
}

/// A row for each figure, a column for each server.
fn servers(document: &IoDocument, vmm: &str) -> Option<String> {
    type Show = fn(&IoDocument, &ServerFigures) -> Option<String>;
    const ROWS: [(&str, Show); 5] = [
        ("time to the first answer", |_, server| {
            let times = server.first_answer_ns.iter();
            let times: Vec<f64> = times.map(|&time| time as f64).collect();
            Some(nanos(median(&times)? as u64))
        }),
        (
            "instructions a request, 1 / 8 / 100 connections",
            |_, server| Some(instructions(server)).filter(|shown| !shown.is_empty()),
        ),
        ("exits a request", |_, server| {
            server.exits_per_request.as_ref().map(exits)
        }),
        ("least memory of the machine", |_, server| {
            Some(format!("{} MiB", server.least_memory_mib?))
        }),
        ("image, or kernel and file system", |document, server| {
            document
                .loaded_bytes
                .get(&server.server)
                .copied()
                .map(mebibytes)
        }),
    ];
    let of_vmm = document.servers.iter().filter(|server| server.vmm == vmm);
    let of_vmm: Vec<&ServerFigures> = of_vmm.collect();
    if of_vmm.is_empty() {
        return None;
    }
    let rows = ROWS.iter().filter_map(|(name, show)| {
        let cells = of_vmm.iter().map(|server| show(document, server));
        let cells: Vec<Option<String>> = cells.collect();
        // What is measured under another VMM has no row.
        cells.iter().any(Option::is_some).then(|| {
            let cells = cells
                .into_iter()
                .map(|cell| cell.unwrap_or_else(|| "–".into()));
            row(name, cells)
        })
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let header = row("", of_vmm.iter().map(|server| server.server.clone()));
    Some(markdown(&header, &rows))
}

/// As in `2026-01-02, AMD EPYC, Linux 6.18, QEMU 7.2.22, Debian's Linux 6.1.9-2, Tokio 1.5`.
fn record(document: &IoDocument) -> String {
    let [cpu, kernel] = machine(&document.host);
    let versions = &document.versions;
    let qemu = document.host.qemu.as_ref();
    recorded(
        Some(&document.date),
        &[
            cpu,
            kernel,
            qemu.map(|version| format!("QEMU {version}")),
            version(versions, "linux", "Debian's Linux"),
            version(versions, "tokio", "Tokio"),
            version(versions, "picoserve", "picoserve"),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::io::made_up;

    fn shown(kind: &str) -> Option<String> {
        match figure(&made_up(), kind, "qemu-tcg/q35")?? {
            Figure::Table(text) | Figure::Value(text) => Some(text.replace('\u{202f}', " ")),
        }
    }

    #[test]
    fn servers_stand_beside_one_another() {
        let http = "| connections | dormir, picoserve | Linux, Tokio and hyper |\n\
                    | --- | --- | --- |\n\
                    | 1 | 400 a second, p50 2.00 ms | 200 a second, p50 2.00 ms |\n\
                    | 8 | 400 a second, p50 2.00 ms | 200 a second, p50 2.00 ms |";
        assert_eq!(shown("io-http").as_deref(), Some(http));
        let servers = "| | dormir, picoserve | Linux, Tokio and hyper |\n\
                       | --- | --- | --- |\n\
                       | time to the first answer | 200 ms | 200 ms |\n\
                       | instructions a request, 1 / 8 / 100 connections | 23,457 | 23,457 |\n\
                       | least memory of the machine | 5 MiB | 5 MiB |\n\
                       | image, or kernel and file system | 1.5 MiB | 1.5 MiB |";
        assert_eq!(shown("io-servers").as_deref(), Some(servers));
        assert!(shown("io-record").expect("one").contains("A processor"));
    }

    #[test]
    fn what_the_record_does_not_have_is_missing_and_other_names_are_unknown() {
        let document = made_up();
        for kind in ["io-http", "io-servers"] {
            assert_eq!(figure(&document, kind, "kvm"), Some(None), "{kind}");
        }
        assert_eq!(figure(&document, "io-disks", "qemu-tcg/q35"), None);
    }

    #[test]
    fn a_record_survives_json() {
        let json = made_up().to_json().expect("it can be written");
        let read: IoDocument = serde_json::from_str(&json).expect("it can be read");
        assert_eq!(read.to_json().expect("it can be written"), json);
    }
}
