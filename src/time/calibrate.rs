//! Measures the frequency of one counter by another.

/// The number of measurements. The vCPU can lose the processor between the two reads of a sample,
/// which spoils that measurement; it does not change the median of several.
const MEASUREMENTS: usize = 5;
/// The limit of attempts to measure.
const ATTEMPTS: usize = 20;
/// A counter that does not change in this number of reads stands still: no usable counter is that
/// slow, and no machine that fast.
const READS_OF_A_STANDSTILL: u32 = 10_000;

/// The ticks of two counters since the measurement began, read one right after the other.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) known: u64,
    pub(crate) unknown: u64,
}

/// The result of one measurement.
enum Measurement {
    Hz(u64),
    /// The vCPU lost the processor for so long that the counters mean nothing.
    Spoiled,
    StandsStill,
}

/// Returns the frequency of the unknown counter, if that of the known one is `known_hz`. `None` if
/// a counter stands still.
///
/// `start` begins a measurement and returns a function that takes samples, or returns `None` if the
/// measurement is spoiled. A measurement lasts `span` ticks of the known counter.
pub(crate) fn frequency<F: FnMut() -> Option<Sample>>(
    known_hz: u64,
    span: u64,
    mut start: impl FnMut() -> F,
) -> Option<u64> {
    let mut hz = [0; MEASUREMENTS];
    let mut done = 0;
    for _ in 0..ATTEMPTS {
        match measure(known_hz, span, &mut start()) {
            Measurement::Hz(measured) => {
                hz[done] = measured;
                done += 1;
            }
            Measurement::Spoiled => {}
            Measurement::StandsStill => return None,
        }
        if done == MEASUREMENTS {
            hz.sort_unstable();
            return Some(hz[MEASUREMENTS / 2]);
        }
    }
    None
}

/// Not generic: a guest contains it once, for all of its counters.
fn measure(known_hz: u64, span: u64, sample: &mut dyn FnMut() -> Option<Sample>) -> Measurement {
    let Some(first) = sample() else {
        return Measurement::Spoiled;
    };
    let (mut last_known, mut unchanged) = (first.known, 0);
    loop {
        let Some(now) = sample() else {
            return Measurement::Spoiled;
        };
        if now.known - first.known >= span {
            break;
        }
        unchanged = if now.known == last_known {
            unchanged + 1
        } else {
            0
        };
        last_known = now.known;
        if unchanged == READS_OF_A_STANDSTILL {
            return Measurement::StandsStill;
        }
    }
    // The sample that crossed the end may have done so because the vCPU lost the processor during
    // it. The next one is not selected by that.
    let Some(last) = sample() else {
        return Measurement::Spoiled;
    };
    let (known, unknown) = (last.known - first.known, last.unknown - first.unknown);
    let hz = u128::from(unknown) * u128::from(known_hz) / u128::from(known);
    match u64::try_from(hz) {
        Ok(0) | Err(_) => Measurement::StandsStill,
        Ok(hz) => Measurement::Hz(hz),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Counters of 1 MHz and 3 GHz. Each read takes a microsecond. `away` returns how many
    /// microseconds more the vCPU is away before the known and the unknown counter are read, for
    /// the number of the read.
    fn measured(away: impl Fn(u32) -> (u64, u64)) -> Option<u64> {
        let (micros, reads) = (Cell::new(0), Cell::new(0));
        frequency(1_000_000, 10_000, || {
            let start = micros.get();
            let (micros, reads, away) = (&micros, &reads, &away);
            move || {
                reads.set(reads.get() + 1);
                let (before_known, before_unknown) = away(reads.get());
                micros.set(micros.get() + 1 + before_known);
                let known = micros.get() - start;
                micros.set(micros.get() + before_unknown);
                let unknown = (micros.get() - start) * 3000;
                (known < 50_000).then_some(Sample { known, unknown })
            }
        })
    }

    #[test]
    fn a_quiet_machine_is_measured_exactly() {
        assert_eq!(measured(|_| (0, 0)), Some(3_000_000_000));
    }

    #[test]
    fn being_away_before_the_reads_changes_nothing() {
        assert_eq!(
            measured(|read| (u64::from(read % 1000 == 0) * 5000, 0)),
            Some(3_000_000_000)
        );
    }

    #[test]
    fn being_away_between_the_reads_of_the_last_sample_changes_nothing() {
        // Another sample is read after it.
        assert_eq!(
            measured(|read| (0, u64::from(read % 9000 == 0) * 5000)),
            Some(3_000_000_000)
        );
    }

    #[test]
    fn one_spoiled_measurement_does_not_count() {
        // In the first sample, and once for longer than the counter lasts.
        assert_eq!(
            measured(|read| (0, u64::from(read == 1) * 9000)),
            Some(3_000_000_000)
        );
        assert_eq!(
            measured(|read| (u64::from(read == 50) * 60_000, 0)),
            Some(3_000_000_000)
        );
    }

    /// Counters that count a read as one tick, and as `hz` ticks; the first begins at `known`.
    fn counters(mut known: u64, hz: u64) -> impl FnMut() -> Option<Sample> {
        move || {
            known += 1;
            let unknown = known * hz;
            Some(Sample { known, unknown })
        }
    }

    #[test]
    fn two_measurements_that_are_far_off_do_not_count() {
        for list in [[5, 1, 6, 1, 7], [5, 9, 4, 9, 3]] {
            let mut list = list.into_iter();
            let start = || counters(0, list.next().expect("five measurements"));
            assert_eq!(frequency(1, 1, start), Some(5));
        }
    }

    #[test]
    fn a_measurement_lasts_its_span_from_any_first_count() {
        for first in [0, 7, 1_000_000] {
            let reads = Cell::new(0);
            let start = || {
                let mut counters = counters(first, 3);
                let reads = &reads;
                move || {
                    reads.set(reads.get() + 1);
                    counters()
                }
            };
            assert_eq!(frequency(1, 100, start), Some(3));
            // The first sample, those of the span, and the last one.
            assert_eq!(reads.get(), MEASUREMENTS * (1 + 100 + 1), "from {first}");
        }
    }

    #[test]
    fn a_counter_that_stands_still_is_reported_soon() {
        let reads = Cell::new(0);
        let stopped = frequency(1_000_000, 10_000, || {
            || {
                reads.set(reads.get() + 1);
                Some(Sample {
                    known: 7,
                    unknown: 7,
                })
            }
        });
        assert_eq!(stopped, None);
        assert!(reads.get() < 20_000, "{} reads", reads.get());
        assert_eq!(frequency(1_000_000, 10_000, || || None), None);
    }
}
