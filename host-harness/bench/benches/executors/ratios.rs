//! The table of ratios, measured with the runtimes in turn.

use std::{
    fmt::{self, Write as _},
    hint::black_box,
    time::{Duration, Instant},
};

use crate::cases::{Case, Cell};

/// How the runtimes are compared.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    /// How often each runtime has its turn.
    pub(crate) rounds: usize,
    /// The minimum duration of a turn.
    pub(crate) turn: Duration,
}

/// A row for each case and size, a column for each runtime.
#[derive(Default)]
pub(crate) struct Table {
    runtimes: Vec<&'static str>,
    rows: Vec<Row>,
}

struct Row {
    case: Case,
    figures: Vec<Figure>,
}

/// One runtime, compared with the row's base.
struct Figure {
    runtime: &'static str,
    /// The median time of one operation.
    nanoseconds: f64,
    /// That, divided by the base's.
    ratio: f64,
    /// Half of the interquartile range of the rounds' own ratios.
    spread: f64,
}

impl Table {
    /// Measures a row. The first cell is its base.
    pub(crate) fn add(&mut self, case: Case, cells: &mut [Cell], plan: Plan) {
        let samples: Vec<u64> = cells
            .iter_mut()
            .map(|cell| samples_for(cell, plan.turn))
            .collect();
        let mut times = vec![Vec::with_capacity(plan.rounds); cells.len()];
        for round in 0..plan.rounds {
            for turn in 0..cells.len() {
                // Each runtime is the first in some rounds.
                let at = (round + turn) % cells.len();
                let time = (cells[at].measure)(samples[at]).as_nanos() as f64;
                times[at].push(time / samples[at] as f64 / f64::from(cells[at].things));
            }
        }
        let base = quantile(&times[0], 0.5);
        let figures = cells.iter().zip(&times).map(|(cell, own)| {
            let ratios: Vec<f64> = own.iter().zip(&times[0]).map(|(a, b)| a / b).collect();
            let nanoseconds = quantile(own, 0.5);
            Figure {
                runtime: cell.runtime,
                nanoseconds,
                ratio: nanoseconds / base,
                spread: (quantile(&ratios, 0.75) - quantile(&ratios, 0.25)) / 2.0,
            }
        });
        let figures: Vec<Figure> = figures.collect();
        for figure in &figures {
            if !self.runtimes.contains(&figure.runtime) {
                self.runtimes.push(figure.runtime);
            }
        }
        self.rows.push(Row { case, figures });
    }

    /// Returns whether nothing was measured.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| {:<17} | {:>4} |", "case", "n")?;
        for runtime in &self.runtimes {
            write!(f, " {runtime:>14} |")?;
        }
        write!(f, "\n|{:-<19}|{:->5}:|", "", "")?;
        for _ in &self.runtimes {
            write!(f, "{:->15}:|", "")?;
        }
        writeln!(f)?;
        for Row { case, figures } in &self.rows {
            write!(f, "| {:<17} | {:>4} |", case.name, case.tasks)?;
            for runtime in &self.runtimes {
                let mut text = String::new();
                match figures.iter().position(|figure| figure.runtime == *runtime) {
                    None => text.push('-'),
                    Some(0) => write!(text, "1 = {:.1} ns", figures[0].nanoseconds)?,
                    Some(at) => {
                        let Figure { ratio, spread, .. } = figures[at];
                        let digits = if ratio < 0.1 { 4 } else { 2 };
                        write!(text, "{ratio:.digits$} ±{spread:.digits$}")?;
                    }
                }
                write!(f, " {text:>14} |")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// Returns how many samples take at least this time.
fn samples_for(cell: &mut Cell, time: Duration) -> u64 {
    let mut samples = 1;
    while (cell.measure)(samples) < time {
        samples *= 2;
    }
    samples
}

/// Returns the quantile of `values`.
fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}

/// Returns the median time of `f` in nanoseconds, over turns of 1000 calls.
pub(crate) fn nanoseconds_of<T>(mut f: impl FnMut() -> T) -> f64 {
    let turns: Vec<f64> = (0..101)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..1000 {
                black_box(f());
            }
            start.elapsed().as_nanos() as f64 / 1000.0
        })
        .collect();
    quantile(&turns, 0.5)
}
