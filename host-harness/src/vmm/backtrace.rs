//! A backtrace of a guest: the registers and stack words that it reported, unwound and symbolised
//! by the debug information in its ELF file.

#[doc(hidden)]
pub(super) mod fuzz;
mod meter;
mod stall;
mod symbols;
mod unwind;

use std::fmt;

use dormir_abi::backtrace::{MAX_STACK_WORDS, Registers, StackWord};
use object::read::elf::ElfFile64;

use super::{
    image::{Image, Source},
    outcome::Outcome,
};
use meter::Meter;
pub use stall::Stall;
pub(super) use stall::explain_stalls;
use symbols::Symbols;
use unwind::{CallFrames, Stack};

type Elf<'a> = ElfFile64<'a, object::LittleEndian>;

/// The most frames of a backtrace, inlined functions included.
const MAX_FRAMES: usize = 256;

/// Whose code a function is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The program's own, as far as is known.
    Program,
    /// A package from a registry.
    Dependency,
    /// The library `dormir`.
    Dormir,
    /// The boot image `dormir-guest`.
    DormirGuest,
    /// Rust's own library.
    Rust,
}

/// A function that had been called and had not returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The address of the instruction that ran, or at which the function continues.
    pub address: u64,
    /// The function's name, if the file has symbols.
    pub function: Option<String>,
    /// The source file and the line, if the file has debug information.
    pub location: Option<(String, u32)>,
    /// Whose code it is.
    pub origin: Origin,
}

/// Writes the function, and where it is: `main::work at src/main.rs:12`.
impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.function {
            Some(function) => f.write_str(function)?,
            None => write!(f, "{:#x}", self.address)?,
        }
        match &self.location {
            Some((file, line)) => write!(f, " at {file}:{line}"),
            None => Ok(()),
        }
    }
}

/// The functions that a guest was in when it failed, innermost first. Names are escaped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backtrace {
    /// The functions. Those that were inlined come before the function that they are part of.
    pub frames: Vec<Frame>,
    /// Whether frames, names or lines are missing since the file's symbols or debug information are
    /// damaged or too large: they are not read without limit.
    pub is_incomplete: bool,
}

impl Backtrace {
    /// Returns the innermost frame of the program's own code; the innermost of all, if there is no
    /// such one.
    #[must_use]
    pub fn in_program(&self) -> Option<&Frame> {
        let is_of_program =
            |frame: &&Frame| frame.origin == Origin::Program && frame.location.is_some();
        let of_program = self.frames.iter().find(is_of_program);
        of_program.or(self.frames.first())
    }
}

/// Writes a heading and one or two lines for each frame. Repeated frames are counted.
impl fmt::Display for Backtrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("backtrace of the guest, innermost call first:")?;
        let mut repeated = 0;
        for (number, frame) in self.frames.iter().enumerate() {
            let same = number > 0 && self.frames[number - 1] == *frame;
            if same {
                repeated += 1;
                continue;
            }
            write_repeated(f, &mut repeated)?;
            let name = frame.function.as_deref().unwrap_or("(no name)");
            write!(f, "\n{number:>4}: {:#x} {name}", frame.address)?;
            if let Some((file, line)) = &frame.location {
                write!(f, "\n        at {file}:{line}")?;
            }
        }
        write_repeated(f, &mut repeated)?;
        if self.is_incomplete {
            return f.write_str(
                "\nThe symbols or the debug information in the guest's file are damaged, or too \
                 large to be read within three seconds and 64 MiB, so frames, names or lines are \
                 missing.",
            );
        }
        if self.frames.iter().all(|frame| frame.location.is_none()) {
            f.write_str(
                "\nThe guest has no debug information, so these are the addresses on its stack \
                 that follow calls, and some of those calls may have returned. For names, files \
                 and lines, set debug = \"line-tables-only\" in the profile by which it is built, \
                 such as [profile.release], and do not strip it.",
            )?;
        }
        Ok(())
    }
}

fn write_repeated(f: &mut fmt::Formatter<'_>, repeated: &mut usize) -> fmt::Result {
    match std::mem::take(repeated) {
        0 => Ok(()),
        1 => f.write_str("\n      (and once more)"),
        times => write!(f, "\n      (and {times} times more)"),
    }
}

/// What an interrupt's handler interrupted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interrupted {
    /// The address of the frame that the processor pushed.
    pub(super) frame: u64,
    pub(super) rip: u64,
    pub(super) rsp: u64,
}

/// What a guest has reported of its registers and its stack.
#[derive(Debug, Default)]
pub(super) struct Trace {
    registers: Option<Registers>,
    interrupted: Option<Interrupted>,
    stack: Stack,
    /// Other registers followed: they are of a consequence, and so is what comes after them.
    is_complete: bool,
}

impl Trace {
    pub(super) fn set_registers(&mut self, registers: Registers) {
        self.is_complete = self.registers.is_some();
        self.registers.get_or_insert(registers);
    }

    pub(super) fn set_interrupted(&mut self, interrupted: Interrupted) {
        if !self.is_complete {
            self.interrupted = Some(interrupted);
        }
    }

    /// Adds words of the stack, up to the number that a guest may report.
    pub(super) fn add_words(&mut self, words: impl Iterator<Item = StackWord>) {
        let space = MAX_STACK_WORDS.saturating_sub(self.stack.len());
        for StackWord { address, value } in words.take(space).filter(|_| !self.is_complete) {
            self.stack.entry(address).or_insert(value);
        }
    }

