//! The guest program `sleeps`: what it is run with, and what it reports.

use super::{
    counts::{self, CountError},
    exits,
};
use crate::document::counts::{Count, Exits, ISR_TO_POLL};
use dormir_harness::vmm::{EventKind, Report, RunConfig, Stretch, Vmm};
use std::time::Duration;

/// The guest program.
pub const PROGRAM: &str = "sleeps";

/// The timer sources, the best first.
pub const TIMERS: &[&str] = &["tsc-deadline", "x2apic", COUNTED_TIMER, "pit"];

/// The timer with which the guest counts by itself.
pub const COUNTED_TIMER: &str = "xapic";

/// The guest sleeps for about a second; to step through what it does between sleeps takes a moment.
const LIMIT: Duration = Duration::from_secs(60);

/// Figures of sleeps.
#[derive(Clone, Debug, PartialEq)]
pub struct Sleeps {
    /// `isr_to_poll`.
    pub counts: Vec<Count>,
    /// What a sleep asks the machine for.
    pub exits: Vec<Exits>,
}

/// How the guest is run to count by itself, under QEMU; with at most `max` timers, if that is
/// given.
#[must_use]
pub fn counted(max: Option<u32>) -> RunConfig {
    RunConfig {
        arguments: max.map_or(String::new(), |max| format!("max={max}")),
        ..counts::config("", None)
    }
}

/// How the guest is run to be stepped through, under our own VMM, with the timer source `timer`.
#[must_use]
pub fn stepped(timer: &str) -> RunConfig {
    RunConfig {
        timeout: LIMIT,
        arguments: format!("stepped timer={timer}"),
        pit: timer == "pit",
        steps: true,
        ..RunConfig::new(Vmm::Kvm)
    }
}

/// The steps do not show what the guest reports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SleepsError {
    /// A figure is none of these.
    #[error(transparent)]
    Figure(#[from] CountError),
    /// The sleeps that it reports are not those that were seen.
    #[error(
        "the guest slept {reported} times for `{subject}`, and the steps show {seen} polls after \
         an interrupt: build command and guest from the same sources, and run it again"
    )]
    Steps {
        /// The name that the guest reported.
        subject: String,
        /// How often it slept, as it reported.
        reported: u64,
        /// How often the steps show a sleep.
        seen: usize,
    },
}

/// Reads what the guest reported that counted by itself.
///
/// # Errors
///
/// The first thing that is no figure of these.
pub fn read_counted(stats: &[(String, u64)]) -> Result<Sleeps, CountError> {
    let (of_exits, of_counts): (Vec<_>, Vec<_>) = stats
        .iter()
        .cloned()
        .partition(|(name, _)| exits::is_one(name));
    Ok(Sleeps {
        counts: counts::read(&of_counts)?,
        exits: exits::read(&of_exits)?,
    })
}

/// Reads what the steps show of a guest with the timer source `timer`: it reports `SUBJECT/sleeps`
/// before each stretch.
///
/// # Errors
///
/// They do not show what the guest reports.
pub fn read_stepped(timer: &str, report: &Report) -> Result<Sleeps, SleepsError> {
    let mut counts: Vec<Count> = Vec::new();
    for (index, (name, reported)) in report.stats.iter().enumerate() {
        let stretch = report.stretches.get(index);
        let ways = stretch.map_or_else(Vec::new, isr_to_poll);
        let subject = name.strip_suffix("/sleeps");
        let count = subject.and_then(|subject| Count::of(subject, 0.0));
        let known = count
            .filter(|count| (&*count.case, count.timer.as_deref()) == (ISR_TO_POLL, Some(timer)));
        let count = known.ok_or_else(|| CountError {
            name: name.clone(),
            value: *reported,
        })?;
        let sleeps = ways.len() as u64;
        if sleeps != *reported || sleeps == 0 {
            return Err(SleepsError::Steps {
                subject: name.clone(),
                reported: *reported,
                seen: ways.len(),
            });
        }
        let all: u64 = ways.iter().sum();
        counts.push(Count {
            instructions: (all as f64 / sleeps as f64 * 10.0).round() / 10.0,
            worst: ways.into_iter().max(),
            ..count
        });
    }
    let runtime = counts.first().map_or("", |count| &count.runtime);
    let exits = exits::of_stretches(runtime, timer, &report.stretches);
    Ok(Sleeps {
        exits: exits.into_iter().collect(),
        counts,
    })
}

