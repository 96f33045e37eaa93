//! The figures as a page, one file that needs no other, no network and no JavaScript; and as a
//! picture.
//!
//! Both are drawn of a document alone.

mod axis;
mod bars;
mod chart;
mod figures;
mod ink;
mod labels;
mod layout;
mod palette;
mod picture;
mod servers;

use crate::document::latency::Document;
pub(crate) use picture::EmptyPictureError;

/// The page.
pub(crate) fn html(document: &Document) -> String {
    layout::page(document).into_string()
}

/// The picture.
pub(crate) fn svg(document: &Document) -> Result<String, EmptyPictureError> {
    picture::draw(document)
}
