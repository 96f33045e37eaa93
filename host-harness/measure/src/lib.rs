//! Measures what dormir costs, beside other runtimes: `cargo vm bench`.
//!
//! Modules depend one way: [`measuring`] runs guests, and returns a [`document`]; `report` makes
//! tables of documents, and compares them; `page` draws them; `figures` puts what was recorded into
//! Markdown files; `cli` knows all of these.

mod cli;
pub mod document;
mod figures;
mod files;
pub mod measuring;
mod page;
mod report;

pub use cli::main;

use document::source;
use std::{error::Error, path::PathBuf};

/// The page of what these files have: see `cargo vm bench --from`.
///
/// # Errors
///
/// A file cannot be read, or has other figures.
pub fn html(files: &[PathBuf]) -> Result<String, Box<dyn Error>> {
    Ok(page::html(&source::read(files)?.only(&[])?))
}

/// The picture of what these files have: see `cargo vm bench --svg`.
///
/// # Errors
///
/// A file cannot be read, or has other figures.
pub fn svg(files: &[PathBuf]) -> Result<String, Box<dyn Error>> {
    Ok(page::svg(&source::read(files)?.only(&[])?)?)
}

/// What the fuzz target `json` calls, and the test that replays its corpus: the readers of files of
/// figures, with any bytes. They must return.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    /// More would take long.
    const SPANS: usize = 4;

    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let Ok(document) = source::of_texts(&[("figures.json".into(), text.to_owned())]) else {
        return;
    };
    let spans: usize = document.cells.iter().map(|cell| cell.spans.len()).sum();
    if spans > SPANS {
        return;
    }
    let _ = page::html(&document);
    let _ = page::svg(&document);
    if let Ok(comparison) = report::compare::Comparison::of(&document, &document) {
        let _ = comparison.text();
    }
}
