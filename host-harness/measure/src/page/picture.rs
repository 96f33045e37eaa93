//! A picture for places where no page fits: the first chart of each guest, in one file with its own
//! colours.

use super::{
    chart, figures,
    ink::{self, Ink},
};
use crate::{
    document::latency::{Cell, Document},
    report::{names, numbers},
};
use maud::{Markup, PreEscaped, html};

/// Charts beside one another.
const COLUMNS: usize = 2;

/// Between the picture's edge and what is in it, and between charts.
const MARGIN: u32 = 180;

/// A line of text, and the title above each chart.
const LINE: u32 = 200;

/// Above each chart: its title and its medians.
const HEAD: u32 = 2 * LINE;

/// What must be known to read the charts.
const LEGEND: &str = "floor: a bare sti; hlt in the same guest, which nothing can go below. \
    embassy: embassy-executor and embassy-time on the same timer. Both scales are logarithmic.";

/// How many letters go into a line of the picture's width.
const LETTERS: usize = 104;

/// There is nothing to be drawn.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no guest that halts and has nothing else to do was measured, so there is no picture: measure \
     without --full, or draw the page with --html"
)]
pub(crate) struct EmptyPictureError;

/// The picture, as an SVG file.
pub(super) fn draw(document: &Document) -> Result<String, EmptyPictureError> {
    let guests: Vec<Vec<&Cell>> = document
        .cells
        .chunk_by(Cell::is_of_guest_of)
        .map(|guest| guest.iter().filter(|cell| cell.is_plain_sleep()).collect())
        .filter(|guest: &Vec<&Cell>| !guest.is_empty())
        .collect();
    if guests.is_empty() {
        return Err(EmptyPictureError);
    }
    let panels: Vec<Vec<Cell>> = guests
        .iter()
        .map(|guest| guest.iter().map(|&cell| cell.clone()).collect())
        .collect();

    let columns = COLUMNS.min(panels.len());
    let width = MARGIN + (chart::WIDTH + MARGIN) * columns as u32;
    let vmms = panels.iter().map(|panel| &*panel[0].vmm);
    let letters = LETTERS * columns / COLUMNS;
    let warning = document.host.warning(vmms);
    let mut below = wrapped(LEGEND, letters);
    below.extend(wrapped(&document.host.sentence(), letters));
    let above = warning.map_or_else(Vec::new, |warning| wrapped(&warning, letters));
    let top = MARGIN + LINE * (above.len() as u32 + 2);
    let panel_height = HEAD + chart::HEIGHT + MARGIN;
    let rows = panels.len().div_ceil(columns) as u32;
    let height = top + rows * panel_height + LINE * below.len() as u32 + MARGIN;

    let place = |index: usize| {
        let (column, row) = (index % columns, index / columns);
        (
            MARGIN + column as u32 * (chart::WIDTH + MARGIN),
            top + row as u32 * panel_height,
        )
    };
    let drawn = html! {
        svg xmlns="http://www.w3.org/2000/svg" viewBox={ "0 0 " (width) " " (height) }
            width=(width / 8) height=(height / 8) role="img" aria-labelledby="t d"
            font-family="system-ui, -apple-system, 'Segoe UI', sans-serif" {
            title id="t" { "How late a task is polled after its deadline" }
            desc id="d" { @for panel in &panels {
                (title(&panel[0])) ": " (figures::in_words(panel, "deadline")) " "
            } }
            style { ":root { color-scheme: light dark; }\n" (PreEscaped(ink::picture_style())) }
            rect width=(width) height=(height) rx="120" fill=(Ink::Paper.light())
                class=(Ink::Paper.class()) {}
            (lines(&above, MARGIN + LINE / 2, "600"))
            text x=(MARGIN) y=(top - LINE) font-size=(chart::TEXT + 30) font-weight="600"
                fill=(Ink::Text.light()) class=(Ink::Text.class()) {
                "From a timer's deadline to the poll of the task that sleeps until then"
            }
            @for (index, panel) in panels.iter().enumerate() {
                @let (x, y) = place(index);
                g transform={ "translate(" (x) " " (y) ")" } {
                    text x="0" y=(LINE / 2) font-size=(chart::TEXT + 10) font-weight="600"
                        fill=(Ink::Text.light()) class=(Ink::Text.class()) { (title(&panel[0])) }
                    text x="0" y=(LINE / 2 + LINE) font-size=(chart::TEXT - 20)
                        fill=(Ink::Axis.light()) class=(Ink::Axis.class()) { (medians(panel)) }
                    g transform={ "translate(0 " (HEAD) ")" } {
                        (PreEscaped(chart::draw(&chart::series(panel))))
                    }
                }
            }
            (lines(&below, height - LINE * below.len() as u32, "400"))
        }
    };
    Ok(printable(&drawn.into_string()))
}

fn title(cell: &Cell) -> String {
    format!(
        "{}, {}",
        names::vmm_in_short(&cell.vmm),
        names::timer(&cell.timer)
    )
}

