//! What the Hyperlight runner printed: samples, one a line.

use crate::document::{
    distribution::Distribution,
    host_calls::{Counted, HostCalls, LOADS},
    hyperlight::{Row, subjects},
};
use dormir_harness::hyperlight::SandboxMode;
use std::time::Duration;

/// The runner printed something other than samples of these figures, or not samples of all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SampleError {
    #[error(
        "the Hyperlight runner printed `{0}`, which is no sample that this command knows: build \
         command and runner from the same sources"
    )]
    NoSample(String),
    #[error(
        "the Hyperlight runner printed no sample of {0}: build command and runner from the same \
         sources"
    )]
    Missing(String),
}

/// Reads lines of `NAME NANOSECONDS`.
pub(crate) fn read(mode: SandboxMode, output: &str) -> Result<Vec<Row>, SampleError> {
    let subjects = subjects(mode);
    let mut samples: Vec<Vec<u64>> = vec![Vec::new(); subjects.len()];
    for line in output.lines() {
        let sample = || {
            let (name, nanos) = line.split_once(' ')?;
            let index = subjects.iter().position(|subject| subject.key() == name)?;
            Some((index, nanos.parse().ok()?))
        };
        let (index, nanos) = sample().ok_or_else(|| SampleError::NoSample(line.to_owned()))?;
        samples[index].push(nanos);
    }
    let rows = subjects.into_iter().zip(samples);
    rows.map(|(subject, samples)| {
        if samples.is_empty() {
            return Err(SampleError::Missing(subject.key()));
        }
        Ok(Row {
            vmm: mode.to_string(),
            subject,
            distribution: Distribution::of(samples),
        })
    })
    .collect()
}

/// Reads lines of `NAME CALLS NANOSECONDS EXITS P50 P99`, one of each load.
pub(crate) fn read_host_calls(
    mode: SandboxMode,
    output: &str,
) -> Result<Vec<HostCalls>, SampleError> {
    let mut found = vec![None; LOADS.len()];
    for line in output.lines() {
        let figure = || {
            let mut words = line.split(' ');
            let name = words.next()?;
            let index = LOADS.iter().position(|load| load.key() == name)?;
            let counted = Counted {
                calls: words.next()?.parse().ok().filter(|calls| *calls > 0)?,
                took: Duration::from_nanos(words.next()?.parse().ok()?),
                exits: words.next()?.parse().ok()?,
                p50_ns: words.next()?.parse().ok()?,
                p99_ns: words.next()?.parse().ok()?,
            };
            let figure = HostCalls::new(mode.to_string(), LOADS[index], counted);
            words.next().is_none().then_some((index, figure))
        };
        let (index, figure) = figure().ok_or_else(|| SampleError::NoSample(line.to_owned()))?;
        found[index] = Some(figure);
    }
    let found = LOADS.iter().zip(found);
    found
        .map(|(load, figure)| figure.ok_or_else(|| SampleError::Missing(load.key())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::hyperlight::Subject;

    /// What a runner prints that takes two samples of each figure.
    fn made_up(mode: SandboxMode) -> String {
        let line = |subject: &Subject| format!("{0} 1000\n{0} 2000\n", subject.key());
        subjects(mode).iter().map(line).collect()
    }

    #[test]
    fn each_figure_has_its_samples() {
        for mode in SandboxMode::ALL {
            let rows = read(mode, &made_up(mode)).expect("they can be read");
            let found: Vec<_> = rows.iter().map(|row| row.subject).collect();
            assert_eq!(found, subjects(mode));
            for row in rows {
                assert_eq!(row.vmm, mode.to_string());
                assert_eq!(row.distribution, Distribution::of([1000, 2000]));
            }
        }
    }

    #[test]
    fn what_is_no_sample_or_is_missing_is_named() {
        let mode = SandboxMode::HostWait;
        for line in [
            "call/plain",
            "call/plain many",
            "call/other 5",
            "sleep/5/guest 5",
            "idle/tick-processor 5",
        ] {
            let output = format!("{}{line}\n", made_up(mode));
            assert_eq!(read(mode, &output), Err(SampleError::NoSample(line.into())));
        }
        let output = made_up(mode).replace("sleep/1000000/host", "sleep/1000000/guest");
        let missing = read(mode, &output).expect_err("one has no sample");
        assert!(
            missing.to_string().contains("sleep/1000000/host"),
            "{missing}"
        );
    }

    #[test]
    fn host_calls_are_one_line_each() {
        let mode = SandboxMode::HostWait;
        let line = |load: &crate::document::host_calls::Load| {
            format!("{} 100 2000000000 25 70 90\n", load.key())
        };
        let output: String = LOADS.iter().map(line).collect();
        let found = read_host_calls(mode, &output).expect("they can be read");
        assert_eq!(found.len(), LOADS.len());
        for (figure, load) in found.iter().zip(LOADS) {
            assert_eq!((figure.load, figure.calls), (*load, 100));
            assert_eq!(
                (figure.calls_per_second, figure.exits_per_call),
                (50.0, 0.25)
            );
            assert_eq!((figure.p50_ns, figure.p99_ns), (70, 90));
        }
        for wrong in [
            "",
            "host_call/async/1/7/8 1 1 1 1 1",
            "host_call/async/1/10/8 0 1 1 1 1",
            "host_call/async/1/10/8 1 1 1 1",
            "host_call/async/1/10/8 1 1 1 1 1 1",
        ] {
            let output = format!("{output}{wrong}\n");
            assert_eq!(
                read_host_calls(mode, &output),
                Err(SampleError::NoSample(wrong.into()))
            );
        }
        let (_, all_but_one) = output.split_once('\n').expect("there are lines");
        let missing = read_host_calls(mode, all_but_one);
        assert_eq!(missing, Err(SampleError::Missing(LOADS[0].key())));
    }
}
