//! QEMU's monitor (QMP, the QEMU Machine Protocol), which starts the guest and reports why it
//! ended.
//!
//! QEMU waits (`-S`) until the monitor starts the guest. So its messages before that are its own,
//! and its exit status is not a guest's.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
};

use serde_json::Value;

use super::lines;

/// The commands for QEMU. Its answers come later.
const CAPABILITIES: &[u8] = b"{\"execute\": \"qmp_capabilities\"}\n";
const START: &[u8] = b"{\"execute\": \"cont\"}\n";

const INJECT_NMI: &[u8] = b"{\"execute\": \"inject-nmi\"}\n";

/// Begins a conversation, which QEMU answers when it has set up the machine. If that fails, QEMU has
/// ended.
pub(super) fn begin(mut monitor: &UnixStream) {
    let _ = monitor.write_all(CAPABILITIES);
}

/// Starts the guest. If that fails, QEMU has ended.
pub(super) fn start_guest(mut monitor: &UnixStream) {
    let _ = monitor.write_all(START);
}

/// Sends the guest an NMI. If that fails, it gets none.
pub(super) fn inject_nmi(mut monitor: &UnixStream) {
    let _ = monitor.write_all(INJECT_NMI);
}

/// The events that the monitor has reported.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct MonitorEvents {
    /// The guest was started.
    pub(super) started: bool,
    /// Why the machine was shut down.
    pub(super) shutdown: Option<Shutdown>,
}

/// Why a machine was shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shutdown {
    /// The guest reset it or triple-faulted: with `-no-reboot` that ends QEMU.
    Reset,
    /// The guest powered it off, or ended by the exit port (which newer versions of QEMU report
    /// so).
    PowerOff,
    /// Another reason.
    Other,
}

impl MonitorEvents {
    /// Reads to the end. Calls `set_up` when QEMU has answered for the first time, by when the
    /// machine is complete.
    pub(crate) fn read(stream: impl Read, set_up: impl FnOnce()) -> Self {
        let mut events = Self::default();
        let mut set_up = Some(set_up);
        lines::for_each(stream, |line| {
            // A line that is cut or not JSON is ignored.
            if let Ok(message) = serde_json::from_slice(line) {
                events.add(&message);
                if !message["return"].is_null()
                    && let Some(set_up) = set_up.take()
                {
                    set_up();
                }
            }
        });
        events
    }

    fn add(&mut self, message: &Value) {
        match message["event"].as_str() {
            Some("RESUME") => self.started = true,
            Some("SHUTDOWN") => {
                let reason = match message["data"]["reason"].as_str() {
                    Some("guest-reset") => Shutdown::Reset,
                    Some("guest-shutdown") => Shutdown::PowerOff,
                    _ => Shutdown::Other,
                };
                // Later reasons are consequences of the first.
                self.shutdown.get_or_insert(reason);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"major": 7}}, "capabilities": ["oob"]}}
{"return": {}}
"#;

    fn events(text: &str) -> MonitorEvents {
        MonitorEvents::read(text.as_bytes(), || {})
    }

    #[test]
    fn the_guest_runs_when_the_monitor_reports_it() {
        assert!(!events("").started);
        assert!(!events(GREETING).started);
        let started = events(&format!("{GREETING}{{\"event\": \"RESUME\"}}\r\n"));
        assert_eq!(
            started,
            MonitorEvents {
                started: true,
                shutdown: None
            }
        );
    }

    #[test]
    fn the_first_reason_of_a_shutdown_counts() {
        for (reasons, expected) in [
            (&["guest-reset"][..], Shutdown::Reset),
            (&["guest-shutdown", "host-signal"], Shutdown::PowerOff),
            (&["host-signal", "guest-reset"], Shutdown::Other),
            (&["something-new"], Shutdown::Other),
        ] {
            let lines = reasons.iter().map(|reason| {
                format!(
                    r#"{{"event": "SHUTDOWN", "data": {{"guest": true, "reason": "{reason}"}}}}"#
                )
            });
            let text = lines.collect::<Vec<_>>().join("\n");
            assert_eq!(events(&text).shutdown, Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_message_is_ignored() {
        let long = format!(
            "{{\"event\": \"RESUME\", \"x\": \"{}\"}}",
            "x".repeat(1 << 17)
        );
        for text in [
            "RESUME",
            "{\"event\": ",
            "[]",
            "\"event\"",
            "{\"event\": 1}",
            &long,
        ] {
            assert_eq!(events(text), MonitorEvents::default());
        }
        let behind = events(&format!("{long}\n{{\"event\": \"RESUME\"}}\n"));
        assert!(behind.started, "it is read on");
    }
}
