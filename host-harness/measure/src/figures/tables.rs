//! What stands in a Markdown file: tables, and parts of lines.

use crate::document::{Host, Versions};

/// A figure, as it stands in a Markdown file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Figure {
    /// Lines of their own.
    Table(String),
    /// A part of a line.
    Value(String),
}

/// A table in Markdown. Cells are not padded, so that a figure that changes changes its line alone.
pub(super) fn markdown(header: &[String], rows: &[Vec<String>]) -> String {
    let rule = vec!["---".to_owned(); header.len()];
    let rows = [header, &rule]
        .into_iter()
        .chain(rows.iter().map(Vec::as_slice));
    let lines: Vec<String> = rows.map(|row| format!("| {} |", row.join(" | "))).collect();
    // An empty cell takes one blank.
    lines.join("\n").replace("|  |", "| |")
}

/// A row from its parts.
pub(super) fn row(first: &str, others: impl IntoIterator<Item = String>) -> Vec<String> {
    [first.to_owned()].into_iter().chain(others).collect()
}

/// Of when, where and what a record is, as far as it tells: `2026-01-02, AMD EPYC, Linux 6.18`.
pub(super) fn recorded(date: Option<&String>, others: &[Option<String>]) -> String {
    let day = date.map(|date| date.split('T').next().unwrap_or(date).to_owned());
    let parts = [day].into_iter().chain(others.iter().cloned());
    let parts: Vec<String> = parts.flatten().collect();
    parts.join(", ")
}

/// The numbers of a package's version that tell which interface it has: `0.10`, `1`.
pub(super) fn series(versions: &Versions, name: &str) -> Option<String> {
    let numbers: Vec<&str> = versions.get(name)?.split('.').collect();
    let shown = if numbers[0] == "0" { 2 } else { 1 };
    Some(numbers[..shown.min(numbers.len())].join("."))
}

/// A package or program with its version: `rustc 1.95.0`.
pub(super) fn version(versions: &Versions, name: &str, shown: &str) -> Option<String> {
    let version = versions.get(name)?;
    let number = version.split(' ').next().unwrap_or(version);
    Some(format!("{shown} {number}"))
}

/// Its processor, and its kernel's first two numbers.
pub(super) fn machine(host: &Host) -> [Option<String>; 2] {
    let kernel = host.kernel.as_deref().map(|kernel| {
        let numbers: Vec<&str> = kernel.split('.').take(2).collect();
        format!("Linux {}", numbers.join("."))
    });
    [host.cpu.clone(), kernel]
}
