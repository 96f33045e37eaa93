//! Makes another process call the system, as a debugger.

use std::{
    ffi::CString,
    thread,
    time::{Duration, Instant},
};

use libc::c_long;
use nix::{
    sys::{
        ptrace::{self, Options},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

/// `syscall`.
const SYSCALL: [u8; 2] = [0x0f, 0x05];
/// `int 0x80`: the calls of 32-bit programs, which have other numbers.
const INT_80: [u8; 2] = [0xcd, 0x80];

/// A system call, whose arguments may be a path.
pub(super) struct Call {
    instruction: [u8; 2],
    number: c_long,
    arguments: [Argument; 3],
}

#[derive(Clone, Copy)]
pub(super) enum Argument {
    Number(i64),
    Path(&'static str),
}

/// Makes the first thread of a process call this; `None` if the process ended of it.
pub(super) fn call_from(process: Pid, call: &Call) -> Option<i64> {
    ptrace::seize(process, Options::empty()).expect("a parent may trace its children");
    let started = Instant::now();
    // It waits in a system call, as a rule.
    let before = loop {
        ptrace::interrupt(process).expect("it runs");
        waitpid(process, Some(WaitPidFlag::__WALL)).expect("it stops");
        let registers = ptrace::getregs(process).expect("it has stopped");
        if bytes_at(process, registers.rip - 2) == SYSCALL {
            break registers;
        }
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "it never waits"
        );
        ptrace::cont(process, None).expect("it has stopped");
        thread::sleep(Duration::from_millis(1));
    };
    let mut registers = before;
    let mut place = before.rsp - 4096;
    let mut values = [0; 3];
    for (value, argument) in values.iter_mut().zip(call.arguments) {
        *value = match argument {
            Argument::Number(number) => number.cast_unsigned(),
            Argument::Path(text) => {
                write_text(process, place, text);
                place += 256;
                place - 256
            }
        };
    }
    registers.rip -= 2;
    write_code(process, registers.rip, call.instruction);
    registers.rax = call.number.cast_unsigned();
    // What it waits in is not begun again.
    registers.orig_rax = u64::MAX;
    [registers.rdi, registers.rsi, registers.rdx] = values;
    registers.r10 = 0;
    ptrace::setregs(process, registers).expect("it has stopped");
    ptrace::step(process, None).expect("it has stopped");
    match waitpid(process, Some(WaitPidFlag::__WALL)).expect("it stops or ends") {
        WaitStatus::Stopped(..) => {}
        WaitStatus::PtraceEvent(..) => {}
        _ => return None,
    }
    let answer = ptrace::getregs(process).expect("it has stopped").rax;
    write_code(process, registers.rip, SYSCALL);
    ptrace::setregs(process, before).expect("it has stopped");
    ptrace::detach(process, None).expect("it has stopped");
    Some(answer.cast_signed())
}

fn bytes_at(process: Pid, address: u64) -> [u8; 2] {
    let word = ptrace::read(process, address as ptrace::AddressType).expect("its code");
    let [first, second, ..] = word.to_le_bytes();
    [first, second]
}

/// Writes an instruction in place of the one that is there.
fn write_code(process: Pid, address: u64, instruction: [u8; 2]) {
    let place = address as ptrace::AddressType;
    let mut word = ptrace::read(process, place)
        .expect("its code")
        .to_le_bytes();
    word[..2].copy_from_slice(&instruction);
    ptrace::write(process, place, c_long::from_le_bytes(word)).expect("its code");
}

fn write_text(process: Pid, address: u64, text: &str) {
    let text = CString::new(text).expect("no NUL");
    for (index, piece) in text.as_bytes_with_nul().chunks(8).enumerate() {
        let mut word = [0; 8];
        word[..piece.len()].copy_from_slice(piece);
        let at = (address + 8 * index as u64) as ptrace::AddressType;
        ptrace::write(process, at, c_long::from_le_bytes(word)).expect("its stack");
    }
}

pub(super) fn call(number: c_long, arguments: [Argument; 3]) -> Call {
    Call {
        instruction: SYSCALL,
        number,
        arguments,
    }
}

/// A call as those of 32-bit programs are.
pub(super) fn call_of_32_bits(number: c_long) -> Call {
    Call {
        instruction: INT_80,
        ..call(number, [Argument::Number(0); 3])
    }
}