    /// Makes the backtrace of a guest with this ELF file; `None` if it reported no registers.
    fn unwind(&self, file: &[u8]) -> Option<Backtrace> {
        let registers = self.registers.as_ref()?;
        let elf = Elf::parse(file).ok();
        let (for_calls, for_symbols) = (Meter::of_time(), Meter::new());
        let call_frames = CallFrames::new(elf.as_ref(), &for_calls);
        let calls = unwind::calls(registers, self.interrupted, &self.stack, &call_frames);
        let symbols = Symbols::new(elf.as_ref(), &for_symbols);
        let mut frames = Vec::new();
        for call in calls {
            frames.extend(symbols.frames(&call));
        }
        frames.truncate(MAX_FRAMES);
        Some(Backtrace {
            frames,
            is_incomplete: for_calls.is_exhausted() || symbols.is_incomplete(),
        })
    }
}

/// Makes the backtrace, and adds to the outcome where the guest was.
pub(super) fn explain(
    outcome: &mut Outcome,
    trace: &Trace,
    hang: Option<String>,
    image: &Image<impl Source>,
) -> Option<Backtrace> {
    // A file that cannot be read any more has no debug information.
    let mut backtrace = trace.unwind(&image.file_bytes().unwrap_or_default());
    match outcome {
        Outcome::Panicked(_) => {
            if let Some(backtrace) = &mut backtrace {
                leave_out_panic_code(backtrace);
            }
        }
        Outcome::Faulted(message) | Outcome::Stalled(message) => {
            add_place(message, backtrace.as_ref());
        }
        Outcome::TimedOut { place, .. } => {
            let of_program = backtrace.as_ref().and_then(Backtrace::in_program);
            // What the guest reports is more than what the VMM sees.
            let doing = hang.or(place.take());
            let inside = of_program.map(|frame| format!("in {frame}"));
            let known: Vec<String> = doing.into_iter().chain(inside).collect();
            *place = (!known.is_empty()).then(|| known.join(", "));
        }
        _ => return None,
    }
    backtrace
}

/// Adds the innermost place in the program's own code.
fn add_place(message: &mut String, backtrace: Option<&Backtrace>) {
    if let Some(frame) = backtrace.and_then(Backtrace::in_program) {
        *message = format!("{message}, in {frame}");
    }
}

/// Removes the innermost frames, which are those of the panic itself.
fn leave_out_panic_code(backtrace: &mut Backtrace) {
    let is_panic_code = |frame: &&Frame| matches!(frame.origin, Origin::DormirGuest | Origin::Rust);
    let count = backtrace.frames.iter().take_while(is_panic_code).count();
    if count < backtrace.frames.len() {
        backtrace.frames.drain(..count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(function: Option<&str>, line: Option<u32>, origin: Origin) -> Frame {
        Frame {
            address: 0x20_0000,
            function: function.map(str::to_owned),
            location: line.map(|line| ("src/main.rs".to_owned(), line)),
            origin,
        }
    }

    #[test]
    fn a_guest_without_debug_information_is_shown_with_addresses_and_how_to_get_names() {
        let backtrace = Backtrace {
            frames: vec![frame(None, None, Origin::Program)],
            ..Backtrace::default()
        };
        let shown = backtrace.to_string();
        assert!(shown.contains("0x200000"), "{shown}");
        assert!(shown.contains("debug = \"line-tables-only\""), "{shown}");
    }

    #[test]
    fn repeated_calls_are_counted() {
        let call = frame(Some("main::f"), Some(3), Origin::Program);
        let frames = vec![call.clone(), call.clone(), call];
        let backtrace = Backtrace {
            frames,
            ..Backtrace::default()
        };
        let shown = backtrace.to_string();
        assert!(shown.contains("2 times more"), "{shown}");
        assert_eq!(shown.matches("main::f").count(), 1, "{shown}");
        assert!(!shown.contains("line-tables-only"), "{shown}");
    }

    #[test]
    fn the_programs_own_call_is_found() {
        let frames = vec![
            frame(Some("spin_loop"), Some(1), Origin::Rust),
            frame(Some("wait"), Some(2), Origin::Dormir),
            frame(Some("main::work"), Some(3), Origin::Program),
            frame(Some("main::main"), Some(4), Origin::Program),
        ];
        let backtrace = Backtrace {
            frames,
            ..Backtrace::default()
        };
        let place = backtrace.in_program().map(ToString::to_string);
        assert_eq!(place.as_deref(), Some("main::work at src/main.rs:3"));
    }

    #[test]
    fn what_follows_the_first_registers_and_their_stack_is_ignored() {
        let mut trace = Trace::default();
        let word = |address| StackWord { address, value: 1 };
        let registers = |rip| Registers {
            rip,
            ..Registers::default()
        };
        trace.set_registers(registers(1));
        trace.add_words([word(8)].into_iter());
        trace.set_registers(registers(2));
        trace.set_interrupted(Interrupted {
            frame: 0,
            rip: 0,
            rsp: 0,
        });
        trace.add_words([word(16)].into_iter());
        assert_eq!(trace.registers, Some(registers(1)));
        assert!(trace.interrupted.is_none());
        assert_eq!(trace.stack.len(), 1);
    }

    #[test]
    fn no_more_words_are_kept_than_a_guest_may_report() {
        let mut trace = Trace::default();
        let words = (0..u64::MAX).map(|address| StackWord { address, value: 0 });
        trace.add_words(words.take(4 * MAX_STACK_WORDS));
        assert_eq!(trace.stack.len(), MAX_STACK_WORDS);
    }
}
