//! What a worker has told.

mod fuzz;

use std::io::{BufRead, BufReader, Read};

use super::message::{Message, RunEnd};
use crate::{
    escape::escape,
    vmm::{Stretch, gdb::DebuggerPresence},
};
pub(crate) use fuzz::fuzz_conversation;

/// The longest message, in bytes, without and with the steps of the guest. What others tell is not
/// kept.
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
    /// Reads up to the end, or to what makes no sense or is too long, and does not count.
    /// `on_ready` is called when the machine is complete.
    pub(super) fn read(
        control: impl Read,
        has_steps: bool,
        presence: &DebuggerPresence,
        on_ready: impl FnOnce(),
    ) -> Self {
        let limit = match has_steps {
            true => LIMIT_WITH_STEPS,
            false => LIMIT,
        };
        let mut told = Self::default();
        let mut on_ready = Some(on_ready);
        let mut control = BufReader::new(control);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = control.by_ref().take(limit).read_until(b'\n', &mut line);
            let message = read.ok().and_then(|_| serde_json::from_slice(&line).ok());
            match message {
                Some(Message::Ready) => {
                    if let Some(on_ready) = on_ready.take() {
                        told.was_ready = true;
                        on_ready();
                    }
                }
                Some(Message::Debugger(is_attached)) => presence.set(is_attached),
                Some(Message::Ended(end)) if told.was_ready && is_sound(&end) => {
                    told.end = Some(*end);
                }
                // After that a guest may have run.
                Some(Message::Refused(sentence)) if !told.was_ready => {
                    told.refused = Some(escape(&sentence));
                    return told;
                }
                _ => return told,
            }
        }
    }
}

/// Whether figures can be made of it.
fn is_sound(end: &RunEnd) -> bool {
    end.stretches.iter().all(Stretch::is_sound)
}

#[cfg(test)]
mod tests {
    use std::{io::Write, os::unix::net::UnixStream};

    use super::*;

    fn read(lines: &[u8]) -> Conversation {
        let mut ready = 0;
        let told = Conversation::read(lines, false, &DebuggerPresence::default(), || ready += 1);
        assert_eq!(u32::from(told.was_ready), ready);
        told
    }

    #[test]
    fn nothing_counts_after_what_makes_no_sense() {
        let told = read(b"\"Ready\"\n\"Ready\"\nnonsense\n{\"Refused\":\"no\"}\n");
        assert!(told.was_ready && told.refused.is_none() && told.end.is_none());
        let told = read(b"{\"Refused\":\"\\u001bno\"}");
        assert_eq!(told.refused.as_deref(), Some("\\u{1b}no"));
        let told = read(b"{\"Refused\":\"no\"}\n\"Ready\"\n{\"Refused\":\"or yes\"}\n");
        assert!(!told.was_ready && told.refused.as_deref() == Some("no"));
        assert!(!read(b"\xff\xff").was_ready);
        assert!(!read(b"").was_ready);
    }

    #[test]
    fn a_message_that_is_too_long_is_not_heard() {
        let long = [&b"{\"Refused\":\""[..], &[b'x'; 70 << 10], b"\"}\n"].concat();
        let (ours, mut worker) = UnixStream::pair().unwrap();
        let tells = std::thread::spawn(move || worker.write_all(&long));
        let told = Conversation::read(&ours, false, &DebuggerPresence::default(), || {});
        assert!(told.refused.is_none());
        drop(ours);
        let _ = tells.join().unwrap();
    }

    /// Anybody can connect to a debugger's port, and leave.
    #[test]
    fn debuggers_may_come_and_go_without_end() {
        let comes_and_goes = "{\"Debugger\":true}\n{\"Debugger\":false}\n".repeat(5000);
        let text = ["\"Ready\"\n", &comes_and_goes, ENDED].concat();
        let (ours, mut worker) = UnixStream::pair().unwrap();
        let tells = std::thread::spawn(move || worker.write_all(text.as_bytes()));
        let told = Conversation::read(&ours, false, &DebuggerPresence::default(), || {});
        assert!(told.end.is_some());
        tells.join().unwrap().unwrap();
    }

    /// Who reads the steps takes one place from another.
    #[test]
    fn steps_that_are_out_of_order_do_not_count() {
        let told = |events: &str| {
            let steps = format!(r#""stretches":[{{"addresses":[1,2,3],"events":[{events}]}}]"#);
            let end = ENDED.replace(r#""stretches":[]"#, &steps);
            read(["\"Ready\"\n", &end].concat().as_bytes()).end
        };
        let mark = |at: u32| format!(r#"{{"at":{at},"kind":"Mark"}}"#);
        assert!(told(&[mark(0), mark(3)].join(",")).is_some());
        assert!(told(&[mark(2), mark(1)].join(",")).is_none());
        assert!(told(&mark(4)).is_none());
    }

    const ENDED: &str = concat!(
        r#"{"Ended":{"ended":{"Exited":0},"counters":{"userspace_exits":0,"halt_exits":null,"#,
        r#""irq_injections":null,"emulated_instructions":null},"stretches":[],"held_back":0,"#,
        r#""link_is_down":false}}"#,
        "\n"
    );

    #[test]
    fn an_end_before_the_beginning_does_not_count() {
        assert!(read(ENDED.as_bytes()).end.is_none());
        assert!(
            read(["\"Ready\"\n", ENDED].concat().as_bytes())
                .end
                .is_some()
        );
    }
}
