//! What changed from one run's figures to another's.
//!
//! A host is faster at one time than at another, and the floor with it. So what is compared of a runtime is how
//! many times the floor's its figure is, each run by its own floor. The floor's own figures are compared as they
//! are.
//!
//! The interval is a bootstrap's, by the percentile method: what would the change be if all samples were drawn
//! again, with replacement, from those that each cell had? The k-th smallest of n
//! such draws lies where the k-th smallest of n uniform numbers does, and that is distributed as
//! Beta(k, n + 1 - k). So a resample's percentile takes one random number and not n.

use super::{
    distribution::Distribution,
    document::Document,
    reading::{Cell, floor},
};
use comfy_table::{CellAlignment, Table, presets};
use rand::{SeedableRng, rngs::StdRng};
use rand_distr::{Beta, Distribution as _};
use std::fmt::{self, Write};

/// How often each run's samples are drawn again.
const RESAMPLES: usize = 10_000;

/// The part of all resamples that lies in the interval.
const CONFIDENCE: f64 = 0.95;

/// The same in every run, so that the same files give the same text.
const SEED: u64 = 6;

/// What is compared of each distribution.
const COMPARED: [(&str, f64); 2] = [("p50", 0.5), ("p99", 0.99)];

/// Two runs have nothing in common.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the two files have no cell in common: measure both with the same VMMs and timers")]
pub(super) struct NothingInCommon;

/// Everything that is printed.
pub(super) fn text(before: &Document, after: &Document) -> Result<String, NothingInCommon> {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header([
        "VMM",
        "timer",
        "idle",
        "load",
        "path",
        "to",
        "runtime",
        "",
        "before, ns",
        "after, ns",
        "change",
        "95 %",
        "verdict",
    ]);
    let mut random = StdRng::seed_from_u64(SEED);
    let (mut rows, mut changed) = (0, 0);
    for cell in &after.cells {
        let Some(old) = before.cells.iter().find(|old| key(old) == key(cell)) else {
            continue;
        };
        for span in &cell.spans {
            let Some(same) = old.spans.iter().find(|same| same.to == span.to) else {
                continue;
            };
            let sides = [(before, old, same), (after, cell, span)].map(|(document, cell, span)| {
                let in_machine = document
                    .cells
                    .iter()
                    .filter(|other| machine(other) == machine(cell));
                let own_floor = || floor(in_machine, &cell.path, span);
                Side {
                    figures: &span.distribution,
                    floor: (cell.runtime != "floor").then(own_floor).flatten(),
                }
            });
            for (name, part) in COMPARED {
                let Some(change) = change(sides, part, &mut random) else {
                    continue;
                };
                rows += 1;
                changed += usize::from(change.verdict() != UNCHANGED);
                let [vmm, timer, idle, load, path, runtime] = key(cell);
                let names = [vmm, timer, idle, load, path, &span.to, runtime, name];
                table.add_row(names.map(str::to_owned).into_iter().chain(change.figures()));
            }
        }
    }
    if rows == 0 {
        return Err(NothingInCommon);
    }
    for column in table.column_iter_mut().skip(8).take(4) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut text = format!("{table}\n\n");
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "- A figure is: nanoseconds / how many times the floor's. The change is that of the second; of the floor \
         itself, that of the first.\n\
         - {changed} of {rows} changed. With {rows} intervals of 95 %, some {} are expected to say so where \
         nothing did.\n\
         - The interval is a bootstrap's, by the percentile method, of {RESAMPLES} resamples; it knows how \
         the samples of these two runs scatter, and nothing of how one run differs from the next.",
        (rows as f64 * (1.0 - CONFIDENCE)).ceil()
    );
    if before.host != after.host {
        let _ = writeln!(
            text,
            "- The machines differ, so this compares more than the software. Before: {} After: {}",
            before.host.sentence(),
            after.host.sentence()
        );
    }
    Ok(text)
}

/// What two cells must have in common to be compared.
fn key(cell: &Cell) -> [&str; 6] {
    [
        &cell.vmm,
        &cell.timer,
        &cell.idle,
        &cell.load,
        &cell.path,
        &cell.runtime,
    ]
}

/// What the runtimes of one guest have in common.
fn machine(cell: &Cell) -> [&str; 4] {
    [&cell.vmm, &cell.timer, &cell.idle, &cell.load]
}

/// One run's samples.
#[derive(Clone, Copy)]
struct Side<'a> {
    figures: &'a Distribution,
    /// Those of the floor; `None` of the floor itself.
    floor: Option<&'a Distribution>,
}

