//! A guest under our own VMM, in a thread of this process.

use super::GuestError;
use dormir_harness::vmm::{self, Device, Report, RunConfig, StopToken, VcpuCounters, Vmm};
use std::{
    io::{self, Write},
    path::Path,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How long a guest may run: longer than any of these measurements.
const LIMIT: Duration = Duration::from_secs(3600);

/// How many lines of the console wait until they are looked at. A guest that prints more waits.
const MOST_LINES: usize = 1024;

/// A guest that runs. It is ended when this is dropped.
#[derive(Debug)]
pub(super) struct OwnVmm {
    stop: StopToken,
    thread: Option<JoinHandle<Result<Report, vmm::RunError>>>,
    console: Option<Receiver<String>>,
    started: Instant,
}

impl OwnVmm {
    /// Starts a guest with this device.
    pub(super) fn start(elf: &Path, memory_mib: u32, device: Device) -> Result<Self, GuestError> {
        let stop = StopToken::default();
        let config = RunConfig {
            memory_mib,
            timeout: LIMIT,
            devices: vec![device],
            stop: stop.clone(),
            ..RunConfig::new(Vmm::Kvm)
        };
        let (tell, console) = sync_channel(MOST_LINES);
        let elf = elf.to_owned();
        let started = Instant::now();
        let run = move || {
            let mut lines = Lines {
                line: Vec::new(),
                tell,
            };
            vmm::run(&elf, &config, &mut lines)
        };
        let thread = thread::Builder::new().name("own-vmm".into()).spawn(run);
        Ok(Self {
            stop,
            thread: Some(thread.map_err(GuestError::Resource)?),
            console: Some(console),
            started,
        })
    }

    /// When it was started.
    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// What the guest prints.
    pub(super) fn console(&self) -> &Receiver<String> {
        self.console.as_ref().expect("it is taken at the end alone")
    }

    /// Ends the guest, and returns what was counted.
    pub(super) fn counters(mut self) -> Result<VcpuCounters, GuestError> {
        let report = self.end().expect("it is ended once")?;
        report.counters.ok_or_else(|| {
            GuestError::Ended(format!(
                "{}, and its exits were not counted",
                report.outcome
            ))
        })
    }

    /// Ends the guest; returns why it did not run, if that is the reason of `error`.
    pub(super) fn instead_of(mut self, error: GuestError) -> GuestError {
        match self.end() {
            Some(Err(reason)) => reason.into(),
            Some(Ok(report)) if matches!(error, GuestError::Ended(_)) => {
                GuestError::Ended(report.outcome.to_string())
            }
            _ => error,
        }
    }

    fn end(&mut self) -> Option<Result<Report, vmm::RunError>> {
        self.stop.stop();
        // So that a guest whose lines nobody looked at does not wait for that.
        self.console = None;
        let thread = self.thread.take()?;
        Some(thread.join().expect("it does not panic"))
    }
}

impl Drop for OwnVmm {
    fn drop(&mut self) {
        self.end();
    }
}

/// A console that sends its lines on.
struct Lines {
    line: Vec<u8>,
    tell: SyncSender<String>,
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
                continue;
            }
            let line = String::from_utf8_lossy(&self.line).into_owned();
            // Where nobody looks any more, the guest is being ended.
            let _ = self.tell.send(line);
            self.line.clear();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