/// For each interrupt, the instructions from there to the next poll.
fn isr_to_poll(stretch: &Stretch) -> Vec<u64> {
    let mut ways = Vec::new();
    let mut interrupted = None;
    for event in &stretch.events {
        match event.kind {
            EventKind::Interrupt => interrupted = Some(event.at),
            EventKind::Mark => {
                let since = interrupted.take();
                ways.extend(since.map(|since| (event.at - since) as u64));
            }
            _ => {}
        }
    }
    ways
}

#[cfg(test)]
mod tests {
    use super::*;
    use dormir_harness::vmm::{Outcome, StepEvent};

    fn report(name: &str, sleeps: u64, events: &[(usize, EventKind)]) -> Report {
        let events = events.iter().map(|&(at, kind)| StepEvent { at, kind });
        Report {
            outcome: Outcome::Exited(0),
            panic: None,
            stats: vec![(name.into(), sleeps)],
            samples: Vec::new(),
            data: Vec::new(),
            data_dropped: 0,
            times: Vec::new(),
            wall: Duration::ZERO,
            counters: None,
            backtrace: None,
            stalls: Vec::new(),
            warnings: Vec::new(),
            stretches: vec![Stretch {
                addresses: Vec::new(),
                events: events.collect(),
            }],
        }
    }

    const NAME: &str = "dormir/isr_to_poll/1/64/shared/pit/sleeps";

    #[test]
    fn the_way_is_from_each_interrupt_to_the_poll_behind_it() {
        use EventKind::*;
        let events = [
            (5, Mark),
            (10, Halt),
            (11, Interrupt),
            (12, PortWrite(0x20)),
            (111, Mark),
            (120, Halt),
            (121, Interrupt),
            (222, Mark),
        ];
        let sleeps = read_stepped("pit", &report(NAME, 2, &events)).expect("sleeps");
        let [count] = &sleeps.counts[..] else {
            panic!("one count: {sleeps:?}");
        };
        assert_eq!((count.instructions, count.worst), (100.5, Some(101)));
        assert_eq!((count.n, count.timer.as_deref()), (1, Some("pit")));
        let [exits] = &sleeps.exits[..] else {
            panic!("one row: {sleeps:?}");
        };
        assert_eq!((exits.sleeps, &*exits.timer), (2, "pit"));
    }

    #[test]
    fn steps_that_do_not_show_what_was_reported_are_refused() {
        let events = [(11, EventKind::Interrupt), (111, EventKind::Mark)];
        let read = |timer: &str, name: &str, sleeps| {
            read_stepped(timer, &report(name, sleeps, &events)).map(|sleeps| sleeps.counts.len())
        };
        assert_eq!(read("pit", NAME, 1), Ok(1));
        let error = read("pit", NAME, 2).expect_err("one was seen");
        assert!(error.to_string().contains("2 times"), "{error}");
        read("xapic", NAME, 1).expect_err("another timer");
        read("pit", "dormir/isr_to_poll/1/64/shared/sleeps", 1).expect_err("no timer");
        read("pit", "dormir/isr_to_poll/1/64/shared/pit/naps", 1).expect_err("no sleeps");
        let mut nothing = report(NAME, 0, &[]);
        read_stepped("pit", &nothing).expect_err("no sleep");
        nothing.stretches.clear();
        read_stepped("pit", &nothing).expect_err("no stretch");
    }

    #[test]
    fn the_guest_is_told_what_to_do() {
        assert_eq!(counted(Some(64)).arguments, "max=64");
        assert!(counted(None).count_instructions);
        for timer in TIMERS {
            let config = stepped(timer);
            assert_eq!(config.arguments, format!("stepped timer={timer}"));
            assert_eq!((config.steps, config.pit), (true, *timer == "pit"));
        }
    }
}
