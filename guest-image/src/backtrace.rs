//! Reports registers and stack to the harness, which makes a backtrace of them.

use core::{arch::asm, ops::Range};

use dormir::arch::x86_64::{exceptions::ExceptionFrame, interrupt::InterruptFrame};
use dormir_abi::{
    backtrace::{MAX_STACK_WORDS, Registers, StackWord},
    record::{self, Record},
};

use crate::{
    boot::image,
    console::{RecordLine, write_record},
};

/// Returns the registers here.
#[inline(always)]
pub(crate) fn here() -> Registers {
    let mut values = [0_u64; 8];
    // SAFETY: reads registers, and writes eight words to an array of eight words.
    unsafe {
        asm!(
            "lea {scratch}, [rip]",
            "mov [{values}], {scratch}",
            "mov [{values} + 8], rsp",
            "mov [{values} + 16], rbp",
            "mov [{values} + 24], rbx",
            "mov [{values} + 32], r12",
            "mov [{values} + 40], r13",
            "mov [{values} + 48], r14",
            "mov [{values} + 56], r15",
            values = in(reg) values.as_mut_ptr(),
            scratch = out(reg) _,
            options(nostack, preserves_flags),
        );
    }
    let [rip, rsp, rbp, rbx, r12_to_r15 @ ..] = values;
    Registers {
        rip,
        rsp,
        rbp,
        rbx,
        r12_to_r15,
    }
}

/// Returns the registers at an exception.
pub(crate) fn at_exception(frame: &ExceptionFrame) -> Registers {
    // In the order of `exceptions::GENERAL_NAMES`.
    let [r15, r14, r13, r12, _, _, _, _, _, _, rbp, _, _, rbx, _] = frame.general;
    Registers {
        rip: frame.rip,
        rsp: frame.rsp,
        rbp,
        rbx,
        r12_to_r15: [r12, r13, r14, r15],
    }
}

/// Reports the registers and the stack that they point to.
pub(crate) fn report(registers: Registers) {
    write_record(Record::Registers(registers));
    let mut words = StackWords::new();
    words.add_stack_of(registers.rsp);
    words.send();
}

/// Reports the registers of an interrupt's handler, what it interrupted, and both stacks.
pub(crate) fn report_interrupted(handler: Registers, frame: &InterruptFrame) {
    write_record(Record::Registers(handler));
    write_record(Record::Interrupt {
        frame: core::ptr::from_ref(frame).addr() as u64,
        rip: frame.rip,
        rsp: frame.rsp,
    });
    let mut words = StackWords::new();
    words.add_stack_of(handler.rsp);
    words.add_stack_of(frame.rsp);
    words.send();
}

/// Collects stack words, and sends them in records. It formats them itself: a few hundred calls of
/// `write!` would take seconds in a guest that is not optimised and whose instructions are
/// emulated.
struct StackWords {
    line: RecordLine,
    /// How many more are reported.
    left: usize,
}

impl StackWords {
    fn new() -> Self {
        Self {
            line: RecordLine::new(record::STACK),
            left: MAX_STACK_WORDS,
        }
    }

    /// Adds the words from `rsp` to the end of its stack that can be return addresses, or that
    /// point further up the stack.
    fn add_stack_of(&mut self, rsp: u64) {
        // A stack that has overflowed ends in its guard page.
        let is_around = |(_, stack): &(_, Range<u64>)| {
            (stack.start - image::GUARD_SIZE..stack.end).contains(&rsp)
        };
        let Some((_, stack)) = image::stacks().into_iter().find(is_around) else {
            return;
        };
        let code = image::text();
        let first = rsp.max(stack.start).next_multiple_of(8);
        let mut address = first;
        while address < stack.end {
            // SAFETY: an aligned word of a stack of the image, which is mapped. It is read as any
            // bytes, and may change under another context: hence volatile.
            let value = unsafe { (address as *const u64).read_volatile() };
            let is_code = code.start <= value && value < code.end;
            if is_code || (address <= value && value <= stack.end) {
                if self.left == 0 {
                    return;
                }
                self.left -= 1;
                self.add(StackWord { address, value });
            }
            address += 8;
        }
    }

    fn add(&mut self, word: StackWord) {
        if self.line.space() <= StackWord::MAX_LENGTH {
            self.send();
        }
        self.line.push(b" ");
        self.line.push_hex(word.address);
        self.line.push(b"=");
        self.line.push_hex(word.value);
    }

    fn send(&mut self) {
        self.line.send();
        self.line = RecordLine::new(record::STACK);
    }
}
