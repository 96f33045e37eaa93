//! Measures what I/O costs, beside a Linux guest on the same QEMU: `--io`.
//!
//! `load` fetches pages. `servers` are what answers; `linux` builds one of them, and `tsc` is what
//! it must be told of its clock. `qemu` and `own_vmm` boot them, `running` either. `http`,
//! `counts`, `memory`, `disk`, `serial` and `vsock` measure, and `run` calls them all.

mod counts;
mod disk;
mod echo;
mod http;
pub(crate) mod linux;
mod load;
mod memory;
mod own_vmm;
pub(crate) mod plan;
mod qemu;
pub(crate) mod run;
mod running;
mod serial;
mod servers;
mod tsc;
mod vsock;

pub(crate) use servers::Server;
use servers::{Boot, Contestant};

use dormir_harness::vmm::{RunError, StopToken};
use std::{
    io,
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

/// Why a guest could not be measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GuestError {
    #[error("the system refused what is needed to run a guest ({0}): see what it is short of")]
    Resource(io::Error),
    #[error("QEMU's monitor does not do what it should: {0}")]
    Monitor(String),
    #[error("the guest ended, and was not to; its last words: {0}")]
    Ended(String),
    #[error(
        "the guest did not print `{line}` within {} s; its last words: {words}",
        limit.as_secs()
    )]
    Late {
        line: String,
        limit: Duration,
        words: String,
    },
    #[error("pages cannot be fetched: {0}")]
    Fetch(io::Error),
    #[error("bytes do not come back as they should: {0}")]
    Echo(io::Error),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("the measurement took more than {} minutes: {}", .0.as_secs() / 60,
        "pass --vmm, fewer --rounds or --seconds, or give the machine less to do")]
    TooLong(Duration),
    #[error("stopped from outside before its end")]
    Stopped,
}

impl GuestError {
    /// Of a guest that has ended: the last line tells why, if any does.
    fn ended(console: &Receiver<String>) -> Self {
        // What it printed may still be on its way.
        let mut last = None;
        while let Ok(line) = console.recv_timeout(Duration::from_millis(200)) {
            last = Some(line);
        }
        Self::Ended(last.unwrap_or_else(|| "none".into()))
    }
}

/// What bounds all measurements together.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    stop: StopToken,
    limit: Duration,
    end: Instant,
}

impl Bounds {
    pub(crate) fn new(stop: &StopToken, limit: Duration) -> Self {
        Self {
            stop: stop.clone(),
            limit,
            end: Instant::now() + limit,
        }
    }

    /// What stops everything.
    pub(crate) fn stop(&self) -> &StopToken {
        &self.stop
    }

    /// Fails if there is no time left.
    pub(crate) fn check(&self) -> Result<(), GuestError> {
        if self.stop.is_stopped() {
            return Err(GuestError::Stopped);
        }
        if Instant::now() >= self.end {
            return Err(GuestError::TooLong(self.limit));
        }
        Ok(())
    }
}

/// How often it is looked whether to stop.
const INTERVAL: Duration = Duration::from_millis(50);

/// Waits until a guest prints this line.
fn wait_for(
    console: &Receiver<String>,
    line: &str,
    limit: Duration,
    bounds: &Bounds,
) -> Result<(), GuestError> {
    collect_until(console, line, limit, bounds).map(drop)
}

/// Waits until a guest prints this line, and returns the lines before it.
fn collect_until(
    console: &Receiver<String>,
    line: &str,
    limit: Duration,
    bounds: &Bounds,
) -> Result<Vec<String>, GuestError> {
    let end = Instant::now() + limit;
    let mut lines: Vec<String> = Vec::new();
    loop {
        bounds.check()?;
        match console.recv_timeout(INTERVAL) {
            Ok(found) if found == line => return Ok(lines),
            // The Linux guest waits then, to be ended.
            Ok(found) if found.starts_with("failed: ") => return Err(GuestError::Ended(found)),
            Ok(other) => lines.push(other),
            Err(RecvTimeoutError::Disconnected) => {
                let last = lines.pop().unwrap_or_else(|| "none".into());
                return Err(GuestError::Ended(last));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        if Instant::now() >= end {
            let words = lines.pop().unwrap_or_else(|| "none".into());
            return Err(GuestError::Late {
                line: line.into(),
                limit,
                words,
            });
        }
        // Of a guest that prints without an end only the last words matter.
        if lines.len() > 256 {
            lines.drain(..128);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn a_line_is_waited_for_and_what_comes_in_its_place_is_told() {
        let bounds = Bounds::new(&StopToken::default(), Duration::from_secs(60));
        let limit = Duration::from_millis(100);
        let look = |lines: &[&str], is_open: bool| {
            let (tell, told) = channel();
            for line in lines {
                tell.send((*line).to_owned()).expect("it is taken");
            }
            let open = is_open.then_some(tell);
            let found = collect_until(&told, "serves", limit, &bounds);
            drop(open);
            found.map_err(|error| error.to_string())
        };
        assert_eq!(look(&["boots", "serves"], false), Ok(vec!["boots".into()]));
        for (lines, is_open, words) in [
            (
                &["boots"][..],
                false,
                "ended, and was not to; its last words: boots",
            ),
            (&["failed: no disk"], true, "failed: no disk"),
            (&["boots"], true, "did not print `serves`"),
            (&[], false, "none"),
        ] {
            let error = look(lines, is_open).expect_err("it does not serve");
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn time_is_bounded() {
        let stop = StopToken::default();
        let over = Bounds::new(&stop, Duration::ZERO).check();
        assert!(matches!(over, Err(GuestError::TooLong(_))), "{over:?}");
        let bounds = Bounds::new(&stop, Duration::from_secs(60));
        bounds.check().expect("there is time");
        stop.stop();
        assert!(matches!(bounds.check(), Err(GuestError::Stopped)));
    }
}
