//! Measuring one counter against another.

/// How many measurements are made. The vCPU can lose the processor between the two reads of a sample,
/// which spoils that measurement: the median of several is not touched by one such.
const MEASUREMENTS: usize = 5;
/// How often a measurement is begun before the counters are given up.
const ATTEMPTS: usize = 20;
/// After so many reads without a change a counter stands still: no counter that is of use here is so
/// slow, and no machine so fast.
const READS_OF_A_STANDSTILL: u32 = 10_000;

/// The ticks of two counters since the measurement began, read one just after the other.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) known: u64,
    pub(crate) unknown: u64,
}

/// What one measurement gave.
enum Measurement {
    Hz(u64),
    /// The vCPU was away for so long that the counters mean nothing.
    Spoiled,
    StandsStill,
}

/// How often the unknown counter counts in a second, if the known one counts `known_hz` times.
///
/// `start` begins a measurement and gives a function that samples, which answers `None` where the
/// measurement is spoiled. A measurement lasts `span` ticks of the known counter. `None` if a counter
/// stands still.
pub(crate) fn frequency<F: FnMut() -> Option<Sample>>(
    known_hz: u64,
    span: u64,
    mut start: impl FnMut() -> F,
) -> Option<u64> {
    let mut hz = [0; MEASUREMENTS];
    let mut done = 0;
    for _ in 0..ATTEMPTS {
        match measure(known_hz, span, start()) {
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

fn measure(known_hz: u64, span: u64, mut sample: impl FnMut() -> Option<Sample>) -> Measurement {
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
    // The sample that crossed the end may have done so because the vCPU was away in the midst of it;
    // this one was not chosen by that.
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

    /// Counters of 1 MHz and 3 GHz; each read takes a microsecond, and `away` says how many more the
    /// vCPU is away before the known and before the unknown counter is read the given time.
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
    fn being_away_before_the_reads_does_no_harm() {
        assert_eq!(
            measured(|read| (u64::from(read % 1000 == 0) * 5000, 0)),
            Some(3_000_000_000)
        );
    }

    #[test]
    fn being_away_between_the_reads_of_the_sample_that_ends_a_window_does_no_harm() {
        // The sample after it is read anew.
        assert_eq!(
            measured(|read| (0, u64::from(read % 9000 == 0) * 5000)),
            Some(3_000_000_000)
        );
    }

    #[test]
    fn one_spoiled_window_is_left_out() {
        // The first window's first sample, and one that is away for longer than the counter lasts.
        assert_eq!(
            measured(|read| (0, u64::from(read == 1) * 9000)),
            Some(3_000_000_000)
        );
        assert_eq!(
            measured(|read| (u64::from(read == 50) * 60_000, 0)),
            Some(3_000_000_000)
        );
    }

    #[test]
    fn a_counter_that_stands_still_is_given_up_soon() {
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
