//! Reads QEMU's messages on standard error, and its answer to `--version`.

use std::io::Read;

use super::lines;
use crate::{escape::escape, vmm::Outcome};

/// How many bytes of the messages are kept.
const LIMIT: usize = 64 << 10;

/// The last line of QEMU's dump of a vCPU on which KVM gave up.
const LAST_DUMP_LINE: &str = "Code=";

/// QEMU's messages on standard error.
#[derive(Debug, Default)]
pub(crate) struct Messages(String);

impl Messages {
    /// Reads to the end. `on_dump` is called when QEMU has dumped its vCPU.
    pub(crate) fn read(stderr: Option<impl Read>, on_dump: impl Fn()) -> Self {
        let mut kept = String::new();
        let Some(stderr) = stderr else {
            return Self(kept);
        };
        lines::for_each(stderr, |line| {
            let text = String::from_utf8_lossy(line);
            if text.starts_with(LAST_DUMP_LINE) {
                on_dump();
            }
            // Reads on beyond the limit, so that QEMU does not block.
            if kept.len() + text.len() <= LIMIT {
                kept.push_str(&text);
            }
        });
        Self(kept)
    }

    /// Returns all messages in one line, escaped, without the program's name before each; `None` if
    /// there are none.
    pub(crate) fn summary(&self) -> Option<String> {
        let lines = self
            .0
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty());
        let lines = lines.map(|line| {
            line.split_once(": ")
                .filter(|(program, _)| program.contains("qemu") && !program.contains(' '))
                .map_or(line, |(_, message)| message)
        });
        let summary = escape(&lines.collect::<Vec<_>>().join("; "));
        (!summary.is_empty()).then_some(summary)
    }

    /// Returns the messages for a sentence about QEMU's end, to be put in brackets.
    pub(crate) fn last_words(&self) -> String {
        self.summary().map_or("without a message".into(), |words| {
            format!("its last words: {words}")
        })
    }

    /// Returns whether QEMU has ended because a debugger ended its guest.
    pub(super) fn names_debugger(&self) -> bool {
        self.0.contains("Terminated via GDBstub")
    }

    /// Returns the outcome that the dump of a vCPU describes on which KVM gave up.
    pub(super) fn gave_up(&self) -> Outcome {
        match (self.0.contains("emulation failure"), self.instruction()) {
            (true, Some((address, bytes))) => Outcome::not_emulated(address, bytes),
            _ => {
                let first = self.0.lines().next().unwrap_or("it does not say why");
                let first = escape(first);
                Outcome::Died(format!(
                    "KVM gave up on the vCPU under QEMU ({first}): pass --vmm kvm to see more, or \
                     --vmm qemu-tcg"
                ))
            }
        }
    }

    /// Returns the dump's instruction pointer, and the bytes at it, the first of which is in angle
    /// brackets.
    fn instruction(&self) -> Option<(u64, Vec<u8>)> {
        let field = |name: &str| {
            let rest = &self.0[self.0.find(name)? + name.len()..];
            rest.split_whitespace().next()
        };
        let address = field("RIP=").or_else(|| field("EIP="))?;
        let address = u64::from_str_radix(address, 16).ok()?;
        let (_, code) = self.0.split_once('<')?;
        let bytes = code
            .lines()
            .next()?
            .split([' ', '>'])
            .filter(|byte| !byte.is_empty())
            .map_while(|byte| u8::from_str_radix(byte, 16).ok())
            .take(15)
            .collect();
        Some((address, bytes))
    }
}

/// Returns the version in QEMU's answer to `--version`.
pub(super) fn version(answer: &str) -> Option<String> {
    let (_, rest) = answer.split_once("QEMU emulator version ")?;
    rest.split_whitespace().next().map(escape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    const DUMP: &str = "KVM internal error. Suberror: 1\n\
        extra data[0]: 0x0000000000000001\n\
        emulation failure\n\
        RAX=000000000000004c RBX=0000000000000000\n\
        RIP=0000000000100077 RFL=00000046 [---Z-P-] CPL=0 II=0\n\
        EFER=0000000000000500\n\
        Code=b0 4c fa <f3> 0f b8 c0 00 00 00 00 00 00 00 00 00 00 ff ff 00\n";

    fn read(text: &str) -> (Messages, u32) {
        let dumps = Cell::new(0);
        let messages = Messages::read(Some(text.as_bytes()), || dumps.set(dumps.get() + 1));
        (messages, dumps.get())
    }

    #[test]
    fn a_dump_is_noticed_at_its_end_and_gives_the_instruction() {
        let (messages, dumps) = read(DUMP);
        assert_eq!(dumps, 1);
        let Outcome::NotEmulated { address, bytes } = messages.gave_up() else {
            panic!("{messages:?}");
        };
        assert_eq!(address, 0x10_0077);
        assert_eq!(bytes[..4], [0xf3, 0x0f, 0xb8, 0xc0]);
        assert_eq!(bytes.len(), 15);
    }

    #[test]
    fn an_instruction_without_bytes_is_a_jump_into_nothing() {
        let (messages, _) = read("emulation failure\nEIP=10000000 EFL=00000002\nCode=<??> ?? ??\n");
        let Outcome::Died(reason) = messages.gave_up() else {
            panic!("{messages:?}");
        };
        assert!(reason.contains("0x10000000"), "{reason}");
    }

    #[test]
    fn another_internal_error_is_named() {
        let (messages, dumps) = read("KVM internal error. Suberror: 3\nEIP=00000001\nCode=<90>\n");
        assert_eq!(dumps, 1);
        let Outcome::Died(reason) = messages.gave_up() else {
            panic!("{messages:?}");
        };
        assert!(reason.contains("Suberror: 3"), "{reason}");
    }

    #[test]
    fn messages_lose_the_programs_name_and_become_one_line() {
        let (messages, dumps) = read(
            "qemu-system-x86_64: warning: no\n\n/usr/bin/qemu-system-x86_64: -m 1: bad value: 1\n",
        );
        assert_eq!(dumps, 0);
        let summary = messages.summary();
        assert_eq!(summary.as_deref(), Some("warning: no; -m 1: bad value: 1"));
        assert_eq!(read("\n \n").0.summary(), None);
        let painted = read("qemu: \x1b[32mall is well\r\n").0.last_words();
        assert_eq!(painted, "its last words: \\u{1b}[32mall is well");
    }

    #[test]
    fn too_much_is_read_to_the_end_but_not_kept() {
        let (messages, dumps) = read(&format!("{}\nCode=\n", "x".repeat(1 << 20)));
        assert!(messages.0.len() <= LIMIT);
        assert_eq!(dumps, 1);
    }

    #[test]
    fn the_version_is_found() {
        let answer = "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\nCopyright (c) 2003\n";
        assert_eq!(version(answer).as_deref(), Some("7.2.22"));
        assert_eq!(version("something else"), None);
    }
}
