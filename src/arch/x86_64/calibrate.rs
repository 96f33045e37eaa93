//! Measuring one counter against another.

/// How many measurements are made. The vCPU can lose the processor between the two reads of a sample,
/// which spoils that measurement: the median of several is not touched by one such.
const MEASUREMENTS: usize = 5;
/// How often a measurement is begun before the counters are given up.
const ATTEMPTS: usize = 20;

/// The ticks of two counters, read one just after the other.
#[derive(Clone, Copy)]
pub(super) struct Sample {
    /// Since the measurement began.
    pub(super) known: u64,
    pub(super) unknown: u64,
}

/// How often the unknown counter counts in a second, if the known one counts `known_hz` times.
///
/// `start` begins a measurement and gives a function that samples, which answers `None` where the
/// measurement has become worthless. A measurement ends `span` ticks of the known counter after it
/// began. `None` if the counters stand still.
pub(super) fn frequency<F: FnMut() -> Option<Sample>>(
    known_hz: u64,
    span: u64,
    mut start: impl FnMut() -> F,
) -> Option<u64> {
    let mut measured = [0; MEASUREMENTS];
    let mut attempts = (0..ATTEMPTS).filter_map(|_| measure(known_hz, span, start()));
    for hz in &mut measured {
        *hz = attempts.next()?;
    }
    measured.sort_unstable();
    Some(measured[MEASUREMENTS / 2])
}

fn measure(known_hz: u64, span: u64, mut sample: impl FnMut() -> Option<Sample>) -> Option<u64> {
    let first = sample()?;
    // A counter that stands still must not hang the boot: no machine needs this many reads.
    for _ in 0..1_000_000 {
        if sample()?.known - first.known < span {
            continue;
        }
        // The sample that crossed the end may have done so because the vCPU was away in the midst of
        // it; this one was not chosen by that.
        let last = sample()?;
        let (known, unknown) = (last.known - first.known, last.unknown - first.unknown);
        let hz = u128::from(unknown) * u128::from(known_hz) / u128::from(known);
        return (hz != 0).then_some(hz as u64);
    }
    None
}
