//! One chart: how late polls are, at each percentile.

use super::{
    axis::Axis,
    ink::{self, Ink},
    labels,
};
use crate::{
    document::{distribution::Distribution, latency::Cell},
    report::numbers,
};
use plotters::{
    coord::combinators::{BindKeyPoints, IntoLogRange},
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

/// The drawing's size, in units of its own: the plotter rounds to whole ones, so they are small.
pub(super) const WIDTH: u32 = 3600;
pub(super) const HEIGHT: u32 = 2500;

/// The plot within it.
const TOP: u32 = 90;
const LEFT: u32 = 560;
const BOTTOM: u32 = 230;
const RIGHT: u32 = 760;

/// Text, in the same units, and how far apart labels are.
pub(super) const TEXT: u32 = 130;
const LABEL_GAP: i32 = 150;

/// From the plot's edge to the labels.
const LEADER: i32 = 110;

/// The plotter divides the sizes of fonts by this.
const PLOTTERS_TEXT: f64 = 1.24;

/// The percentiles at the axis: `1 / (1 - p)`, and their names. The smallest sample, at 1, has
/// none: p50 is close to it.
const PERCENTILES: [(f64, &str); 4] = [
    (2.0, "p50"),
    (10.0, "p90"),
    (100.0, "p99"),
    (1000.0, "p99.9"),
];

/// Points of a line from the smallest sample to the last percentile.
const POINTS: u32 = 180;

/// One runtime's line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Series<'a> {
    pub(super) runtime: &'a str,
    pub(super) distribution: &'a Distribution,
}

/// The lines of these cells, to the poll: the last point on the way.
pub(super) fn series(cells: &[Cell]) -> Vec<Series<'_>> {
    let series = cells.iter().filter_map(|cell| {
        let span = cell.spans.iter().find(|span| span.to == "poll")?;
        Some(Series {
            runtime: &cell.runtime,
            distribution: &span.distribution,
        })
    });
    series.collect()
}

/// Where a line goes: `1 / (1 - p)` and nanoseconds. It ends at the last percentile,
/// or where fewer than one sample would lie beyond.
fn line(distribution: &Distribution, axis: &Axis) -> Vec<(f64, f64)> {
    let (last, _) = PERCENTILES[PERCENTILES.len() - 1];
    let end = last.min(distribution.len().max(1) as f64);
    let point = |index: u32| {
        let inverse = end.powf(f64::from(index) / f64::from(POINTS));
        let nanos = distribution.quantile(1.0 - 1.0 / inverse) as f64;
        (inverse, nanos.max(axis.low))
    };
    (0..=POINTS).map(point).collect()
}

