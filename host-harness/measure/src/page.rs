//! The figures as a page: one file that needs no other, no network and no JavaScript.

mod axis;
mod bars;
mod chart;
mod figures;
mod ink;
mod labels;
mod layout;
mod names;
mod numbers;
mod palette;
mod picture;
mod source;

use super::{
    json::Destination,
    latency::{document::Document, reading::Cell},
};
use dormir_harness::{cli::command::Ended, vmm::Vmm};
use source::NoPage;
use std::path::{Path, PathBuf};

/// Where drawings go.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted<'a> {
    /// The page.
    pub(super) html: Option<&'a Path>,
    /// The picture.
    pub(super) svg: Option<&'a Path>,
}

/// The files of [`Wanted`], of which it is known that they can be written.
#[derive(Debug, Default)]
pub(super) struct Canvases {
    html: Option<Destination>,
    svg: Option<Destination>,
}

/// What is read would be overwritten, or what is drawn.
#[derive(Debug, thiserror::Error)]
#[error("{} is given twice, and would be overwritten: draw into another file", .0.display())]
pub(super) struct GivenTwice(PathBuf);

impl Wanted<'_> {
    /// Makes sure that the drawings do not go where these files are, nor one where the other goes.
    pub(super) fn spare(self, files: &[PathBuf]) -> Result<(), GivenTwice> {
        let mut places: Vec<PathBuf> = files.iter().map(|name| place(name)).collect();
        for name in [self.html, self.svg].into_iter().flatten() {
            let place = place(name);
            if places.contains(&place) {
                return Err(GivenTwice(name.to_owned()));
            }
            places.push(place);
        }
        Ok(())
    }

    /// Makes sure that the files can be written.
    pub(super) fn check(self) -> Result<Canvases, super::json::Unwritable> {
        let check = |option, name: Option<&Path>| {
            let checked = name.map(|name| Destination::check(option, name));
            checked.transpose()
        };
        Ok(Canvases {
            html: check("--html", self.html)?,
            svg: check("--svg", self.svg)?,
        })
    }
}

/// Where a file is, or would be: whatever it is called.
fn place(name: &Path) -> PathBuf {
    let to_be = || {
        let folder = name.parent().filter(|folder| *folder != Path::new(""));
        let folder = folder.unwrap_or(Path::new(".")).canonicalize().ok()?;
        Some(folder.join(name.file_name()?))
    };
    let place = name.canonicalize().ok().or_else(to_be);
    place.unwrap_or_else(|| name.to_owned())
}

impl Canvases {
    /// Whether there is to be a page.
    pub(super) fn has_page(&self) -> bool {
        self.html.is_some()
    }

    /// Draws what is wanted.
    pub(super) fn draw(&self, document: &Document) -> Result<(), Box<dyn std::error::Error>> {
        if let Some(html) = &self.html {
            html.write(&layout::page(document).into_string())?;
        }
        if let Some(svg) = &self.svg {
            svg.write(&picture::draw(document)?)?;
        }
        Ok(())
    }
}

/// Draws what was measured before, under these VMMs, or under all if none is named.
pub(super) fn draw_from(files: &[PathBuf], vmms: &[Vmm], wanted: Wanted<'_>) -> Ended {
    wanted.spare(files)?;
    let canvases = wanted.check()?;
    let document = only(source::read(files)?, vmms)?;
    canvases.draw(&document)?;
    Ok(0)
}

/// The page of what these files have: see `cargo vm bench --from`.
///
/// # Errors
///
/// A file cannot be read, or has other figures.
pub fn html(files: &[PathBuf]) -> Result<String, Box<dyn std::error::Error>> {
    let document = only(source::read(files)?, &[])?;
    Ok(layout::page(&document).into_string())
}

/// The picture of what these files have: see `cargo vm bench --svg`.
///
/// # Errors
///
/// A file cannot be read, or has other figures.
pub fn svg(files: &[PathBuf]) -> Result<String, Box<dyn std::error::Error>> {
    let document = only(source::read(files)?, &[])?;
    Ok(picture::draw(&document)?)
}

/// What was measured under these VMMs.
fn only(mut document: Document, vmms: &[Vmm]) -> Result<Document, NoPage> {
    let names: Vec<String> = vmms.iter().map(Vmm::to_string).collect();
    document
        .cells
        .retain(|cell| names.is_empty() || names.contains(&cell.vmm));
    if document.cells.is_empty() {
        return Err(NoPage::NoSuchVmm);
    }
    Ok(document)
}

/// Whether two cells are of one guest.
fn is_one_guest(one: &Cell, other: &Cell) -> bool {
    let guest = |cell: &Cell| [&cell.vmm, &cell.timer, &cell.idle, &cell.load].map(String::clone);
    guest(one) == guest(other)
}

/// The cells of what is shown first: nothing else to do, halting, woken by deadlines.
fn is_plain_sleep(cell: &Cell) -> bool {
    (&*cell.path, &*cell.idle, &*cell.load) == ("deadline", "halt", "none")
}

/// What is done with the text of a file of figures, whatever it is.
pub(super) fn try_text(text: &str) {
    /// More would take long.
    const SPANS: usize = 4;

    let texts = [(PathBuf::from("figures.json"), text.to_owned())];
    let Ok(document) = source::of_texts(&texts) else {
        return;
    };
    let spans: usize = document.cells.iter().map(|cell| cell.spans.len()).sum();
    if spans <= SPANS {
        let _ = layout::page(&document);
        let _ = picture::draw(&document);
        super::latency::try_comparison(&document);
    }
}
