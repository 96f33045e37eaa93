//! `--html`, `--svg` and `--from`: drawings, and where they go.

use crate::{
    document::{latency::Document, source},
    files::{Destination, WriteError},
    page,
};
use dormir_harness::{cli::command::Ended, vmm::Vmm};
use std::path::{Path, PathBuf};

/// Where drawings go.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Options<'a> {
    /// The page.
    pub(super) html: Option<&'a Path>,
    /// The picture.
    pub(super) svg: Option<&'a Path>,
}

/// The files of [`Options`], of which it is known that they can be written.
#[derive(Debug, Default)]
pub(super) struct Canvases {
    html: Option<Destination>,
    svg: Option<Destination>,
}

/// A drawing would overwrite a file that is read, or another drawing.
#[derive(Debug, thiserror::Error)]
#[error("{} is given twice, and would be overwritten: draw into another file", .0.display())]
pub(super) struct GivenTwiceError(PathBuf);

impl Options<'_> {
    /// Makes sure that the drawings do not go where these files are, nor one where the other goes.
    pub(super) fn spare(self, files: &[PathBuf]) -> Result<(), GivenTwiceError> {
        let mut places: Vec<PathBuf> = files.iter().map(|name| place(name)).collect();
        for name in [self.html, self.svg].into_iter().flatten() {
            let place = place(name);
            if places.contains(&place) {
                return Err(GivenTwiceError(name.to_owned()));
            }
            places.push(place);
        }
        Ok(())
    }

    /// Makes sure that the files can be written.
    pub(super) fn check(self) -> Result<Canvases, WriteError> {
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

/// Where a file is, or would be, whichever name is used for it.
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

    /// Draws what was asked for.
    pub(super) fn draw(&self, document: &Document) -> Result<(), Box<dyn std::error::Error>> {
        if let Some(html) = &self.html {
            html.write(&page::html(document))?;
        }
        if let Some(svg) = &self.svg {
            svg.write(&page::svg(document)?)?;
        }
        Ok(())
    }
}

/// Draws what was measured before, under these VMMs, or under all if none is named.
pub(super) fn run(files: &[PathBuf], vmms: &[Vmm], options: Options<'_>) -> Ended {
    options.spare(files)?;
    let canvases = options.check()?;
    let document = source::read(files)?.only(vmms)?;
    canvases.draw(&document)?;
    Ok(0)
}