/// What is drawn, without the `svg` element around it: in light, with classes for [`ink`]'s styles.
pub(super) fn draw(series: &[Series<'_>]) -> String {
    let mut drawn = String::new();
    let root = SVGBackend::with_string(&mut drawn, (WIDTH, HEIGHT)).into_drawing_area();
    draw_on(&root, series).expect("drawing into a string does not fail");
    drop(root);
    // Without the plotter's own element: the page's has a name and a description.
    let inner = drawn.split_once('>').map_or("", |(_, inner)| inner);
    let inner = inner.trim_end().trim_end_matches("</svg>");
    ink::to_roles(inner.to_owned())
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn draw_on(
    root: &Area<'_>,
    series: &[Series<'_>],
) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
    let axis = axis(series);
    let text = |ink: Ink, size: u32| {
        let size = f64::from(size) * PLOTTERS_TEXT;
        ("sans-serif", size)
            .with_color(ink.stand_in())
            .into_text_style(root)
    };
    let (last, _) = PERCENTILES[PERCENTILES.len() - 1];
    let mut chart = ChartBuilder::on(root)
        .margin_top(TOP)
        .margin_right(RIGHT)
        .set_label_area_size(LabelAreaPosition::Left, LEFT)
        .set_label_area_size(LabelAreaPosition::Bottom, BOTTOM)
        .build_cartesian_2d(
            (1.0..last)
                .log_scale()
                .with_key_points(PERCENTILES.map(|(inverse, _)| inverse).to_vec()),
            (axis.low..axis.high)
                .log_scale()
                .with_key_points(axis.ticks.clone()),
        )?;
    chart
        .configure_mesh()
        .bold_line_style(Ink::Grid.stand_in().stroke_width(8))
        .light_line_style(TRANSPARENT)
        .axis_style(Ink::Axis.stand_in().stroke_width(10))
        .set_all_tick_mark_size(40)
        .x_label_style(text(Ink::Axis, TEXT))
        .y_label_style(text(Ink::Axis, TEXT))
        .x_label_formatter(&|inverse| {
            let known = PERCENTILES.iter().find(|(known, _)| known == inverse);
            known.map_or(String::new(), |(_, name)| (*name).to_owned())
        })
        .y_label_formatter(&|nanos| numbers::tick(*nanos))
        .draw()?;

    let mut ends = Vec::new();
    for one in series {
        let points = line(one.distribution, &axis);
        if let Some(end) = points.last() {
            ends.push(chart.plotting_area().map_coordinate(end));
        }
        let ink = Ink::of_runtime(one.runtime);
        let width = if ink == Ink::Dormir { 36 } else { 26 };
        let style = ink.stand_in().stroke_width(width);
        chart.draw_series(LineSeries::new(points, style))?;
    }

    let wanted: Vec<i32> = ends.iter().map(|(_, y)| *y).collect();
    let edge = (WIDTH - RIGHT) as i32;
    let places = labels::spread(
        &wanted,
        LABEL_GAP,
        TOP as i32,
        (HEIGHT - BOTTOM) as i32 - LABEL_GAP / 2,
    );
    for ((one, &(x, y)), place) in series.iter().zip(&ends).zip(places) {
        let leader = [(x, y), (edge.max(x) + LEADER - 20, place)];
        let style = Ink::Leader.stand_in().stroke_width(8);
        root.draw(&PathElement::new(leader, style))?;
        let style =
            text(Ink::of_runtime(one.runtime), TEXT).pos(Pos::new(HPos::Left, VPos::Center));
        let at = (edge.max(x) + LEADER, place);
        root.draw(&Text::new(one.runtime.to_owned(), at, style))?;
    }
    root.present()
}

/// The axis of all lines, as far as they are drawn.
fn axis(series: &[Series<'_>]) -> Axis {
    let (last, _) = PERCENTILES[PERCENTILES.len() - 1];
    let positive = |one: &Series<'_>| {
        let mut values = one.distribution.buckets().map(|(value, _)| value);
        values.find(|value| *value > 0)
    };
    let smallest = series.iter().filter_map(positive).min();
    let largest = series
        .iter()
        .map(|one| one.distribution.quantile(1.0 - 1.0 / last))
        .max();
    Axis::of(smallest.unwrap_or(1), largest.unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(values: [u64; 3]) -> String {
        let of = |value: u64| Distribution::of((0..2000).map(|index| value + value * index / 9000));
        let distributions = values.map(of);
        let runtimes = ["floor", "dormir", "embassy"];
        let series: Vec<_> = runtimes
            .iter()
            .zip(&distributions)
            .map(|(runtime, distribution)| Series {
                runtime,
                distribution,
            })
            .collect();
        draw(&series)
    }

    #[test]
    fn each_line_has_its_class_and_its_label() {
        let drawn = drawn([40_000, 43_000, 44_000]);
        for runtime in ["floor", "dormir", "embassy"] {
            let line = format!("class=\"s-{runtime}\"");
            assert_eq!(drawn.matches(&line).count(), 1, "{runtime}");
            let label = format!("class=\"f-{runtime}\" font-weight=\"600\">\n{runtime}\n</text>");
            assert_eq!(drawn.matches(&label).count(), 1, "{runtime}: {drawn}");
        }
        for (_, name) in &PERCENTILES {
            assert!(drawn.contains(&format!("\n{name}\n</text>")), "{name}");
        }
        assert!(drawn.contains("\n20\u{202f}µs\n</text>"), "{drawn}");
        assert!(
            !drawn.contains("ABCD"),
            "no colour only stands for one: {drawn}"
        );
        assert!(!drawn.contains("svg"), "{drawn}");
    }

    #[test]
    fn a_line_ends_with_its_samples_and_zero_lies_on_the_axis() {
        let axis = Axis::of(10, 100);
        let few = Distribution::of([0, 10, 20, 30]);
        let points = line(&few, &axis);
        assert_eq!(points.first(), Some(&(1.0, 10.0)));
        let (inverse, nanos) = *points.last().expect("points");
        assert!(
            (inverse - 4.0).abs() < 1e-9 && nanos == 20.0,
            "{inverse} {nanos}"
        );
        let many = Distribution::of(1..=100_000);
        let (inverse, _) = *line(&many, &axis).last().expect("points");
        assert!((inverse - 1000.0).abs() < 1e-9, "{inverse}");
    }

    #[test]
    fn nothing_but_zeros_is_drawn_too() {
        assert!(drawn([0, 0, 0]).contains("s-dormir"));
    }
}
