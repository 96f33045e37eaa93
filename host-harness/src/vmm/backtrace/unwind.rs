//! Unwinds a stack by call frame information (DWARF 5, section 6.4).

use std::collections::HashMap;

use addr2line::gimli::{
    BaseAddresses, CfaRule, DebugFrame, EhFrame, LittleEndian, Register, RegisterRule,
    UnwindContext, UnwindSection, X86_64,
};
use dormir_abi::backtrace::Registers;
use object::{Object, ObjectSection};

use super::{Bytes, Elf, Interrupted};

/// The known words of a stack, by address.
pub(super) type Stack = HashMap<u64, u64>;

/// The most calls that are unwound: more than a guest can report.
const MAX_CALLS: usize = 400;

/// A call that has not returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) address: u64,
    /// Whether the address is the instruction's own, and not that behind a call instruction.
    pub(super) is_exact: bool,
}

impl Call {
    /// An address within the instruction, to look up what it belongs to: the one behind a call
    /// that never returns may belong to another function.
    pub(super) fn lookup(&self) -> u64 {
        if self.is_exact {
            self.address
        } else {
            self.address.wrapping_sub(1)
        }
    }
}

/// The call frame information of an ELF file.
pub(super) struct CallFrames<'a> {
    /// For functions without unwind tables, as in guests that abort at a panic.
    debug: DebugFrame<Bytes<'a>>,
    /// For functions with unwind tables.
    eh: EhFrame<Bytes<'a>>,
    bases: BaseAddresses,
}

impl<'a> CallFrames<'a> {
    pub(super) fn new(elf: Option<&Elf<'a>>) -> Self {
        let section = |name| elf.and_then(|elf| elf.section_by_name(name));
        let data = |name| section(name).and_then(|section| section.data().ok());
        let address = |name| section(name).map_or(0, |section| section.address());
        let mut debug = DebugFrame::new(data(".debug_frame").unwrap_or_default(), LittleEndian);
        debug.set_address_size(8);
        Self {
            debug,
            eh: EhFrame::new(data(".eh_frame").unwrap_or_default(), LittleEndian),
            bases: BaseAddresses::default()
                .set_eh_frame(address(".eh_frame"))
                .set_text(address(".text")),
        }
    }

    /// Returns the state of the caller, if there is information on this call.
    fn caller(&self, call: Call, state: &State, stack: &Stack) -> Option<State> {
        Self::caller_by(&self.debug, &self.bases, call, state, stack)
            .or_else(|| Self::caller_by(&self.eh, &self.bases, call, state, stack))
    }

    fn caller_by<S: UnwindSection<Bytes<'a>>>(
        section: &S,
        bases: &BaseAddresses,
        call: Call,
        state: &State,
        stack: &Stack,
    ) -> Option<State> {
        let mut context = UnwindContext::new();
        let row = section
            .unwind_info_for_address(bases, &mut context, call.lookup(), S::cie_from_offset)
            .ok()?;
        let CfaRule::RegisterAndOffset { register, offset } = row.cfa() else {
            return None;
        };
        let cfa = state.get(*register)?.wrapping_add_signed(*offset);
        let mut caller = State::default();
        for register in PRESERVED {
            let value = match row.register(register) {
                None | Some(RegisterRule::Undefined | RegisterRule::SameValue) => {
                    state.get(register)
                }
                Some(RegisterRule::Offset(offset)) => {
                    stack.get(&cfa.wrapping_add_signed(offset)).copied()
                }
                Some(RegisterRule::ValOffset(offset)) => Some(cfa.wrapping_add_signed(offset)),
                Some(RegisterRule::Register(other)) => state.get(other),
                _ => None,
            };
            caller.set(register, value);
        }
        let Some(RegisterRule::Offset(offset)) = row.register(X86_64::RA) else {
            return None;
        };
        let back = stack.get(&cfa.wrapping_add_signed(offset)).copied();
        caller.set(X86_64::RA, back);
        caller.set(X86_64::RSP, Some(cfa));
        Some(caller)
    }
}

/// The registers that a call preserves.
const PRESERVED: [Register; 6] = [
    X86_64::RBX,
    X86_64::RBP,
    X86_64::R12,
    X86_64::R13,
    X86_64::R14,
    X86_64::R15,
];

/// The values of the registers in a call, by DWARF's numbers; 16 is the instruction pointer.
#[derive(Clone, Debug, Default)]
struct State([Option<u64>; 17]);

impl State {
    fn new(registers: &Registers) -> Self {
        let [r12, r13, r14, r15] = registers.r12_to_r15;
        let mut state = Self::default();
        for (register, value) in [
            (X86_64::RBX, registers.rbx),
            (X86_64::RBP, registers.rbp),
            (X86_64::RSP, registers.rsp),
            (X86_64::R12, r12),
            (X86_64::R13, r13),
            (X86_64::R14, r14),
            (X86_64::R15, r15),
            (X86_64::RA, registers.rip),
        ] {
            state.set(register, Some(value));
        }
        state
    }

    fn get(&self, register: Register) -> Option<u64> {
        *self.0.get(usize::from(register.0))?
    }

    fn set(&mut self, register: Register, value: Option<u64>) {
        if let Some(place) = self.0.get_mut(usize::from(register.0)) {
            *place = value;
        }
    }
}

/// Unwinds. If the registers are those of an interrupt's handler, the result begins with what it
/// interrupted.
pub(super) fn calls(
    registers: &Registers,
    interrupted: Option<Interrupted>,
    stack: &Stack,
    call_frames: &CallFrames<'_>,
) -> Vec<Call> {
    let mut state = State::new(registers);
    if let Some(interrupted) = interrupted {
        // The handler has saved registers of what it interrupted. Its entry is in assembly, without
        // call frame information, and changes none of these.
        for _ in 0..MAX_CALLS {
            let Some(address) = state.get(X86_64::RA) else {
                break;
            };
            let call = Call {
                address,
                is_exact: false,
            };
            match call_frames.caller(call, &state, stack) {
                Some(caller) if caller.get(X86_64::RSP) <= Some(interrupted.frame) => {
                    state = caller;
                }
                _ => break,
            }
        }
        state.set(X86_64::RA, Some(interrupted.rip));
        state.set(X86_64::RSP, Some(interrupted.rsp));
    }
    unwind(state, stack, call_frames)
}

fn unwind(mut state: State, stack: &Stack, call_frames: &CallFrames<'_>) -> Vec<Call> {
    let mut calls = Vec::new();
    while let Some(address) = state.get(X86_64::RA).filter(|_| calls.len() < MAX_CALLS) {
        let is_exact = calls.is_empty();
        let call = Call { address, is_exact };
        calls.push(call);
        let caller = match call_frames.caller(call, &state, stack) {
            // A jump to a bad address, or a function in assembly that has pushed nothing.
            None if is_exact => called_directly(&state, stack),
            caller => caller,
        };
        match caller {
            Some(caller) if caller.get(X86_64::RSP) > state.get(X86_64::RSP) => state = caller,
            _ => break,
        }
    }
    calls
}

/// Returns the caller's state, if the return address is the top word of the stack.
fn called_directly(state: &State, stack: &Stack) -> Option<State> {
    let rsp = state.get(X86_64::RSP)?;
    let mut caller = state.clone();
    caller.set(X86_64::RA, Some(*stack.get(&rsp)?));
    caller.set(X86_64::RSP, Some(rsp.wrapping_add(8)));
    Some(caller)
}
