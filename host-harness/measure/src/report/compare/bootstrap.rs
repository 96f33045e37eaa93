//! One percentile of two runs, and how far their ratio may lie elsewhere.
//!
//! The interval is a bootstrap's, by the percentile method: what would the change be if all samples
//! were drawn again, with replacement, from those that each cell had? The k-th smallest of n such
//! draws lies where the k-th smallest of n uniform numbers does, and that is distributed as Beta(k,
//! n + 1 - k). So a resample's percentile takes one random number and not n.

use crate::document::distribution::Distribution;
use rand::rngs::StdRng;
use rand_distr::{Beta, Distribution as _};
use std::fmt;

/// How often each run's samples are drawn again.
pub(crate) const RESAMPLES: usize = 10_000;

/// The part of all resamples that lies in the interval.
pub(crate) const CONFIDENCE: f64 = 0.95;

/// One run's samples.
#[derive(Clone, Copy)]
pub(crate) struct Side<'a> {
    pub(crate) figures: &'a Distribution,
    /// Those of the floor; `None` of the floor itself.
    pub(crate) floor: Option<&'a Distribution>,
}

impl Side<'_> {
    fn figure(self, part: f64) -> Option<Figure> {
        let nanos = self.figures.quantile(part);
        let floor = match self.floor {
            Some(floor) => floor.quantile(part),
            None => 1,
        };
        // As when it is resampled: what took no time can become slower too.
        (floor > 0).then(|| Figure {
            nanos,
            compared: nanos.max(1) as f64 / floor as f64,
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
pub(crate) struct Figure {
    pub(crate) nanos: u64,
    pub(crate) compared: f64,
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
pub(crate) struct Change {
    pub(crate) before: Figure,
    pub(crate) after: Figure,
    /// The interval of the ratio of the two.
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// `None` where a distribution is empty, or a percentile of the floor's 0: then there is no ratio.
pub(crate) fn change(
    [before, after]: [Side<'_>; 2],
    part: f64,
    random: &mut StdRng,
) -> Option<Change> {
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
pub(crate) struct Resampled {
    /// Each value, with how many samples are no larger.
    ranks: Vec<(u64, u64)>,
    n: u64,
    position: Beta<f64>,
}

impl Resampled {
    pub(crate) fn new(distribution: &Distribution, part: f64) -> Option<Self> {
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

    pub(crate) fn next(&self, random: &mut StdRng) -> u64 {
        let drawn = (self.position.sample(random) * self.n as f64) as u64;
        let index = self.ranks.partition_point(|&(_, upto)| upto <= drawn);
        self.ranks[index.min(self.ranks.len() - 1)].0
    }
}
