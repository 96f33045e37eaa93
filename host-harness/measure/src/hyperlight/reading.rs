//! What the runner printed: samples, one a line.

use super::super::latency::distribution::Distribution;
use dormir_harness::hyperlight::Mode;
use serde::Serialize;
use std::time::Duration;

/// What a figure is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Subject {
    /// `call`, `idle` or `sleep`.
    pub(super) case: &'static str,
    pub(super) what: &'static str,
    /// How long a sleep was to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) asked_ns: Option<u64>,
}

const fn subject(case: &'static str, what: &'static str) -> Subject {
    Subject {
        case,
        what,
        asked_ns: None,
    }
}

const CALLS: &[Subject] = &[
    subject("call", "plain"),
    subject("call", "host-function"),
    subject("call", "block_on"),
];

const WAITS: &[Subject] = &[
    subject("idle", "wait-elapsed"),
    subject("idle", "wait-processor"),
];

const TICKS: &[Subject] = &[subject("idle", "tick-processor")];

/// The sleeps whose accuracy is measured.
const LENGTHS: [Duration; 3] = [
    Duration::from_millis(1),
    Duration::from_millis(10),
    Duration::from_millis(100),
];

/// The figures of a mode, in the order of the table's rows.
pub(super) fn subjects(mode: Mode) -> Vec<Subject> {
    let idles = match mode {
        Mode::HostWait => WAITS,
        Mode::Interrupts => TICKS,
    };
    let sleeps = LENGTHS.iter().flat_map(|length| {
        ["guest", "host"].map(|what| Subject {
            asked_ns: Some(length.as_nanos() as u64),
            ..subject("sleep", what)
        })
    });
    let others = [CALLS, idles].into_iter().flatten().copied();
    others.chain(sleeps).collect()
}

impl Subject {
    /// Its name in the runner's output.
    fn key(&self) -> String {
        match self.asked_ns {
            None => format!("{}/{}", self.case, self.what),
            Some(asked) => format!("{}/{asked}/{}", self.case, self.what),
        }
    }
}

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Row {
    /// The mode, by its name as a VMM.
    pub(super) vmm: String,
    #[serde(flatten)]
    pub(super) subject: Subject,
    #[serde(rename = "histogram_ns")]
    pub(super) distribution: Distribution,
}

/// The runner printed something else than samples of these figures, or not of all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Misread {
    #[error(
        "the Hyperlight runner printed `{0}`, which is no sample that this command knows: build command and \
         runner from the same sources"
    )]
    NoSample(String),
    #[error(
        "the Hyperlight runner printed no sample of {0}: build command and runner from the same sources"
    )]
    Missing(String),
}

/// Reads lines of `NAME NANOSECONDS`.
pub(super) fn read(mode: Mode, output: &str) -> Result<Vec<Row>, Misread> {
    let subjects = subjects(mode);
    let mut samples: Vec<Vec<u64>> = vec![Vec::new(); subjects.len()];
    for line in output.lines() {
        let sample = || {
            let (name, nanos) = line.split_once(' ')?;
            let index = subjects.iter().position(|subject| subject.key() == name)?;
            Some((index, nanos.parse().ok()?))
        };
        let (index, nanos) = sample().ok_or_else(|| Misread::NoSample(line.to_owned()))?;
        samples[index].push(nanos);
    }
    let rows = subjects.into_iter().zip(samples);
    rows.map(|(subject, samples)| {
        if samples.is_empty() {
            return Err(Misread::Missing(subject.key()));
        }
        Ok(Row {
            vmm: mode.to_string(),
            subject,
            distribution: Distribution::of(samples),
        })
    })
    .collect()
}

/// What a runner prints that takes two samples of each figure.
#[cfg(test)]
pub(super) fn made_up(mode: Mode) -> String {
    let line = |subject: &Subject| format!("{0} 1000\n{0} 2000\n", subject.key());
    subjects(mode).iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_has_its_samples() {
        for mode in Mode::ALL {
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
        let mode = Mode::HostWait;
        for line in [
            "call/plain",
            "call/plain many",
            "call/other 5",
            "sleep/5/guest 5",
            "idle/tick-processor 5",
        ] {
            let output = format!("{}{line}\n", made_up(mode));
            assert_eq!(read(mode, &output), Err(Misread::NoSample(line.into())));
        }
        let output = made_up(mode).replace("sleep/1000000/host", "sleep/1000000/guest");
        let missing = read(mode, &output).expect_err("one has no sample");
        assert!(
            missing.to_string().contains("sleep/1000000/host"),
            "{missing}"
        );
    }
}
