//! What a worker has told.

use std::{
    io::{BufRead, BufReader, Read},
    os::unix::net::UnixStream,
};

use super::message::{Message, RunEnd};
use crate::{escape::escape, vmm::gdb::DebuggerPresence};

/// The most that a worker may tell, in bytes: the steps of a guest take nearly all of it.
const LIMIT: u64 = 256 << 20;

/// What a worker has told, up to its end.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    pub(super) was_ready: bool,
    /// Why there is no machine.
    pub(super) refused: Option<String>,
    pub(super) end: Option<RunEnd>,
}

impl Conversation {
    /// Reads to the end, or to what makes no sense, after which nothing counts. `on_ready` is
    /// called when the machine is complete.
    pub(super) fn read(
        control: &UnixStream,
        presence: &DebuggerPresence,
        on_ready: impl FnOnce(),
    ) -> Self {
        let mut told = Self::default();
        let mut on_ready = Some(on_ready);
        for line in BufReader::new(control.take(LIMIT)).split(b'\n') {
            let message = line
                .ok()
                .and_then(|line| serde_json::from_slice(&line).ok());
            let Some(message) = message else {
                break;
            };
            match message {
                Message::Ready => {
                    if let Some(on_ready) = on_ready.take() {
                        told.was_ready = true;
                        on_ready();
                    }
                }
                Message::Refused(sentence) => told.refused = Some(escape(&sentence)),
                Message::Debugger(is_attached) => presence.set(is_attached),
                Message::Ended(end) => told.end = Some(*end),
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(lines: &[u8]) -> Conversation {
        let (ours, mut worker) = UnixStream::pair().unwrap();
        worker.write_all(lines).unwrap();
        drop(worker);
        let mut ready = 0;
        let told = Conversation::read(&ours, &DebuggerPresence::default(), || ready += 1);
        assert_eq!(u32::from(told.was_ready), ready);
        told
    }

    #[test]
    fn nothing_counts_after_what_makes_no_sense() {
        let told = read(b"\"Ready\"\n\"Ready\"\nnonsense\n{\"Refused\":\"no\"}\n");
        assert!(told.was_ready && told.refused.is_none() && told.end.is_none());
        let told = read(b"{\"Refused\":\"\\u001bno\"}");
        assert_eq!(told.refused.as_deref(), Some("\\u{1b}no"));
        assert!(!read(b"\xff\xff").was_ready);
        assert!(!read(b"").was_ready);
    }
}