impl Side<'_> {
    fn figure(self, part: f64) -> Option<Figure> {
        let nanos = self.figures.quantile(part);
        let floor = match self.floor {
            Some(floor) => floor.quantile(part),
            None => 1,
        };
        (nanos > 0 && floor > 0).then(|| Figure {
            nanos,
            compared: nanos as f64 / floor as f64,
            is_ratio: self.floor.is_some(),
        })
    }

    fn resampled(self, part: f64) -> Option<impl FnMut(&mut StdRng) -> f64> {
        let figures = Resampled::new(self.figures, part)?;
        let floor = match self.floor {
            Some(floor) => Some(Resampled::new(floor, part)?),
            None => None,
        };
        Some(move |random: &mut StdRng| {
            let floor = floor.as_ref().map_or(1, |floor| floor.next(random).max(1));
            figures.next(random).max(1) as f64 / floor as f64
        })
    }
}

/// One percentile of one run.
#[derive(Clone, Copy, Debug)]
struct Figure {
    nanos: u64,
    compared: f64,
    is_ratio: bool,
}

/// As in `43295 / 1.02x`.
impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_ratio {
            write!(f, "{} / {:.2}x", self.nanos, self.compared)
        } else {
            write!(f, "{}", self.nanos)
        }
    }
}

/// One percentile, before and after.
#[derive(Clone, Copy, Debug)]
struct Change {
    before: Figure,
    after: Figure,
    /// The interval of the ratio of the two.
    low: f64,
    high: f64,
}

const UNCHANGED: &str = "not shown to differ";

impl Change {
    fn verdict(self) -> &'static str {
        if self.low > 1.0 {
            "slower"
        } else if self.high < 1.0 {
            "faster"
        } else {
            UNCHANGED
        }
    }

    fn figures(self) -> [String; 5] {
        let percent = |ratio: f64| format!("{:+.1} %", (ratio - 1.0) * 100.0);
        [
            self.before.to_string(),
            self.after.to_string(),
            percent(self.after.compared / self.before.compared),
            format!("{} to {}", percent(self.low), percent(self.high)),
            self.verdict().to_owned(),
        ]
    }
}