/// As in `p50: floor 42.4 µs, dormir 43.3 µs`.
fn medians(cells: &[Cell]) -> String {
    let median = |one: &chart::Series<'_>| {
        let median = numbers::nanos(one.distribution.quantile(0.5));
        format!("{} {median}", one.runtime)
    };
    let medians: Vec<String> = chart::series(cells).iter().map(median).collect();
    format!("p50: {}", medians.join(", "))
}

/// Lines of text, the first at `y`.
fn lines(lines: &[String], y: u32, weight: &str) -> Markup {
    html! {
        @for (index, line) in lines.iter().enumerate() {
            text x=(MARGIN) y=(y + LINE * index as u32) font-size=(chart::TEXT - 10)
                font-weight=(weight) fill=(Ink::Text.light()) class=(Ink::Text.class()) { (line) }
        }
    }
}

/// Words in lines of at most `letters` letters; a longer word has a line of its own.
fn wrapped(text: &str, letters: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= letters => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Without what no XML file may have in it, escaped or not.
fn printable(text: &str) -> String {
    text.replace(|letter: char| letter.is_control() && letter != '\n', "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::latency::made_up_cell;
    use resvg::{
        tiny_skia::{Pixmap, PremultipliedColorU8, Transform},
        usvg::{Options, Tree},
    };

    fn document() -> Document {
        let values: Vec<u64> = (1..=1000).map(|value| value * 100).collect();
        let cells =
            ["floor", "dormir", "embassy"].map(|name| made_up_cell(name, &values, &[("poll", 2)]));
        let mut cells = Vec::from(cells);
        let mut pit = cells.clone();
        pit.iter_mut().for_each(|cell| cell.timer = "pit".into());
        cells.append(&mut pit);
        Document::for_test(cells)
    }

    #[test]
    fn each_guest_has_its_chart_and_the_machine_is_named() {
        let drawn = draw(&document()).expect("a picture");
        assert_eq!(drawn.matches("class=\"s-dormir\"").count(), 2);
        for said in [
            "KVM, PIT",
            "KVM, TSC-deadline",
            "A processor",
            "KVM here is not hardware-assisted",
            "p50: floor 100\u{202f}µs, dormir 100\u{202f}µs, embassy 100\u{202f}µs",
        ] {
            assert!(drawn.contains(said), "{said}: {drawn}");
        }
    }

    const README: &str = include_str!("../../../../docs/latency.svg");

    /// How many opaque pixels of each colour there are, in a renderer without CSS variables.
    fn pixels(drawn: &str) -> impl Fn(&str) -> usize {
        let tree = Tree::from_str(drawn, &Options::default()).expect("an SVG file");
        let size = tree.size().to_int_size();
        let mut map = Pixmap::new(size.width(), size.height()).expect("room");
        resvg::render(&tree, Transform::default(), &mut map.as_mut());
        move |wanted| {
            let is_it = |pixel: &&PremultipliedColorU8| {
                let (red, green, blue) = (pixel.red(), pixel.green(), pixel.blue());
                pixel.is_opaque() && format!("#{red:02x}{green:02x}{blue:02x}") == wanted
            };
            map.pixels().iter().filter(is_it).count()
        }
    }

    #[test]
    fn renderers_that_know_no_css_variables_draw_it_in_the_colours_of_light() {
        for drawn in [&draw(&document()).expect("a picture"), README] {
            let pixels = pixels(drawn);
            let paper = pixels("#ffffff");
            assert!(paper > 300_000, "the paper is white: {paper}");
            let lines = [
                ("floor", "#57606a"),
                ("dormir", "#0a5cad"),
                ("embassy", "#a84300"),
            ];
            for (line, colour) in lines {
                let pixels = pixels(colour);
                assert!(pixels > 100, "{line}: {pixels}");
            }
            assert_eq!(pixels("#000000"), 0, "nothing is black");
            // Text needs fonts to be drawn, so its tags are looked at.
            for text in drawn.split("<text ").skip(1) {
                let tag = text.split('>').next().unwrap_or("");
                assert!(tag.contains(" fill=\"#"), "{tag}");
            }
            assert!(!drawn.contains("var("), "{drawn}");
        }
    }

    #[test]
    fn the_readmes_picture_is_as_this_command_draws() {
        assert!(README.contains(&ink::picture_style()));
    }

    #[test]
    fn what_others_wrote_is_escaped() {
        let mut document = document();
        document.host.cpu = Some("<b>\u{1}&".into());
        let drawn = draw(&document).expect("a picture");
        assert!(drawn.contains("&lt;b&gt;&amp;"), "{drawn}");
        assert!(!drawn.contains('\u{1}') && !drawn.contains("<b>"));
    }

    #[test]
    fn only_plain_sleeps_are_shown() {
        let mut document = document();
        document
            .cells
            .iter_mut()
            .for_each(|cell| cell.idle = "spin".into());
        assert_eq!(draw(&document), Err(EmptyPictureError));
    }

    #[test]
    fn lines_are_as_long_as_they_may_be() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("incomprehensible a", 5), ["incomprehensible", "a"]);
        assert!(wrapped("", 5).is_empty());
    }
}
