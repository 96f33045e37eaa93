//! QEMU's monitor, by which the guest is started and its end explained (QMP, the QEMU Machine Protocol).
//!
//! QEMU waits (`-S`) until the monitor lets the guest run. So what it says before that is its own, and its status
//! is no guest's.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
};

use serde_json::Value;

/// The longest line that is read as one.
const LIMIT: u64 = 64 << 10;

/// What QEMU is told. It answers in its time.
const COMMANDS: &[u8] = b"{\"execute\": \"qmp_capabilities\"}\n{\"execute\": \"cont\"}\n";

/// A connection on whose other end QEMU's monitor is to be. The guest runs as soon as it is.
pub(super) fn open() -> io::Result<(UnixStream, UnixStream)> {
    let (mut ours, other) = UnixStream::pair()?;
    ours.write_all(COMMANDS)?;
    Ok((ours, other))
}

/// What the monitor said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    /// The guest was let run.
    pub(super) started: bool,
    /// Why the machine was shut down.
    pub(super) shutdown: Option<Shutdown>,
}

/// Why a machine was shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shutdown {
    /// The guest reset it, or it triple-faulted: under `-no-reboot` that ends QEMU.
    Reset,
    /// The guest switched it off, or ended by the exit port (newer versions of QEMU say that of it).
    PowerOff,
    /// Another reason.
    Other,
}

impl Heard {
    /// Reads to the end.
    pub(crate) fn read(stream: impl Read) -> Self {
        let mut heard = Self::default();
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        // An error, as where QEMU ended before it had read all, is taken for the end.
        while stream
            .by_ref()
            .take(LIMIT)
            .read_until(b'\n', &mut line)
            .is_ok_and(|length| length > 0)
        {
            // What is no JSON, or cut, says nothing.
            if let Ok(message) = serde_json::from_slice(&line) {
                heard.hear(&message);
            }
            line.clear();
        }
        heard
    }

    fn hear(&mut self, message: &Value) {
        match message["event"].as_str() {
            Some("RESUME") => self.started = true,
            Some("SHUTDOWN") => {
                let reason = match message["data"]["reason"].as_str() {
                    Some("guest-reset") => Shutdown::Reset,
                    Some("guest-shutdown") => Shutdown::PowerOff,
                    _ => Shutdown::Other,
                };
                // What comes later is its consequence.
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

    fn heard(text: &str) -> Heard {
        Heard::read(text.as_bytes())
    }

    #[test]
    fn the_guest_runs_when_the_monitor_says_so() {
        assert!(!heard("").started);
        assert!(!heard(GREETING).started);
        let started = heard(&format!("{GREETING}{{\"event\": \"RESUME\"}}\r\n"));
        assert_eq!(
            started,
            Heard {
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
            assert_eq!(heard(&text).shutdown, Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_message_says_nothing() {
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
            assert_eq!(heard(text), Heard::default());
        }
        let behind = heard(&format!("{long}\n{{\"event\": \"RESUME\"}}\n"));
        assert!(behind.started, "it is read on");
    }
}
