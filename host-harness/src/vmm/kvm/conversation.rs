//! What a worker has told.

use std::{
    io::{self, BufRead, BufReader, Read},
    os::unix::net::UnixStream,
};

use super::message::{Message, RunEnd};
use crate::{escape::escape, vmm::gdb::DebuggerPresence};

/// The most that a worker may tell, in bytes, without and with the steps of its guest.
const LIMIT: u64 = 64 << 10;
const LIMIT_WITH_STEPS: u64 = 64 << 20;

/// What a worker has told, up to its end.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    pub(super) was_ready: bool,
    /// Why there is no machine.
    pub(super) refused: Option<String>,
    pub(super) end: Option<RunEnd>,
}

impl Conversation {
    /// Reads to the end. From what makes no sense, or is too much, nothing counts. `on_ready` is
    /// called when the machine is complete.
    pub(super) fn read(
        control: &UnixStream,
        has_steps: bool,
        presence: &DebuggerPresence,
        on_ready: impl FnOnce(),
    ) -> Self {
        let mut told = Self::default();
        let mut on_ready = Some(on_ready);
        let limit = match has_steps {
            true => LIMIT_WITH_STEPS,
            false => LIMIT,
        };
        for line in BufReader::new(control.take(limit)).split(b'\n') {
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
                // After that a guest may have run.
                Message::Refused(sentence) if !told.was_ready => {
                    told.refused = Some(escape(&sentence));
                }
                Message::Refused(_) => break,
                Message::Debugger(is_attached) => presence.set(is_attached),
                Message::Ended(end) => told.end = Some(*end),
            }
        }
        // It may wait until the rest is read.
        let _ = io::copy(&mut &*control, &mut io::sink());
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
        let told = Conversation::read(&ours, false, &DebuggerPresence::default(), || ready += 1);
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

    #[test]
    fn a_worker_that_tells_too_much_is_not_heard() {
        let long = [
            &b"\"Ready\"\n{\"Refused\":\""[..],
            &[b'x'; 1 << 20],
            b"\"}\n",
        ]
        .concat();
        let (ours, mut worker) = UnixStream::pair().unwrap();
        let tells = std::thread::spawn(move || worker.write_all(&long));
        let told = Conversation::read(&ours, false, &DebuggerPresence::default(), || {});
        assert!(told.was_ready && told.refused.is_none());
        tells.join().unwrap().expect("all was read");
    }
}