/// `None` where a distribution is empty, or a percentile 0: then there is no ratio.
fn change([before, after]: [Side<'_>; 2], part: f64, random: &mut StdRng) -> Option<Change> {
    let (old, new) = (before.figure(part)?, after.figure(part)?);
    let (mut olds, mut news) = (before.resampled(part)?, after.resampled(part)?);
    let ratio = |_| news(random) / olds(random);
    let mut ratios: Vec<f64> = (0..RESAMPLES).map(ratio).collect();
    ratios.sort_by(f64::total_cmp);
    let tail = (1.0 - CONFIDENCE) / 2.0;
    let at = |part: f64| ratios[((RESAMPLES - 1) as f64 * part).round() as usize];
    Some(Change {
        before: old,
        after: new,
        low: at(tail),
        high: at(1.0 - tail),
    })
}

/// One percentile of samples that are drawn again.
struct Resampled {
    /// Each value, with how many samples are no larger.
    ranks: Vec<(u64, u64)>,
    n: u64,
    position: Beta<f64>,
}

impl Resampled {
    fn new(distribution: &Distribution, part: f64) -> Option<Self> {
        let n = distribution.len();
        // The k-th smallest is the percentile.
        let k = ((n as f64 * part).ceil()).max(1.0);
        let mut upto = 0;
        let rank = |(value, count)| {
            upto += count;
            (value, upto)
        };
        Some(Self {
            ranks: distribution.buckets().map(rank).collect(),
            n,
            position: Beta::new(k, n as f64 + 1.0 - k).ok()?,
        })
    }

    fn next(&self, random: &mut StdRng) -> u64 {
        let drawn = (self.position.sample(random) * self.n as f64) as u64;
        let index = self.ranks.partition_point(|&(_, upto)| upto <= drawn);
        self.ranks[index.min(self.ranks.len() - 1)].0
    }
}

#[cfg(test)]
mod tests {
    use super::{super::document::made_up_cell, *};

    fn spread(from: u64) -> Vec<u64> {
        (0..2000).map(|index| from + index % 500).collect()
    }

    fn document(values: &[u64]) -> Document {
        Document::for_test(vec![made_up_cell("dormir", values, &[("poll", 1)])])
    }

    fn change_of(before: &[u64], after: &[u64], floors: Option<[&[u64]; 2]>, part: f64) -> Change {
        let of = |values: &[u64]| Distribution::of(values.iter().copied());
        let figures = [of(before), of(after)];
        let floors = floors.map(|floors| floors.map(of));
        let side = |index: usize| Side {
            figures: &figures[index],
            floor: floors.as_ref().map(|floors| &floors[index]),
        };
        let mut random = StdRng::seed_from_u64(SEED);
        change([side(0), side(1)], part, &mut random).expect("there are samples")
    }

    fn verdicts(before: &[u64], after: &[u64]) -> Vec<&'static str> {
        let verdict = |(_, part)| change_of(before, after, None, part).verdict();
        COMPARED.map(verdict).to_vec()
    }

    #[test]
    fn a_host_that_became_slower_is_no_slower_runtime() {
        let (before, after) = (spread(1000), spread(1200));
        let floors = [spread(500), spread(600 + 100)];
        let floors = [&floors[0][..], &floors[1][..]];
        // Both are slower, and the floor by more.
        let change = change_of(&before, &after, Some(floors), 0.5);
        assert_eq!(change.verdict(), "faster");
        let halved = change_of(&before, &after, Some([&before, &after]), 0.5);
        assert_eq!(halved.verdict(), UNCHANGED);
        assert_eq!(
            halved.after.to_string(),
            format!("{} / 1.00x", halved.after.nanos)
        );
        assert_eq!(change_of(&before, &after, None, 0.5).verdict(), "slower");
    }

    #[test]
    fn what_became_slower_or_faster_is_said() {
        assert_eq!(verdicts(&spread(1000), &spread(1100)), ["slower", "slower"]);
        assert_eq!(verdicts(&spread(1100), &spread(1000)), ["faster", "faster"]);
        assert_eq!(
            verdicts(&spread(1000), &spread(1000)),
            [UNCHANGED, UNCHANGED]
        );
    }

    #[test]
    fn a_worse_tail_alone_is_no_worse_median() {
        let before = spread(1000);
        let mut after = before.clone();
        after
            .iter_mut()
            .step_by(50)
            .for_each(|value| *value += 5000);
        assert_eq!(verdicts(&before, &after), [UNCHANGED, "slower"]);
    }

    /// Held against the bootstrap that draws all samples again.
    #[test]
    fn the_interval_is_that_of_the_bootstrap() {
        use rand::RngExt;

        let values: Vec<u64> = (0..200).map(|index| 1000 + index * index % 997).collect();
        let distribution = Distribution::of(values.iter().copied());
        let mut random = StdRng::seed_from_u64(SEED);
        let short = Resampled::new(&distribution, 0.5).expect("samples");
        let mut shorts: Vec<u64> = (0..4000).map(|_| short.next(&mut random)).collect();
        let mut longs: Vec<u64> = (0..4000)
            .map(|_| {
                let draw = |_| values[random.random_range(0..values.len())];
                let mut drawn: Vec<u64> = (0..values.len()).map(draw).collect();
                drawn.sort_unstable();
                drawn[values.len() / 2 - 1]
            })
            .collect();
        shorts.sort_unstable();
        longs.sort_unstable();
        for part in [0.025, 0.25, 0.5, 0.75, 0.975] {
            let at = |values: &[u64]| values[(part * 4000.0) as usize];
            let (short, long) = (at(&shorts), at(&longs));
            assert!(short.abs_diff(long) <= 40, "{part}: {short} and {long}");
        }
    }

    #[test]
    fn the_text_names_the_cell_the_method_and_the_same_change_each_time() {
        let (before, after) = (document(&spread(1000)), document(&spread(1100)));
        let text = text(&before, &after).expect("a cell in common");
        for said in [
            "tsc-deadline",
            "dormir",
            "slower",
            "bootstrap",
            "2 of 2 changed",
        ] {
            assert!(text.contains(said), "{said}: {text}");
        }
        assert!(!text.contains("machines differ"), "{text}");
        assert_eq!(super::text(&before, &after), Ok(text));
    }

    #[test]
    fn another_machine_is_said_and_files_without_a_common_cell_are_refused() {
        let before = document(&spread(1000));
        let mut after = before.clone();
        after.host.cpu = Some("Another processor".into());
        let text = text(&before, &after).expect("a cell in common");
        assert!(
            text.contains("machines differ") && text.contains("Another"),
            "{text}"
        );
        after.cells[0].vmm = "qemu-tcg/q35".into();
        assert_eq!(super::text(&before, &after), Err(NothingInCommon));
    }
}
